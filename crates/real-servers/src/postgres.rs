//! `postgres`, which refuses to run as root: root runs it as the user `postgres`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use crate::host::PATIENCE;
use crate::{Folder, free_port};

/// A running server with the database `scalelite`; killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    child: Option<Child>,
    port: u16,
    folder: Folder,
    programs: PathBuf,
    /// Settings besides those that every server has, as `name=value`.
    settings: Vec<String>,
}

/// The server that tests share while any of them uses it.
static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());

/// Where `initdb` and `postgres` are: on the PATH, or where Debian keeps them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let mut all = std::env::split_paths(&path).chain(debian);
    all.find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

impl PostgresServer {
    /// Starts a server that trusts everybody on the loopback, and waits until it is ready. `None`, said on standard
    /// error, when none is installed.
    ///
    /// # Panics
    ///
    /// When it does not start, or none is installed and `CI` is set.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "postgresql is not installed");
            eprintln!("skipped: postgresql is not installed");
            return None;
        };
        let folder = Folder::new("postgres");
        if is_root() {
            let given = Command::new("chown").arg("postgres").arg(&*folder).status();
            assert!(given.is_ok_and(|s| s.success()), "the user postgres gets no folder");
        }
        let mut server = Self { child: None, port: 0, folder, programs, settings: Vec::new() };
        let mut make = server.command("initdb");
        make.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--pgdata"]);
        let made = make.arg(server.data()).stdout(Stdio::null()).status();
        assert!(made.is_ok_and(|s| s.success()), "initdb does not make a cluster of databases");
        let mut single = server.command("postgres");
        single.args(["--single", "-F", "-D"]).arg(server.data()).arg("postgres");
        let mut single =
            single.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres");
        std::io::Write::write_all(single.stdin.as_mut().expect("its input"), b"CREATE DATABASE scalelite\n")
            .expect("postgres reads");
        drop(single.stdin.take());
        assert!(single.wait().is_ok_and(|s| s.success()), "postgres makes no database");
        for _ in 0..10 {
            // Another test may take the port first: then the server ends, and another port is tried.
            server.port = free_port();
            if server.run() {
                return Some(server);
            }
        }
        panic!("postgres does not start");
    }

    /// A server that other tests use as well, each with databases of its own: whoever is the last one stops it.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// Puts a file into its folder of data, readable for the server alone.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, name: &str, content: &str) {
        let path = self.data().join(name);
        std::fs::write(&path, content).expect("a file of the server");
        let private = Command::new("chmod").arg("600").arg(&path).status();
        assert!(private.is_ok_and(|s| s.success()), "{name} cannot be made private");
        if is_root() {
            let given = Command::new("chown").arg("postgres").arg(&path).status();
            assert!(given.is_ok_and(|s| s.success()), "the user postgres does not get {name}");
        }
    }

    /// Starts it again with these settings, as `name=value`, instead of those it was given before.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart_with(&mut self, settings: &[&str]) {
        self.stop();
        self.settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        self.resume();
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !is_root() {
            return Command::new(program);
        }
        // Unlike su it leaves no process between us and the server.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command.current_dir("/");
        command
    }

    fn run(&mut self) -> bool {
        let mut command = self.command("postgres");
        command.args(["-F", "-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.args(["-c", "unix_socket_directories=", "-D"]).arg(self.data());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("postgres can be started");
        let mut lines = BufReader::new(child.stderr.take().expect("its output")).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections"));
        if !ready {
            child.wait().expect("postgres has ended");
            return false;
        }
        // The server must never block on its output.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
        true
    }

    /// Stops the server at once, with every connection; nothing if that has been done.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A killed one would leave its processes behind for a while; one that sleeps hears nothing.
            for name in ["CONT", "QUIT"] {
                let _ = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
            }
            let _ = child.wait();
        }
    }

    /// Ends the server and all its processes in the hardest way; nothing if that has been done.
    pub fn kill(&mut self) {
        if self.child.is_some() {
            self.signal("KILL");
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port, with what it had.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn resume(&mut self) {
        // The processes of a killed one may not all be gone at once.
        let deadline = Instant::now() + PATIENCE;
        while !self.run() {
            assert!(Instant::now() < deadline, "postgres does not start again");
        }
    }

    /// Sends a signal to the server and all its processes: `STOP`, `CONT`.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("a running postgres").id().to_string();
        // It makes no further process while those that it has are counted.
        let _ = Command::new("kill").args(["-STOP", &pid]).status();
        let below = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output().expect("ps");
        let below = String::from_utf8_lossy(&below.stdout).into_owned();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(&pid).args(below.split_whitespace()).status();
        assert!(sent.is_ok(), "postgres takes no signal {name}");
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database of it.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}
