//! `cargo xtask test`: everything that must hold.

use std::process::Command;
use std::time::Instant;

use crate::run::{Tally, run as run_command, run_and_read, target, tests_at_once};
use crate::{haproxy, suites, tools};

type Step = (&'static str, fn(&mut Tally) -> Result<(), String>);

const STEPS: [Step; 7] = [
    ("lint", lint),
    ("unit", unit),
    ("model", model),
    ("docs", docs),
    ("haproxy", haproxy::haproxy),
    ("suite", suites::suite),
    ("clients", suites::clients),
];

/// Each library crate and its features.
const FEATURES: [(&str, &[&str]); 4] = [
    ("balancer-core", &["", "probes", "file", "redis", "redis-tls", "redis-sentinel", "redis-cluster", "testing"]),
    (
        "adapter-bbb",
        &[
            "",
            "http",
            "file",
            "redis",
            "redis-tls",
            "redis-sentinel",
            "recordings",
            "s3",
            "postgres",
            "postgres-tls",
            "testing",
        ],
    ),
    ("adapter-haproxy", &["", "agents", "certificates", "control", "peers", "peers-tls", "runtime", "testing"]),
    ("adapter-jitsi", &["", "xmpp", "rest", "testing"]),
];

pub(crate) fn run(wanted: &[String]) -> Result<(), String> {
    if let Some(unknown) = wanted.iter().find(|w| !STEPS.iter().any(|(name, _)| name == w)) {
        return Err(format!("no step is called {unknown:?}: lint, unit, model, docs, haproxy, suite and clients are"));
    }
    tools::install(&[])?;
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
    // A server that speaks S3 is one of its packages.
    tools::python()?;
    let mut all = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    let all = run_and_read(
        "tests of all crates",
        all.env("HAPROXY_CASES", haproxy::CASES).env("RUST_TEST_THREADS", tests_at_once()),
    )?;
    tally.all_crates = true;
    count(tally, &all)
}

/// Adds up what test binaries say: `test result: ok. 12 passed; 0 failed; …`.
fn count(tally: &mut Tally, lines: &[String]) -> Result<(), String> {
    let passed = |line: &String| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u64>().ok();
    let sum: u64 = lines.iter().filter_map(passed).sum();
    if sum == 0 {
        return Err("no test ran".into());
    }
    tally.passed += sum;
    Ok(())
}

/// Every interleaving of the lock-free parts that loom tells apart, built aside since `cfg(loom)` changes every crate.
/// `LOOM_MAX_PREEMPTIONS` bounds the search; without it the models are explored to their end.
fn model(tally: &mut Tally) -> Result<(), String> {
    let args = ["test", "--quiet", "-p", "balancer-core", "--lib", "--release", "model"];
    let mut command = cargo(&args);
    command.args(["--", "--nocapture", "--test-threads=1"]);
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target().join("model"));
    // Built for one short run.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "4");
    let lines = run_and_read("models of balancer-core", &mut command)?;
    count(tally, &lines)
}

fn docs(_: &mut Tally) -> Result<(), String> {
    let args = ["doc", "--quiet", "--workspace", "--no-deps", "--all-features"];
    run_command("documentation", cargo(&args).env("RUSTDOCFLAGS", "-D warnings"))
}
