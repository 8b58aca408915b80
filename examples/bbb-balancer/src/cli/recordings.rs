//! What to do with recordings.

use clap::{Args, Subcommand};

use super::servers::Dry;
use crate::action::Action;
use console::Failure;

/// What to do with recordings.
#[derive(Subcommand)]
pub(crate) enum Recordings {
    /// Print the recordings (what `recordings` alone does)
    List,
    /// Import what waits in the spool now, instead of at the next look
    #[command(after_help = "Example:\n  bbb-balancer recordings import\n\n\
        An archive that cannot be imported stays in the spool, and it is said why. Ends with 4 when some stayed.")]
    Import,
    /// Compare the index with the files, and change nothing
    #[command(after_help = "Example:\n  bbb-balancer recordings check -o json\n\n\
        Ends with 1 when they disagree; each finding comes with what to do about it.")]
    Check,
    /// Bring the files into agreement with the index
    #[command(after_help = "Example:\n  bbb-balancer recordings update --dry-run\n\n\
        Moves what is in the wrong tree, removes what was deleted, and settles what a killed process left. Files that \
        the index does not know, and those of which there are two versions, stay. Ends with 4 when something is left.")]
    Update {
        #[command(flatten)]
        dry: Dry,
    },
    /// Give every recording that has no tenant to this one
    #[command(after_help = "Example:\n  bbb-balancer recordings add-to-tenant school\n\n\
        Those were made before there were tenants, and no tenant is shown them.")]
    AddToTenant {
        /// Id or name
        // Under its own name for the parser: one of the list's choices is a tenant, too.
        #[arg(id = "whose", value_name = "TENANT")]
        tenant: String,
    },
}

/// Which recordings are listed.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Which {
    /// Of these states: published, unpublished, processing, processed, deleted or any
    #[arg(long, global = true, value_name = "STATE", value_delimiter = ',', help_heading = "List")]
    pub(crate) state: Vec<String>,
    /// Of these meetings
    #[arg(long, global = true, value_name = "MEETING", value_delimiter = ',', help_heading = "List")]
    pub(crate) meeting: Vec<String>,
    /// Whose ids begin so
    #[arg(long, global = true, value_name = "RECORD", value_delimiter = ',', help_heading = "List")]
    pub(crate) record: Vec<String>,
    /// Of this tenant, by id or name
    #[arg(long, global = true, value_name = "TENANT", help_heading = "List")]
    pub(crate) tenant: Option<String>,
    /// At most so many, the newest
    #[arg(long, global = true, value_name = "N", default_value = "100", help_heading = "List",
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) limit: u64,
    /// Without so many of the newest
    #[arg(long, global = true, value_name = "N", default_value = "0", help_heading = "List")]
    pub(crate) offset: u64,
}

impl Which {
    /// What is meant when nothing is chosen.
    fn all() -> Self {
        Self { limit: 100, ..Self::default() }
    }
}

impl Recordings {
    /// What is to be done; `which` belongs to the list alone.
    ///
    /// # Errors
    ///
    /// Something else with a choice of recordings.
    pub(super) fn action(self, which: Which) -> Result<Action, Failure> {
        if !matches!(self, Self::List) && which != Which::all() {
            return Err(Failure::usage(
                "--state, --meeting, --record, --tenant, --limit and --offset choose what is listed",
            )
            .hint("leave them away here: everything is meant"));
        }
        Ok(match self {
            Self::List => Action::Recordings(which),
            Self::Import => Action::ImportRecordings,
            Self::Check => Action::CheckRecordings,
            Self::Update { dry } if dry.dry_run => Action::CheckRecordings,
            Self::Update { .. } => Action::SettleRecordings,
            Self::AddToTenant { tenant } => Action::RecordingsToTenant { tenant },
        })
    }
}
