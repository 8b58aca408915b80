//! Runs the program against a canned balancer.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod ask;
mod canned;
mod check;
mod completions;
mod deploy;
mod doctor;
mod drain;
mod failover;
mod import;
mod migration;
mod plan;
mod processes;
mod recordings;
mod recordings_kept;
mod soak;
mod sync;
mod tenants;
mod usage;

use std::process::{Command, Output};

/// The secret the canned balancer expects.
pub(crate) const SECRET: &str = "2bdce5cbab581f3f20b199b970e53ae3c9d9df6392f79589bd58be020ed14535";

/// Runs the program with this environment and nothing else.
pub(crate) fn run(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let done = Command::new(env!("CARGO_BIN_EXE_bbb-balancer"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the program runs");
    Ran::from(done)
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(done: Output) -> Self {
        Self {
            code: done.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            err: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }
}
