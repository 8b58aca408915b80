//! `cargo xtask test`: everything that must hold.

use std::process::Command;
use std::time::Instant;

use crate::run::{Tally, run as run_command, run_and_read};
use crate::{suites, tools};

type Step = (&'static str, fn(&mut Tally) -> Result<(), String>);

const STEPS: [Step; 5] =
    [("lint", lint), ("unit", unit), ("docs", docs), ("suite", suites::suite), ("clients", suites::clients)];

/// Each library crate and its features.
const FEATURES: [(&str, &[&str]); 2] = [
    ("balancer-core", &["", "probes", "file", "redis", "redis-tls", "testing"]),
    ("adapter-bbb", &["", "http", "file", "redis", "testing"]),
];

pub(crate) fn run(wanted: &[String]) -> Result<(), String> {
    if let Some(unknown) = wanted.iter().find(|w| !STEPS.iter().any(|(name, _)| name == w)) {
        return Err(format!("no step is called {unknown:?}: lint, unit, docs, suite and clients are"));
    }
    tools::install()?;
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    let began = Instant::now();
    for (name, step) in STEPS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let at = Instant::now();
        match step(&mut tally) {
            Ok(()) => println!("\n== {name}: passed after {} s", at.elapsed().as_secs()),
            Err(why) => {
                println!("\n== {name}: FAILED after {} s: {why}", at.elapsed().as_secs());
                failed.push(format!("{name}: {why}"));
            }
        }
    }
    println!("\n== all steps took {} s", began.elapsed().as_secs());
    for why in &failed {
        println!("failed: {why}");
    }
    println!("{} passed, {} failed", tally.passed, failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("{} steps failed", failed.len())) }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args);
    command
}

fn lint(_: &mut Tally) -> Result<(), String> {
    run_command("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run_command("clippy", &mut cargo(&clippy))?;
    for (package, features) in FEATURES {
        for feature in features {
            let args = ["check", "--quiet", "-p", package, "--no-default-features", "--features", feature];
            let name = if feature.is_empty() { "no features" } else { feature };
            run_command(&format!("{package} with {name}"), cargo(&args).env("RUSTFLAGS", "-D warnings"))?;
        }
    }
    Ok(())
}

fn unit(tally: &mut Tally) -> Result<(), String> {
    let all =
        run_and_read("tests of all crates", &mut cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]))?;
    // test result: ok. 12 passed; 0 failed; …
    let passed = |line: &String| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u64>().ok();
    let sum: u64 = all.iter().filter_map(passed).sum();
    if sum == 0 {
        return Err("no test ran".into());
    }
    tally.passed += sum;
    Ok(())
}

fn docs(_: &mut Tally) -> Result<(), String> {
    let args = ["doc", "--quiet", "--workspace", "--no-deps", "--all-features"];
    run_command("documentation", cargo(&args).env("RUSTDOCFLAGS", "-D warnings"))
}
