//! Choices of bridges beside sorting them all, and a brewery out of reach for longer than tests may take.

use std::process::Command;

use crate::run::run;
use crate::tools;

/// `cargo xtask bench jitsi`: how long a choice takes among 5,000 bridges, beside sorting them.
pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    if let Some(arg) = args.first() {
        return Err(format!("bench jitsi takes nothing, not {arg:?}"));
    }
    run("choosing bridges beside sorting them", &mut ignored(&["--release"], "speed::choices_beside_sorting"))
}

/// `cargo xtask soak jitsi`: a minute without a connection to a real Prosody.
pub(crate) fn soak() -> Result<(), String> {
    tools::install(&[])?;
    let mut test = ignored(&[], "xmpp_faults::our_connection_is_cut_for_a_minute");
    // What is missing must not look like a run without faults.
    run("a brewery out of reach for a minute", test.env("CI", "true"))
}

/// `cargo xtask soak jitsi-inputs`: a million generated inputs through every reader of bytes from outside.
pub(crate) fn inputs() -> Result<(), String> {
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "adapter-jitsi", "--test", "it", "--"]);
    test.args(["--exact", "bytes::no_reader_panics", "--nocapture"]).env("JITSI_INPUTS", "1000000");
    run("a million inputs for each reader", &mut test)
}

/// One test of the adapter that runs by order only.
fn ignored(profile: &[&str], name: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet"]).args(profile).args(["-p", "adapter-jitsi", "--all-features", "--test", "it"]);
    command.args(["--", "--exact", name, "--ignored", "--nocapture"]);
    command
}
