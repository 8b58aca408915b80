//! The command line.

mod api;
mod run;

use std::path::PathBuf;

use adapter_haproxy::HaproxyVersion;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::plan::Change;

pub(crate) use api::{ApiArgs, ApplyArgs, DrainArgs, ExplainArgs, OrderArgs, StatusArgs};
pub(crate) use run::{ReplayArgs, RunArgs, RunMode};

const EXAMPLES: &str = "\
Examples:
  haproxy-control demo edumeet
  haproxy-control check /etc/haproxy/haproxy.cfg --try-binds
  journalctl -u haproxy -n 50 | haproxy-control explain-log
  haproxy-control render edumeet cluster.toml --out haproxy.cfg
  haproxy-control predict --config haproxy.cfg --backend rooms < rooms.txt
  haproxy-control plan --config haproxy.cfg --backend rooms --keys rooms.txt add edumeet4
  haproxy-control run --example > control.toml; haproxy-control run --config control.toml
  haproxy-control status
  haproxy-control drain edumeet2 --wait --deadline 2h

Exit codes: 0 done, 1 failed or found wrong, 2 usage, 3 refused for safety, 4 partly done, 5 timed out.";

/// Checks, renders and explains HAProxy configurations, says where HAProxy will send a room, and keeps rooms where they are.
#[derive(Debug, Parser)]
#[command(name = "haproxy-control", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a configuration, where, and what to write instead
    #[command(after_help = "Examples:\n  haproxy-control check haproxy.cfg\n  \
        haproxy-control check /etc/haproxy/conf.d --nginx /etc/nginx/sites-enabled/default --try-binds\n  \
        haproxy-control check old.cfg --haproxy-version 2.8 --fix\n\n\
        Several files, and the .cfg files of a folder, are one configuration in that order. The installed haproxy -c is \
        asked as well. A warning or a note is left out where its line ends in `# meant: BLC-H046` or the like.\n\
        Ends with 0 when nothing is wrong, with 1 on errors (with --strict on warnings too).")]
    Check(CheckArgs),
    /// Explain what HAProxy, nginx and systemd wrote about a failed start
    #[command(after_help = "Examples:\n  journalctl -u haproxy -u nginx -n 100 | haproxy-control explain-log\n  \
        haproxy-control explain-log start.log -o json\n\nEnds with 1 when nothing in it is known.")]
    ExplainLog(ExplainLogArgs),
    /// Write a configuration from a small TOML file
    #[command(after_help = "Examples:\n  haproxy-control render edumeet --example > cluster.toml\n  \
        haproxy-control render edumeet cluster.toml --out /etc/haproxy/haproxy.cfg\n  \
        haproxy-control render edumeet cluster.toml --engine --out /etc/haproxy/spoe.conf\n\n\
        The installed haproxy -c proves the text before anything is written.")]
    Render(RenderArgs),
    /// Say to which server HAProxy sends each key, one key a line
    #[command(after_help = "Examples:\n  \
        haproxy-control predict --config haproxy.cfg --backend rooms --haproxy-version 2.6 < rooms.txt\n  \
        echo algebra | haproxy-control predict --algorithm 'url_param room' --hash-type consistent \\\n    \
        --server eu-1 --server eu-2:50 -o json\n\n\
        A key is what HAProxy hashes: of `balance url_param` the value as it was sent, of `balance source` the address, \
        of `balance\nhash` what the expression gives. With --requests a line is a request: [METHOD] TARGET, then \
        headers, parted by tabs.\nEnds with 4 when some keys find no server.")]
    Predict(PredictArgs),
    /// Say which rooms would move if a server came, went or changed
    #[command(after_help = "Examples:\n  \
        haproxy-control plan --config haproxy.cfg --backend rooms --keys rooms.txt add edumeet4\n  \
        echo 'show table rooms' | socat stdio /run/haproxy.sock > t\n  \
        haproxy-control plan --config haproxy.cfg --backend rooms --table t drain edumeet2\n  \
        haproxy-control plan --config haproxy.cfg --backend rooms --table t weight edumeet1 50 -o json\n\n\
        Without --keys and --table keys are read from standard input. Changes of the list of servers count as a reload, \
        states\nand weights as orders at run time.")]
    Plan(PlanArgs),
    /// Drive running HAProxys: keep rooms where they are, move them when a server dies
    #[command(after_help = "Examples:\n  haproxy-control run --example > control.toml\n  \
        haproxy-control run --config control.toml --check\n  haproxy-control run --config control.toml\n  \
        haproxy-control run --config control.toml --mode spoe\n  \
        haproxy-control run --config control.toml --mode peers\n\n\
        Modes, by what writes the place of a room:\n  \
        map    an entry of a map that use-server looks rooms up in; HAProxy places new rooms\n  \
        spoe   HAProxy asks here for each request, and new rooms are placed by a strategy of ours\n  \
        peers  an entry of the stick table, taught as a peer of the HAProxys; they place new rooms\n\n\
        It ends in good order on SIGTERM and SIGINT; HAProxy keeps its pins. SIGHUP has the settings read again; what is \
        wrong\nin them stays out, and those of before stay in force. Logs are on standard error.")]
    Run(RunArgs),
    /// Print what a trace of `run --record` says, frame by frame
    #[command(after_help = "Examples:\n  haproxy-control run --config control.toml --record lb.trace\n  \
        haproxy-control replay lb.trace\n  haproxy-control replay lb.trace --protocol peers -o json\n\n\
        A line for each frame: seconds since the beginning, connection, protocol, who said it, what. Captures in JSON are \
        read\nas well. Ends with 1 when something cannot be read, saying at which byte of what was said.")]
    Replay(ReplayArgs),
    /// Say what the controller sees: servers, processes, rooms, the store
    #[command(after_help = "Examples:\n  haproxy-control status\n  haproxy-control status --watch 2\n  \
        haproxy-control status --config control.toml -o json")]
    Status(StatusArgs),
    /// Say where a room is, and why
    #[command(after_help = "Example:\n  haproxy-control explain 'big hall'\n\n\
        ROOM is the key as the stick table has it, not encoded. It is said where its place is written: in which map entries, \
        in\nwhich stick entries of which peers, by which decision of the agent, as HAProxy logs its number.")]
    Explain(ExplainArgs),
    /// Find rooms that live on two servers now
    #[command(after_help = "Example:\n  haproxy-control splits\n\n\
        Tables and maps of all processes, the store, and the servers, where [ask] says how, are asked.\n\
        Ends with 0 when there are none, with 1 when there are, with 4 when there are none but not all could be asked.")]
    Splits(ApiArgs),
    /// Give a server no new rooms; wait until it has none left
    #[command(after_help = "Examples:\n  haproxy-control drain edumeet2\n  \
        haproxy-control drain edumeet2 --wait --deadline 2h\n  haproxy-control drain edumeet2 --move-rooms --wait\n\n\
        It is empty when the last stick entry and the last connection are gone: rooms unused for rooms.idle, once nobody is\n\
        connected, are forgotten everywhere.\n\
        Ends with 0 when it is empty (or at once without --wait), with 5 at the deadline, naming the rooms that are left.")]
    Drain(DrainArgs),
    /// Give a server no new rooms
    Cordon(OrderArgs),
    /// End our order on a server: it takes new rooms again
    #[command(after_help = "Somebody else's maintenance is not ended: refused with 3.")]
    Uncordon(OrderArgs),
    /// Move a server's rooms away, all people of a room together, then take it out of service
    Maint(OrderArgs),
    /// Bring the running HAProxys from what they are to what a file describes
    #[command(after_help = "Examples:\n  haproxy-control apply --config control.toml cluster.toml --dry-run\n  \
        haproxy-control apply --config control.toml cluster.toml\n\n\
        By runtime commands, or by one reload through the master where those do not do. A file that HAProxy refuses \
        replaces nothing.\nEnds with 3 when rooms in use would have to move and --move-rooms was not given, with 4 when \
        it was done in some processes only.")]
    Apply(ApplyArgs),
    /// Play a morning on this host: a real HAProxy, three room servers, a reload, a drain, a death
    #[command(
        after_help = "Examples:\n  haproxy-control demo edumeet\n  haproxy-control demo shards --fast -o json\n\n\
        HAProxy, three pretended room servers and the control loop run on free ports of the loopback, in a folder that is \
        removed\nafterwards. Ends with 1 when a room was split or a request failed without need."
    )]
    Demo(DemoArgs),
    /// Print a script that completes commands and options
    #[command(after_help = "Examples:\n  \
        haproxy-control completions bash > /etc/bash_completion.d/haproxy-control\n  \
        haproxy-control completions zsh > /usr/local/share/zsh/site-functions/_haproxy-control\n  \
        haproxy-control completions fish > ~/.config/fish/completions/haproxy-control.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What `demo` plays.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// What stands behind HAProxy
    #[arg(value_enum)]
    pub(crate) kind: DemoKind,
    /// Go through it more than twice as fast
    #[arg(long)]
    pub(crate) fast: bool,
    /// The HAProxy program [default: the installed one]
    #[arg(long, value_name = "PATH", env = "HAPROXY")]
    pub(crate) haproxy: Option<PathBuf>,
    /// How to print; with json, progress goes to standard error
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// What stands behind HAProxy in a demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DemoKind {
    /// Room servers of edumeet.
    Edumeet,
    /// Shards of Jitsi Meet.
    Shards,
}

/// The script by which a shell completes our commands and options.
pub(crate) fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "haproxy-control", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// What `check` looks at, and how.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Configuration files or folders, in the order HAProxy loads them
    #[arg(required_unless_present = "rules", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// List every rule with its id and what it looks for
    #[arg(long)]
    pub(crate) rules: bool,
    /// Files of an nginx on the same host, for addresses both want
    #[arg(long, value_name = "FILE")]
    pub(crate) nginx: Vec<PathBuf>,
    /// Try whether the addresses to listen on are free on this host
    #[arg(long)]
    pub(crate) try_binds: bool,
    /// Look up the names of servers and peers
    #[arg(long)]
    pub(crate) resolve: bool,
    /// Write what can be mended into FILE.fixed and show the difference
    #[arg(long)]
    pub(crate) fix: bool,
    /// Let warnings fail as well
    #[arg(long)]
    pub(crate) strict: bool,
    /// The name of the host HAProxy runs on, as one peer must carry it [default: this host's]
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Option<String>,
    /// A name people use, which a certificate must cover
    #[arg(long = "public-name", value_name = "NAME")]
    pub(crate) public_names: Vec<String>,
    /// Do not look at certificate files
    #[arg(long)]
    pub(crate) no_files: bool,
    #[command(flatten)]
    pub(crate) haproxy: HaproxyArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// Which HAProxy.
#[derive(Args, Clone, Debug)]
pub(crate) struct HaproxyArgs {
    /// The HAProxy program [default: the installed one]
    #[arg(long, value_name = "PATH", env = "HAPROXY", help_heading = "HAProxy")]
    pub(crate) haproxy: Option<PathBuf>,
    /// Do not run it
    #[arg(long, help_heading = "HAProxy")]
    pub(crate) no_haproxy: bool,
    /// The version the configuration is for, as 2.6 or 2.6.12 [default: that of the installed one]
    #[arg(long, value_name = "VERSION", env = "HAPROXY_VERSION", help_heading = "HAProxy")]
    pub(crate) haproxy_version: Option<String>,
}

/// What `explain-log` reads.
#[derive(Args, Debug)]
pub(crate) struct ExplainLogArgs {
    /// The log; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// What `render` makes.
#[derive(Args, Debug)]
pub(crate) struct RenderArgs {
    /// What for
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    /// The description in TOML; - is standard input
    #[arg(required_unless_present = "example", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print a description to begin with
    #[arg(long)]
    pub(crate) example: bool,
    /// Write here instead of to standard output, whole or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Write the engine file of the agents that HAProxy asks instead of the configuration
    #[arg(long)]
    pub(crate) engine: bool,
    /// Write it although haproxy -c was not asked or refuses it, as where its certificates are not on this host
    #[arg(long)]
    pub(crate) no_proof: bool,
    #[command(flatten)]
    pub(crate) haproxy: HaproxyArgs,
}

/// What can be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Room servers of edumeet; everybody of a room meets on one.
    Edumeet,
    /// Shards of Jitsi Meet; a room is on one shard.
    Shards,
    /// Web servers, each visitor kept on one by a cookie.
    Cookie,
    /// Web servers, each visitor kept on one by address.
    Source,
}

/// The backend that is asked about.
#[derive(Args, Clone, Debug)]
pub(crate) struct BackendArgs {
    /// Configuration files or folders, in the order HAProxy loads them
    #[arg(long, value_name = "FILE", requires = "backend", conflicts_with_all = ["algorithm", "server"],
          help_heading = "Backend")]
    pub(crate) config: Vec<PathBuf>,
    /// The backend (or listen section) in it
    #[arg(long, value_name = "NAME", requires = "config", help_heading = "Backend")]
    pub(crate) backend: Option<String>,
    /// Instead of a file: what follows the word balance
    #[arg(long, value_name = "WORDS", help_heading = "Backend")]
    pub(crate) algorithm: Option<String>,
    /// What follows the word hash-type
    #[arg(long, value_name = "WORDS", requires = "algorithm", help_heading = "Backend")]
    pub(crate) hash_type: Option<String>,
    /// A server as NAME, NAME:WEIGHT or NAME:WEIGHT:ID, in order
    #[arg(long, value_name = "SERVER", help_heading = "Backend")]
    pub(crate) server: Vec<String>,
    /// How releases 3.0 to 3.2 number the ring, where their version does not tell
    #[arg(long, value_enum, help_heading = "Backend")]
    pub(crate) ring_base: Option<Ring>,
    /// Percent-encode keys as browsers do, for balance url_param and uri
    #[arg(long, help_heading = "Backend")]
    pub(crate) encode: bool,
    #[command(flatten)]
    pub(crate) haproxy: HaproxyArgs,
}

/// How the ring is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ring {
    /// As up to 2.9 and from 3.2.7 on.
    Spaced,
    /// As in 3.0.0 and for a while after.
    Mixed,
}

/// What `predict` is asked.
#[derive(Args, Debug)]
pub(crate) struct PredictArgs {
    /// The keys, one a line; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) keys: PathBuf,
    /// Lines are requests, not keys
    #[arg(long, conflicts_with = "encode")]
    pub(crate) requests: bool,
    /// The address requests come from
    #[arg(long, value_name = "ADDRESS", requires = "requests")]
    pub(crate) from: Option<std::net::IpAddr>,
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// How to print: the server alone, with its key, or all with the reasons
    #[arg(short, long, value_enum, default_value = "plain")]
    pub(crate) output: Listing,
}

/// How `predict` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    /// The server, a line for each key.
    Plain,
    /// Server and key, parted by a tab.
    Wide,
    /// An object a line: key, server, reasons.
    Json,
}

/// What `plan` is asked.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The rooms, one key a line; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    pub(crate) keys: Option<PathBuf>,
    /// The rooms as `show table` prints them; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,
    /// Leave the list of rooms out, print totals alone
    #[arg(long, global = true)]
    pub(crate) summary: bool,
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub(crate) output: Output,
    /// What would be changed
    #[command(subcommand)]
    pub(crate) change: Change,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl HaproxyArgs {
    /// The version that was asked for.
    ///
    /// # Errors
    ///
    /// A version that cannot be read.
    pub(crate) fn asked(&self) -> Result<Option<HaproxyVersion>, console::Failure> {
        let read = |text: &String| text.parse().map_err(|e| console::Failure::usage(format!("{e}")));
        self.haproxy_version.as_ref().map(read).transpose()
    }
}
