//! `shards`: what a running `serve --shards` knows of its shards, and orders to it.

use clap::{Args, Subcommand};

use crate::cli::Output;
use console::{Exit, Failure};

mod client;
mod commands;
mod config;
mod plan;

pub(crate) use commands::table;
pub(crate) use config::Config;

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  jitsi-picker shards example > shards.toml
  jitsi-picker serve --shards shards.toml
  jitsi-picker shards status --watch
  jitsi-picker shards explain acme/Standup --region eu
  jitsi-picker shards plan drain eu-1 weight us-1 50
  jitsi-picker shards drain eu-1 --wait --deadline 3600
  jitsi-picker shards export > /etc/haproxy/pins.map

States are HAProxy's words: ready, drain (keeps its rooms, takes no new ones), maint (its rooms move). Orders hold at
every picker on the same store.
Exit codes: 0 done, 1 failed, 2 usage, 3 refused for safety, 5 timed out.";

/// Options of `shards`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShardsArgs {
    /// Where `serve` listens
    #[arg(long, global = true, env = "JITSI_PICKER_URL", default_value = "http://127.0.0.1:8990", value_name = "URL")]
    pub(crate) url: String,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: ShardsCommand,
}

/// What can be done with shards.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Print the shards with their states and rooms
    List,
    /// Print how the shards are, part by part; ends with 1 when something is wrong
    Status {
        /// Print it again every two seconds, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Say why a room is where it is, or where it would come; nothing is changed
    Explain {
        /// The room as in the address bar: NAME, TENANT/NAME or a URL
        room: String,
        /// The region of its first participant
        #[arg(long)]
        region: Option<String>,
    },
    /// Say what changes would do to the rooms there are; nothing is changed
    ///
    /// The changes are: add ID, remove ID, drain ID, maint ID, ready ID, weight ID N.
    Plan {
        /// The changes, one after another
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        /// The region of shards to add
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        /// The weight of shards to add
        #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(0..=256))]
        weight: u16,
    },
    /// Stop new rooms on a shard, and wait until its rooms are over if told so
    Drain {
        /// The shard
        shard: String,
        /// Wait until no room is left
        #[arg(long)]
        wait: bool,
        /// Wait at most so many seconds; then end with 5 and name what is left
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        deadline: Option<u64>,
        /// Only name the rooms that it has
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
    },
    /// Stop new rooms on a shard; its rooms go on
    Cordon {
        /// The shard
        shard: String,
    },
    /// Let a shard take new rooms again
    Uncordon {
        /// The shard
        shard: String,
    },
    /// Take a shard out of service: its rooms move to others
    Maint {
        /// The shard
        shard: String,
        /// Even if it has rooms
        #[arg(long)]
        force: bool,
    },
    /// Let go of the rooms of a shard that was taken out of the file for good
    Forget {
        /// The shard
        shard: String,
    },
    /// Print where all rooms live, as a map file for HAProxy or as JSON
    Export,
    /// Print a file of shards to begin with
    Example,
}

/// Does it.
pub(crate) async fn run(args: ShardsArgs) -> Result<Exit, Failure> {
    let client = client::Client::new(&args.url)?;
    let view = args.output;
    match args.command {
        ShardsCommand::List => commands::list(&client, view).await,
        ShardsCommand::Status { watch } => commands::status(&client, view, watch).await,
        ShardsCommand::Explain { room, region } => commands::explain(&client, view, &room, region.as_deref()).await,
        ShardsCommand::Plan { changes, region, weight } => {
            plan::run(&client, view, &changes, region.as_deref().unwrap_or_default(), weight).await
        }
        ShardsCommand::Drain { shard, dry_run: true, .. } => commands::preview(&client, view, &shard).await,
        ShardsCommand::Drain { shard, wait: false, .. } | ShardsCommand::Cordon { shard } => {
            commands::order(&client, view, &shard, "drain").await
        }
        ShardsCommand::Drain { shard, deadline, .. } => commands::drain(&client, view, &shard, deadline).await,
        ShardsCommand::Uncordon { shard } => commands::order(&client, view, &shard, "ready").await,
        ShardsCommand::Maint { shard, force } => commands::maint(&client, view, &shard, force).await,
        ShardsCommand::Forget { shard } => commands::forget(&client, view, &shard).await,
        ShardsCommand::Export => commands::export(&client, view).await,
        ShardsCommand::Example => {
            crate::say(config::EXAMPLE);
            Ok(Exit::Done)
        }
    }
}
