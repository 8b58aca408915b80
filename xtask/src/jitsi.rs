//! Choices of bridges beside sorting them all, and a brewery on a real Prosody for longer than tests may take.

use std::process::Command;

use crate::bench::program;
use crate::run::run;
use crate::tools;

/// `cargo xtask bench jitsi`: a choice among 5,000 bridges beside sorting them, presences taken in, memory.
pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    run("choosing bridges beside sorting them", program("bridges").args(args))
}

/// `cargo xtask soak jitsi`: a minute without a connection to a real Prosody.
pub(crate) fn soak() -> Result<(), String> {
    ignored("a brewery out of reach for a minute", "xmpp_faults::our_connection_is_cut_for_a_minute")
}

/// `cargo xtask soak bridges`: 50 bridges and 2,000 conferences on a real Prosody while everything fails.
pub(crate) fn soak_bridges() -> Result<(), String> {
    ignored("a crowd of bridges", "crowd::fifty_bridges_and_two_thousand_conferences")
}

/// `cargo xtask soak jitsi-inputs`: a million generated inputs through every reader of bytes from outside.
pub(crate) fn inputs() -> Result<(), String> {
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "adapter-jitsi", "--test", "it", "--"]);
    test.args(["--exact", "bytes::no_reader_panics", "--nocapture"]).env("JITSI_INPUTS", "1000000");
    run("a million inputs for each reader", &mut test)
}

/// `cargo xtask soak shards`: two pickers on one Redis, for minutes.
pub(crate) fn soak_shards(seed: Option<u64>) -> Result<(), String> {
    tools::install(&[])?;
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "jitsi-picker", "--test", "it", "--"]);
    test.args(["--exact", "pickers::two_pickers_agree_for_minutes", "--ignored", "--nocapture"]);
    match seed {
        Some(seed) => test.env("PICKER_SEED", seed.to_string()),
        None => test.env_remove("PICKER_SEED"),
    };
    run("two pickers of shards on one Redis", test.env("CI", "true"))
}

/// One test of the adapter that runs by order only.
fn ignored(title: &str, name: &str) -> Result<(), String> {
    tools::install(&[])?;
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "adapter-jitsi", "--all-features", "--test", "it"]);
    test.args(["--", "--exact", name, "--ignored", "--nocapture"]);
    // What is missing must not look like a run without faults.
    run(title, test.env("CI", "true"))
}
