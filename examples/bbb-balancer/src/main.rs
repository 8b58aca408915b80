//! A load balancer for BigBlueButton servers that takes over from Scalelite: the same API, the same environment
//! names, the same commands.

mod action;
mod check;
mod cli;
mod client;
mod commands;
mod demo;
mod doctor;
mod import;
mod logging;
mod nearest;
mod rake;
mod reload;
mod serve;
mod settings;
mod table;
mod yaml;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use action::Action;
use cli::{Cli, Order, Output, Target};
use client::Client;
use commands::View;
use console::{Exit, Failure, Outcome};
use settings::{Settings, Sources};

fn main() -> ExitCode {
    let done = order().and_then(carry_out);
    let exit = match done {
        Ok(outcome) => {
            say(&outcome);
            outcome.exit
        }
        Err(failure) => {
            complain(&failure.to_string());
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

/// What is asked for. Wrong usage ends here, with exit code 2.
///
/// A server lives long: what all commands and options are put together in goes with a thread of its own.
fn order() -> Result<Order, Failure> {
    let read = || Cli::parse_from(cli::respelled(std::env::args_os())).command.order();
    match std::thread::Builder::new().spawn(read) {
        Ok(reading) => reading.join().unwrap_or_else(|_| Err(Failure::failed("the command line cannot be read"))),
        Err(_) => read(),
    }
}

fn carry_out(order: Order) -> Result<Outcome, Failure> {
    match order {
        Order::Check(config, flags) => {
            let (sources, settings) = settings(config, flags);
            Ok(check::run(&sources, &settings))
        }
        Order::Doctor(config, flags, target, strict) => {
            let (sources, settings) = settings(config, flags);
            let output = target.output;
            let client = client_of(&sources, target);
            let report = runtime(Some(1))?.block_on(doctor::run(&settings, client));
            Ok(output.shaped(report.outcome(output.made_of(), strict)))
        }
        Order::Import(config, flags, output) => {
            let (sources, settings) = settings(config, flags);
            let found = runtime(Some(1))?.block_on(import::run(&sources, &settings, output.made_of()))?;
            Ok(output.shaped(found))
        }
        Order::Print(text) => Ok(Outcome::done(text)),
        Order::Serve(config, flags) => {
            let again = move || settings(config.clone(), flags.clone()).1;
            let settings = again().map_err(|errors| {
                Failure::failed(format!("the balancer cannot start: {}", errors.join("; and ")))
                    .hint("`bbb-balancer check` shows every setting and where it comes from")
            })?;
            logging::start(settings.log_level, settings.log_json);
            for notice in settings.notices() {
                tracing::info!("{notice}");
            }
            for warning in settings.warnings() {
                tracing::warn!("{warning}");
            }
            runtime(settings.threads)?.block_on(serve::run(settings, again))?;
            Ok(Outcome::done(""))
        }
        Order::Demo(options) => {
            runtime(None)?.block_on(demo::run(options))?;
            Ok(Outcome::done(""))
        }
        Order::Ask(action, target) => {
            let output = target.output;
            let view = View { output: output.made_of(), terminal: std::io::stdout().is_terminal() };
            let client = client(target)?;
            runtime(Some(1))?.block_on(ask(&client, action, view, output))
        }
    }
}

async fn ask(client: &Client, action: Action, view: View, output: Output) -> Result<Outcome, Failure> {
    let Action::Watch { what, every } = action else {
        return commands::run(client, action, view).await.map(|outcome| output.shaped(outcome));
    };
    loop {
        let mut outcome = output.shaped(commands::run(client, (*what).clone(), view).await?);
        if output == Output::Yaml {
            // One document after the other.
            outcome.out.insert_str(0, "---\n");
        } else if view.terminal && output != Output::Json {
            outcome.out.insert_str(0, "\x1b[H\x1b[2J");
        }
        if !say(&outcome) {
            return Ok(Outcome::done(""));
        }
        tokio::time::sleep(every).await;
    }
}

/// A client for the balancer that is named by options, else by the environment and its file.
fn client(target: Target) -> Result<Client, Failure> {
    let mut sources = Sources::new([], environment());
    let config = sources.env("BALANCER_CONFIG").map(PathBuf::from);
    // Who may not read the file can give everything that is needed.
    let unread = config.and_then(|path| sources.read_file(&path).err());
    client_of(&sources, target).map_err(|failure| match unread {
        Some(errors) => failure.cause(errors.join("; ")),
        None => failure,
    })
}

/// A client for the balancer that is named by options, else for the one of this machine.
fn client_of(sources: &Sources, target: Target) -> Result<Client, Failure> {
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let url = given(target.url);
    // One on this machine has the same settings, and so the same name.
    let name = sources.set("url_host").filter(|_| url.is_none());
    let url = url.map_or_else(|| settings::local(sources), Ok)?;
    let [one, more] = ["loadbalancer_secret", "loadbalancer_secrets"].map(|name| sources.set(name));
    let own = adapter_bbb::secrets(one.as_deref(), more.as_deref());
    let secret = given(target.secret).or_else(|| own.into_iter().next()).unwrap_or_default();
    // What the balancer accepts is what its own environment says; SHA-256 where it says nothing.
    let list = sources.set("loadbalancer_checksum_algorithm").unwrap_or_default();
    let algorithms: adapter_bbb::Algorithms = list.parse().map_err(|e: adapter_bbb::AlgorithmsError| {
        Failure::usage("LOADBALANCER_CHECKSUM_ALGORITHM cannot be read").cause(e.to_string())
    })?;
    let client = Client::new(&url, secret.trim(), algorithms.strongest(), Duration::from_secs(target.timeout))?;
    Ok(client.named(name.as_deref()))
}

fn settings(config: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> (Sources, Result<Settings, Vec<String>>) {
    let mut sources = Sources::new(flags, environment());
    let config = config.or_else(|| sources.env("BALANCER_CONFIG").map(PathBuf::from));
    let file = config.map_or(Ok(()), |path| sources.read_file(&path));
    let settings = match (file, Settings::read(&sources)) {
        (Ok(()), settings) => settings,
        // What the file would have set is not missed on top.
        (Err(mut errors), Err(more)) => {
            errors.extend(more.into_iter().filter(|e| !e.contains(" is not set, ")));
            Err(errors)
        }
        (Err(errors), Ok(_)) => Err(errors),
    };
    (sources, settings)
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

fn runtime(threads: Option<usize>) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = match threads {
        // On one core nothing is gained by handing tasks to another thread.
        Some(0 | 1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = threads.filter(|n| *n > 1) {
        builder.worker_threads(threads);
    }
    builder
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("the worker threads cannot be started").cause(e.to_string()))
}

/// Prints; whether somebody still reads.
fn say(outcome: &Outcome) -> bool {
    for note in &outcome.notes {
        complain(note);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(outcome.out.as_bytes()).and_then(|()| out.flush()).is_ok()
}

pub(crate) fn complain(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The exit code of clap for a wrong command line is ours.
const _: () = assert!(Exit::Usage as u8 == 2);
