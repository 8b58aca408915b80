//! Runs the program, beside the real HAProxy where there is one.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod answers;
mod check;
mod control;
mod demo;
mod live;
mod log;
mod modes;
mod plan;
mod predict;
mod render;
mod replay;
mod samples;
mod soak;
mod usage;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program in a folder, with this on its standard input.
pub(crate) fn run_in(folder: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
    // HAPROXY names the program to test beside, here as for the program itself.
    command.args(args).current_dir(folder).env_remove("HAPROXY_VERSION");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end before it has read all.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let done = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Runs the program anywhere, without input.
pub(crate) fn run(args: &[&str]) -> Ran {
    run_in(&std::env::temp_dir(), args, "")
}

pub(crate) use real_servers::{Folder, haproxy};

/// A file of the adapter's tests.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/adapter-haproxy/tests").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Compares with a file of the golden folder; `UPDATE_GOLDEN=1` writes it instead.
pub(crate) fn expect(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, seen).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(seen, wanted, "{name}");
}

/// Ports nobody listens on.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| real_servers::free_port()).collect()
}

/// Looks again and again until it is so, for at most a minute.
pub(crate) fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}
