//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::action::{Action, Wish};
use crate::commands::{TenantOrder, Wanted};
use crate::rake;
use console::{Failure, Outcome};

mod flags;
mod meetings;
mod recordings;
mod servers;
mod tenants;

pub(crate) use flags::SettingFlags;
pub(crate) use recordings::Which;

use meetings::Meetings;
use recordings::Recordings;
use servers::{DrainArgs, Dry, Servers};
use tenants::Tenants;

const EXAMPLES: &str = "\
Examples:
  bbb-balancer demo                            a school morning on three pretended servers
  bbb-balancer check                           the effective configuration
  bbb-balancer serve --data-dir /var/lib/bbb-balancer
  bbb-balancer servers add https://bbb1.example.com/bigbluebutton/api SECRET --enable
  bbb-balancer status --watch
  bbb-balancer explain MEETING
  bbb-balancer plan drain bbb1.example.com

The spellings of rake are understood too: 'servers:add[URL,SECRET]', 'poll:all'.
Exit codes: 0 done, 1 failed, 2 usage, 3 refused for safety, 4 partly done, 5 timed out.";

/// Makes several BigBlueButton servers look like one.
#[derive(Parser)]
#[command(name = "bbb-balancer", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the balancer
    #[command(after_help = "Every option can stand in the environment or in the file; options weigh most, then the \
        environment, then the file.\nSecrets have no options, since any user of the \
        machine can read a command line: set LOADBALANCER_SECRET, or LOADBALANCER_SECRETS for several.\n\n\
        Health, for what stands in front: /livez (200 while it runs), /readyz (200 while it can answer calls, also from \
        memory while Redis is out of reach; 503 when its own file fails), /health_check (always 200, as Scalelite: read \
        the text).\n\n\
        Example:\n  LOADBALANCER_SECRET=$(openssl rand -hex 32) bbb-balancer serve --bind 127.0.0.1:3000")]
    Serve(SettingFlags),
    /// Show a balancer and pretended servers at work, on this machine alone
    #[command(after_help = "Example:\n  bbb-balancer demo --fast")]
    Demo(DemoOptions),
    /// Print the effective configuration, and what is wrong with it
    #[command(after_help = "Example:\n  bbb-balancer check --config /etc/bbb-balancer.toml\n\n\
        Ends with 0 when `serve` would start, with 1 when it would refuse.")]
    Check(SettingFlags),
    /// Look for what is wrong with the balancer, its store and its servers
    #[command(after_help = "Example:\n  bbb-balancer doctor --strict\n\n\
        Run it where the balancer runs, with the same environment: it asks the running balancer for its servers, and \
        calls each of them from here. It changes nothing.\n\
        Ends with 1 when something keeps calls from working; warnings count with --strict.")]
    Doctor {
        /// Warnings count like errors
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        settings: SettingFlags,
        #[command(flatten)]
        target: Target,
    },
    /// Read another balancer's deployment, say what was found, and change nothing
    #[command(after_help = "Example:\n  set -a; . /etc/default/scalelite; bbb-balancer import scalelite\n\n\
        Run it with the environment Scalelite is started with: its settings, and what it keeps in Redis, are read and \
        nothing is written.")]
    Import {
        /// Whose deployment it is
        #[arg(value_enum)]
        from: Origin,
        #[command(flatten)]
        settings: SettingFlags,
        /// How to print
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Print what makes a shell complete commands and options
    #[command(after_help = "Examples:\n  \
        bbb-balancer completions bash > /etc/bash_completion.d/bbb-balancer\n  \
        bbb-balancer completions zsh > /usr/local/share/zsh/site-functions/_bbb-balancer\n  \
        bbb-balancer completions fish > ~/.config/fish/completions/bbb-balancer.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// List, add and change servers
    #[command(after_help = "Examples:\n  bbb-balancer servers\n  \
        bbb-balancer servers add https://bbb1.example.com/bigbluebutton/api SECRET --tag eu --enable\n  \
        bbb-balancer servers cordon bbb1.example.com\n\nServers are named by id, host name or URL.\n\n\
        States: enabled takes new meetings; cordoned keeps its meetings and takes no new ones (use it to drain a \
        server); disabled refuses joins as well.")]
    Servers {
        #[command(subcommand)]
        what: Option<Servers>,
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        target: Target,
    },
    /// Let a server keep its meetings and take no new ones (as `servers cordon`)
    #[command(after_help = "Example:\n  bbb-balancer cordon bbb1.example.com --dry-run")]
    Cordon {
        /// Id, host name or URL
        id: String,
        #[command(flatten)]
        dry: Dry,
        #[command(flatten)]
        target: Target,
    },
    /// Let a cordoned server take new meetings again (as `servers enable`)
    #[command(after_help = "Example:\n  bbb-balancer uncordon bbb1.example.com")]
    Uncordon {
        /// Id, host name or URL
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Cordon a server, and wait until its meetings are over
    #[command(after_help = "Example:\n  bbb-balancer drain bbb1.example.com --wait --deadline 7200\n\n\
        Ends with 5 when the deadline passes with meetings left; the server stays cordoned.")]
    Drain {
        #[command(flatten)]
        how: DrainArgs,
        #[command(flatten)]
        target: Target,
    },
    /// Ask every server for its figures now
    #[command(after_help = "Example:\n  bbb-balancer poll\n\nEnds with 4 when some servers did not answer.")]
    Poll {
        #[command(flatten)]
        target: Target,
    },
    /// Print a table of all servers
    #[command(after_help = "Examples:\n  bbb-balancer status\n  bbb-balancer status -o wide --watch 2")]
    Status {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
    /// Say where a meeting is, or would go, and why
    #[command(after_help = "Example:\n  bbb-balancer explain random-1234567 --tag 'eu!'")]
    Explain {
        /// The meeting's id
        meeting: String,
        /// The tag its create would ask for
        #[arg(long)]
        tag: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Say what a change of servers would do to the meetings, and change nothing
    #[command(after_help = "\
Changes, carried out in this order, as many as you like:
  add URL            a new server, taken to be online and empty
  remove SERVER      its meetings begin anew elsewhere
  drain SERVER       (or cordon) it keeps its meetings and takes no new ones
  disable SERVER     its meetings begin anew elsewhere
  enable SERVER      it takes new meetings
  weight SERVER N    another load multiplier: higher means fewer meetings
Servers are named by id, host name or URL.

Examples:
  bbb-balancer plan remove bbb1.example.com
  bbb-balancer plan drain bbb1.example.com add https://bbb4.example.com/bigbluebutton/api
  bbb-balancer plan weight bbb1.example.com 2 disable bbb2.example.com -o json
  bbb-balancer plan drain bbb1.example.com --meetings tomorrow.txt

A meeting stays on its server as long as that server keeps it (column TO); SELECTOR ALONE is where each would be
placed if it were bound nowhere, before -> after the change, on servers as loaded as they are now. Meetings are placed
in the order in which they were created, or in that of the list. One that lives on a tagged server is taken to want
that tag.")]
    Plan {
        /// Changes, such as `remove SERVER`
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        /// Plan with the meetings in this file instead of those that exist: one id a line, - for standard input
        #[arg(long, value_name = "FILE")]
        meetings: Option<String>,
        /// The tag that the create of a meeting without a server would ask for
        #[arg(long)]
        tag: Option<String>,
        /// Load multiplier of the servers to add [default: 1.0]
        #[arg(long, visible_aliases = ["load-multiplier", "weight"], value_name = "N")]
        multiplier: Option<String>,
        /// Tag of the servers to add
        #[arg(long, value_name = "TAG")]
        server_tag: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List the known meetings, say more about some, or end them
    #[command(after_help = "Examples:\n  bbb-balancer meetings --server bbb1.example.com\n  \
        bbb-balancer meetings info MEETING\n  bbb-balancer meetings end MEETING --dry-run")]
    Meetings {
        #[command(subcommand)]
        what: Option<Meetings>,
        /// Of this server only: id, host name or URL
        #[arg(long, global = true)]
        server: Vec<String>,
        /// Of this tenant only: id or name
        #[arg(long, global = true, value_name = "TENANT")]
        tenant: Option<String>,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        target: Target,
    },
    /// List, add and change tenants, with limits and settings of their own
    #[command(after_help = "Examples:\n  bbb-balancer tenants\n  \
        bbb-balancer tenants add school $(openssl rand -hex 32) --meetings 50\n  \
        bbb-balancer tenants set school welcome 'Good morning' --override\n\n\
        Tenants need MULTITENANCY_ENABLED=true and URL_HOST; they are named by id or name.")]
    Tenants {
        #[command(subcommand)]
        what: Option<Tenants>,
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        target: Target,
    },
    /// List recordings, import what waits, and compare the index with the files
    #[command(after_help = "Examples:\n  bbb-balancer recordings --state any --meeting MEETING\n  \
        bbb-balancer recordings import\n  bbb-balancer recordings check")]
    Recordings {
        #[command(subcommand)]
        what: Option<Recordings>,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        target: Target,
    },
    /// Print `success`: the program can be started
    #[command(hide = true)]
    Liveness,
    /// A command spelled as for rake
    #[command(hide = true)]
    Rake {
        task: String,
        #[command(flatten)]
        target: Target,
    },
}

/// How the list is printed.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// Print secrets in full
    #[arg(long, global = true)]
    show_secrets: bool,
}

/// Which balancer, and how to print.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// The running balancer [default: where `serve` listens with this environment, http://127.0.0.1:3000 without]
    #[arg(long, global = true, env = "BALANCER_URL", hide_env_values = true, help_heading = "Balancer")]
    pub(crate) url: Option<String>,
    /// Its secret [default: LOADBALANCER_SECRET, or the first of LOADBALANCER_SECRETS]
    #[arg(long, global = true, env = "BALANCER_SECRET", hide_env_values = true, help_heading = "Balancer")]
    pub(crate) secret: Option<String>,
    /// Longest wait for its answer, in seconds
    #[arg(long, global = true, default_value = "100", value_name = "SECONDS", help_heading = "Balancer",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value = "table", help_heading = "Balancer")]
    pub(crate) output: Output,
}

/// Whether to print again and again.
#[derive(Args, Clone, Copy)]
pub(crate) struct Watch {
    /// Print it again and again, every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

impl Watch {
    fn every(self) -> Option<Duration> {
        self.watch.map(Duration::from_secs)
    }
}

/// Whose deployment is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Origin {
    /// Scalelite.
    Scalelite,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

impl Shell {
    /// What makes it complete.
    pub(crate) fn script(self) -> String {
        let shell = match self {
            Self::Bash => clap_complete::Shell::Bash,
            Self::Zsh => clap_complete::Shell::Zsh,
            Self::Fish => clap_complete::Shell::Fish,
        };
        // In a script for bash a dash in the name breaks the completion of what stands behind a command: its labels
        // are made from the name in two ways then.
        let name = if self == Self::Bash { "bbb_balancer" } else { "bbb-balancer" };
        let mut out = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), name, &mut out);
        String::from_utf8_lossy(&out).replace(" bbb_balancer\n", " bbb-balancer\n")
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For people with wide screens.
    Wide,
    /// For programs; secrets are masked.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Output {
    /// What commands print in: YAML is made of their JSON.
    pub(crate) fn made_of(self) -> Self {
        if self == Self::Yaml { Self::Json } else { self }
    }

    /// What was printed, in the form that was asked for; what is not JSON stays as it is.
    pub(crate) fn shaped(self, mut outcome: Outcome) -> Outcome {
        if self == Self::Yaml
            && let Ok(value) = serde_json::from_str(&outcome.out)
        {
            outcome.out = crate::yaml::document(&value);
        }
        outcome
    }
}

/// Options of the demonstration.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoOptions {
    /// Go on afterwards, until interrupted
    #[arg(long)]
    pub(crate) keep: bool,
    /// Go through it without pauses
    #[arg(long)]
    pub(crate) fast: bool,
}

/// What a command line asks for.
pub(crate) enum Order {
    /// Run the balancer.
    Serve(Option<PathBuf>, Vec<(&'static str, String)>),
    /// Check the settings.
    Check(Option<PathBuf>, Vec<(&'static str, String)>),
    /// Look for what is wrong; the last says whether warnings count.
    Doctor(Option<PathBuf>, Vec<(&'static str, String)>, Target, bool),
    /// Read another balancer's deployment.
    Import(Option<PathBuf>, Vec<(&'static str, String)>, Output),
    /// Print a text.
    Print(String),
    /// Run the demonstration.
    Demo(DemoOptions),
    /// Ask a running balancer.
    Ask(Action, Target),
}

/// The command line with `rake` put before a rake spelling.
pub(crate) fn respelled(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).and_then(|word| word.to_str()).is_some_and(rake::is_task) {
        args.insert(1, "rake".into());
    }
    args
}

impl Command {
    /// What the command asks for.
    ///
    /// # Errors
    ///
    /// A rake spelling that cannot be read, an update of nothing.
    pub(crate) fn order(self) -> Result<Order, Failure> {
        Ok(match self {
            Self::Serve(flags) => Order::Serve(flags.config, flags.values),
            Self::Check(flags) => Order::Check(flags.config, flags.values),
            Self::Demo(options) => Order::Demo(options),
            Self::Import { from: Origin::Scalelite, settings, output } => {
                Order::Import(settings.config, settings.values, output)
            }
            Self::Completions { shell } => Order::Print(shell.script()),
            Self::Doctor { strict, settings, target } => {
                Order::Doctor(settings.config, settings.values, target, strict)
            }
            Self::Servers { what, list, target } => {
                let list = Action::List { show_secrets: list.show_secrets };
                Order::Ask(what.map_or(Ok(list.clone()), |what| what.action(list))?, target)
            }
            Self::Cordon { id, dry, target } => {
                Order::Ask(dry.or(id, "cordon", |id| Action::Wish { id, wish: Wish::Cordon }), target)
            }
            Self::Uncordon { id, target } => Order::Ask(Action::Wish { id, wish: Wish::Enable }, target),
            Self::Drain { how, target } => Order::Ask(how.action(), target),
            Self::Poll { target } => Order::Ask(Action::Poll { lenient: false }, target),
            Self::Status { watch, target } => Order::Ask(Action::Status.watched(watch.every()), target),
            Self::Explain { meeting, tag, target } => Order::Ask(Action::Explain { meeting, tag }, target),
            Self::Plan { changes, meetings, tag, multiplier, server_tag, target } => {
                let wanted = Wanted::read(changes, (multiplier, server_tag), meetings, tag)?;
                Order::Ask(Action::Plan(wanted), target)
            }
            Self::Tenants { what, list, target } => {
                let list = TenantOrder::List { show_secrets: list.show_secrets };
                let order = what.map_or(Ok(list.clone()), |what| what.order(list))?;
                Order::Ask(Action::Tenants(order), target)
            }
            Self::Meetings { what, server, tenant, watch, target } => {
                let list = Action::Meetings { servers: server, tenant };
                let what = what.map_or(list.clone(), |what| what.action(list));
                Order::Ask(what.watched(watch.every()), target)
            }
            Self::Recordings { what, which, target } => {
                Order::Ask(what.unwrap_or(Recordings::List).action(which)?, target)
            }
            Self::Liveness => Order::Print("success\n".to_owned()),
            Self::Rake { task, target } => match rake::parse(&task)? {
                Action::Liveness => Order::Print("success\n".to_owned()),
                action => Order::Ask(action, target),
            },
        })
    }
}
