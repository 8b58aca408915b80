//! What the operator wants from a running balancer, whichever way it was spelled.

use std::fmt;
use std::time::Duration;

use crate::cli::Which;
use crate::commands::{TenantOrder, Wait, Wanted};

/// An order for a running balancer.
#[derive(Clone, PartialEq)]
pub(crate) enum Action {
    /// Print every server as a block.
    List {
        /// Whether secrets are printed in full.
        show_secrets: bool,
    },
    /// Print every server as YAML.
    Yaml {
        /// Whether state, load, version and reachability are printed as well.
        verbose: bool,
        /// Whether secrets are printed in full.
        show_secrets: bool,
    },
    /// Add a server, disabled unless told otherwise.
    Add {
        /// Its API URL, as `bbb-conf --secret` prints it, with `api` at the end.
        url: String,
        /// Its secret.
        secret: String,
        /// Its load multiplier.
        multiplier: Option<String>,
        /// Its tag.
        tag: Option<String>,
        /// Whether to enable it at once.
        enable: bool,
        /// Whether an unreadable multiplier is a warning only, as with rake.
        lenient: bool,
    },
    /// Change a server's state.
    Wish {
        /// Id, host name or URL.
        id: String,
        /// Which state.
        wish: Wish,
    },
    /// Cordon a server, and perhaps wait until it has no meetings.
    Drain {
        /// Id, host name or URL.
        id: String,
        /// Whether to wait, and how long.
        wait: Option<Wait>,
    },
    /// Say which meetings a change of a server would concern.
    Preview {
        /// Id, host name or URL.
        id: String,
        /// The change's command.
        change: &'static str,
    },
    /// Change other settings of a server.
    Update {
        /// Id, host name or URL.
        id: String,
        /// What to change.
        change: Change,
    },
    /// Forget and end a server's meetings, and disable it.
    Panic {
        /// Id, host name or URL.
        id: String,
        /// Whether its state stays as it is.
        keep_state: bool,
        /// Whether its meetings are forgotten only.
        skip_ends: bool,
    },
    /// Add every server of a file.
    AddAll {
        /// The file, `-` for standard input.
        file: String,
        /// Whether only to say what would be done.
        dry: bool,
    },
    /// Make the servers those of a file.
    Sync {
        /// The file, `-` for standard input.
        file: String,
        /// What becomes of servers that are not in it.
        absent: Absent,
        /// Whether only to say what would be done.
        dry: bool,
    },
    /// Remove a server.
    Remove {
        /// Id, host name or URL.
        id: String,
        /// Whether to remove it although it has meetings.
        force: bool,
    },
    /// Ask every server for its figures now.
    Poll {
        /// Whether servers that do not answer are no failure, as with rake.
        lenient: bool,
    },
    /// Print the table of servers.
    Status,
    /// Print something again and again.
    Watch {
        /// What to print.
        what: Box<Self>,
        /// How often.
        every: Duration,
    },
    /// Say where a meeting is, or would go, and why.
    Explain {
        /// The meeting's id.
        meeting: String,
        /// The tag its create would ask for.
        tag: Option<String>,
    },
    /// Say what a change of servers would do.
    Plan(Wanted),
    /// Something about tenants.
    Tenants(TenantOrder),
    /// List the known meetings.
    Meetings {
        /// Of these servers only; of all when empty.
        servers: Vec<String>,
        /// Of this tenant only, by id or name.
        tenant: Option<String>,
    },
    /// List the meetings of each server.
    MeetingsByServer {
        /// Of these servers only; of all when empty.
        servers: Vec<String>,
    },
    /// Say what is known of some meetings.
    MeetingInfo {
        /// Their ids.
        meetings: Vec<String>,
    },
    /// End meetings.
    EndMeetings {
        /// Their ids.
        meetings: Vec<String>,
        /// Whether it was agreed to beforehand.
        agreed: Agreed,
        /// Whether only to say what would be done.
        dry: bool,
    },
    /// List recordings.
    Recordings(Which),
    /// Import what waits in the spool.
    ImportRecordings,
    /// Compare the index of recordings with their files.
    CheckRecordings,
    /// Bring the files of recordings into agreement with the index.
    SettleRecordings,
    /// Give recordings without a tenant to this one.
    RecordingsToTenant {
        /// The tenant's id.
        tenant: String,
    },
    /// Say that the program can be started.
    Liveness,
}

/// What becomes of servers that a list does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Absent {
    /// They stay.
    Keep,
    /// They are removed when they have no meetings, else cordoned.
    #[default]
    Cordon,
    /// Their meetings are ended and they are removed.
    Force,
}

/// Whether somebody has said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// With an option.
    Yes,
    /// A person at a terminal is asked.
    Ask,
    /// The answer is read from standard input, as rake does.
    Read,
}

/// A state to bring a server into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Takes new meetings.
    Enable,
    /// Keeps its meetings, takes no new ones.
    Cordon,
    /// Takes nothing.
    Disable,
}

impl Wish {
    /// The word of the JSON API.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Cordon => "cordon",
            Self::Disable => "disable",
        }
    }
}

/// Changes of a server's settings; what is `None` stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// A new secret.
    pub(crate) secret: Option<String>,
    /// A new load multiplier.
    pub(crate) multiplier: Option<String>,
    /// A new tag; empty removes it.
    pub(crate) tag: Option<String>,
}

impl Action {
    /// Again and again, that often, if so.
    pub(crate) fn watched(self, every: Option<Duration>) -> Self {
        match every {
            Some(every) => Self::Watch { what: Box::new(self), every },
            None => self,
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some carry secrets: the kind must do.
        f.write_str(match self {
            Self::List { .. } => "List",
            Self::Yaml { .. } => "Yaml",
            Self::Add { .. } => "Add",
            Self::Wish { .. } => "Wish",
            Self::Drain { .. } => "Drain",
            Self::Preview { .. } => "Preview",
            Self::Update { .. } => "Update",
            Self::Panic { .. } => "Panic",
            Self::Remove { .. } => "Remove",
            Self::Poll { .. } => "Poll",
            Self::Status => "Status",
            Self::Watch { .. } => "Watch",
            Self::Explain { .. } => "Explain",
            Self::Plan(_) => "Plan",
            Self::Tenants(_) => "Tenants",
            Self::Meetings { .. } => "Meetings",
            Self::AddAll { .. } => "AddAll",
            Self::Sync { .. } => "Sync",
            Self::MeetingsByServer { .. } => "MeetingsByServer",
            Self::MeetingInfo { .. } => "MeetingInfo",
            Self::EndMeetings { .. } => "EndMeetings",
            Self::Recordings(_) => "Recordings",
            Self::ImportRecordings => "ImportRecordings",
            Self::CheckRecordings => "CheckRecordings",
            Self::SettleRecordings => "SettleRecordings",
            Self::RecordingsToTenant { .. } => "RecordingsToTenant",
            Self::Liveness => "Liveness",
        })
    }
}
