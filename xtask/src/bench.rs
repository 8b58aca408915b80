//! `cargo xtask bench`: the balancer under load, measured from outside.

use std::process::Command;

use crate::run::{run, target};
use crate::tools;

pub(crate) fn run_bench(args: &[String]) -> Result<(), String> {
    tools::install()?;
    run("building bbb-balancer", Command::new("cargo").args(["build", "--release", "-p", "bbb-balancer"]))?;
    let mut load = Command::new("cargo");
    load.args(["run", "--release", "--manifest-path", "benches/Cargo.toml", "-p", "bbb-load", "--"]);
    // What is measured with is built beside what is measured, never into it.
    load.env("CARGO_TARGET_DIR", target().join("benches"));
    load.arg("--balancer").arg(target().join("release/bbb-balancer")).args(args);
    run("measuring", &mut load)
}
