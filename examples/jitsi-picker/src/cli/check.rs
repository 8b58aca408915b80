//! Options of `check`.

use std::path::PathBuf;

use clap::Args;

use super::Output;

/// What stands below the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  jitsi-picker check /etc/jitsi/videobridge /etc/jitsi/jicofo /etc/prosody/prosody.cfg.lua
  jitsi-picker check jms/jicofo.conf jvb1/config jvb1/sip-communicator.properties jvb2/*
  jitsi-picker check --offline --strict -o json copies/*/*

Reads sip-communicator.properties, config, jvb.conf, jicofo.conf, and of prosody.cfg.lua the hosts, components, ports and
interfaces. Of a folder its files of these names are read, not those of folders in it.
Files whose path is the same up to etc/, jitsi/, prosody/ and what is below are of one machine, which has the name of the
folder they are in. Files below /etc are this machine's. Passwords are compared and never printed.
Ends with 1 when there are errors, with --strict also when there are warnings.";

/// What `check` looks at, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// Files, and folders with such files
    #[arg(required_unless_present = "rules", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Warnings count as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Do not try to reach any port
    #[arg(long)]
    pub(crate) offline: bool,
    /// How long a port may take to answer, in milliseconds
    #[arg(long, default_value = "3000", value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) timeout: u64,
    /// A name that is surely right, such as the one of the web page: others are compared with it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// A machine, as named by the folder of its files, on which the XMPP server runs
    #[arg(long, value_name = "MACHINE")]
    pub(crate) signalling: Vec<String>,
    /// The XMPP server runs on none of the other machines
    #[arg(long)]
    pub(crate) remote: bool,
    /// List the rules instead
    #[arg(long)]
    pub(crate) rules: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}
