//! Child processes that end with us, and what they printed.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// How many tests run at once, unless `RUST_TEST_THREADS` says it: most wait for servers more than they compute.
pub(crate) fn tests_at_once() -> String {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| (cores * 3).to_string())
}

/// Runs a command in the root to its end.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<(), String> {
    println!("\n== {title}");
    let status = command.current_dir(root()).status().map_err(|e| format!("{title}: cannot be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{title}: failed ({status})")) }
}

/// Runs a command, shows its lines as they come, and gives them back.
pub(crate) fn run_and_read(title: &str, command: &mut Command) -> Result<Vec<String>, String> {
    println!("\n== {title}");
    let mut child =
        Guard::start(command.current_dir(root()).stdout(Stdio::piped())).map_err(|e| format!("{title}: {e}"))?;
    let mut lines = Vec::new();
    if let Some(out) = child.0.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // The suite prints a line for every case: the failures and the sums are enough.
            if !line.starts_with("CASE PASS") && !line.trim().chars().all(|c| c == '.') {
                println!("{line}");
            }
            lines.push(line);
        }
    }
    let status = child.0.wait().map_err(|e| format!("{title}: {e}"))?;
    if status.success() { Ok(lines) } else { Err(format!("{title}: failed ({status})")) }
}

/// Tests that ran.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    /// Whether those of all crates were among them, beside the HAProxy of this machine.
    pub(crate) all_crates: bool,
}

/// A child process that is killed when it is dropped.
pub(crate) struct Guard(pub(crate) Child);

impl Guard {
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).map_err(|e| format!("{name} cannot be started: {e}"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until somebody listens on a port.
pub(crate) fn wait_for_port(what: &str, port: u16, child: &mut Guard) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = child.0.try_wait() {
            return Err(format!("{what} ended before it listened ({status})"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("{what} does not listen on port {port}"))
}

/// A directory that is removed when it is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("balancer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{} cannot be made: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
