//! The servers and meetings of a cluster as this process sees them, kept in step with the shared store.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_core::{
    Admin, BackendId, Balancer, BalancerOptions, Binding, Event, Health, HealthRules, LeastLoaded, Monitor,
    MonitorOptions, Plain, Pool, PoolOptions, ProbeOutcome, Report, StickError, random,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::client::BbbClient;
use crate::egress::Egress;
use crate::options::BbbOptions;
use crate::server::{BbbLoad, BbbServer, milli};
use crate::service::Counts;
use crate::store::{MeetingStore, Registry, ServerRecord, ServerState};

mod deliver;
mod first;
mod hooks;
mod poll;
mod strays;
mod sweep;

pub(crate) use poll::Listing;
pub use sweep::Stray;

/// How often the shared store is read for changes made by others.
const SYNC: Duration = Duration::from_secs(2);
/// How often guesses of load are written to the shared store.
const FLUSH: Duration = Duration::from_millis(250);
/// A store that takes longer to tell its time is not believed.
const CLOCK_ANSWER: Duration = Duration::from_millis(500);
/// How long a process counts as live after its last word.
const PROCESS_TTL: Duration = Duration::from_secs(15);

/// A cluster cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The client cannot be built.
    #[error(transparent)]
    Client(#[from] crate::client::ClientError),
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StickError),
}

/// What this process knows of the servers.
#[derive(Debug, Default)]
struct Known {
    records: HashMap<BackendId, ServerRecord>,
    epoch: Option<u64>,
    read: Option<Instant>,
}

/// The running cluster: pool, balancer, poller and shared store.
pub struct Cluster {
    pub(crate) options: BbbOptions,
    pub(crate) pool: Arc<Pool<BbbServer>>,
    pub(crate) balancer: Balancer<BbbServer>,
    pub(crate) store: Arc<dyn MeetingStore>,
    pub(crate) client: BbbClient,
    pub(crate) started: Instant,
    pub(crate) counts: Counts,
    known: Mutex<Known>,
    syncing: tokio::sync::Mutex<()>,
    lists: Mutex<HashMap<BackendId, Listing>>,
    /// Servers that fail our polls.
    failing: Mutex<HashMap<BackendId, poll::Failing>>,
    guesses: Mutex<HashMap<BackendId, f64>>,
    /// Meetings that the last sweep saw running although they are bound nowhere.
    unbound: Mutex<sweep::Unbound>,
    strays: Mutex<Vec<Stray>>,
    /// Servers that a list was used of since they appeared or came back.
    settled: Mutex<HashSet<BackendId>>,
    /// Empty meetings that first lists showed since the last sweep, and their bindings.
    found_empty: tokio::sync::Mutex<HashMap<String, Binding>>,
    /// By how much the store's clock is ahead of ours, in milliseconds.
    ahead_ms: AtomicI64,
    process: u64,
    processes: std::sync::atomic::AtomicU32,
    monitor: std::sync::OnceLock<Monitor<BbbServer>>,
    /// The client for callbacks, made when the first one is due.
    egress: std::sync::OnceLock<Egress>,
    /// A callback was put into the queue.
    handed_in: tokio::sync::Notify,
    /// A server came online, and may lack hooks.
    came_online: tokio::sync::Notify,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("pool", &self.pool)
            .field("store", &self.store.describe())
            .finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Reads the servers from the store and builds the pool. Nothing is polled yet: see [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start(options: BbbOptions, store: Arc<dyn MeetingStore>) -> Result<Arc<Self>, ClusterError> {
        let client = BbbClient::new(options.calls)?;
        Self::start_with(options, store, client).await
    }

    /// [`start`](Self::start) with a client that is there already; its limits are those of the calls.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start_with(
        mut options: BbbOptions,
        store: Arc<dyn MeetingStore>,
        client: BbbClient,
    ) -> Result<Arc<Self>, ClusterError> {
        options.calls = *client.limits();
        let strategy = Box::new(Plain::new("least-loaded", LeastLoaded));
        let mut pool = PoolOptions::default()
            .load(BbbLoad { new_meeting: options.new_meeting })
            .trust_new(false)
            .stale_after(options.poll_interval * 3);
        if let Some((max, every)) = options.cap {
            pool = pool.cap(max, every);
        }
        let pool = Arc::new(Pool::new(strategy, pool));
        let sticks = BalancerOptions::default().ttl(options.meeting_ttl).settle(options.call_time());
        let balancer = Balancer::new(pool.clone(), store.clone(), sticks);
        let cluster = Arc::new(Self {
            options,
            pool,
            balancer,
            store,
            client,
            started: Instant::now(),
            counts: Counts::default(),
            known: Mutex::default(),
            syncing: tokio::sync::Mutex::default(),
            lists: Mutex::default(),
            failing: Mutex::default(),
            guesses: Mutex::default(),
            unbound: Mutex::default(),
            strays: Mutex::default(),
            settled: Mutex::default(),
            found_empty: tokio::sync::Mutex::default(),
            ahead_ms: AtomicI64::new(0),
            process: random(),
            processes: std::sync::atomic::AtomicU32::new(1),
            monitor: std::sync::OnceLock::new(),
            egress: std::sync::OnceLock::new(),
            handed_in: tokio::sync::Notify::new(),
            came_online: tokio::sync::Notify::new(),
        });
        let o = &cluster.options;
        let rules = HealthRules::new(o.healthy_threshold, o.unhealthy_threshold, o.poll_interval);
        let watch = poll::Watch(Arc::downgrade(&cluster));
        let probe = poll::Probe(Arc::downgrade(&cluster));
        let monitor = MonitorOptions::new(rules).timeout(o.call_time() * 3).watch(Arc::new(watch));
        // Just built: nobody else can have set it.
        let _ = cluster.monitor.set(Monitor::new(cluster.pool.clone(), Arc::new(probe), monitor));
        cluster.compare_clocks().await;
        cluster.sync().await?;
        Ok(cluster)
    }

    /// Polls, follows the store and keeps both in step until `shutdown` resolves.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the work; the store stays consistent.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let this = &self;
        let work = async {
            let never = std::future::pending::<()>();
            let monitor = async {
                if let Some(m) = this.monitor.get() {
                    m.run(never).await;
                }
            };
            tokio::join!(
                monitor,
                this.follow(),
                this.flush_loop(),
                this.sweep_loop(),
                this.tell_of_network(),
                this.deliver_loop(),
                this.hook_loop(),
            );
        };
        tokio::select! {
            () = work => {}
            () = shutdown => {}
        }
        self.flush().await;
    }

    async fn follow(&self) {
        let mut every = tokio::time::interval(SYNC);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Ok(n) = self.store.announce(self.process, PROCESS_TTL).await {
                self.processes.store(n, Relaxed);
                self.pool.set_processes(n);
            }
            self.compare_clocks().await;
            if let Err(e) = self.sync().await {
                tracing::warn!(error = %e, "the servers cannot be read from the store");
            }
        }
    }

    /// Tells operators when the monitor suspects our own network, and when it no longer does.
    async fn tell_of_network(&self) {
        let mut events = self.pool.subscribe();
        loop {
            match events.recv().await {
                Ok(e @ Event::OwnNetwork { suspected: true, .. }) => tracing::warn!("{e}"),
                Ok(e @ Event::OwnNetwork { .. }) => tracing::info!("{e}"),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                // The pool lives as long as we do.
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn flush_loop(&self) {
        let mut every = tokio::time::interval(FLUSH);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.flush().await;
        }
    }

    /// Writes guesses of load made since the last time; they are only a hint for others, so a failure is dropped.
    async fn flush(&self) {
        let guesses: Vec<(BackendId, f64)> = lock(&self.guesses).drain().collect();
        if !guesses.is_empty() {
            let _ = self.store.add_loads(&guesses).await;
        }
    }

    /// Guesses that a server's load grew by so many points.
    pub(crate) fn guess(&self, id: &BackendId, points: f64) {
        *lock(&self.guesses).entry(id.clone()).or_default() += points;
    }

    /// A poll will measure what was guessed before it began.
    fn forget_guess(&self, id: &BackendId) {
        lock(&self.guesses).remove(id);
    }

    async fn sweep_loop(&self) {
        let mut every = tokio::time::interval(self.options.poll_interval);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        every.tick().await;
        loop {
            every.tick().await;
            self.sweep().await;
        }
    }

    /// Reads the servers and makes the pool follow.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; everything stays as it was.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn sync(&self) -> Result<(), StickError> {
        let _one = self.syncing.lock().await;
        let registry = self.store.servers().await?;
        self.apply(registry);
        Ok(())
    }

    /// [`sync`](Self::sync) when the store has changed since.
    pub(crate) async fn sync_if(&self, epoch: u64) -> Result<(), StickError> {
        if lock(&self.known).epoch == Some(epoch) {
            return Ok(());
        }
        self.sync().await
    }

    fn apply(&self, registry: Registry) {
        let mut known = lock(&self.known);
        let mut definitions = Vec::with_capacity(registry.servers.len());
        let mut changed = known.records.len() != registry.servers.len();
        for record in &registry.servers {
            let wanted = BbbServer::new(record);
            match self.pool.member(record.id.as_str()) {
                Some(m) if **m.backend() == wanted => definitions.push(m.backend().clone()),
                _ => {
                    changed = true;
                    definitions.push(Arc::new(wanted));
                }
            }
        }
        if changed && let Err(e) = self.pool.replace(definitions) {
            tracing::error!(error = %e, "the stored servers cannot be used");
            return;
        }
        for record in &registry.servers {
            let before = known.records.get(&record.id);
            self.follow_record(record, before);
        }
        known.records = registry.servers.into_iter().map(|r| (r.id.clone(), r)).collect();
        known.epoch = Some(registry.epoch);
        known.read = Some(Instant::now());
        let records = &known.records;
        lock(&self.lists).retain(|id, _| records.contains_key(id));
        lock(&self.failing).retain(|id, _| records.contains_key(id));
        lock(&self.settled).retain(|id| records.get(id).is_some_and(|r| r.online));
    }

    fn follow_record(&self, record: &ServerRecord, before: Option<&ServerRecord>) {
        let id = &record.id;
        let admin = match record.state {
            ServerState::Enabled => Admin::Ready,
            ServerState::Cordoned => Admin::Drain,
            ServerState::Disabled => Admin::Maint,
        };
        // The server is in the pool: `apply` has just put it there.
        let _ = self.pool.set_admin(id, admin);
        let health = self.pool.verdict(id).map(|v| v.health).unwrap_or_default();
        match (record.online, health) {
            // Offline is the shared verdict: the sticks of this server are broken for everybody.
            (false, Health::Dead) => {}
            (false, _) if before.is_none_or(|b| b.online) => {
                let _ = self.pool.declare(id, Health::Dead, "offline by the shared verdict");
            }
            (true, Health::Unknown) => {
                let _ = self.pool.declare(id, Health::Up, "online by the shared verdict");
            }
            // Others reach it, we do not: no new meetings from here, but its meetings stay.
            (true, Health::Dead) => {
                let _ = self.pool.declare(id, Health::Down, "online for others, not answering to us");
            }
            _ => {}
        }
        if before.is_none()
            && let Some(load) = record.load
        {
            let _ = self.pool.report(id, Report::new(Instant::now()).with_cost(milli(load)));
        }
    }

    /// The servers as last read, by id.
    pub(crate) fn records(&self) -> Vec<ServerRecord> {
        let mut all: Vec<ServerRecord> = lock(&self.known).records.values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// One server as last read.
    pub(crate) fn record(&self, id: &BackendId) -> Option<ServerRecord> {
        lock(&self.known).records.get(id).cloned()
    }

    /// A server's definition.
    pub(crate) fn server(&self, id: &BackendId) -> Option<Arc<BbbServer>> {
        self.pool.member(id.as_str()).map(|m| m.backend().clone())
    }

    /// Now by the wall clock, in milliseconds since the epoch.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.options.clock.now_ms()
    }

    /// Now by the clock that stamps bindings, in milliseconds since the epoch.
    pub(crate) fn store_ms(&self) -> u64 {
        self.wall_ms().saturating_add_signed(self.ahead_ms.load(Relaxed))
    }

    /// Learns by how much the store's clock is ahead of ours. One that cannot be asked, or only slowly, keeps the last
    /// answer.
    async fn compare_clocks(&self) {
        let began = Instant::now();
        let Ok(Some(theirs)) = self.store.clock_ms().await else { return };
        let took = began.elapsed();
        if took <= CLOCK_ANSWER {
            // It looked at its clock half way between question and answer.
            let then = self.wall_ms().saturating_sub(u64::try_from(took.as_millis() / 2).unwrap_or_default());
            let ahead = i128::from(theirs) - i128::from(then);
            self.ahead_ms.store(i64::try_from(ahead).unwrap_or_default(), Relaxed);
        }
    }

    /// Notes a verdict that we published, before the next read of the store shows it.
    fn note_online(&self, id: &BackendId, online: bool) {
        if let Some(r) = lock(&self.known).records.get_mut(id) {
            r.online = online;
        }
    }

    /// Units under way from this process to its servers: creates that were not answered yet.
    pub fn in_flight(&self) -> u32 {
        self.pool.members().iter().map(|m| m.in_flight()).sum()
    }

    /// Meetings that the last sweep saw running where nobody is led to: left over when theirs moved off a server that
    /// was given up. Those with people in them are not ended.
    pub fn strays(&self) -> Vec<Stray> {
        lock(&self.strays).clone()
    }

    /// How many live processes share the store.
    pub(crate) fn processes(&self) -> u32 {
        self.processes.load(Relaxed)
    }

    /// Seconds until the next poll is due at the latest.
    pub(crate) fn next_poll(&self) -> Option<f64> {
        let view = self.pool.view(Instant::now());
        let oldest = view.iter().filter_map(|v| v.age).max()?;
        Some(self.options.poll_interval.saturating_sub(oldest).as_secs_f64())
    }

    /// Polls every server now; complete when it returns, removals of ended meetings included.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; nothing was polled then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave some results applied and others not.
    pub async fn poll_now(self: &Arc<Self>) -> Result<Vec<ProbeOutcome<BbbServer>>, StickError> {
        self.sync().await?;
        let outcomes = match self.monitor.get() {
            Some(m) => m.poll_now().await,
            None => Vec::new(),
        };
        self.sweep().await;
        self.sync().await?;
        self.forget_old_hooks().await;
        self.match_hooks().await;
        Ok(outcomes)
    }
}
