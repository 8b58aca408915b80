//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod advise;
mod check;

pub(crate) use advise::{AdviseArgs, By, HookArgs, Numbers};
pub(crate) use check::CheckArgs;

const EXAMPLES: &str = "\
Examples:
  jitsi-picker demo
  jitsi-picker watch
  jitsi-picker rank --presences recorded.xml
  jitsi-picker select --conference algebra --region eu --octo --strategy RegionBased --explain
  jitsi-picker check /etc/jitsi/videobridge /etc/jitsi/jicofo
  jitsi-picker advise --watch --exec /usr/local/bin/bridges
  jitsi-picker serve --octo --strategy RegionBased
  jitsi-picker shards status --watch

The brewery is named by JITSI_PICKER_SERVER, JITSI_PICKER_ACCOUNT and JITSI_PICKER_ROOM, the password by
JITSI_PICKER_PASSWORD or JITSI_PICKER_PASSWORD_FILE. Nothing is changed there: the picker only listens.
Exit codes: 0 done, 1 failed, 2 usage, 3 refused for safety, 5 timed out.";

/// Shows the bridges of a Jitsi as its focus sees them, and says which one it would choose and why.
#[derive(Debug, Parser)]
#[command(name = "jitsi-picker", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the bridges as they are, and what happens to them
    #[command(
        after_help = "Examples:\n  jitsi-picker watch\n  jitsi-picker watch --for 60 -o json | jq 'select(.type==\"event\")'\n  \
        jitsi-picker watch --log /var/log/jitsi/jicofo.log\n  journalctl -fu jicofo | jitsi-picker watch --log -\n\n\
        States, the gravest first: failed, missing, shutting-down, graceful, drain, overloaded, ready. STRESS is what the bridge \
        says,\nCORRECTED what it is chosen by. With -o json every line is an object of type event, bridges or log.\n\
        With --log the focus's log is followed as well, through rotation and truncation. If no account is given, it is \
        all\nthat is followed: the table then shows what the log tells. To end a pipe, end what writes into it."
    )]
    Watch(WatchArgs),
    /// Print the bridges in the order of the focus, the one it likes best first
    #[command(after_help = "Examples:\n  jitsi-picker rank\n  jitsi-picker rank --presences recorded.xml -o json\n\n\
        The order is by corrected stress; failed bridges and those in graceful shutdown stand last. One that drains keeps \
        its place\nand is passed over as long as there is another. Ends with 1 when no bridge can be used.")]
    Rank(LookArgs),
    /// Say which bridge the focus would choose, and why
    #[command(after_help = "Examples:\n  jitsi-picker select --conference algebra --region eu --explain\n  \
        jitsi-picker select --conference algebra --region us --on jvb1=12 --octo --strategy RegionBased -o json\n  \
        jitsi-picker select --conference algebra --presences recorded.xml\n\n\
        Nothing is placed. What the focus has placed lately is not known here: its own correction comes on top.\n\
        Ends with 1 when there is no bridge.")]
    Select(SelectArgs),
    /// Check the files of bridges, focuses and their XMPP server against each other
    #[command(after_help = check::EXAMPLES)]
    Check(CheckArgs),
    /// Say whether to add or to remove bridges, and have it done
    #[command(after_help = advise::EXAMPLES)]
    Advise(AdviseArgs),
    /// Answer over HTTP which bridge to take
    #[command(after_help = "Examples:\n  jitsi-picker serve --octo --strategy RegionBased\n  \
        curl -X POST 'http://127.0.0.1:8990/pick?conference=algebra&region=eu'\n\n\
        POST /pick?conference=ROOM[&region=R][&visitor=true] places one more participant, GET /pick only asks.\n\
        POST /leave?conference=ROOM&bridge=B takes one away, POST /end?conference=ROOM all of them.\n\
        GET /bridges, / (a table), /metrics, /livez, /readyz. 503 when there is no bridge.\n\
        Nobody logs in: whoever reaches it may ask and order, but for pages in browsers (Origin: 403; a foreign name: 421).\n\n\
        When our own connection to the brewery is lost, bridges stay as they were known; /readyz fails after a minute.\n\n\
        With --shards FILE it tells the shard of a room too, without any brewery if none is named:\n  \
        jitsi-picker serve --shards shards.toml\n  \
        curl -X POST 'http://127.0.0.1:8990/shard?room=acme/Standup&region=eu'\n\n\
        POST /shard?room=ROOM[&region=R] binds the room, GET /shard only asks; url=TARGET takes the room out of a URL.\n\
        GET /shards, /rooms?shard=S, /explain?room=ROOM, /plan?step=drain:S, /pins; POST /order?shard=S&to=drain|maint|ready,\n\
        /forget?shard=S. `jitsi-picker shards` is made of these. SIGHUP reads the shards of the file anew.")]
    Serve(ServeArgs),
    /// See and order the shards of a running `serve --shards`: several Jitsis, every room on one of them
    #[command(after_help = crate::shards::EXAMPLES)]
    Shards(crate::shards::ShardsArgs),
    /// Play a morning with a real Prosody and eight pretended bridges on this machine
    #[command(after_help = "Examples:\n  jitsi-picker demo\n  jitsi-picker demo --fast --keep\n\n\
        Prosody is looked for on the PATH; PROSODY names another one. It listens on a free port of the loopback and \
        keeps\neverything in a folder that is removed afterwards.\n\
        Ends with 1 when a conference was placed on a bridge that was known to be gone or draining.")]
    Demo(DemoOptions),
}

/// Options of the demonstration.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoOptions {
    /// Go through it three times as fast
    #[arg(long)]
    pub(crate) fast: bool,
    /// Go on afterwards, until interrupted
    #[arg(long)]
    pub(crate) keep: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Which brewery.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Brewery")]
pub(crate) struct BreweryArgs {
    /// The XMPP server [default: the account's domain, port 5222]
    #[arg(long, env = "JITSI_PICKER_SERVER", value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// The account, such as picker@auth.meet.example.com
    #[arg(long, env = "JITSI_PICKER_ACCOUNT", value_name = "JID")]
    pub(crate) account: Option<String>,
    /// The brewery, such as jvbbrewery@internal.auth.meet.example.com
    #[arg(long, env = "JITSI_PICKER_ROOM", value_name = "JID")]
    pub(crate) room: Option<String>,
    /// Our nick there
    #[arg(long, env = "JITSI_PICKER_NICK", default_value = "jitsi-picker")]
    pub(crate) nick: String,
    /// A file that holds the password [default: the variable JITSI_PICKER_PASSWORD]
    #[arg(long, env = "JITSI_PICKER_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Log in as the bridge of this sip-communicator.properties or jvb.conf does, but for what other options say
    #[arg(long, env = "JITSI_PICKER_BRIDGE_FILE", value_name = "FILE")]
    pub(crate) bridge_file: Option<PathBuf>,
    /// Certificates in PEM to trust; without them only a server on the loopback is spoken to
    #[arg(long, env = "JITSI_PICKER_ROOTS", value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,
    /// Read recorded presences instead, one after another or as a captured stream; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) presences: Vec<PathBuf>,
    /// How long to wait for the room, in seconds
    #[arg(long, default_value = "15", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) wait: u64,
}

/// The focus to mirror: what its configuration says.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Focus")]
pub(crate) struct FocusArgs {
    /// selection-strategy: Single, Split, IntraRegion or RegionBased
    #[arg(long, env = "JITSI_PICKER_STRATEGY", default_value = "Single", value_name = "NAME")]
    pub(crate) strategy: String,
    /// visitor-selection-strategy, if visitors are treated apart
    #[arg(long, value_name = "NAME")]
    pub(crate) visitor_strategy: Option<String>,
    /// octo.enabled: a conference may use several bridges
    #[arg(long)]
    pub(crate) octo: bool,
    /// octo.allow-mixed-versions
    #[arg(long)]
    pub(crate) mixed_versions: bool,
    /// local-region
    #[arg(long, value_name = "REGION")]
    pub(crate) local_region: Option<String>,
    /// One of region-groups, such as eu,uk
    #[arg(long, value_name = "REGIONS")]
    pub(crate) region_group: Vec<String>,
    /// stress-threshold
    #[arg(long, default_value = "0.8", value_name = "STRESS")]
    pub(crate) stress_threshold: f64,
    /// max-bridge-participants; -1 for no limit
    #[arg(long, default_value = "80", value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_participants: i64,
    /// Not jicofo's: warn of a bridge with load whose figures stand still for so many seconds; 120 is a fair start
    #[arg(long, value_name = "SECONDS")]
    pub(crate) flat_after: Option<u64>,
    /// Not jicofo's: count an endpoint until the stress was reported after it came
    #[arg(long)]
    pub(crate) count_unseen: bool,
    /// Not jicofo's: how many endpoints to expect of a conference that has none
    #[arg(long, default_value = "0", value_name = "N")]
    pub(crate) empty_conference: u32,
}

/// What to look at, and how to print it.
#[derive(Args, Clone, Debug)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub(crate) brewery: BreweryArgs,
    #[command(flatten)]
    pub(crate) focus: FocusArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// Options of `watch`.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// Follow this log of the focus as well; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How often to print the table, in seconds
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    /// End so many seconds after the room was joined, or where only a log is followed, after it was read
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
}

/// Options of `select`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SelectArgs {
    /// The conference, for the answer
    #[arg(long, value_name = "ROOM")]
    pub(crate) conference: String,
    /// The participant's region
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// The participant only watches
    #[arg(long)]
    pub(crate) visitor: bool,
    /// A bridge that has the conference, with how many of its participants
    #[arg(long, value_name = "BRIDGE[=N]")]
    pub(crate) on: Vec<String>,
    /// The version the conference is pinned to
    #[arg(long, value_name = "VERSION")]
    pub(crate) pin: Option<String>,
    /// Say of every bridge what counts
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// Options of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Where to listen; whoever reaches it may place and end conferences
    #[arg(long, env = "JITSI_PICKER_BIND", default_value = "127.0.0.1:8990", value_name = "ADDRESS:PORT")]
    pub(crate) bind: SocketAddr,
    /// A name it is asked by, such as one that a proxy passes on; on the loopback others are refused, but localhost
    #[arg(long, env = "JITSI_PICKER_HOST", value_name = "NAME", value_delimiter = ',')]
    pub(crate) host: Vec<String>,
    /// Forget a conference that nobody asked for in so many seconds
    #[arg(long, default_value = "86400", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(60..))]
    pub(crate) forget: u64,
    /// Shards and where their rooms are kept; `jitsi-picker shards example` prints one
    #[arg(long, env = "JITSI_PICKER_SHARDS", value_name = "FILE")]
    pub(crate) shards: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) brewery: BreweryArgs,
    #[command(flatten)]
    pub(crate) focus: FocusArgs,
}
