//! Jitsi's bridges for people who run them: how they are, in which order the focus takes them, which one it would
//! choose and why.

mod advise;
mod check;
mod cli;
mod connect;
mod demo;
mod live;
mod log;
mod pool;
mod rank;
mod select;
mod serve;
mod shards;
mod show;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use console::{Exit, Failure};

fn main() -> ExitCode {
    // Wrong usage ends here, with exit code 2.
    let cli = Cli::parse();
    let exit = runtime().and_then(|runtime| runtime.block_on(carry_out(cli.command))).unwrap_or_else(|failure| {
        complain(&failure.to_string());
        failure.exit
    });
    ExitCode::from(exit.code())
}

async fn carry_out(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Watch(args) => watch::run(&args).await,
        Command::Rank(args) => rank::run(&args).await,
        Command::Select(args) => select::run(&args).await,
        Command::Check(args) => check::run(&args).await,
        Command::Advise(args) => advise::run(&args).await,
        Command::Serve(args) => serve::run(&args).await,
        Command::Shards(args) => shards::run(args).await,
        Command::Demo(options) => demo::run(options).await,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("the worker threads cannot be started").cause(e))
}

/// Prints and flushes; whether somebody still reads.
fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn complain(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The exit code of clap for a wrong command line is ours.
const _: () = assert!(Exit::Usage as u8 == 2);
