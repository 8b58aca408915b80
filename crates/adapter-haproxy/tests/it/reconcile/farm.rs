//! An edumeet cluster behind real HAProxy with a master.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::reconcile::{PinMap, ReloadGate, Wanted};
use adapter_haproxy::render::{
    Balance, Bind, ControlSocket, EdumeetCluster, HaproxyConfig, PeerLine, PeersSection, ServerLine,
};
use adapter_haproxy::runtime::{Client, ClientOptions, MasterClient, RuntimeAddress, ServerName};

use super::crowd::fetch;
use crate::haproxy::{MINUTE, Place, free_port, until};
use crate::responder;

#[derive(Debug)]
pub(crate) struct Farm {
    pub(crate) binary: PathBuf,
    pub(crate) version: HaproxyVersion,
    pub(crate) place: Place,
    child: Option<Child>,
    /// Ports of the room servers `mm1`, `mm2`, …
    pub(crate) ports: Vec<u16>,
    /// All HAProxies of the cluster, this one first.
    peers: Vec<(String, u16)>,
}

impl Farm {
    /// Room servers, and HAProxy in front of the first of them.
    pub(crate) fn start(binary: &Path, servers: usize, running: usize) -> Self {
        Self::start_as(binary, servers, running, vec![("lb1".to_owned(), free_port())])
    }

    /// Two HAProxies that are peers of each other, before the same servers.
    pub(crate) fn pair(binary: &Path, servers: usize) -> [Self; 2] {
        let peers = vec![("lb1".to_owned(), free_port()), ("lb2".to_owned(), free_port())];
        let first = Self::start_as(binary, servers, servers, peers.clone());
        let others = peers.into_iter().rev().collect();
        let second = Self::begin(binary, first.version, first.ports.clone(), others, servers);
        [first, second]
    }

    fn start_as(binary: &Path, servers: usize, running: usize, peers: Vec<(String, u16)>) -> Self {
        let out = Command::new(binary).arg("-v").output().unwrap();
        let version = String::from_utf8_lossy(&out.stdout).parse().unwrap();
        let ports = responder::start((1..=servers).map(|n| format!("mm{n}")));
        Self::begin(binary, version, ports, peers, running)
    }

    fn begin(
        binary: &Path,
        version: HaproxyVersion,
        ports: Vec<u16>,
        peers: Vec<(String, u16)>,
        running: usize,
    ) -> Self {
        let (place, binary) = (Place::new(), binary.to_owned());
        let mut farm = Self { binary, version, place, child: None, ports, peers };
        std::fs::write(farm.pins_file(), "").unwrap();
        let all: Vec<usize> = (1..=running).collect();
        std::fs::write(farm.file(), farm.text(&all)).unwrap();
        farm.child = Some(farm.launch(&[]));
        until("HAProxy starts", || fetch(farm.place.port, "/").is_some());
        farm
    }

    fn launch(&self, more: &[String]) -> Child {
        let mut command = Command::new(&self.binary);
        command.arg("-W").arg("-S").arg(format!("{},level,admin", self.place.path("master")));
        command.arg("-f").arg(self.file()).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Another master and worker, which take the listening sockets over; those of before end.
    pub(crate) fn restart(&mut self) {
        let mut old = self.child.take().unwrap();
        let more = ["-x".to_owned(), self.place.socket(), "-sf".to_owned(), old.id().to_string()];
        self.child = Some(self.launch(&more));
        until("the old master ends", || old.try_wait().unwrap().is_some());
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.place.folder.join("haproxy.cfg")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.place.folder.join("state")
    }

    pub(crate) fn pins_file(&self) -> String {
        self.place.path("pins.map")
    }

    pub(crate) fn lines(&self, servers: &[usize]) -> Vec<ServerLine> {
        let line =
            |n: &usize| ServerLine::new(u32::try_from(*n).unwrap(), format!("mm{n}"), "127.0.0.1", self.ports[*n - 1]);
        servers.iter().map(line).collect()
    }

    /// Rooms are placed in turn, so that a lost table shows.
    pub(crate) fn config(&self, servers: &[usize]) -> HaproxyConfig {
        let bind = Bind::port(self.place.port).on("127.0.0.1");
        let mut cluster = EdumeetCluster::new(self.version, vec![bind], self.lines(servers));
        let peers = self.peers.iter().map(|(name, port)| PeerLine::new(name.as_str(), "127.0.0.1", *port));
        cluster.peers = Some(PeersSection::new("lb", self.peers[0].0.as_str(), peers.collect()));
        cluster.pins = Some(self.pins_file());
        let mut config = cluster.config();
        config.backends[0].balance = Balance::RoundRobin;
        config.global.logs.clear();
        config.global.sockets.push(ControlSocket::admin(self.place.socket()));
        let state = format!("server-state-file {}", self.state_file().display());
        config.global.extra = vec![state, "hard-stop-after 30s".to_owned()];
        config.defaults.extra.push("load-server-state-from-file global".to_owned());
        config
    }

    pub(crate) fn text(&self, servers: &[usize]) -> String {
        self.config(servers).render().unwrap()
    }

    pub(crate) fn wanted(&self, servers: &[usize], pins: &[(&str, &str)]) -> Wanted {
        let map = PinMap::new(self.pins_file(), "rooms");
        let map = pins.iter().fold(map, |map, (room, server)| map.with_pin(room, *server));
        Wanted::from_config(&self.config(servers)).with_pins(map)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(RuntimeAddress::unix(self.place.socket()), ClientOptions::default())
    }

    pub(crate) fn master(&self) -> MasterClient {
        MasterClient::new(RuntimeAddress::unix(self.place.path("master")), ClientOptions::default())
    }

    /// Lets a client meet the worker that is to answer now, once those of before are gone.
    pub(crate) async fn renewed(&self, client: &Client) {
        let end = Instant::now() + MINUTE;
        client.renew().await;
        while self.master().processes().await.unwrap().old_workers().count() > 0 {
            assert!(Instant::now() < end, "somebody holds an old worker");
        }
    }

    /// A gate before the configuration, with the state file it names.
    pub(crate) fn gate(&self) -> ReloadGate {
        ReloadGate::new(self.master(), self.file())
            .with_program(&self.binary)
            .with_state_file(self.state_file())
            .with_pins(self.pins_file(), Some("rooms".into()))
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
        until("HAProxy ends", || child.try_wait().unwrap().is_some());
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}
