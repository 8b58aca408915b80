//! The service: listens, calls, and keeps what is told.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_core::StickStore;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::calls::Calls;
use super::error::PeerNodeError;
use super::fresh::Job;
use super::line::Line;
use super::mirror::Pin;
use super::options::{PeerNodeOptions, PeerTableOptions};
use super::shelf::Shelf;
use super::status::{NodeEvent, PeerNodeStatus, PinnedEntry, count};
use crate::peers::session::PeerOptions;

/// How many events wait for a slow reader.
const EVENTS: usize = 1024;
/// How many questions the store is asked at once.
const WORKERS: usize = 16;
/// How many jobs wait for each of them; what is more waits where it came from.
const JOBS: usize = 4;
/// How long connections have to say what is left to say.
const FAREWELL: Duration = Duration::from_secs(3);
/// When losers of a conflict are told once more: what they had told each other is over then.
const AGAIN: u64 = 1000;
/// How many keys the store is told of each second that it did not answer for.
const MAX_RETOLD: usize = 20_000;
/// The most keys told once more.
const MAX_AGAIN: usize = 100_000;

/// A key that everybody is told once more, and when.
type Again = (u64, Arc<Shelf>, Box<[u8]>);

/// What all parts of a node share.
pub(super) struct Inner {
    pub(super) options: PeerNodeOptions,
    pub(super) lines: Vec<Line>,
    shelves: Mutex<Vec<Arc<Shelf>>>,
    events: broadcast::Sender<NodeEvent>,
    began: Instant,
    token: AtomicU64,
    again: Mutex<Vec<Again>>,
    /// Whether a peer or the store has told everything.
    pub(super) complete: AtomicBool,
    /// How many keys told otherwise than known wait for the store.
    pub(super) told: AtomicU64,
    ran: AtomicBool,
}

impl Inner {
    /// Milliseconds since the node began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn tell(&self, event: NodeEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    /// A number of its own for each claim.
    pub(super) fn token(&self) -> u64 {
        self.token.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn shelves(&self) -> Vec<Arc<Shelf>> {
        self.all_shelves().clone()
    }

    fn all_shelves(&self) -> MutexGuard<'_, Vec<Arc<Shelf>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps this, and tells it to every peer that does not know it.
    pub(super) fn pin(&self, shelf: &Shelf, key: &[u8], pin: Pin) {
        let kept = shelf.known().mirror.set(key, pin, self.now());
        match kept {
            Ok(Some(row)) => self.announce(shelf, row, pin.knows),
            Ok(None) => {}
            Err(()) => count(&shelf.counts.untaught),
        }
    }

    /// Tells every peer but these.
    pub(super) fn announce(&self, shelf: &Shelf, row: u32, but: u64) {
        for line in self.lines.iter().filter(|line| line.bit & but == 0) {
            line.tell(shelf.at, row);
        }
    }

    /// Tells every peer, whatever it knows.
    pub(super) fn insist(&self, shelf: &Shelf, key: &[u8]) {
        let row = shelf.known().mirror.insist(key);
        if let Some(row) = row {
            self.announce(shelf, row, 0);
        }
    }

    fn again(&self) -> MutexGuard<'_, Vec<Again>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same once more after a while: until then peers may hear the loser's word from each other.
    pub(super) fn insist_later(&self, shelf: &Arc<Shelf>, key: &[u8]) {
        let mut again = self.again();
        if again.len() < MAX_AGAIN {
            again.push((self.now() + AGAIN, shelf.clone(), key.into()));
        }
    }

    pub(super) fn session_options(&self) -> PeerOptions {
        PeerOptions::new(self.options.name.as_str()).with_max_message(self.options.max_message)
    }

    /// A number nobody foresees.
    pub(super) fn chance(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

/// A peer of HAProxys: one more member of their `peers` section.
///
/// It listens for them and calls them, keeps the tables that [`PeerStickStore`](super::PeerStickStore)s are made for,
/// and tells each peer what it does not know: everything when it asks or connects, every change at once. Other tables of
/// theirs, and data other than the server, are passed by. Clones are handles to the same.
///
/// The peers protocol has neither passwords nor encryption: whoever reaches a port of it reads all rooms and sends any
/// of them anywhere. So a public address is refused unless there is TLS
/// ([`is_local_peer`](crate::is_local_peer)).
///
/// ```
/// use std::sync::Arc;
///
/// use adapter_haproxy::peers::{PeerNode, PeerNodeOptions, PeerStickStore, PeerTableOptions};
/// use balancer_core::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = PeerNodeOptions::new("rust1")
///     .with_listen("127.0.0.1:0".parse()?)
///     .with_peer("lb1", "127.0.0.1:10001".parse()?)
///     .with_peer("lb2", "127.0.0.1:10002".parse()?);
/// let node = PeerNode::new(options)?;
/// let rooms = PeerStickStore::new(&node, PeerTableOptions::new("rooms"), Arc::new(MemoryStore::default()))?;
/// # let told_to_stop = std::future::ready(());
/// node.run(told_to_stop).await?; // until then `rooms` is what the HAProxys have
/// # drop(rooms);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PeerNode {
    pub(super) inner: Arc<Inner>,
}

impl fmt::Debug for PeerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerNode").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl PeerNode {
    /// A node. Nothing is sent before [`run`](Self::run).
    ///
    /// # Errors
    /// If a name cannot be told or is there twice, an address is public without TLS, or there are too many peers.
    pub fn new(options: PeerNodeOptions) -> Result<Self, PeerNodeError> {
        options.check()?;
        let inner = Inner {
            lines: options.peers.iter().enumerate().map(|(at, peer)| Line::new(&peer.name, at)).collect(),
            options,
            shelves: Mutex::default(),
            events: broadcast::channel(EVENTS).0,
            began: Instant::now(),
            token: AtomicU64::new(RandomState::new().build_hasher().finish()),
            again: Mutex::default(),
            complete: AtomicBool::new(false),
            told: AtomicU64::new(0),
            ran: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn add(
        &self,
        options: PeerTableOptions,
        store: Arc<dyn StickStore>,
    ) -> Result<Arc<Shelf>, PeerNodeError> {
        if self.inner.ran.load(Ordering::SeqCst) {
            return Err(PeerNodeError::Running);
        }
        let mut shelves = self.inner.all_shelves();
        if shelves.iter().any(|shelf| shelf.options.name == options.name) {
            return Err(PeerNodeError::Table { name: options.name });
        }
        let shelf = Arc::new(Shelf::new(shelves.len(), options, store));
        shelves.push(shelf.clone());
        Ok(shelf)
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.inner.events.subscribe()
    }

    /// Everything at a glance.
    pub fn status(&self) -> PeerNodeStatus {
        let shelves = self.inner.shelves();
        let table = |shelf: &Arc<Shelf>| shelf.counts.status(&shelf.options.name, shelf.known().mirror.len());
        PeerNodeStatus {
            peers: self.inner.lines.iter().map(Line::status).collect(),
            tables: shelves.iter().map(table).collect(),
        }
    }

    /// What is known of a table, in no order; empty if there is no such table.
    pub fn entries(&self, table: &str) -> Vec<PinnedEntry> {
        let shelves = self.inner.shelves();
        let shelf = shelves.iter().find(|shelf| shelf.options.name == table);
        shelf.map(|shelf| shelf.entries(self.inner.now())).unwrap_or_default()
    }

    /// Listens, calls and keeps, until this is done; then says what is left to say, and closes every connection.
    ///
    /// # Errors
    /// If it cannot listen, or has run before.
    ///
    /// # Cancel safety
    /// Dropped, it closes every connection at once.
    pub async fn run(&self, until: impl Future<Output = ()>) -> Result<(), PeerNodeError> {
        let mut listeners = Vec::new();
        for address in &self.inner.options.listen {
            let bound = TcpListener::bind(address).await;
            listeners.push(bound.map_err(|source| PeerNodeError::Listen { address: *address, source })?);
        }
        if self.inner.ran.swap(true, Ordering::SeqCst) {
            return Err(PeerNodeError::Running);
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut jobs = Vec::new();
        for _ in 0..WORKERS {
            let (sender, receiver) = mpsc::channel(JOBS);
            tasks.spawn(work(self.inner.clone(), receiver));
            jobs.push(sender);
        }
        let calls = Calls { inner: self.inner.clone(), jobs, stopped };
        for listener in listeners {
            tasks.spawn(calls.clone().accept(listener));
        }
        for (at, peer) in self.inner.options.peers.iter().enumerate() {
            if let Some(address) = &peer.address {
                tasks.spawn(calls.clone().call(at, address.clone()));
            }
        }
        tasks.spawn(tend(self.inner.clone(), calls.stopped.clone()));
        drop(calls);
        until.await;
        let _ = stop.send(true);
        // Whoever takes longer is dropped.
        let _ = timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
        Ok(())
    }
}

/// Asks the store, one key after the other.
async fn work(inner: Arc<Inner>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        inner.do_job(job).await;
    }
}

/// Everything that is due by time.
async fn tend(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unread = inner.shelves();
    let mut all = Box::pin(async {
        loop {
            ticks.tick().await;
            let mut left = Vec::new();
            for shelf in std::mem::take(&mut unread) {
                if inner.read_store(&shelf).await.is_err() {
                    left.push(shelf);
                }
            }
            unread = left;
            let now = inner.now();
            let due: Vec<_> = inner.again().extract_if(.., |(at, ..)| *at <= now).collect();
            for (_, shelf, key) in due {
                inner.insist(&shelf, &key);
            }
            for shelf in inner.shelves() {
                let mut waiting = Vec::new();
                {
                    let mirror = &mut shelf.known().mirror;
                    let slots = mirror.slots() / 4 + 1000;
                    mirror.sweep(slots, now, MAX_RETOLD, &mut waiting);
                }
                inner.tell_store(&shelf, waiting).await;
            }
        }
    });
    tokio::select! {
        () = &mut all => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}
