//! Tasks of this repository. `cargo xtask --help` lists them.

mod bench;
mod haproxy;
mod jitsi;
mod run;
mod soak;
mod suites;
mod test;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
Tasks of this repository.

  cargo xtask test [STEP ...]   install what the tests need, then run all of them, or these steps:
        lint     formatting, clippy, every feature alone
        unit     tests of all crates, doctests
        model    models of the board, the lease and the stick table: every interleaving, by loom
        docs     documentation with warnings denied
        haproxy  two real HAProxies, 2.6 and 2.8: predictions, rendered configurations, recorded scenarios; the second
                 alone where `unit` ran beside the first
        suite    the black-box suite against `bbb-balancer serve`, on its file store and on a real Redis
        clients  PyPI's bbbctl and npm's bigbluebutton-js do a whole lesson through a running balancer
  cargo xtask soak [--seconds N] [--seed N]
                                two balancers on one Redis for five minutes, while servers, balancers and Redis are
                                killed, stopped and slowed down; a model beside them says what must hold all the same
  cargo xtask soak servers      500 servers, one in ten of which hangs, then all: three minutes
  cargo xtask soak scalelite [--seed N]
                                two balancers and the commands of a Scalelite on one Redis, 10,000 operations
  cargo xtask soak haproxy [--seed N]
                                a million generated requests, expressions and configurations, in release mode
  cargo xtask soak fuzz [--seconds N] [--seed N]
                                mangled recordings and noise for each decoder of what HAProxy says, ten seconds each
  cargo xtask soak reload       real HAProxies under load: 100 reloads and 3 restarts with 1,000 rooms, two peers in turn,
                                servers that come and go; the same without the gate
  cargo xtask soak placement    ten days of rooms on each real HAProxy, placed by real load and by leastconn: minutes
  cargo xtask soak jitsi        a brewery on a real Prosody that is out of reach for a minute
  cargo xtask soak jitsi-inputs a million generated inputs for each reader of presences, files, logs and streams
  cargo xtask soak bridges      50 pretended bridges and 2,000 conferences on a real Prosody, while bridges die, drain,
                                freeze and come back, the server is restarted and our connection cut: five minutes
  cargo xtask soak shards [--seed N]
                                two pickers of Jitsi's shards on one Redis, 20,000 rooms, while pickers are killed, Redis
                                is stopped and shards die: minutes
  cargo xtask bench [ARG ...]   build everything in release mode and measure `serve`; --quick for a short run
  cargo xtask bench peers [PART ...]
                                the core beside pingora, tower, hashring, dashmap, moka and a bare Redis connection
  cargo xtask bench recordings  getRecordings over 100,000 recordings on a real Postgres, beside bare SQL
  cargo xtask bench haproxy     haproxy-control predict and plan, 1,000 servers and 100,000 rooms; the hash's lookup
  cargo xtask bench haproxy-control
                                maps, drains and plans on real HAProxies, 1,000 servers and 100,000 pins; commands a
                                second beside a bare loop
  cargo xtask bench haproxy-spoe
                                what asking an agent adds to a request and its own time, beside the least agent in C
  cargo xtask bench jitsi [--bridges N] [--conferences N]
                                a choice among 5,000 bridges beside sorting them, with 100,000 conferences; presences
                                taken in, memory
  cargo xtask bench growth      cost by number of servers and rooms, as a table and a plot

Examples:
  cargo xtask test
  cargo xtask test unit
  LOOM_MAX_PREEMPTIONS=3 cargo xtask test model
  BBB_SUITE=../suite cargo xtask test suite
  cargo xtask soak --seconds 60 --seed 7
  cargo xtask bench --quick

With CI=true a server that is missing and cannot be installed is a failure.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.first().map(String::as_str) {
        Some("test") => test::run(&args[1..]),
        Some("soak") => soak::run_soak(&args[1..]),
        Some("bench") => bench::run_bench(&args[1..]),
        Some("-h" | "--help" | "help") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => Err(format!("no task is called {other:?}; `cargo xtask --help` lists them")),
        None => Err(format!("which task?\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
