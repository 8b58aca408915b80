//! Measures a BigBlueButton load balancer: requests per second, latency, CPU time per request, memory.
mod balancer;
mod bbblb;
mod client;
mod fakes;
mod load;
mod many;
mod process;
mod report;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use balancer::{Balancer, Store};
use client::Target;
use fakes::Fakes;
use load::{Batch, Expect, Until, drive};
use process::Watched;
use report::{Kind, Line, print};

/// Meetings that exist while the calls on existing meetings are driven.
const MEETINGS: usize = 200;
/// Fake servers behind the balancer.
const SERVERS: u16 = 3;
/// Over how many connections meetings are made and ended that are not measured.
const TOGETHER: usize = 16;
/// New meetings signed ahead per second of a run; a faster balancer ends its run early.
const CREATES_PER_SECOND: u64 = 25_000;

const EXAMPLES: &str = "\
Examples:
  bbb-load                                     ../target/release/bbb-balancer, file store, then Redis
  bbb-load --quick --store file                a short look
  bbb-load --balancer /opt/bbb-balancer --balancer-arg=--log=warn
  bbb-load --peer http://127.0.0.1:3000 --secret S --pid 4711
                                               any running balancer of the same API
  bbb-load fakes --count 3 --base-port 29001   fake servers to put behind it

The balancer is started on core 0 (pin a peer yourself: taskset -a -cp 0 PID); this program, the fake servers and
Redis run on core 1. CPU time is user and system time of the balancer's process, and of its Redis beside it. A line
with errors is not a result.";

/// Measures a BigBlueButton load balancer under load: requests per second, latency, CPU per request, memory.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Side>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Debug, Subcommand)]
enum Side {
    /// Serve fake BigBlueButton servers; prints URL and secret of each
    Fakes {
        /// How many
        #[arg(long, default_value_t = SERVERS, value_parser = clap::value_parser!(u16).range(1..=100))]
        count: u16,
        /// Port of the first; 0 takes free ones
        #[arg(long, default_value_t = 0)]
        base_port: u16,
        /// End with the standard input
        #[arg(long, hide = true)]
        until_eof: bool,
    },
}

#[derive(Debug, Args)]
struct Measure {
    /// Binary of the balancer to start
    #[arg(long, value_name = "PATH", default_value = "../target/release/bbb-balancer")]
    balancer: PathBuf,
    /// Further argument for the balancer; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    balancer_arg: Vec<String>,
    /// Store of the balancer; both, one after the other, unless given
    #[arg(long, value_enum)]
    store: Vec<Store>,
    /// A second per measurement instead of six
    #[arg(long)]
    quick: bool,
    /// Numbers of connections
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 64])]
    connections: Vec<usize>,
    /// Core of the balancer
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    core: usize,
    /// Core of everything else
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    load_core: usize,
    /// Leave out PyPI's `bbblb`, which is measured after ours where Python 3.13 is at hand
    #[arg(long)]
    no_bbblb: bool,
    /// Python environment of `bbblb`, made when it is not there; beside this program unless given
    #[arg(long, value_name = "DIR")]
    bbblb_env: Option<PathBuf>,
    /// Drive a running balancer instead of starting one
    #[arg(long, value_name = "URL", requires = "secret", conflicts_with_all = ["balancer", "store", "balancer_arg"])]
    peer: Option<String>,
    /// Secret of the running balancer
    #[arg(long, env = "LOADBALANCER_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Process of the running balancer; without it there is no CPU time and no memory
    #[arg(long, requires = "peer")]
    pid: Option<u32>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bbb-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), String> {
    match cli.command {
        Some(Side::Fakes { count, base_port, until_eof }) => fakes::serve(count, base_port, until_eof).await,
        None => measure(cli.measure).await,
    }
}

async fn measure(options: Measure) -> Result<(), String> {
    let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let pinned = several && process::pin_self(options.load_core);
    if !pinned {
        println!("not pinned: fewer than two cores, or no taskset; the figures disturb each other");
    }
    if cfg!(debug_assertions) {
        println!("this is a debug build of bbb-load: the fakes and the load are slower than they should be");
    }
    if let Some(url) = &options.peer {
        let target = Target::parse(url, options.secret.as_deref().unwrap_or_default())?;
        if let Some(pid) = options.pid.filter(|pid| process::Usage::of(*pid).is_none()) {
            return Err(format!("there is no process {pid}"));
        }
        let watched = options.pid.map(|balancer| Watched { balancer, redis: None });
        let lines = cases(&target, watched, &options, &options.connections, TOGETHER).await?;
        print(&format!("{url}, {MEETINGS} meetings"), &lines, true);
        return Ok(());
    }
    let stores = if options.store.is_empty() { vec![Store::File, Store::Redis] } else { options.store.clone() };
    let core = pinned.then_some(options.core);
    let mut ours = Vec::new();
    for store in stores {
        let fakes = Fakes::start(SERVERS)?;
        let mut balancer = Balancer::start(&options.balancer, &options.balancer_arg, core, store).await?;
        balancer.register(&fakes.servers).await?;
        let idle = process::Usage::of(balancer.watched().balancer).map(|usage| usage.resident);
        report::memory(&format!("\n{store:?} store, idle"), idle, 12);
        let lines =
            cases(balancer.target(), Some(balancer.watched()), &options, &options.connections, TOGETHER).await?;
        print(&format!("{store:?} store, {MEETINGS} meetings on {SERVERS} servers"), &lines, true);
        ours.push((format!("{store:?} store"), lines));
        drop((balancer, fakes));
        many::measure(&options, core, store).await?;
    }
    if !options.no_bbblb {
        bbblb::measure(&options, core, &ours).await;
    }
    Ok(())
}

/// Drives every case against one balancer; it is left as it was found. What has to be there before is made over
/// `together` connections.
async fn cases(
    target: &Target,
    watched: Option<Watched>,
    options: &Measure,
    connections: &[usize],
    together: usize,
) -> Result<Vec<Line>, String> {
    let (warm_up, measured) = if options.quick { (200, 1_000) } else { (1_000, 6_000) };
    let until = Until::Time { warm_up: Duration::from_millis(warm_up), measured: Duration::from_millis(measured) };
    let tag = std::process::id();
    let standing: Vec<String> = (0..MEETINGS).map(|index| format!("load-{tag}-{index}")).collect();
    all(target, "create", &standing, together).await?;
    let mut lines = Vec::new();
    // Joins come after the lists: on a server that answers by itself they make the lists longer.
    for kind in Kind::ALL {
        for &connections in connections {
            let run = lines.len();
            let ahead = usize::try_from(CREATES_PER_SECOND * (warm_up + measured) / 1_000).unwrap_or(usize::MAX);
            let fresh: Vec<String> = match kind {
                Kind::Create => (0..ahead).map(|index| format!("new-{tag}-{run}-{index}")).collect(),
                _ => Vec::new(),
            };
            let signed = |ids: &[String], query: fn(&str) -> String| -> Vec<Vec<u8>> {
                ids.iter().map(|id| target.get(kind.name(), &query(id))).collect()
            };
            let (requests, expect) = match kind {
                Kind::Running => (signed(&standing, named), Expect::Running),
                Kind::Info => (signed(&standing, named), Expect::Success),
                Kind::List => (vec![target.get(kind.name(), "")], Expect::Meetings(MEETINGS)),
                Kind::Join => (signed(&standing, join), Expect::Redirect),
                Kind::Create => (signed(&fresh, create), Expect::Created),
            };
            let batch = Batch { requests, once: kind == Kind::Create, expect };
            let outcome = drive(target, batch, connections.clamp(1, 4_096), until, watched).await;
            let begun = outcome.begun.min(fresh.len());
            lines.push(Line { kind, connections, outcome });
            all(target, "end", &fresh[..begun], together).await?;
        }
    }
    all(target, "end", &standing, together).await?;
    Ok(lines)
}

/// Creates or ends these meetings, each once, over so many connections.
async fn all(target: &Target, call: &str, ids: &[String], together: usize) -> Result<(), String> {
    let query = if call == "create" { create } else { end };
    let requests: Vec<Vec<u8>> = ids.iter().map(|id| target.get(call, &query(id))).collect();
    let outcome =
        drive(target, Batch { requests, once: true, expect: Expect::Success }, together, Until::Done, None).await;
    match outcome.first_error {
        // Meetings that could not be created cannot be ended either; that was told where it happened.
        Some(_) if call == "end" => Ok(()),
        Some(error) => Err(format!("{} of {} calls of {call} failed; first: {error}", outcome.errors, ids.len())),
        None => Ok(()),
    }
}

fn named(id: &str) -> String {
    format!("meetingID={id}")
}

fn create(id: &str) -> String {
    format!("attendeePW=ap&meetingID={id}&moderatorPW=mp&name=Load&record=false&welcome=Hello+there")
}

fn join(id: &str) -> String {
    format!("fullName=Load+Test&meetingID={id}&password=ap&userID=u1")
}

fn end(id: &str) -> String {
    format!("meetingID={id}&password=mp")
}
