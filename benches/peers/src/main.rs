//! Measures the core beside its peers, both sides in one run.
mod change;
mod clock;
mod growth;
mod memory;
mod picks;
mod plot;
mod redis_claim;
mod report;
mod route;
mod servers;
mod sticks;
mod tower_p2c;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  peers                              everything but growth; about a minute
  peers ring p2c sticks              some parts
  peers growth --plot growth.svg     cost by number of servers and rooms, as a table and a plot

Each comparison runs both sides in turn, seven times, and prints the medians and their ratio. `aim` is how many
times faster than the peer this side is meant to be, `short` marks what missed it. A busy machine disturbs both
sides; on a quiet one the ratios repeat within a tenth.";

/// Measures the core beside pingora, tower, hashring, dashmap, moka and a bare Redis connection.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    /// Which parts; without any, all but growth
    parts: Vec<Part>,
    /// Where the plot of growth goes
    #[arg(long, default_value = "growth.svg")]
    plot: PathBuf,
    /// The most rooms of the stick table in growth; ten million take 3 GiB
    #[arg(long, default_value_t = 10_000_000)]
    most_rooms: usize,
    /// Fill one table in this process and print what memory it takes
    #[arg(long, hide = true)]
    fill: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Ring,
    Roundrobin,
    P2c,
    Leastconn,
    Change,
    Sticks,
    Memory,
    Redis,
    Route,
    Growth,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(table) = &cli.fill {
        memory::fill(table);
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("peers: no runtime: {why}");
            return ExitCode::FAILURE;
        }
    };
    let wanted = |part: Part| if cli.parts.is_empty() { part != Part::Growth } else { cli.parts.contains(&part) };
    picks::run(&picks::Wanted {
        ring: wanted(Part::Ring),
        rotation: wanted(Part::Roundrobin),
        two: wanted(Part::P2c),
        least: wanted(Part::Leastconn),
    });
    if wanted(Part::Change) {
        change::run(&runtime);
    }
    if wanted(Part::Sticks) {
        sticks::run();
    }
    if wanted(Part::Memory) {
        memory::run();
    }
    if wanted(Part::Redis) {
        redis_claim::run(&runtime);
    }
    if wanted(Part::Route) {
        route::run(&runtime);
    }
    if wanted(Part::Growth) {
        growth::run(cli.most_rooms, &cli.plot);
    }
    ExitCode::SUCCESS
}
