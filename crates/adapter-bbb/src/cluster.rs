//! The servers and meetings of a cluster as this process sees them, kept in step with the shared store.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_core::{
    Backend, BackendId, Balancer, BalancerOptions, Event, HealthRules, LeastLoaded, Monitor, MonitorOptions, Plain,
    Pool, PoolOptions, ProbeOutcome, StickError, random,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::client::BbbClient;
use crate::egress::Egress;
use crate::options::BbbOptions;
use crate::server::{BbbLoad, BbbServer};
use crate::service::Counts;
use crate::store::{MeetingStore, ServerRecord};

mod deliver;
mod first;
mod hooks;
mod known;
mod leases;
mod poll;
mod registry;
mod rotate;
mod share;
mod strays;
mod sweep;
mod tenants;
mod twice;

pub(crate) use known::is_away;
pub(crate) use poll::Listing;
pub use sweep::Stray;
pub use twice::{Twice, Verdict as TwiceVerdict};

/// How often a store that nobody shares is read.
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
    /// As they were at the start.
    pub(crate) options: BbbOptions,
    /// As they are now: see [`Cluster::reload`].
    live: arc_swap::ArcSwap<BbbOptions>,
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
    share: Mutex<leases::Share>,
    /// How many orders to poll everything are under way.
    polling_now: AtomicU32,
    running: AtomicBool,
    /// Servers are to be polled by this process that it holds no lease of.
    leases_due: tokio::sync::Notify,
    /// How many meetings the last sweep found bound.
    bound: AtomicUsize,
    /// Meetings as they were last seen in the store.
    last_known: known::LastKnown,
    /// The tenants as they were last read.
    tenants: tenants::Known,
    /// Meetings that were found on two servers.
    twice: twice::Log,
    /// Meetings that first lists showed since the last sweep, and their bindings.
    found_first: tokio::sync::Mutex<HashMap<String, first::Found>>,
    /// By how much the store's clock is ahead of ours, in milliseconds.
    ahead_ms: AtomicI64,
    process: u64,
    processes: AtomicU32,
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
        let client = BbbClient::new(options.calls);
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
        let process = random();
        let cluster = Arc::new(Self {
            live: arc_swap::ArcSwap::from_pointee(options.clone()),
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
            share: Mutex::new(leases::Share::new(process)),
            polling_now: AtomicU32::new(0),
            running: AtomicBool::new(false),
            leases_due: tokio::sync::Notify::new(),
            bound: AtomicUsize::new(0),
            last_known: known::LastKnown::default(),
            tenants: tenants::Known::default(),
            twice: twice::Log::default(),
            found_first: tokio::sync::Mutex::default(),
            ahead_ms: AtomicI64::new(0),
            process,
            processes: AtomicU32::new(1),
            monitor: std::sync::OnceLock::new(),
            egress: std::sync::OnceLock::new(),
            handed_in: tokio::sync::Notify::new(),
            came_online: tokio::sync::Notify::new(),
        });
        let o = &cluster.options;
        let rules = HealthRules::new(o.healthy_threshold, o.unhealthy_threshold, o.poll_interval);
        let watch = poll::Watch(Arc::downgrade(&cluster));
        let probe = poll::Probe(Arc::downgrade(&cluster));
        let mine = Arc::downgrade(&cluster);
        let mut monitor = MonitorOptions::new(rules).timeout(o.call_time() * 3).watch(Arc::new(watch));
        if cluster.store.is_shared() {
            monitor = monitor
                .tick((cluster.beat().every / 4).min(Duration::from_millis(250)))
                .share(move |server: &BbbServer| mine.upgrade().is_some_and(|c| c.polls(server.id())));
        }
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
        self.running.store(true, Relaxed);
        tokio::select! {
            () = work => {}
            () = shutdown => {}
        }
        self.running.store(false, Relaxed);
        self.flush().await;
        self.withdraw().await;
    }

    async fn follow(&self) {
        let mut every = tokio::time::interval(if self.store.is_shared() { self.beat().every } else { SYNC });
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut told, mut refused, mut new) = (false, false, true);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.leases_due.notified(), if !refused => {}
            }
            match self.take_share().await {
                Ok(all) => {
                    refused = !all;
                    self.compare_clocks().await;
                    self.catch_up().await;
                    let read = Instant::now();
                    if std::mem::take(&mut new)
                        && let Ok(all) = self.store.meetings(None).await
                    {
                        self.remember(&all, read);
                    }
                    told = false;
                }
                Err(e) => {
                    self.last_known.lost();
                    // Once for each time that it is away.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(error = %e, "the servers cannot be read from the store");
                    }
                }
            }
        }
    }

    /// Whether [`run`](Self::run) runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Relaxed)
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
            if self.is_tidy_duty() {
                self.tidy().await;
            }
        }
    }

    /// The settings as they are now.
    pub(crate) fn live(&self) -> Arc<BbbOptions> {
        self.live.load_full()
    }

    /// Takes over settings while it runs: secrets and algorithms of callers, rules for parameters, the longest meeting,
    /// `url_host`, whether recordings' news is relayed, signed forms, the build, `get_meetings_disabled`,
    /// `id_is_hostname`, `external_voice_bridge`, dial-in and the rate limit. Everything else stays as it was at the start: the
    /// client, the pool and the store were built with it. Requests under way end with the settings they began with.
    pub fn reload(&self, options: BbbOptions) {
        let mut now = self.options.clone();
        now.checksums = options.checksums;
        now.create = options.create;
        now.join = options.join;
        now.max_duration = options.max_duration;
        now.url_host = options.url_host;
        now.callbacks.relay_recording_ready = options.callbacks.relay_recording_ready;
        now.signed_forms = options.signed_forms;
        now.build = options.build;
        now.get_meetings_disabled = options.get_meetings_disabled;
        now.id_is_hostname = options.id_is_hostname;
        now.external_voice_bridge = options.external_voice_bridge;
        now.rate = options.rate;
        now.dial_in = options.dial_in;
        self.live.store(Arc::new(now));
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

    /// How many meetings were bound when the last sweep looked.
    pub(crate) fn bound_count(&self) -> usize {
        self.bound.load(Relaxed)
    }

    /// The number by which other processes know this one.
    pub(crate) fn process_id(&self) -> u64 {
        self.process
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
        let outcomes = {
            let _all = leases::PollingAll::begin(&self.polling_now);
            if let Err(e) = self.take_all_leases().await {
                tracing::warn!(error = %e, "what the servers answer cannot be stored");
            }
            match self.monitor.get() {
                Some(m) => m.poll_now().await,
                None => Vec::new(),
            }
        };
        self.sweep().await;
        self.give_leases_back().await;
        self.tidy().await;
        self.sync().await?;
        self.forget_old_hooks().await;
        self.match_hooks(true).await;
        Ok(outcomes)
    }
}
