//! A real Redis server on a free loopback port, for one test, and what the tests of it share.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use std::time::Duration;

use balancer_core::{StickError, StickErrorKind};
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use tokio::time::Instant;

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
const DEADLINE: Duration = Duration::from_secs(60);

/// A running server; killed, and its folder removed, when dropped.
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    args: Vec<String>,
    /// What a sentinel begins with.
    sentinel: Option<String>,
}

/// A loopback port on which nobody listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again until there is an answer.
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The error's words, checked for what it must and must not say: any password of the tests.
pub(crate) fn words(error: &StickError, kind: StickErrorKind, named: &[&str]) {
    let said = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{said}");
    for word in named {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
    assert!(!said.contains("hunter2"), "the password shows: {said}");
}

impl RedisServer {
    /// Starts a server with further arguments, and waits until it is ready. `None` when none is installed; under CI
    /// that is a failure.
    pub(crate) fn start(args: &[&str]) -> Option<Self> {
        Self::start_as(args, None)
    }

    /// Starts a sentinel with this configuration; otherwise as `start`.
    #[cfg(feature = "redis-sentinel")]
    pub(crate) fn start_sentinel(configuration: &str, args: &[&str]) -> Option<Self> {
        Self::start_as(args, Some(configuration.to_owned()))
    }

    fn start_as(args: &[&str], sentinel: Option<String>) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let name = format!("balancer-redis-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let args = args.iter().map(|arg| arg.replace("FOLDER", &folder.display().to_string())).collect();
        let mut server = Self { child: None, port: 0, folder, args, sentinel };
        for _ in 0..10 {
            // Another test may take the port first: then the server ends, and another port is tried.
            server.port = free_port();
            if server.run() {
                return Some(server);
            }
        }
        panic!("redis-server does not start with {:?}", server.args);
    }

    fn run(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        let mut marker = "eady to accept connections";
        if let Some(configuration) = &self.sentinel {
            let file = self.folder.join("sentinel.conf");
            std::fs::write(&file, configuration).unwrap();
            command.arg(file).arg("--sentinel");
            marker = "Sentinel ID is";
        } else {
            command.args(["--save", ""]);
        }
        // The bus of a cluster node has a port of its own.
        let bus = free_port().to_string();
        if self.args.iter().any(|arg| arg == "--cluster-enabled") {
            command.args(["--cluster-port", &bus]);
        }
        let mut child = command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(&self.folder)
            .args(&self.args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains(marker));
        if !ready {
            child.wait().unwrap();
            return false;
        }
        // The server must never block on its output.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
        true
    }

    /// Kills the server.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub(crate) fn resume(&mut self) {
        assert!(self.run(), "redis-server does not start again");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
