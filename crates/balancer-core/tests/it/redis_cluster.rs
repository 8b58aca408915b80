//! The store on a real Redis Cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use balancer_core::{
    BackendId, Claim, RedisLink, RedisOptions, RedisReply, RedisScript, RedisStore, StickErrorKind, StickKey,
    StickStore, Token, Want,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::redis_server::{RedisServer, closed_port, patient, until};

const HOUR: Duration = Duration::from_secs(3600);
const SLOTS: u16 = 16384;

/// Masters with an equal share of the slots each.
struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    async fn start(masters: u16, args: &[&str]) -> Option<Self> {
        let mut cluster = Self { nodes: Vec::new() };
        for _ in 0..masters {
            cluster.add(args)?;
        }
        for at in 0..masters {
            let bound = |n: u16| (u32::from(n) * u32::from(SLOTS) / u32::from(masters)).to_string();
            let (first, end) = (bound(at), bound(at + 1).parse::<u16>().unwrap());
            cluster.ask(at.into(), &["CLUSTER", "ADDSLOTSRANGE", &first, &(end - 1).to_string()]).await;
        }
        for at in 1..masters {
            cluster.meet(at.into()).await;
        }
        cluster.settle().await;
        Some(cluster)
    }

    fn add(&mut self, args: &[&str]) -> Option<()> {
        let base = ["--cluster-enabled", "yes", "--cluster-node-timeout", "6000", "--appendonly", "no"];
        self.nodes.push(RedisServer::start(&[&base[..], args].concat())?);
        Some(())
    }

    async fn meet(&self, at: usize) {
        let port = |at: usize| self.nodes[at].port().to_string();
        // The node knows its own bus port, which is none of the usual ones here.
        let nodes = self.text(at, &["CLUSTER", "NODES"]).await;
        let bus = nodes.split_once('@').unwrap().1.split([' ', ',']).next().unwrap().to_owned();
        self.ask(0, &["CLUSTER", "MEET", "127.0.0.1", &port(at), &bus]).await;
    }

    /// Waits until every node agrees that all is well.
    async fn settle(&self) {
        for at in 0..self.nodes.len() {
            until("the cluster comes up", async || {
                let info = self.text(at, &["CLUSTER", "INFO"]).await;
                let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
                (info.contains("cluster_state:ok") && info.contains(&known)).then_some(())
            })
            .await;
        }
    }

    /// One node, by itself.
    fn direct(&self, at: usize) -> RedisLink {
        RedisLink::new(patient(RedisOptions::new("127.0.0.1").port(self.nodes[at].port()).unwrap())).unwrap()
    }

    async fn ask(&self, at: usize, command: &[&str]) -> RedisReply {
        self.direct(at).call(command).await.unwrap()
    }

    async fn text(&self, at: usize, command: &[&str]) -> String {
        self.ask(at, command).await.as_str().unwrap().to_owned()
    }

    async fn id(&self, at: usize) -> String {
        self.text(at, &["CLUSTER", "MYID"]).await
    }

    fn options(&self) -> RedisOptions {
        patient(RedisOptions::cluster(self.nodes.iter().map(|node| ("127.0.0.1", node.port()))))
    }

    fn store(&self, namespace: &str) -> RedisStore {
        RedisStore::new(RedisLink::new(self.options().namespace(namespace)).unwrap())
    }

    /// A figure of a `INFO` section.
    async fn figure(&self, at: usize, section: &str, head: &str) -> u64 {
        let info = self.text(at, &["INFO", section]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(head).map(str::to_owned));
        line.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok()).unwrap_or(0)
    }

    async fn slot(&self, shard: u8, namespace: &str) -> u16 {
        let key = format!("{namespace}:{{{shard}}}:b");
        u16::try_from(self.ask(0, &["CLUSTER", "KEYSLOT", &key]).await.as_int().unwrap()).unwrap()
    }

    fn owner(&self, slot: u16) -> usize {
        let masters = 3;
        (0..masters).find(|at| u32::from(slot) < (at + 1) * u32::from(SLOTS) / masters).unwrap() as usize
    }

    /// Announces that a slot leaves one node for another.
    async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, from_id, to_id) = (slot.to_string(), self.id(from).await, self.id(to).await);
        self.ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        self.ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    }

    /// Moves the keys of a slot, one by one, and hands it over.
    async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, port, id) = (slot.to_string(), self.nodes[to].port().to_string(), self.id(to).await);
        loop {
            let keys = self.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).await;
            let Some(key) = keys.as_list().first() else { break };
            self.ask(from, &["MIGRATE", "127.0.0.1", &port, key.as_str().unwrap(), "0", "30000"]).await;
        }
        for at in [to, from] {
            self.ask(at, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }
}

fn key(name: impl Into<String>) -> StickKey {
    StickKey::new(name.into()).unwrap()
}

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

/// Rooms of one shard.
fn rooms_of(shard: u8) -> impl Iterator<Item = StickKey> {
    (0..).map(|number| key(format!("room {number}"))).filter(move |room| RedisStore::shard(room) == shard)
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_on_a_cluster() {
    use balancer_core::conformance::{Clock, run};

    let Some(cluster) = Cluster::start(3, &[]).await else { return };
    let number = AtomicUsize::new(0);
    let make = async || cluster.store(&format!("suite-{}", number.fetch_add(1, Ordering::Relaxed)));
    run(make, &Clock::Real).await;
}

#[tokio::test]
async fn a_claim_on_a_cluster_is_one_round_trip() {
    let Some(cluster) = Cluster::start(3, &[]).await else { return };
    let store = cluster.store("one");
    assert!(store.link().is_cluster());
    // Every node learns the script first.
    for number in 0..60 {
        store.claim(&key(format!("warm {number}")), &want("two", 1), HOUR).await.unwrap();
    }
    let sum = async |section: &str, head: &str| {
        let mut sum = 0;
        for at in 0..3 {
            sum += cluster.figure(at, section, head).await;
        }
        sum
    };
    let (runs, loads) =
        (sum("commandstats", "cmdstat_evalsha:").await, sum("commandstats", "cmdstat_script|load:").await);
    assert_eq!(loads, 3);
    for number in 0..300 {
        let answer = store.claim(&key(format!("room {number}")), &want("one", 1), HOUR).await.unwrap();
        assert!(matches!(answer, Claim::Won(_)));
    }
    assert_eq!(sum("commandstats", "cmdstat_evalsha:").await, runs + 300);
    assert_eq!(sum("errorstats", "errorstat_MOVED:").await, 0);
    for at in 0..3 {
        assert!(cluster.figure(at, "commandstats", "cmdstat_evalsha:").await > 50, "node {at} has its share");
    }
    // All shards, over all nodes.
    assert_eq!(store.count(&"one".into()).await.unwrap(), 300);
    store.close(&"one".into(), true).await.unwrap();
    assert_eq!(store.claim(&key("late"), &want("one", 1), HOUR).await.unwrap(), Claim::Closed);
    // The rest of the link.
    let replies =
        store.link().pipeline(&[vec!["SET", "a", "1"], vec!["SET", "b", "2"], vec!["GET", "a"]]).await.unwrap();
    assert_eq!(replies[2], RedisReply::Text(b"1".to_vec()));
    store.link().ping().await.unwrap();
    let keyless = store.link().script(&RedisScript::new("return 1"), &[] as &[&str], &["x"]).await.unwrap_err();
    assert!(keyless.to_string().contains("names no key"), "{keyless}");
    for at in 0..3 {
        cluster.ask(at, &["SCRIPT", "FLUSH"]).await;
    }
    assert_eq!(store.count(&"one".into()).await.unwrap(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_that_moves_under_claims_never_has_two_winners() {
    const ROUNDS: usize = 6;
    let Some(cluster) = Cluster::start(3, &[]).await else { return };
    let cluster = Arc::new(cluster);
    let shard = 7;
    let slot = cluster.slot(shard, "moving").await;
    let (mut from, mut to) = (cluster.owner(slot), (cluster.owner(slot) + 1) % 3);
    let stop = Arc::new(AtomicBool::new(false));
    let claimed = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for name in ["one", "two", "three"] {
        let (store, stop, claimed) = (cluster.store("moving"), Arc::clone(&stop), Arc::clone(&claimed));
        clients.spawn(async move {
            let mut homes = Vec::new();
            for room in rooms_of(shard) {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let answer = store.claim(&room, &want(name, 1), HOUR).await;
                let answer = answer.unwrap_or_else(|error| panic!("{room}: {error}"));
                claimed.fetch_add(1, Ordering::SeqCst);
                homes.push((room, answer));
            }
            homes
        });
    }
    let more = async |than: usize| {
        until("claims go on", async || (claimed.load(Ordering::SeqCst) > than).then_some(())).await;
    };
    for _ in 0..ROUNDS {
        more(claimed.load(Ordering::SeqCst) + 20).await;
        cluster.begin_move(slot, from, to).await;
        // Claims meet the slot while it is half here and half there.
        let before = cluster.figure(from, "errorstats", "errorstat_TRYAGAIN:").await;
        until("claims meet the move", async || {
            let now = cluster.figure(from, "errorstats", "errorstat_TRYAGAIN:").await;
            (now > before + 2).then_some(())
        })
        .await;
        cluster.end_move(slot, from, to).await;
        more(claimed.load(Ordering::SeqCst) + 20).await;
        (from, to) = (to, (to + 1) % 3);
    }
    stop.store(true, Ordering::SeqCst);
    let mut homes: HashMap<StickKey, (usize, Vec<BackendId>)> = HashMap::new();
    for (room, answer) in clients.join_all().await.into_iter().flatten() {
        let (won, home) = homes.entry(room).or_default();
        match answer {
            Claim::Won(binding) => {
                *won += 1;
                home.push(binding.backend);
            }
            Claim::Held(binding) => home.push(binding.backend),
            Claim::Closed => panic!("nothing is closed"),
        }
    }
    assert!(homes.len() > 20 * ROUNDS / 3, "{} rooms", homes.len());
    for (room, (won, home)) in &homes {
        assert!(*won == 1 && home.iter().all(|at| *at == home[0]), "{room}: {won} winners at {home:?}");
    }
    let mut counted = 0;
    for name in ["one", "two", "three"] {
        counted += cluster.store("moving").count(&name.into()).await.unwrap();
    }
    assert_eq!(counted, homes.len() as u64);
    let mut moved = 0;
    for at in 0..3 {
        moved += cluster.figure(at, "errorstats", "errorstat_MOVED:").await;
    }
    assert!(moved >= ROUNDS as u64, "{moved} redirections");
}

#[tokio::test]
async fn redirections_are_followed() {
    let Some(cluster) = Cluster::start(3, &[]).await else { return };
    let store = cluster.store("asked");
    let shard = 9;
    let slot = cluster.slot(shard, "asked").await;
    let (from, to) = (cluster.owner(slot), (cluster.owner(slot) + 1) % 3);
    store.link().ping().await.unwrap();
    // Nothing is there: the server sends each command on, and the slot stays where it was.
    cluster.begin_move(slot, from, to).await;
    store.close(&"one".into(), true).await.unwrap();
    assert!(cluster.figure(from, "errorstats", "errorstat_ASK:").await > 0);
    assert_eq!(cluster.figure(from, "errorstats", "errorstat_MOVED:").await, 0);
    // A script wants all its keys in one place, and says so when the time is over.
    let hasty =
        RedisLink::new(cluster.options().namespace("asked").response_timeout(Duration::from_millis(400))).unwrap();
    let room = rooms_of(shard).next().unwrap();
    let began = Instant::now();
    let waited = RedisStore::new(hasty).claim(&room, &want("two", 1), HOUR).await.unwrap_err();
    // On a slow machine the time may be over before the first answer.
    let named = waited.to_string().contains("moves to another node");
    assert!(named || waited.kind() == StickErrorKind::Lost, "{waited}");
    assert!(began.elapsed() < Duration::from_secs(15));
    cluster.end_move(slot, from, to).await;
    assert_eq!(store.claim(&room, &want("one", 1), HOUR).await.unwrap(), Claim::Closed);
    assert!(matches!(store.claim(&room, &want("two", 1), HOUR).await, Ok(Claim::Won(_))));
    // The map was mended at the first redirection.
    let moved = cluster.figure(from, "errorstats", "errorstat_MOVED:").await;
    for room in rooms_of(shard).take(20) {
        store.claim(&room, &want("two", 1), HOUR).await.unwrap();
    }
    assert_eq!(cluster.figure(from, "errorstats", "errorstat_MOVED:").await, moved);
    assert!(moved >= 1);
}

#[tokio::test]
async fn a_node_that_is_killed_is_replaced_by_its_replica() {
    let Some(mut cluster) = Cluster::start(3, &[]).await else { return };
    if cluster.add(&[]).is_none() {
        return;
    }
    cluster.meet(3).await;
    cluster.settle().await;
    let master = cluster.id(0).await;
    until("the replica knows its master", async || {
        cluster.direct(3).call(&["CLUSTER", "REPLICATE", &master]).await.ok()
    })
    .await;
    until("the replica follows", async || {
        cluster.text(3, &["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
    })
    .await;
    until("all know the replica", async || {
        for at in 0..3 {
            let nodes = cluster.text(at, &["CLUSTER", "NODES"]).await;
            if nodes.matches("slave").count() != 1 {
                return None;
            }
        }
        Some(())
    })
    .await;
    let store = cluster.store("failing");
    let shard = (0..=255).find(|shard| {
        let slot = slot_of(*shard);
        slot < SLOTS / 3
    });
    let shard = shard.unwrap();
    let rooms: Vec<StickKey> = rooms_of(shard).take(20).collect();
    for room in &rooms {
        store.claim(room, &want("one", 1), HOUR).await.unwrap();
    }
    // `WAIT` is about the writes of its own connection: one more write over it covers the others.
    let write = ["SET", &format!("failing:{{{shard}}}:last"), "1"].map(str::to_owned).to_vec();
    let wait = ["WAIT", "1", "20000"].map(str::to_owned).to_vec();
    let waited = cluster.direct(0).pipeline(&[write, wait]).await.unwrap();
    assert_eq!(waited[1].as_int(), Some(1), "the replica has it all");
    let generation = store.link().generation();
    cluster.nodes[0].stop();
    let began = Instant::now();
    let answer =
        until("the replica takes over", async || store.claim(&rooms[0], &want("two", 2), HOUR).await.ok()).await;
    println!("claims work again {:?} after the kill", began.elapsed());
    assert!(matches!(answer, Claim::Held(binding) if binding.backend == BackendId::from("one")));
    assert_ne!(store.link().generation(), generation);
    assert_eq!(store.count(&"one".into()).await.unwrap(), 20);
}

/// The slot of a shard, whose number is the hash tag.
fn slot_of(shard: u8) -> u16 {
    let bytes = shard.to_string().into_bytes();
    let crc = bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    });
    crc % SLOTS
}

#[tokio::test]
async fn what_is_no_cluster_and_what_is_one_is_named() {
    let Some(single) = RedisServer::start(&[]) else { return };
    let link = RedisLink::new(patient(RedisOptions::cluster([("127.0.0.1", single.port())]))).unwrap();
    let error = link.call(&["GET", "a"]).await.unwrap_err();
    assert_eq!(error.kind(), StickErrorKind::Refused);
    assert!(error.to_string().contains("no node of a cluster"), "{error}");
    let (_closed, port) = closed_port();
    let link = RedisLink::new(patient(RedisOptions::cluster([("127.0.0.1", port)]).password("hunter2"))).unwrap();
    let error = link.ping().await.unwrap_err();
    assert_eq!(error.kind(), StickErrorKind::Lost);
    let said = format!("{error} {error:?} {link:?}");
    assert!(said.contains(&format!("127.0.0.1:{port}: connection refused")) && !said.contains("hunter2"), "{said}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().port();
    let quick = RedisOptions::cluster([("127.0.0.1", silent)]).connect_timeout(Duration::from_secs(4));
    let quick = quick.response_timeout(Duration::from_secs(14));
    let began = Instant::now();
    let error = RedisLink::new(quick).unwrap().ping().await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{silent}: connected, but no greeting")), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let Some(cluster) = Cluster::start(3, &[]).await else { return };
    let mut met = 0;
    for at in 0..3 {
        let plain = RedisStore::new(cluster.direct(at));
        if let Err(error) = plain.claim(&key("room"), &want("one", 1), HOUR).await {
            assert!(error.to_string().contains("redis+cluster://"), "{error}");
            met += 1;
        }
    }
    assert_eq!(met, 2);
}
