//! What a running controller is asked and told.

use std::path::PathBuf;

use clap::Args;

use super::{Kind, Output};
use crate::settings::Span;

/// Where the controller is, and how what it says is printed.
#[derive(Args, Clone, Debug)]
pub(crate) struct ApiArgs {
    /// The controller's address [default: 127.0.0.1:9466, or http.listen of --config]
    #[arg(long, value_name = "ADDRESS", env = "HAPROXY_CONTROL_API", help_heading = "Controller")]
    pub(crate) api: Option<String>,
    /// The controller's settings, for its address and token
    #[arg(long, value_name = "FILE", env = "HAPROXY_CONTROL_CONFIG", help_heading = "Controller")]
    pub(crate) config: Option<PathBuf>,
    /// The backend, where the controller has several
    #[arg(long, value_name = "NAME", help_heading = "Controller")]
    pub(crate) backend: Option<String>,
    /// The token that changes need, if the controller asks for one
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HAPROXY_CONTROL_TOKEN",
        hide_env_values = true,
        help_heading = "Controller"
    )]
    pub(crate) token: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// What `status` shows.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Show it again and again, every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    pub(crate) watch: Option<u64>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// Which room.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The room
    pub(crate) room: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// Which server.
#[derive(Args, Debug)]
pub(crate) struct OrderArgs {
    /// The server
    pub(crate) server: String,
    /// Only show what would come of it
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// What `drain` does.
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    /// The server
    pub(crate) server: String,
    /// Wait until nothing is left on it
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait for so long at most, as 30s, 10m or 2h
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(crate) deadline: Option<Span>,
    /// Move its rooms away at once, all people of a room together
    #[arg(long)]
    pub(crate) move_rooms: bool,
    /// Only show what would come of it
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// What `apply` does.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// What is wanted, as for `render` [default: apply.wanted of the settings]
    #[arg(value_name = "FILE")]
    pub(crate) wanted: Option<PathBuf>,
    /// The controller's settings
    #[arg(long, value_name = "FILE", env = "HAPROXY_CONTROL_CONFIG")]
    pub(crate) config: PathBuf,
    /// What the file describes [default: apply.kind of the settings]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// Only show the commands, and the rooms that would move
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let rooms in use move, all people of a room together
    #[arg(long)]
    pub(crate) move_rooms: bool,
    /// How long rooms and connections may take to leave a server, as 30s or 10m
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) deadline: Span,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}
