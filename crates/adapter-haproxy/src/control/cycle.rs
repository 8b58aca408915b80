//! The loop itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use balancer_core::{
    Backend, BackendId, HealthProbe, LeastConn, Monitor, MonitorOptions, Pool, PoolOptions, StickStore,
};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::runtime::{RuntimeError, StatKinds, StatScope, later};

use super::book::{Why, Wish};
use super::event::ControlEvent;
use super::feed::Fed;
use super::leave;
use super::options::{ControlOptions, ControlledProcess};
use super::push;
use super::state::State;
use super::status::{Remaining, Status};
use super::store;
use super::view::Look;

/// How many events wait for a slow reader.
const EVENTS: usize = 4096;
/// How many rooms are told to the store before HAProxy hears of them.
const BATCH: usize = 2048;
/// With more rooms than this to ask about, the whole store is read instead.
const MANY: usize = 4096;

/// A server as HAProxy has it: for our own probes, and for pools that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlledServer {
    pub(super) id: BackendId,
    pub(super) address: SocketAddr,
    pub(super) number: u32,
}

impl ControlledServer {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its `id` in HAProxy.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Backend for ControlledServer {
    fn id(&self) -> &BackendId {
        &self.id
    }
}

struct Probing {
    pool: Arc<Pool<ControlledServer>>,
    monitor: Monitor<ControlledServer>,
}

pub(super) struct Inner {
    pub(super) options: ControlOptions,
    pub(super) processes: Vec<Arc<ControlledProcess>>,
    pub(super) store: Arc<dyn StickStore>,
    /// Where orders are kept.
    pub(super) orders: Arc<dyn StickStore>,
    state: Mutex<State>,
    wake: Notify,
    events: broadcast::Sender<ControlEvent>,
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next round at once.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Tells what happened.
    pub(super) fn tell(&self) {
        let events = std::mem::take(&mut self.state().events);
        for event in events {
            // Nobody has to listen.
            let _ = self.events.send(event);
        }
    }
}

/// Drives HAProxys. Clones are handles to the same.
#[derive(Clone)]
pub struct Control {
    pub(super) inner: Arc<Inner>,
    probing: Option<Arc<Probing>>,
    pub(super) feeds: Vec<(Arc<Pool<ControlledServer>>, Fed)>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// When what is due.
#[derive(Debug)]
struct Due {
    learn: Instant,
    resync: Instant,
    orders: Instant,
    files: Instant,
}

impl Control {
    /// A controller of these processes. Nothing is asked before [`run`](Self::run).
    pub fn new(options: ControlOptions, processes: Vec<ControlledProcess>, store: Arc<dyn StickStore>) -> Self {
        Self::with_stores(options, processes, store.clone(), store)
    }

    /// The same, where rooms are kept in a store that other things than rooms do not belong into, as one that is shared
    /// with stick tables: orders go to the second one, the store behind.
    pub fn with_stores(
        options: ControlOptions,
        processes: Vec<ControlledProcess>,
        store: Arc<dyn StickStore>,
        orders: Arc<dyn StickStore>,
    ) -> Self {
        let names = processes.iter().map(|process| process.name.clone());
        let state = State::new(names, options.store_ttl(), options.mode);
        let inner = Inner {
            options,
            processes: processes.into_iter().map(Arc::new).collect(),
            store,
            orders,
            state: Mutex::new(state),
            wake: Notify::new(),
            events: broadcast::channel(EVENTS).0,
        };
        Self { inner: Arc::new(inner), probing: None, feeds: Vec::new() }
    }

    /// With probes of our own, to the addresses HAProxy has for its servers.
    #[must_use]
    pub fn with_probe(
        mut self,
        probe: Arc<dyn HealthProbe<ControlledServer>>,
        options: MonitorOptions<ControlledServer>,
    ) -> Self {
        let pool = Arc::new(Pool::new(Box::new(LeastConn), PoolOptions::default()));
        let monitor = Monitor::new(pool.clone(), probe, options);
        self.probing = Some(Arc::new(Probing { pool, monitor }));
        self
    }

    /// How it behaves.
    pub fn options(&self) -> &ControlOptions {
        &self.inner.options
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<ControlEvent> {
        self.inner.events.subscribe()
    }

    /// Everything at a glance, as of the last round.
    pub fn status(&self) -> Status {
        self.inner.state().status(&self.inner.options, Instant::now())
    }

    /// What is left on a server, by room.
    pub fn remaining(&self, server: &str) -> Remaining {
        self.inner.state().remaining(server, &self.inner.options, wall_ms())
    }

    /// Why nothing is in control, if so: no process answers or has the map, or the store was never read.
    pub fn unready(&self) -> Option<String> {
        self.inner.state().unready()
    }

    /// Controls until `shutdown` completes. Run it once at a time. Pins stay in force when it ends.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends between any two steps: what the store has and HAProxy has not is pushed by the next run.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let probes = async {
            match &self.probing {
                Some(probing) => probing.monitor.run(std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = self.rounds() => {}
            () = probes => {}
        }
        self.inner.tell();
    }

    async fn rounds(&self) {
        let now = Instant::now();
        let mut due = Due { learn: now, resync: now, orders: now, files: now };
        loop {
            let next = later(Instant::now(), self.inner.options.every);
            self.round(&mut due).await;
            self.inner.tell();
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.inner.wake.notified() => due.orders = Instant::now(),
            }
        }
    }

    /// Looks, decides, writes the store, tells HAProxy: in this order.
    async fn round(&self, due: &mut Due) {
        let (inner, options) = (&self.inner, &self.inner.options);
        let died = self.look().await;
        let now = Instant::now();
        let lost = inner.state().store.lost.is_some();
        if now >= due.orders && !lost {
            store::orders(inner).await;
            due.orders = later(now, options.every.max(Duration::from_secs(2)));
        }
        let unsynced = !inner.state().store.synced || inner.state().store.lost.is_some();
        if now >= due.resync || unsynced {
            if store::read_all(inner).await {
                due.resync = later(Instant::now(), options.resync);
            }
            self.pushed().await;
        }
        let mut read = None;
        let wishes = if died || Instant::now() >= due.learn || self.lacks_map() {
            let began = Instant::now();
            let wishes = push::learn(inner).await;
            due.learn = later(began, options.learn.max(began.elapsed() * 4));
            read = Some(began);
            wishes
        } else {
            Vec::new()
        };
        if self.carry_out(wishes).await && read.is_some() {
            inner.state().learned = read;
        }
        self.evacuate().await;
        let forgotten = leave::forgotten(inner);
        self.carry_out(forgotten).await;
        leave::clear(inner).await;
        self.reconcile(due).await;
        push::sweep(inner).await;
        push::orders(inner).await;
        if Instant::now() >= due.files {
            let began = Instant::now();
            push::files(inner).await;
            due.files = later(began, began.elapsed() * 10);
        }
        inner.state().book.tidy(Instant::now(), Duration::from_secs(600));
    }

    fn lacks_map(&self) -> bool {
        let state = self.inner.state();
        state
            .processes
            .iter()
            .any(|watched| watched.lost.is_none() && watched.map.is_none() && watched.trouble.is_none())
    }

    /// Looks at all processes; whether a server has just died.
    async fn look(&self) -> bool {
        let began_ms = wall_ms();
        let mut looks = JoinSet::new();
        for (at, process) in self.inner.processes.iter().enumerate() {
            let (inner, process) = (self.inner.clone(), process.clone());
            looks.spawn(async move { (at, look(&inner.options, &process).await) });
        }
        while let Some(done) = looks.join_next().await {
            let Ok((at, found)) = done else { continue };
            let found = found.map_err(|error| error.to_string());
            self.inner.state().looked(at, found, Instant::now(), (began_ms, wall_ms()));
        }
        let mut state = self.inner.state();
        if let Some(probing) = &self.probing {
            let addresses = state.addresses();
            probing.follow(&addresses);
            state.probes = probing.verdicts();
        }
        let dead = |state: &State| -> BTreeSet<Arc<str>> {
            state.servers.iter().filter(|(_, life)| life.dead).map(|(name, _)| name.clone()).collect()
        };
        let before = dead(&state);
        state.judge(&self.inner.options, Instant::now());
        let died = !dead(&state).is_subset(&before);
        drop(state);
        self.feed();
        died
    }

    /// Asks the store, then tells HAProxy, some rooms at a time.
    async fn carry_out(&self, wishes: Vec<Wish>) -> bool {
        let began = Instant::now();
        for batch in wishes.chunks(BATCH) {
            // A store that hangs would move rooms when it wakes, which may be when their server is long back. So it has to
            // answer first.
            let moved = batch.iter().find(|wish| matches!(wish, Wish::Move { .. }));
            let first = moved.map(|wish| Wish::Check { room: wish.room().clone() });
            if !store::ask(&self.inner, first.as_slice()).await {
                return false;
            }
            if !store::ask(&self.inner, batch).await {
                return false;
            }
            self.pushed().await;
            let decisions = batch.iter().filter(|wish| matches!(wish, Wish::Claim { .. } | Wish::Move { .. })).count();
            self.inner.state().took.add(decisions as u64, began.elapsed());
        }
        true
    }

    /// Moves the rooms of servers that are out, all of each.
    async fn evacuate(&self) {
        let began = Instant::now();
        let wishes = self.inner.state().moves(&self.inner.options);
        if wishes.is_empty() {
            return;
        }
        let mut servers: BTreeMap<String, usize> = BTreeMap::new();
        for wish in &wishes {
            if let Wish::Move { seen, .. } = wish {
                *servers.entry(seen.backend.to_string()).or_default() += 1;
            }
        }
        let done = self.carry_out(wishes).await;
        self.inner.state().sweep(&servers);
        push::sweep(&self.inner).await;
        if done {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let moved = |(server, rooms)| ControlEvent::MovedAll { server, rooms, took_ms };
            self.inner.state().events.extend(servers.into_iter().map(moved));
        }
    }

    /// Brings maps and book together; asks the store where they differ without our doing.
    async fn reconcile(&self, due: &mut Due) {
        for _ in 0..2 {
            let checks = push::differences(&self.inner);
            if checks.len() > MANY {
                due.resync = Instant::now();
                if !store::read_all(&self.inner).await {
                    return;
                }
                due.resync = later(Instant::now(), self.inner.options.resync);
            }
            let checks: Vec<Wish> = push::differences(&self.inner).into_iter().take(MANY).collect();
            if !checks.is_empty() && !store::ask(&self.inner, &checks).await {
                return;
            }
            self.pushed().await;
            if checks.is_empty() {
                return;
            }
        }
    }

    async fn pushed(&self) {
        push::push(&self.inner).await;
        self.inner.tell();
    }

    /// Claims that come from maps there were before us.
    pub(super) fn adopted(room: Arc<str>, server: Arc<str>) -> Wish {
        Wish::Claim { room, server, why: Why::Adopted }
    }
}

impl Probing {
    /// Probes these servers and no others.
    fn follow(&self, addresses: &BTreeMap<Arc<str>, SocketAddr>) {
        let known = self.pool.members();
        let same = known.len() == addresses.len()
            && known.iter().all(|member| {
                let backend = member.backend();
                addresses.get(backend.id.as_str()) == Some(&backend.address)
            });
        if !same {
            let servers = addresses.iter().map(|(name, address)| {
                Arc::new(ControlledServer { id: BackendId::new(name.clone()), address: *address, number: 0 })
            });
            // Names are unique here, and nothing else is asked of them.
            let _ = self.pool.replace(servers);
        }
    }

    fn verdicts(&self) -> BTreeMap<Arc<str>, balancer_core::Health> {
        let members = self.pool.members();
        let ids = members.iter().map(|member| member.backend().id.clone());
        ids.filter_map(|id| Some((id.as_str().into(), self.pool.verdict(&id)?.health))).collect()
    }
}

async fn look(options: &ControlOptions, process: &ControlledProcess) -> Result<Look, RuntimeError> {
    let client = &process.client;
    let now = Instant::now();
    let meant = client.process().await?;
    let states = client.servers_state(None).await?;
    let kinds = StatKinds::Servers;
    let stat = client.stat(StatScope::Proxy(&options.backend), kinds).await?;
    Ok(Look::new(meant, now, &options.backend, options.backends(), &states, &stat))
}

/// Now, in milliseconds since the epoch.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
