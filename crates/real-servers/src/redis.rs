//! `redis-server`, also as a sentinel or as a node of a cluster.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::free_port;
use crate::host::PATIENCE;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running server; killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    args: Vec<String>,
    /// What a sentinel begins with.
    sentinel: Option<String>,
}

impl RedisServer {
    /// Starts a server that saves nothing unless told so, with further arguments, in which `FOLDER` stands for its
    /// folder, and waits until it is ready. `None`, said on standard error, when none is installed.
    ///
    /// # Panics
    ///
    /// When it does not start, or none is installed and `CI` is set.
    pub fn start(args: &[&str]) -> Option<Self> {
        Self::start_as(args, None)
    }

    /// Starts a sentinel with this configuration; otherwise as [`start`](Self::start).
    ///
    /// # Panics
    ///
    /// As `start`.
    pub fn start_sentinel(configuration: &str, args: &[&str]) -> Option<Self> {
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
        std::fs::create_dir_all(&folder).expect("a folder for redis-server");
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
            std::fs::write(&file, configuration).expect("a sentinel's configuration");
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
            .expect("redis-server can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains(marker));
        if !ready {
            child.wait().expect("redis-server has ended");
            return false;
        }
        // The server must never block on its output.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
        true
    }

    /// Kills the server; nothing if that has been done.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn resume(&mut self) {
        // Somebody who looks for a free port may have it for a moment.
        let deadline = Instant::now() + PATIENCE;
        while !self.run() {
            assert!(Instant::now() < deadline, "redis-server does not start again");
        }
    }

    /// Sends a signal to the server: `STOP`, `CONT`.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("a running redis-server").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "redis-server takes no signal {name}");
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
