//! What is predicted, rendered and checked beside the real program, on two branches of it; and what generated inputs do.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Tally, root, run, run_and_read, target, tests_at_once};
use crate::tools;

/// Random backends on each branch, of 60 requests each: more than 10,000 placements.
pub(crate) const CASES: &str = "170";
/// Generated inputs of a soak.
const INPUTS: u64 = 1_000_000;

/// What a test prints when everything it counted was right.
const RIGHT: [&str; 4] = [": 0 different", ": 0 astray", ": 0 warnings", ": 0 panics"];

pub(crate) fn haproxy(tally: &mut Tally) -> Result<(), String> {
    // By its full path: the tests ask whether it is there. The first is what the tests of all crates run beside.
    for program in programs()?.iter().skip(usize::from(tally.all_crates)) {
        for (what, args) in [
            ("requests to", &["-p", "adapter-haproxy", "--all-features", "--test", "it"][..]),
            ("configurations for", &["-p", "adapter-haproxy", "--all-features", "--lib", "render"]),
            ("cures for", &["-p", "adapter-haproxy", "--all-features", "--lib", "doctor"]),
            ("haproxy-control beside", &["-p", "haproxy-control", "--test", "it"]),
        ] {
            let lines = run_and_read(&format!("{what} {}", program.display()), &mut tests(args, program))?;
            tally.passed += lines.iter().filter(|line| RIGHT.iter().any(|right| line.ends_with(right))).count() as u64;
        }
    }
    Ok(())
}

fn tests(args: &[&str], program: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet"]).args(args).args(["--", "--nocapture"]);
    // What is missing must not look like a run without faults.
    command.env("CI", "true").env("HAPROXY", program).env("HAPROXY_CASES", CASES);
    command.env("RUST_TEST_THREADS", tests_at_once());
    command
}

/// `cargo xtask soak haproxy`: a million inputs through everything that reads what others wrote.
pub(crate) fn soak(seed: Option<u64>) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet", "--release", "-p", "adapter-haproxy", "--test", "it", "--"]);
    command.args(["--exact", "inputs::nothing_panics_and_memory_is_bounded", "--nocapture"]);
    command.env("HAPROXY_INPUTS", INPUTS.to_string());
    match seed {
        Some(seed) => command.env("HAPROXY_SEED", seed.to_string()),
        None => command.env_remove("HAPROXY_SEED"),
    };
    run("soaking what reads requests and configurations", &mut command)
}

/// `cargo xtask soak fuzz`: what the fuzzer's targets do, driven on stable by mangled recordings, so long for each.
pub(crate) fn soak_fuzz(seconds: Option<u64>, seed: Option<u64>) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet", "-p", "adapter-haproxy", "--features", "testing", "--test", "decoders", "--"]);
    command.args(["--exact", "write_corpus", "mangled_recordings", "--include-ignored", "--nocapture"]);
    // Recordings as files are what the fuzzer itself begins with.
    command.env("HAPROXY_CORPUS", root().join("fuzz/corpus"));
    command.env("HAPROXY_DECODER_MS", seconds.unwrap_or(10).saturating_mul(1000).to_string());
    match seed {
        Some(seed) => command.env("HAPROXY_SEED", seed.to_string()),
        None => command.env_remove("HAPROXY_SEED"),
    };
    run("soaking the decoders of what HAProxy says", &mut command)
}

/// Each HAProxy at hand, by its full path.
fn programs() -> Result<[PathBuf; 2], String> {
    Ok([PathBuf::from("/usr/sbin/haproxy"), tools::second_haproxy()?])
}

/// Where ignored tests are: the adapter, or the program.
const ADAPTER: &[&str] = &["-p", "adapter-haproxy", "--all-features"];
const PROGRAM: &[&str] = &["-p", "haproxy-control"];

/// These ignored tests, one after the other, beside each HAProxy.
fn long(title: &str, package: &[&str], profile: Option<&str>, names: &[&str]) -> Result<(), String> {
    for program in programs()? {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet"]).args(package).args(["--test", "it"]);
        command.args(profile).args(["--", "--exact", "--ignored", "--nocapture", "--test-threads=1"]).args(names);
        command.env("CI", "true").env("HAPROXY", &program);
        run(&format!("{title} {}", program.display()), &mut command)?;
    }
    Ok(())
}

/// `cargo xtask soak reload`: reloads, restarts and servers that come and go, under load.
pub(crate) fn soak_reload() -> Result<(), String> {
    tools::install(&[])?;
    let names = ["proof::reload::long_reloads", "proof::peers::long_peers", "proof::scale::long_scale"];
    long("reloads, restarts and changes of", ADAPTER, None, &names)
}

/// `cargo xtask soak control`: servers, HAProxys, controllers and Redis fail in turn under a thousand rooms.
pub(crate) fn soak_control() -> Result<(), String> {
    tools::install(&[])?;
    long("failures around", PROGRAM, None, &["soak::long"])
}

/// `cargo xtask soak peers`: three HAProxys of both releases and two processes of ours, of which everybody is killed,
/// stopped or loaded anew in turn, under ten thousand rooms.
pub(crate) fn soak_peers() -> Result<(), String> {
    tools::install(&[])?;
    // Unlike the others this one takes both releases at once: found where they are, not named.
    programs()?;
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet", "-p", "adapter-haproxy", "--features", "peers,runtime", "--test", "it", "--"]);
    command.args(["--exact", "peers::soak::long_peers", "--ignored", "--nocapture"]);
    command.env("CI", "true").env_remove("HAPROXY");
    run("failures among peers", &mut command)
}

/// `cargo xtask bench haproxy-peers`: a million entries to a HAProxy and back, beside a bare socket.
pub(crate) fn bench_peers() -> Result<(), String> {
    tools::install(&[])?;
    let package = &["-p", "adapter-haproxy", "--features", "peers,runtime"];
    long("measuring peers of", package, Some("--release"), &["peers::bench::a_million_entries"])
}

/// `cargo xtask bench haproxy-control`: plans, maps and drains for many servers and rooms; the client's commands a second
/// beside a bare loop.
pub(crate) fn bench_control() -> Result<(), String> {
    tools::install(&[])?;
    let names = ["proof::size::many_servers_and_pins", "runtime::bench::commands_a_second"];
    long("measuring control of", ADAPTER, Some("--release"), &names)
}

/// Where the tests of agents are.
const AGENTS: &[&str] = &["-p", "adapter-haproxy", "--features", "agents,runtime"];

/// `cargo xtask bench haproxy-spoe`: what an agent adds to a request, beside the least that does the same in C.
pub(crate) fn bench_spoe() -> Result<(), String> {
    tools::install(&[])?;
    long("an agent of", AGENTS, Some("--release"), &["spoe::bench::added_latency"])
}

/// `cargo xtask soak placement`: ten days of rooms on each HAProxy, placed by real load and by leastconn.
pub(crate) fn soak_placement() -> Result<(), String> {
    tools::install(&[])?;
    long("days of rooms on", AGENTS, None, &["spoe::replay::long_replay"])
}

/// `cargo xtask bench haproxy`: the lookup beside a binary search, and `predict` and `plan` for many servers and rooms.
pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    let mut lookup = Command::new("cargo");
    lookup.args(["test", "--quiet", "--release", "-p", "adapter-haproxy", "--lib", "--"]);
    lookup.args(["--exact", "balance::ring::tests::lookup_is_faster_than_a_search", "--ignored", "--nocapture"]);
    run("the lookup of a consistent hash beside a binary search", &mut lookup)?;
    run("building haproxy-control", Command::new("cargo").args(["build", "--release", "-p", "haproxy-control"]))?;
    let program = target().join("release/haproxy-control");
    let mut measure = crate::bench::program("haproxy-scale");
    run("predict and plan", measure.arg("--program").arg(program).args(args))
}
