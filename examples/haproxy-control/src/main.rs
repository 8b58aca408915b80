//! HAProxy for people who run it: what is wrong with a configuration, what a failed start means, a correct
//! configuration from a few lines, where a room goes, and who moves when a server comes or goes; and live HAProxys that are driven so that
//! rooms stay where they are.

mod apply;
mod asking;
mod call;
mod check;
mod cli;
mod demo;
mod diff;
mod files;
mod haproxy;
mod keys;
mod log;
mod model;
mod plan;
mod predict;
mod render;
mod replay;
mod run;
mod settings;
mod steer;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use console::{Exit, Failure, Outcome};

fn main() -> ExitCode {
    // Wrong usage ends here, with exit code 2.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Check(args) => check::run(&args),
        Command::ExplainLog(args) => log::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Predict(args) => predict::run(&args, &mut std::io::stdout().lock()),
        Command::Plan(args) => plan::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args, &mut std::io::stdout().lock()),
        Command::Status(args) => wait(steer::status(&args)),
        Command::Explain(args) => wait(steer::explain(&args)),
        Command::Splits(args) => wait(steer::splits(&args)),
        Command::Drain(args) => wait(steer::drain(&args)),
        Command::Cordon(args) => wait(steer::order(&args, "drain")),
        Command::Uncordon(args) => wait(steer::order(&args, "ready")),
        Command::Maint(args) => wait(steer::order(&args, "maint")),
        Command::Apply(args) => wait(apply::apply(&args)),
        Command::Demo(args) => demo::run(&args),
        Command::Completions { shell } => Ok(Outcome::done(cli::completions(shell))),
    };
    let exit = done.and_then(|outcome| say(&outcome).map(|()| outcome.exit));
    let exit = exit.unwrap_or_else(|failure| {
        complain(&failure.to_string());
        failure.exit
    });
    ExitCode::from(exit.code())
}

fn wait(done: impl Future<Output = Result<Outcome, Failure>>) -> Result<Outcome, Failure> {
    run::runtime()?.block_on(done)
}

fn say(outcome: &Outcome) -> Result<(), Failure> {
    for note in &outcome.notes {
        complain(&format!("note: {}", console::printable(note)));
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(outcome.out.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read us has enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| Failure::failed("standard output cannot be written").cause(e)),
    }
}

/// Prints and flushes a line of something that goes on.
fn progress(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever read us has enough; what is under way goes on to its end.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

fn complain(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The exit code of clap for a wrong command line is ours.
const _: () = assert!(Exit::Usage as u8 == 2);
