//! What to do with servers.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::action::{Absent, Action, Change, Wish};
use crate::commands::Wait;
use console::Failure;

/// What to do with servers.
#[derive(Subcommand)]
pub(crate) enum Servers {
    /// Print every server (what `servers` alone does)
    List,
    /// Print every server as a YAML map by id, as `servers:yaml` of rake
    #[command(after_help = "Example:\n  bbb-balancer servers yaml --show-secrets > servers.yaml")]
    Yaml {
        /// Also state, load, version and whether it answers
        #[arg(long)]
        verbose: bool,
    },
    /// Add a server, disabled unless --enable is given
    #[command(
        after_help = "Example:\n  bbb-balancer servers add https://bbb1.example.com/bigbluebutton/api SECRET\n\n\
        `bbb-conf --secret` on the server prints both."
    )]
    Add {
        /// Its API URL, with `api` at the end
        #[arg(value_name = "URL")]
        api: String,
        /// Its secret
        #[arg(value_name = "SECRET")]
        shared: String,
        /// Load multiplier: higher means fewer meetings [default: 1.0]
        #[arg(long, value_name = "N")]
        multiplier: Option<String>,
        /// Tag
        #[arg(long)]
        tag: Option<String>,
        /// Enable it at once
        #[arg(long)]
        enable: bool,
    },
    /// Change secret, load multiplier or tag
    Update {
        /// Id, host name or URL
        id: String,
        /// A new secret
        #[arg(long = "server-secret", value_name = "SECRET")]
        shared: Option<String>,
        /// A new load multiplier
        #[arg(long, value_name = "N")]
        multiplier: Option<String>,
        /// A new tag; '' removes it
        #[arg(long)]
        tag: Option<String>,
    },
    /// Let it take new meetings
    Enable {
        /// Id, host name or URL
        id: String,
    },
    /// It keeps its meetings and takes no new ones
    Cordon {
        /// Id, host name or URL
        id: String,
        #[command(flatten)]
        dry: Dry,
    },
    /// Cordon it, and wait until its meetings are over
    Drain(DrainArgs),
    /// Let it take nothing: joins are refused as well
    Disable {
        /// Id, host name or URL
        id: String,
        #[command(flatten)]
        dry: Dry,
    },
    /// Forget and end its meetings, and disable it: for a server that has crashed
    Panic {
        /// Id, host name or URL
        id: String,
        /// Leave its state as it is
        #[arg(long)]
        keep_state: bool,
        /// Forget its meetings without asking it to end them
        #[arg(long)]
        skip_end_calls: bool,
        #[command(flatten)]
        dry: Dry,
    },
    /// Add every server of a file: `servers: [{url, secret}]` in YAML or JSON
    #[command(alias = "addAll", after_help = "Example:\n  bbb-balancer servers add-all servers.yaml --dry-run")]
    AddAll {
        /// The file; - for standard input
        file: String,
        #[command(flatten)]
        dry: Dry,
    },
    /// Make the servers those of a file, as `servers yaml --show-secrets` prints it
    #[command(after_help = "Examples:\n  bbb-balancer servers yaml --show-secrets > servers.yaml\n  \
        bbb-balancer servers sync servers.yaml --dry-run\n  bbb-balancer servers sync - --mode keep < servers.yaml\n\n\
        The file is a YAML map of id to secret (required), url [https://ID/bigbluebutton/api], enabled [true; false is \
        cordoned], load_multiplier and tag. What a server's entry leaves out stays as it is.")]
    Sync {
        /// The file; - for standard input
        file: String,
        /// What becomes of servers that are not in it
        #[arg(long, value_enum, default_value = "cordon")]
        mode: Mode,
        #[command(flatten)]
        dry: Dry,
    },
    /// Remove it; refused while it has meetings
    Remove {
        /// Id, host name or URL
        id: String,
        /// Remove it although it has meetings, and forget them
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dry: Dry,
    },
}

/// What becomes of servers that are not in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// They stay as they are.
    Keep,
    /// They are removed when they have no meetings, else cordoned.
    Cordon,
    /// Their meetings are ended, and they are removed.
    Force,
}

impl From<Mode> for Absent {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Keep => Self::Keep,
            Mode::Cordon => Self::Cordon,
            Mode::Force => Self::Force,
        }
    }
}

/// Whether the change is only described.
#[derive(Args, Clone, Copy)]
pub(crate) struct Dry {
    /// Say which meetings it would concern, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Dry {
    /// The order, or the description of what it would concern.
    pub(super) fn or(self, id: String, change: &'static str, order: impl FnOnce(String) -> Action) -> Action {
        if self.dry_run { Action::Preview { id, change } } else { order(id) }
    }
}

/// How to drain.
#[derive(Args)]
pub(crate) struct DrainArgs {
    /// Id, host name or URL
    id: String,
    /// Wait until no meeting is left on it
    #[arg(long)]
    wait: bool,
    /// Wait this long at most; ends with 5 when meetings are left then
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    deadline: Option<u64>,
    #[command(flatten)]
    dry: Dry,
}

impl DrainArgs {
    pub(super) fn action(self) -> Action {
        let deadline = self.deadline.map(Duration::from_secs);
        let wait = self.wait.then_some(Wait { deadline });
        self.dry.or(self.id, "drain", |id| Action::Drain { id, wait })
    }
}

impl Servers {
    pub(super) fn action(self, list: Action) -> Result<Action, Failure> {
        Ok(match self {
            Self::List => list,
            Self::Yaml { verbose } => {
                Action::Yaml { verbose, show_secrets: matches!(list, Action::List { show_secrets: true }) }
            }
            Self::Add { api, shared, multiplier, tag, enable } => {
                Action::Add { url: api, secret: shared, multiplier, tag, enable, lenient: false }
            }
            Self::Update { id, shared, multiplier, tag } => {
                let change = Change { secret: shared, multiplier, tag };
                if change == Change::default() {
                    return Err(Failure::usage("nothing to change")
                        .hint("give --server-secret, --multiplier or --tag; states have commands of their own"));
                }
                Action::Update { id, change }
            }
            Self::Enable { id } => Action::Wish { id, wish: Wish::Enable },
            Self::Cordon { id, dry } => dry.or(id, "cordon", |id| Action::Wish { id, wish: Wish::Cordon }),
            Self::Drain(how) => how.action(),
            Self::Disable { id, dry } => dry.or(id, "disable", |id| Action::Wish { id, wish: Wish::Disable }),
            Self::Panic { id, keep_state, skip_end_calls, dry } => {
                dry.or(id, "panic", |id| Action::Panic { id, keep_state, skip_ends: skip_end_calls })
            }
            Self::AddAll { file, dry } => Action::AddAll { file, dry: dry.dry_run },
            Self::Sync { file, mode, dry } => Action::Sync { file, absent: mode.into(), dry: dry.dry_run },
            Self::Remove { id, force, dry } => dry.or(id, "remove", |id| Action::Remove { id, force }),
        })
    }
}
