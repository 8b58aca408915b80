//! `cargo xtask bench`: the balancer under load, measured from outside, and the core beside its peers.

use std::process::Command;

use crate::run::{run, target};
use crate::{haproxy, jitsi, tools};

pub(crate) fn run_bench(args: &[String]) -> Result<(), String> {
    match args.first().map(String::as_str) {
        Some("peers") => peers(&args[1..]),
        Some("haproxy") => haproxy::bench(&args[1..]),
        Some("haproxy-control") => haproxy::bench_control(),
        Some("haproxy-peers") => haproxy::bench_peers(),
        Some("haproxy-spoe") => haproxy::bench_spoe(),
        Some("recordings") => recordings(),
        Some("jitsi") => jitsi::bench(&args[1..]),
        Some("growth") => {
            let mut args = args.to_vec();
            if !args.iter().any(|a| a.starts_with("--plot")) {
                args.push("--plot".into());
                args.push(target().join("growth.svg").to_string_lossy().into_owned());
            }
            peers(&args)
        }
        _ => load(args),
    }
}

/// A program of `benches`. What is measured with is built beside what is measured, never into it.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "--manifest-path", "benches/Cargo.toml", "-p", name, "--"]);
    command.env("CARGO_TARGET_DIR", target().join("benches"));
    command
}

fn load(args: &[String]) -> Result<(), String> {
    tools::install(&[])?;
    run("building bbb-balancer", Command::new("cargo").args(["build", "--release", "-p", "bbb-balancer"]))?;
    run("measuring", program("bbb-load").arg("--balancer").arg(target().join("release/bbb-balancer")).args(args))
}

/// `getRecordings` over 100,000 recordings on a real Postgres, beside bare SQL.
fn recordings() -> Result<(), String> {
    tools::install(&[])?;
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "--release", "-p", "adapter-bbb", "--all-features", "--test", "it", "--"]);
    test.args(["--exact", "recordings::bench::a_hundred_thousand_recordings", "--ignored", "--nocapture"]);
    // The database does most of it: what optimising as a whole would take is not worth it.
    test.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    run("listing 100,000 recordings", test.env("CI", "true"))
}

fn peers(args: &[String]) -> Result<(), String> {
    // pingora builds zlib-ng with it.
    tools::install(&["cmake"])?;
    run("measuring the core beside its peers", program("peers").args(args))
}
