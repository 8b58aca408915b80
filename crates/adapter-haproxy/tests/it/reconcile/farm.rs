//! An edumeet cluster behind real HAProxy with a master, and people in its rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::reconcile::{PinMap, ReloadGate, Wanted};
use adapter_haproxy::render::{
    Balance, Bind, ControlSocket, EdumeetCluster, HaproxyConfig, PeerLine, PeersSection, ServerLine,
};
use adapter_haproxy::runtime::{Client, ClientOptions, MasterClient, RuntimeAddress, ServerName};

use crate::haproxy::{Place, free_port, until};
use crate::responder::{self, read_message};

#[derive(Debug)]
pub(crate) struct Farm {
    pub(crate) binary: PathBuf,
    pub(crate) version: HaproxyVersion,
    pub(crate) place: Place,
    child: Option<Child>,
    /// Ports of the room servers `mm1`, `mm2`, …
    pub(crate) ports: Vec<u16>,
    peer: u16,
}

impl Farm {
    /// Room servers, and HAProxy in front of the first of them.
    pub(crate) fn start(binary: &Path, servers: usize, running: usize) -> Self {
        let out = Command::new(binary).arg("-v").output().unwrap();
        let version = String::from_utf8_lossy(&out.stdout).parse().unwrap();
        let ports = responder::start((1..=servers).map(|n| format!("mm{n}")));
        let (place, binary) = (Place::new(), binary.to_owned());
        let mut farm = Self { binary, version, place, child: None, ports, peer: free_port() };
        std::fs::write(farm.pins_file(), "").unwrap();
        let all: Vec<usize> = (1..=running).collect();
        std::fs::write(farm.file(), farm.text(&all)).unwrap();
        farm.launch();
        farm
    }

    fn launch(&mut self) {
        let mut command = Command::new(&self.binary);
        command.arg("-W").arg("-S").arg(format!("{},level,admin", self.place.path("master")));
        command.arg("-f").arg(self.file()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        until("HAProxy starts", 10, || fetch(self.place.port, "/").is_some());
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.place.folder.join("haproxy.cfg")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.place.folder.join("state")
    }

    fn pins_file(&self) -> String {
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
        cluster.peers = Some(PeersSection::new("lb", "lb1", vec![PeerLine::new("lb1", "127.0.0.1", self.peer)]));
        cluster.pins = Some(self.pins_file());
        let mut config = cluster.config();
        config.backends[0].balance = Balance::RoundRobin;
        config.global.logs.clear();
        config.global.sockets.push(ControlSocket::admin(self.place.socket()));
        let state = format!("server-state-file {}", self.state_file().display());
        config.global.extra = vec![state, "hard-stop-after 10s".to_owned()];
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
        until("HAProxy ends", 15, || child.try_wait().unwrap().is_some());
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

/// One request over a connection of its own; the server's name, or `None` unless it was answered with 200.
pub(crate) fn fetch(port: u16, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let (head, body) = read_message(&mut stream)?;
    head.starts_with("HTTP/1.1 200").then(|| String::from_utf8_lossy(&body).into_owned())
}

/// Where a request of a room lands.
pub(crate) fn home(port: u16, room: &str) -> Option<String> {
    fetch(port, &format!("/socket.io/?roomId={room}"))
}

/// People who come to rooms without a pause.
#[derive(Debug)]
pub(crate) struct Crowd {
    threads: Vec<JoinHandle<BTreeMap<String, BTreeSet<String>>>>,
    end: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

/// What they met.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) asked: u64,
    pub(crate) failed: u64,
    /// The servers of each room.
    pub(crate) servers: BTreeMap<String, BTreeSet<String>>,
}

impl Met {
    /// Rooms that were on more than one server.
    pub(crate) fn split(&self) -> usize {
        self.servers.values().filter(|servers| servers.len() > 1).count()
    }
}

impl Crowd {
    pub(crate) fn come(port: u16, rooms: &[String]) -> Self {
        let (end, asked, failed) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let threads = rooms.chunks(rooms.len().div_ceil(3)).map(|rooms| {
            let (rooms, end, asked, failed) = (rooms.to_vec(), end.clone(), asked.clone(), failed.clone());
            std::thread::spawn(move || {
                let mut met = BTreeMap::<String, BTreeSet<String>>::new();
                for room in rooms.iter().cycle() {
                    if end.load(Ordering::Relaxed) {
                        break;
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    match home(port, room) {
                        Some(server) => drop(met.entry(room.clone()).or_default().insert(server)),
                        None => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                met
            })
        });
        Self { threads: threads.collect(), end, asked, failed }
    }

    /// Waits until that many more have come.
    pub(crate) fn wait(&self, more: u64) {
        let until_then = self.asked.load(Ordering::Relaxed) + more;
        until("people come", 30, || self.asked.load(Ordering::Relaxed) >= until_then);
    }

    pub(crate) fn go(self) -> Met {
        self.end.store(true, Ordering::Relaxed);
        let mut servers = BTreeMap::<String, BTreeSet<String>>::new();
        for thread in self.threads {
            for (room, met) in thread.join().unwrap() {
                servers.entry(room).or_default().extend(met);
            }
        }
        Met { asked: self.asked.load(Ordering::Relaxed), failed: self.failed.load(Ordering::Relaxed), servers }
    }
}
