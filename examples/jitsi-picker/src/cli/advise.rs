//! Options of `advise`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::LookArgs;

/// What stands below the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  jitsi-picker advise
  jitsi-picker advise --watch --exec /usr/local/bin/bridges
  jitsi-picker watch -o json --every 30 > day.jsonl; jitsi-picker advise --recorded day.jsonl --max 12
  jitsi-picker advise --presences recorded.xml --hold 0 -o json

Ours looks ahead by the time a bridge takes to start, and takes away the emptiest bridge after there were too many for a
while. jitsi-autoscaler's rules compare the mean stress of some periods with two thresholds. Both are shown.
Without --watch and --recorded there is one look: it is taken as if it stayed like that.

COMMAND is run without a shell when there is something to do, and again when that changes or nothing came of it. It gets
ADVICE_ACTION (add, undrain, drain, stop: the first that applies), ADVICE_ADD (a number), ADVICE_UNDRAIN, ADVICE_DRAIN and
ADVICE_STOP (nicks, one a line), ADVICE_REASON, ADVICE_TEXT, ADVICE_NEEDED, ADVICE_USABLE, ADVICE_MEAN, ADVICE_PREDICTED,
ADVICE_BY and ADVICE_JSON. What it prints goes to standard error.
Ends with 1 when the command failed, with 5 when it took too long.";

/// Whose advice the command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Our own.
    Ours,
    /// That of jitsi-autoscaler's rules.
    Autoscaler,
}

/// Options of `advise`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdviseArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// Play what `watch -o json` or `rank -o json` printed, and show every change of advice; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "presences"])]
    pub(crate) recorded: Option<PathBuf>,
    /// Go on, and print advice whenever it changes
    #[arg(long, conflicts_with = "presences")]
    pub(crate) watch: bool,
    /// How often to look, in seconds
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    /// End so many seconds after the room was joined
    #[arg(long = "for", value_name = "SECONDS", requires = "watch")]
    pub(crate) seconds: Option<u64>,
    /// Whose advice the command gets
    #[arg(long, value_enum, default_value = "ours")]
    pub(crate) by: By,
    #[command(flatten)]
    pub(crate) numbers: Numbers,
    #[command(flatten)]
    pub(crate) hook: HookArgs,
}

/// How many bridges, and when.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Numbers")]
pub(crate) struct Numbers {
    /// Never fewer bridges
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) min: u32,
    /// Never more bridges
    #[arg(long, default_value = "100", value_name = "N")]
    pub(crate) max: u32,
    /// Bridges that were started and are not there yet
    #[arg(long, default_value = "0", value_name = "N")]
    pub(crate) starting: u32,
    /// Ours: bridges beyond what the load needs, so that one may die
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) spare: u32,
    /// Ours: the mean stress to plan for
    #[arg(long, default_value = "0.6", value_name = "STRESS")]
    pub(crate) target: f64,
    /// Ours: the mean stress that must not be exceeded after bridges were taken away
    #[arg(long, default_value = "0.45", value_name = "STRESS")]
    pub(crate) low: f64,
    /// Ours: the most endpoints of one bridge; 0 for no limit
    #[arg(long, default_value = "0", value_name = "N")]
    pub(crate) endpoints: u32,
    /// Ours: how long a new bridge takes to start, in seconds
    #[arg(long, default_value = "300", value_name = "SECONDS")]
    pub(crate) start: u64,
    /// Ours: how far back growth is measured, in seconds
    #[arg(long, default_value = "600", value_name = "SECONDS")]
    pub(crate) window: u64,
    /// Ours: how long there must have been too many before one is taken away, in seconds
    #[arg(long, default_value = "900", value_name = "SECONDS")]
    pub(crate) hold: u64,
    /// Ours: the last bridge of a region may be taken away
    #[arg(long)]
    pub(crate) empty_regions: bool,
    /// A bridge, by nick, that is not to be taken away
    #[arg(long, value_name = "BRIDGE")]
    pub(crate) protect: Vec<String>,
    /// How many are taken away at once
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) down_by: u32,
    /// jitsi-autoscaler: how many are added at once
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) up_by: u32,
    /// jitsi-autoscaler: the mean stress that asks for more
    #[arg(long, default_value = "0.7", value_name = "STRESS")]
    pub(crate) up_at: f64,
    /// jitsi-autoscaler: the mean stress that allows fewer
    #[arg(long, default_value = "0.3", value_name = "STRESS")]
    pub(crate) down_at: f64,
    /// jitsi-autoscaler: how many periods must ask for more
    #[arg(long, default_value = "2", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) up_periods: u32,
    /// jitsi-autoscaler: how many periods must allow fewer
    #[arg(long, default_value = "4", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) down_periods: u32,
    /// jitsi-autoscaler: the length of a period, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) period: u64,
    /// jitsi-autoscaler: how long nothing is decided after a decision, in seconds
    #[arg(long, default_value = "480", value_name = "SECONDS")]
    pub(crate) grace: u64,
}

/// What to do about it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Command")]
pub(crate) struct HookArgs {
    /// Run this when there is something to do
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// An argument for it
    #[arg(long, value_name = "ARG", requires = "exec", allow_hyphen_values = true, conflicts_with = "shell")]
    pub(crate) exec_arg: Vec<String>,
    /// Have a shell read the command
    #[arg(long, requires = "exec")]
    pub(crate) shell: bool,
    /// How long the command may take, in seconds; then it is killed
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) exec_timeout: u64,
}
