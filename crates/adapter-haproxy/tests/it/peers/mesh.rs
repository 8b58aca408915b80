//! HAProxys and nodes that all know each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::peers::{
    PeerNode, PeerNodeOptions, PeerNodeStatus, PeerServer, PeerStickStore, PeerTableOptions, PeerTableStatus,
};
use balancer_core::{Binding, Claim, StickKey, StickStore, Token, Want};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::haproxy::{Haproxy, MINUTE, Place, free_port};
use crate::responder;

/// Which server each key is pinned to.
pub(crate) type Pins = BTreeMap<String, String>;

/// Names and ports of a mesh.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `lb1`, … and where they hear peers.
    pub(crate) lbs: Vec<(String, u16)>,
    /// `rust1`, …
    pub(crate) nodes: Vec<(String, u16)>,
    /// Ports of the servers `mm1`, …
    pub(crate) servers: Vec<u16>,
    /// How many of them are in the configuration.
    pub(crate) running: usize,
    /// Lines after those of the backend `rooms`.
    pub(crate) more: String,
    /// What is said of TLS among peers.
    pub(crate) ssl: String,
}

impl Plan {
    pub(crate) fn new(lbs: usize, nodes: usize) -> Self {
        let named = |what: &str, count: usize| (1..=count).map(|n| (format!("{what}{n}"), free_port())).collect();
        Self {
            lbs: named("lb", lbs),
            nodes: named("rust", nodes),
            servers: responder::start((1..=4).map(|n| format!("mm{n}"))),
            running: 3,
            more: String::new(),
            ssl: String::new(),
        }
    }

    /// The configuration of one HAProxy.
    fn text(&self, at: usize, place: &Place) -> String {
        let ((own, port), ssl) = (&self.lbs[at], &self.ssl);
        let others = self.lbs.iter().chain(&self.nodes).filter(|(name, _)| name != own);
        let peers: String = others.map(|(name, port)| format!(" server {name} 127.0.0.1:{port} {ssl}\n")).collect();
        let servers: String =
            (1..=self.running).map(|n| format!(" server mm{n} 127.0.0.1:{} id {n}\n", self.servers[n - 1])).collect();
        format!(
            "global\n nbthread 1\n localpeer {own}\n stats socket {} level admin\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             peers mesh\n bind 127.0.0.1:{port} {ssl}\n server {own}\n{peers}\
             frontend f\n bind 127.0.0.1:{}\n default_backend rooms\n\
             backend rooms\n balance roundrobin\n stick-table type string len 64 size 2m expire 1h peers mesh\n\
             \x20stick on url_param(roomId)\n{servers}{}",
            place.socket(),
            place.port,
            self.more,
        )
    }

    pub(crate) fn start(&self, at: usize, binary: &Path) -> Lb {
        let place = Place::new();
        let text = self.text(at, &place);
        Lb { haproxy: Haproxy::run(binary, place, &text), text }
    }

    /// What a node is told of the mesh.
    pub(crate) fn options(&self, at: usize) -> PeerNodeOptions {
        let (own, port) = &self.nodes[at];
        let options = PeerNodeOptions::new(own).with_listen(([127, 0, 0, 1], *port).into());
        let others = self.lbs.iter().chain(&self.nodes).filter(|(name, _)| name != own);
        others.fold(options, |options, (name, port)| {
            options.with_peer(name, format!("127.0.0.1:{port}").parse().unwrap())
        })
    }

    /// The table as a node keeps it.
    pub(crate) fn table() -> PeerTableOptions {
        let server = |n: u32| PeerServer::new(format!("mm{n}")).with_id(n);
        (1..=3).map(server).fold(PeerTableOptions::new("rooms"), PeerTableOptions::with_server)
    }
}

/// One HAProxy.
#[derive(Debug)]
pub(crate) struct Lb {
    pub(crate) haproxy: Haproxy,
    text: String,
}

impl Lb {
    /// Where a request of this room lands.
    pub(crate) fn home(&mut self, room: &str) -> String {
        self.haproxy.ask("GET", &format!("/x?roomId={room}"), &[], "")
    }

    pub(crate) fn reload(&mut self) {
        self.haproxy.reload(&self.text);
    }

    pub(crate) fn restart(&mut self) {
        self.haproxy.restart(&self.text);
    }

    /// What its table says.
    pub(crate) fn pins(&self) -> Pins {
        let told = self.haproxy.order("show table rooms");
        // Who has a number alone is pinned by it.
        let server = |line: &str| {
            word(line, "server_key")
                .or_else(|| word(line, "server_id").filter(|id| id != "0").map(|id| format!("mm{id}")))
        };
        told.lines().skip(1).filter_map(|line| Some((word(line, "key")?, server(line)?))).collect()
    }
}

/// What a line of a table says of this.
pub(crate) fn word(line: &str, name: &str) -> Option<String> {
    let told = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    told.filter(|value| *value != "-").map(str::to_owned)
}

/// A node of ours in a runtime of its own.
#[derive(Debug)]
pub(crate) struct Node {
    runtime: Option<Runtime>,
    pub(crate) node: PeerNode,
    pub(crate) rooms: PeerStickStore,
    stop: Option<oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    pub(crate) fn start(options: PeerNodeOptions, table: PeerTableOptions, store: Arc<dyn StickStore>) -> Self {
        Self::start_with(options, table, store, |_| {})
    }

    /// With more tables.
    pub(crate) fn start_with(
        options: PeerNodeOptions,
        table: PeerTableOptions,
        store: Arc<dyn StickStore>,
        more: impl FnOnce(&PeerNode),
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let node = PeerNode::new(options).unwrap();
        let rooms = PeerStickStore::new(&node, table, store).unwrap();
        more(&node);
        let (stop, stopped) = oneshot::channel();
        let run = node.clone();
        let running = runtime.spawn(async move {
            run.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self { runtime: Some(runtime), node, rooms, stop: Some(stop), running: Some(running) }
    }

    pub(crate) fn status(&self) -> PeerNodeStatus {
        self.node.status()
    }

    pub(crate) fn table(&self) -> PeerTableStatus {
        self.status().tables[0].clone()
    }

    /// Waits until it has heard everything from everybody, and everybody from it.
    pub(crate) fn connected(&self) {
        let end = std::time::Instant::now() + MINUTE;
        while !self.status().peers.iter().all(|peer| peer.connected && peer.lessons_in > 0) {
            assert!(std::time::Instant::now() < end, "not connected: {:#?}", self.status());
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    pub(crate) fn pins(&self) -> Pins {
        self.node.entries("rooms").into_iter().map(|entry| (entry.key, entry.server)).collect()
    }

    fn on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(work)
    }

    /// Claims a room for a server; what holds.
    pub(crate) fn claim(&self, room: &str, server: &str) -> Binding {
        let want = Want { backend: server.into(), token: Token(7) };
        let key = StickKey::new(room).unwrap();
        match self.on(self.rooms.claim(&key, &want, Duration::from_secs(3600))).unwrap() {
            Claim::Won(binding) | Claim::Held(binding) => binding,
            Claim::Closed => panic!("{server} is closed"),
        }
    }

    pub(crate) fn rebind(&self, room: &str, server: &str) {
        let key = StickKey::new(room).unwrap();
        let want = Want { backend: server.into(), token: Token(8) };
        let seen = self.on(self.rooms.get(&key, None)).unwrap().unwrap();
        let claim = self.on(self.rooms.rebind(&key, &seen, &want, Duration::from_secs(3600))).unwrap();
        assert!(matches!(claim, Claim::Won(_)), "{claim:?}");
    }

    pub(crate) fn release(&self, room: &str) {
        let key = StickKey::new(room).unwrap();
        let seen = self.on(self.rooms.get(&key, None)).unwrap().unwrap();
        assert!(self.on(self.rooms.release(&key, &seen)).unwrap());
    }

    /// Where the store has a room.
    pub(crate) fn stored(&self, room: &str) -> Option<String> {
        let found = self.on(self.rooms.get(&StickKey::new(room).unwrap(), None)).unwrap();
        found.map(|binding| binding.backend.as_str().to_owned())
    }

    /// Ends it as it should.
    pub(crate) fn stop(mut self) {
        drop(self.stop.take());
        let running = self.running.take().unwrap();
        self.on(running).unwrap();
    }
}

/// Everything of it ends at once, in the middle of whatever it does.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Its ports are free afterwards.
            runtime.shutdown_timeout(Duration::from_secs(20));
        }
    }
}

/// A node, wherever it runs. Dropped, it ends in the middle of whatever it does.
pub(crate) trait Member {
    /// Waits until it has heard everything from everybody.
    fn connected(&mut self);
    fn claim(&mut self, room: &str, server: &str);
    fn rebind(&mut self, room: &str, server: &str);
    fn pins(&mut self) -> Pins;
    /// Whether this peer is connected.
    fn sees(&mut self, peer: &str) -> bool;
}

impl Member for Node {
    fn connected(&mut self) {
        Self::connected(self);
    }

    fn claim(&mut self, room: &str, server: &str) {
        Self::claim(self, room, server);
    }

    fn rebind(&mut self, room: &str, server: &str) {
        Self::rebind(self, room, server);
    }

    fn pins(&mut self) -> Pins {
        Self::pins(self)
    }

    fn sees(&mut self, peer: &str) -> bool {
        self.status().peers.iter().any(|known| known.name == peer && known.connected)
    }
}

/// Waits until everybody has the same, this many; returns it.
pub(crate) fn settled(lbs: &[Lb], nodes: &mut [&mut dyn Member], rooms: usize) -> Pins {
    let end = std::time::Instant::now() + 2 * MINUTE;
    loop {
        let all: Vec<Pins> = lbs.iter().map(Lb::pins).chain(nodes.iter_mut().map(|node| node.pins())).collect();
        let first = &all[0];
        if first.len() == rooms && all.iter().all(|pins| pins == first) {
            return first.clone();
        }
        if std::time::Instant::now() > end {
            for (at, pins) in all.iter().enumerate() {
                let other = pins.iter().find(|(room, server)| first.get(*room) != Some(server));
                let missing = first.keys().find(|room| !pins.contains_key(*room));
                println!("member {at}: {} rooms, {other:?}, without {missing:?}", pins.len());
            }
            panic!("the tables are not equal within two minutes");
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
