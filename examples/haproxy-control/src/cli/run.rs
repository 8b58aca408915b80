//! `run`, and what it has recorded.

use std::path::PathBuf;

use adapter_haproxy::control::Mode;
use adapter_haproxy::trace::Protocol;
use clap::{Args, ValueEnum};

use super::Output;

/// What `run` does.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The settings
    #[arg(long, value_name = "FILE", env = "HAPROXY_CONTROL_CONFIG", required_unless_present = "example")]
    pub(crate) config: Option<PathBuf>,
    /// Where the places of rooms are written, for backends whose settings do not say it [default: map]
    #[arg(long, value_enum)]
    pub(crate) mode: Option<RunMode>,
    /// Only print the settings in force, defaults included, without secrets
    #[arg(long)]
    pub(crate) check: bool,
    /// Print settings to begin with
    #[arg(long)]
    pub(crate) example: bool,
    /// Keep what is said to and heard from the HAProxys in this file, for `replay`; secrets are masked, and a file that
    /// is there already becomes FILE.old
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "example"])]
    pub(crate) record: Option<PathBuf>,
}

/// What `replay` plays.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The trace; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only what is spoken in these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PROTOCOL")]
    pub(crate) protocol: Vec<TraceProtocol>,
    /// How to print; with json an object a line
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceProtocol {
    /// Stick tables.
    Peers,
    /// Requests asked about.
    Spoe,
    /// States and weights of servers.
    AgentCheck,
    /// Orders and questions.
    Runtime,
}

impl TraceProtocol {
    pub(crate) fn of_trace(self) -> Protocol {
        match self {
            Self::Peers => Protocol::Peers,
            Self::Spoe => Protocol::Spoe,
            Self::AgentCheck => Protocol::AgentCheck,
            Self::Runtime => Protocol::Runtime,
        }
    }
}

/// Where the places of rooms are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunMode {
    /// In a map of HAProxy's.
    Map,
    /// Nowhere: HAProxy asks (SPOE).
    Spoe,
    /// In HAProxy's stick table, as a peer.
    Peers,
}

impl From<RunMode> for Mode {
    fn from(mode: RunMode) -> Self {
        match mode {
            RunMode::Map => Self::Map,
            RunMode::Spoe => Self::Spoe,
            RunMode::Peers => Self::Peers,
        }
    }
}
