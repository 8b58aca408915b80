//! A real HAProxy with a master on free ports of the loopback, gone with everything it wrote when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::reconcile::{ReloadGate, Wanted};
use adapter_haproxy::render::{
    Bind, ControlSocket, EdumeetCluster, HaproxyConfig, HttpCheck, JitsiShards, PeerLine, PeersSection, ServerLine,
};
use adapter_haproxy::runtime::{Client, ClientOptions, MasterClient, RuntimeAddress};

use super::failed;
use crate::cli::DemoKind;
use crate::files::{self, Folder};
use crate::haproxy::Installed;
use console::Failure;

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(3);
/// How often HAProxy looks after a server. In earnest it does so every two seconds and more.
const CHECKS: (Duration, u16, u16) = (Duration::from_millis(150), 2, 2);

/// HAProxy, and where its files are.
#[derive(Debug)]
pub(super) struct Farm {
    kind: DemoKind,
    pub(super) haproxy: Installed,
    folder: Folder,
    child: Option<Child>,
    port: u16,
    peer: u16,
}

impl Farm {
    /// Starts it before these servers: name and address.
    pub(super) async fn start(
        kind: DemoKind,
        haproxy: Installed,
        servers: &[(String, SocketAddr)],
    ) -> Result<Self, Failure> {
        let mut farm = Self { kind, haproxy, folder: Folder::new()?, child: None, port: 0, peer: 0 };
        for _ in 0..5 {
            // Somebody may take a port between our look and HAProxy's: then others are tried.
            [farm.port, farm.peer] = free_ports()?;
            farm.write("pins.map", "# room, percent-encoded, and its server\n")?;
            farm.write("server-state", "1\n")?;
            farm.write("haproxy.cfg", &farm.text(servers)?)?;
            if farm.run().await? {
                return Ok(farm);
            }
        }
        let verdict = farm.haproxy.check(&[farm.folder.path("haproxy.cfg")], None)?;
        let why = verdict.remarks.first().map_or_else(|| "it says nothing".to_owned(), |remark| remark.text.clone());
        Err(failed("haproxy does not start", why))
    }

    async fn run(&mut self) -> Result<bool, Failure> {
        self.stop();
        let mut command = Command::new(self.haproxy.path());
        command.arg("-W").arg("-S").arg(format!("{},level,admin", self.path("master")));
        command.arg("-f").arg(self.folder.path("haproxy.cfg"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|e| failed("haproxy cannot be started", e))?;
        let child = self.child.insert(child);
        let (end, client) = (Instant::now() + START, worker(&self.folder));
        while Instant::now() < end {
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(false);
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() && client.info().await.is_ok() {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(false)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        files::write_whole(&self.folder.path(name), text.as_bytes(), None)
    }

    /// A path in its folder, as HAProxy is told it.
    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path(name).display().to_string()
    }

    /// Where people come in.
    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The backend with the rooms, and the one with the rest.
    pub(super) const fn backends(&self) -> [&'static str; 2] {
        match self.kind {
            DemoKind::Edumeet => ["rooms", "pages"],
            DemoKind::Shards => ["shards", "any"],
        }
    }

    fn config(&self, servers: &[(String, SocketAddr)]) -> HaproxyConfig {
        let line = |(at, (name, address)): (usize, &(String, SocketAddr))| {
            let id = u32::try_from(at + 1).unwrap_or(u32::MAX);
            ServerLine::new(id, name, address.ip().to_string(), address.port())
        };
        let servers = servers.iter().enumerate().map(line).collect();
        let binds = vec![Bind::port(self.port).on(Ipv4Addr::LOCALHOST.to_string())];
        let members = vec![PeerLine::new("lb1", Ipv4Addr::LOCALHOST.to_string(), self.peer)];
        let (peers, pins) = (Some(PeersSection::new("mates", "lb1", members)), Some(self.path("pins.map")));
        let mut config = match self.kind {
            DemoKind::Edumeet => {
                let mut cluster = EdumeetCluster::new(self.haproxy.version, binds, servers);
                (cluster.peers, cluster.pins) = (peers, pins);
                cluster.config()
            }
            DemoKind::Shards => {
                let mut shards = JitsiShards::new(self.haproxy.version, binds, servers);
                (shards.peers, shards.pins) = (peers, pins);
                shards.config()
            }
        };
        for backend in &mut config.backends {
            backend.check_times = CHECKS;
            // A busy host answers late; who is dead refuses at once.
            backend.extra.push("timeout check 5s".to_owned());
            backend.check.get_or_insert_with(|| HttpCheck::new("/"));
        }
        config.global.logs.clear();
        config.global.threads = Some(1);
        config.global.sockets.push(ControlSocket::admin(self.path("admin.sock")));
        config.global.extra =
            vec![format!("server-state-file {}", self.path("server-state")), "hard-stop-after 10m".to_owned()];
        config.defaults.extra.push("load-server-state-from-file global".to_owned());
        config
    }

    /// The file for these servers.
    pub(super) fn text(&self, servers: &[(String, SocketAddr)]) -> Result<String, Failure> {
        self.config(servers).render().map_err(|e| failed("a configuration cannot be rendered", e))
    }

    /// What is wanted with these servers.
    pub(super) fn wanted(&self, servers: &[(String, SocketAddr)]) -> Wanted {
        Wanted::from_config(&self.config(servers))
    }

    /// Writes the file, as after a change at run time.
    pub(super) fn keep(&self, servers: &[(String, SocketAddr)]) -> Result<(), Failure> {
        self.write("haproxy.cfg", &self.text(servers)?)
    }

    /// A client of its runtime socket.
    pub(super) fn client(&self) -> Client {
        worker(&self.folder)
    }

    /// A gate before its file.
    pub(super) fn gate(&self) -> ReloadGate {
        let master = RuntimeAddress::unix(self.folder.path("master"));
        ReloadGate::new(MasterClient::new(master, ClientOptions::default()), self.folder.path("haproxy.cfg"))
            .with_program(self.haproxy.path())
            .with_state_file(self.folder.path("server-state"))
            .with_pins(self.path("pins.map"), Some(self.backends()[0].to_owned()))
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The master takes its workers with it, old ones too.
        let asked = Command::new("kill").arg("-TERM").arg(child.id().to_string()).stderr(Stdio::null()).status();
        let end = Instant::now() + END;
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && Instant::now() < end {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Workers end when their master has gone.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn worker(folder: &Folder) -> Client {
    let socket: PathBuf = folder.path("admin.sock");
    Client::new(RuntimeAddress::unix(socket), ClientOptions::default())
}

fn free_ports() -> Result<[u16; 2], Failure> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let ports = bind().and_then(|one| Ok([one.local_addr()?.port(), bind()?.local_addr()?.port()]));
    ports.map_err(|e| failed("there is no free port", e))
}
