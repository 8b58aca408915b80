//! More than a store takes: HAProxy tells it at its own pace, and neither side is lost.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter_haproxy::peers::{
    DataType, Entry, Key, KeyType, NodeEvent, PeerEvent, PeerNode, PeerNodeOptions, PeerOptions, PeerSession,
    TableDefinition,
};
use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, MemoryStore, StickError, StickKey, StickPage, StickStore, Want};
use tokio::sync::Notify;

use super::bare::Bare;
use super::mesh::{Lb, Node, Plan};
use crate::haproxy::until;
use crate::runtime::live::binaries;

/// More than those who ask the store take.
const ROOMS: usize = 60_000;
/// HAProxy gives up who does not read for five seconds.
const PATIENCE: Duration = Duration::from_secs(6);

/// A store that answers no claim until it may.
#[derive(Default)]
struct Stuck {
    store: MemoryStore,
    open: AtomicBool,
    opened: Notify,
    claims: AtomicU64,
}

impl Stuck {
    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        self.opened.notify_waiters();
    }
}

#[async_trait]
impl StickStore for Stuck {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.store.get(key, extend).await
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        let opened = self.opened.notified();
        if !self.open.load(Ordering::SeqCst) {
            opened.await;
        }
        self.store.claim(key, want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.store.rebind(key, seen, want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.store.renew(key, seen, ttl).await
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.store.release(key, seen).await
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.store.close(backend, closed).await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.store.list(backend, from).await
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.store.count(backend).await
    }
}

impl Bare {
    /// Teaches what is written for a lesson.
    fn teach(mut self, lesson: &[u8]) {
        self.until(|event| *event == PeerEvent::Asked);
        let mut writer = self.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            // It acknowledges while it listens.
            scope.spawn(move || writer.write_all(lesson).unwrap());
            self.until(|event| *event == PeerEvent::Taught);
        });
    }
}

/// A lesson of so many rooms, written before anybody listens: HAProxy waits five seconds for the next word.
fn lesson(rooms: usize) -> Vec<u8> {
    let now = Instant::now();
    let mut session = PeerSession::connect(PeerOptions::new("rust1").with_learning(false), "lb1", now);
    session.receive(b"200\n", now);
    drop(session.take_output());
    let table = TableDefinition::new(1, "rooms", KeyType::String, 65, Duration::from_secs(3600))
        .with_data(DataType::SERVER_ID)
        .with_data(DataType::SERVER_KEY);
    session.define(table).unwrap();
    for n in 0..rooms {
        let server = n % 3 + 1;
        let entry = Entry::new(Key::string(format!("flood-{n:020}"))).with_server_id(u32::try_from(server).unwrap());
        session.teach(1, &entry, Some(format!("mm{server}").as_bytes()), None).unwrap();
    }
    session.end_lesson(true);
    session.take_output()
}

/// What its list of tables says, without a line for each entry.
fn used(lb: &Lb) -> usize {
    let told = lb.haproxy.order("show table");
    let line = told.lines().find(|line| line.contains("table: rooms,")).unwrap_or_default();
    line.rsplit_once("used:").and_then(|(_, used)| used.trim().parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

fn calling(plan: &Plan) -> PeerNodeOptions {
    PeerNodeOptions::new("rust1").with_peer("lb1", format!("127.0.0.1:{}", plan.lbs[0].1).parse().unwrap())
}

/// Whether this happens before HAProxy would have lost patience.
fn happens(node: &PeerNode, so: impl Fn(&NodeEvent) -> bool) -> bool {
    let mut events = node.subscribe();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let wait = async {
        while let Ok(event) = events.recv().await {
            if so(&event) {
                return true;
            }
        }
        false
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, wait).await.unwrap_or(false) })
}

#[test]
fn a_store_that_hangs_loses_no_connection() {
    let lesson = lesson(ROOMS);
    for binary in binaries() {
        let plan = Plan::new(1, 1);
        let mut lb = plan.start(0, &binary);
        Bare::greet(&plan).teach(&lesson);
        assert_eq!(used(&lb), ROOMS);

        let store = Arc::new(Stuck::default());
        let node = Node::start(calling(&plan), Plan::table(), store.clone());
        until("everything was heard", || node.status().peers[0].lessons_in > 0);
        assert!(node.status().peers[0].updates_in >= ROOMS as u64);
        // Nobody takes for granted what the store has not said.
        assert_eq!((node.table().learned, node.pins().len()), (0, 0));
        until("the store is asked", || store.claims.load(Ordering::SeqCst) > 0);
        // Both go on talking, and what is placed meanwhile is heard.
        let heard = node.status().peers[0].updates_in;
        let home = lb.home("meanwhile");
        until("a request is heard", || node.status().peers[0].updates_in > heard);
        // A word that is late because a process stood still ends a connection too: then the next one is looked at.
        let kept = (0..9).any(|_| {
            until("they are connected", || node.status().peers[0].connected);
            let before = node.status().peers.remove(0);
            let lost = happens(&node.node, |event| matches!(event, NodeEvent::Lost { .. }));
            let peer = node.status().peers.remove(0);
            println!("{peer:?}");
            !lost && peer.connected && peer.connections == before.connections
        });
        assert!(kept, "no connection outlives a store that hangs");

        store.open();
        until("everything is learned", || node.table().learned == ROOMS as u64 + 1);
        assert_eq!(node.stored("meanwhile"), Some(home));
        let table = node.table();
        assert_eq!((table.entries, table.conflicts, table.unanswered), (ROOMS as u64 + 1, 0, 0), "{table:?}");
        assert_eq!(node.pins().len(), ROOMS + 1);
        println!("{}: {ROOMS} entries heard while the store was stuck, then learned", binary.display());
        node.stop();
    }
}

#[test]
fn what_is_heard_outlives_its_haproxy() {
    for binary in binaries() {
        let plan = Plan::new(1, 1);
        let mut lb = plan.start(0, &binary);
        let homes: Vec<_> = (0..50).map(|n| (format!("room{n}"), lb.home(&format!("room{n}")))).collect();
        let store = Arc::new(Stuck::default());
        let node = Node::start(calling(&plan), Plan::table(), store.clone());
        until("everything was heard", || node.status().peers[0].updates_in >= 50);
        // HAProxy has forgotten it before the store says a word.
        lb.restart();
        until("it is connected anew", || {
            let peer = node.status().peers.remove(0);
            peer.connected && peer.connections > 1
        });
        store.open();
        for (room, home) in &homes {
            until("the store has it", || node.stored(room).as_ref() == Some(home));
        }
        until("HAProxy is taught what it forgot", || lb.pins().len() == homes.len());
        for (room, home) in &homes {
            assert_eq!(lb.home(room), *home);
        }
        assert_eq!(node.pins(), homes.into_iter().collect());
        node.stop();
    }
}
