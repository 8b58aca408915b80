//! What to do with meetings.

use clap::Subcommand;

use super::servers::Dry;
use crate::action::{Action, Agreed};

/// What to do with meetings.
#[derive(Subcommand)]
pub(crate) enum Meetings {
    /// Print every meeting (what `meetings` alone does)
    List,
    /// Say where meetings are, and what their servers say of them
    #[command(after_help = "Example:\n  bbb-balancer meetings info MEETING -o json")]
    Info {
        /// Their ids
        #[arg(required = true, value_name = "MEETING")]
        meetings: Vec<String>,
    },
    /// End meetings for everybody in them
    #[command(after_help = "Example:\n  bbb-balancer meetings end MEETING --yes\n\n\
        Asks at a terminal; elsewhere --yes is needed, and without it nothing is ended (exit code 3).")]
    End {
        /// Their ids
        #[arg(required = true, value_name = "MEETING")]
        meetings: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        dry: Dry,
    },
}

impl Meetings {
    pub(super) fn action(self, list: Action) -> Action {
        match self {
            Self::List => list,
            Self::Info { meetings } => Action::MeetingInfo { meetings },
            Self::End { meetings, yes, dry } => {
                let agreed = if yes { Agreed::Yes } else { Agreed::Ask };
                Action::EndMeetings { meetings, agreed, dry: dry.dry_run }
            }
        }
    }
}
