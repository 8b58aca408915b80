//! A real HAProxy as a child process, with its runtime socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::balance::Version;

use crate::client::Client;

/// Where HAProxy is: `HAPROXY`, or the usual place. Under `CI=true` it must be there.
pub(crate) fn binary() -> Option<(PathBuf, Version)> {
    let path = std::env::var_os("HAPROXY").map_or_else(|| PathBuf::from("/usr/sbin/haproxy"), PathBuf::from);
    let Ok(out) = Command::new(&path).arg("-v").output() else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} does not run", path.display());
        println!("skipped: {} does not run", path.display());
        return None;
    };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = text.split(' ').find_map(|w| w.parse().ok()).unwrap_or_else(|| panic!("no version in {text:?}"));
    Some((path, version))
}

pub(crate) use real_servers::free_port;

/// How long anything may take that is waited for.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + MINUTE;
    while !so() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A folder and a port of one HAProxy.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
}

impl Place {
    pub(crate) fn new() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("haproxy-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, port }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// The runtime socket.
    pub(crate) fn socket(&self) -> String {
        self.path("cli")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running HAProxy; killed when dropped.
#[derive(Debug)]
pub(crate) struct Haproxy {
    binary: PathBuf,
    child: Child,
    pub(crate) place: Place,
    client: Client,
}

fn spawn(binary: &Path, place: &Place, text: &str, more: &[String]) -> Child {
    let config = place.folder.join("haproxy.cfg");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(binary);
    command.args(["-db", "-q", "-f"]).arg(&config).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Haproxy {
    /// Starts it with these lines in the one backend of its one frontend.
    pub(crate) fn start(binary: &Path, backend: &[String]) -> Self {
        let place = Place::new();
        let text = format!(
            "global\n nbthread 1\n stats socket {} level admin\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             frontend f\n bind 127.0.0.1:{}\n option http-buffer-request\n \
             http-request set-src req.hdr(x-test-src) if {{ req.hdr(x-test-src) -m found }}\n default_backend b\n\
             backend b\n {}\n",
            place.socket(),
            place.port,
            backend.join("\n "),
        );
        Self::run(binary, place, &text)
    }

    /// Starts it with this configuration, which names the place's port and socket.
    pub(crate) fn run(binary: &Path, place: Place, text: &str) -> Self {
        let child = spawn(binary, &place, text, &[]);
        let client = Client::of(place.port);
        let mut haproxy = Self { binary: binary.to_owned(), child, place, client };
        haproxy.wait(text);
        haproxy
    }

    fn wait(&mut self, text: &str) {
        let deadline = Instant::now() + MINUTE;
        while !self.is_up() {
            if self.child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                let config = self.place.folder.join("haproxy.cfg");
                let check = Command::new(&self.binary).args(["-c", "-f"]).arg(config).output().unwrap();
                panic!("HAProxy does not start: {}\n{text}", String::from_utf8_lossy(&check.stderr));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Whether this very process answers on its socket and listens.
    fn is_up(&self) -> bool {
        let pid = format!("\nPid: {}\n", self.child.id());
        TcpStream::connect(("127.0.0.1", self.place.port)).is_ok()
            && self.try_order("show info").is_some_and(|told| format!("\n{told}\n").contains(&pid))
    }

    /// A new process with this configuration takes over; the old one hands its tables to it and ends.
    pub(crate) fn reload(&mut self, text: &str) {
        let more = ["-sf".to_owned(), self.child.id().to_string()];
        let new = spawn(&self.binary, &self.place, text, &more);
        let mut old = std::mem::replace(&mut self.child, new);
        self.client = Client::of(self.place.port);
        self.wait(text);
        until("the old process ends", || old.try_wait().unwrap().is_some());
    }

    /// How long it was ready to run and had no processor, since it began.
    pub(crate) fn queued(&self) -> Duration {
        let told = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap_or_default();
        Duration::from_nanos(told.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it and starts it anew, with nothing remembered.
    pub(crate) fn restart(&mut self, text: &str) {
        self.kill();
        self.client = Client::of(self.place.port);
        self.child = spawn(&self.binary, &self.place, text, &[]);
        self.wait(text);
    }

    /// One request; the name of the server that answered, or `HTTP` and the status.
    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &[(String, String)], body: &str) -> String {
        self.client.ask(method, target, headers, body).served()
    }

    /// Sends it a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    fn try_order(&self, order: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.place.socket()).ok()?;
        stream.write_all(format!("{order}\n").as_bytes()).ok()?;
        let mut out = String::new();
        stream.read_to_string(&mut out).ok()?;
        Some(out.trim().to_owned())
    }

    /// One order on the runtime socket; the answer, trimmed.
    pub(crate) fn order(&self, order: &str) -> String {
        self.try_order(order).unwrap_or_else(|| panic!("no answer to {order}"))
    }

    /// The entries of a stick table.
    pub(crate) fn entries(&self, table: &str) -> usize {
        let told = self.order(&format!("show table {table}"));
        let used = told.lines().next().and_then(|head| head.rsplit_once("used:"));
        used.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("no table: {told}"))
    }

    /// The status of a server as the statistics say it: `UP`, `DOWN`, …
    pub(crate) fn status(&self, backend: &str, server: &str) -> String {
        self.stat(backend, server, 17)
    }

    /// How many sessions a server has.
    pub(crate) fn sessions(&self, backend: &str, server: &str) -> String {
        self.stat(backend, server, 4)
    }

    fn stat(&self, backend: &str, server: &str, column: usize) -> String {
        let told = self.order("show stat");
        let row = told.lines().find(|row| row.starts_with(&format!("{backend},{server},")));
        row.and_then(|row| row.split(',').nth(column)).unwrap_or("?").to_owned()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
