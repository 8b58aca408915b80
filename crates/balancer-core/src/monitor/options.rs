//! How a monitor works, and what it tells of each probe.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::load::Report;
use crate::probe::ProbeError;
use crate::state::{Health, HealthRules};

/// No target is probed more often than this, whatever the rules say.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a probe's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// It counted for the verdict.
    Applied,
    /// Nobody answered, and it is not held against the server: our own network is or was suspected.
    Held,
    /// A newer probe of the same server was quicker.
    Superseded,
    /// The server was removed meanwhile.
    Gone,
}

/// One probe and what it changed.
#[non_exhaustive]
pub struct ProbeOutcome<B> {
    /// The definition that was probed.
    pub backend: Arc<B>,
    /// When the probe began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// The report, or why there is none.
    pub result: Result<Report, ProbeError>,
    /// Whether it counted.
    pub effect: Effect,
    /// The health before this result; `Unknown` for a server that is gone.
    pub before: Health,
    /// The health after this result.
    pub health: Health,
}

impl<B> Clone for ProbeOutcome<B> {
    fn clone(&self) -> Self {
        Self { backend: self.backend.clone(), result: self.result.clone(), ..*self }
    }
}

impl<B: Backend> fmt::Debug for ProbeOutcome<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeOutcome")
            .field("id", self.id())
            .field("took", &self.took)
            .field("result", &self.result)
            .field("effect", &self.effect)
            .field("before", &self.before)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> ProbeOutcome<B> {
    /// Which server.
    pub fn id(&self) -> &BackendId {
        self.backend.id()
    }

    /// Whether the probe passed.
    pub fn ok(&self) -> bool {
        self.result.is_ok()
    }

    /// The result in words: `ok`, or the error.
    pub fn text(&self) -> String {
        self.result.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned())
    }

    /// The figures, if the probe passed.
    pub fn report(&self) -> Option<&Report> {
        self.result.as_ref().ok()
    }
}

/// Sees every outcome after it took effect, to store or publish it.
///
/// While it works its target is not probed again; no other target waits for it.
#[async_trait]
pub trait ProbeWatch<B: Backend>: Send + Sync {
    /// One probe was dealt with. A panic in here is logged and has no other effect.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await when the monitor shuts down or the target is removed.
    async fn seen(&self, outcome: &ProbeOutcome<B>);
}

/// How a monitor works.
pub struct MonitorOptions<B> {
    pub(super) rules: HealthRules,
    timeout: Option<Duration>,
    pub(super) concurrency: usize,
    pub(super) jitter: f64,
    pub(super) seed: u64,
    pub(super) tick: Duration,
    pub(super) watch: Option<Arc<dyn ProbeWatch<B>>>,
    pub(super) share: Option<Arc<Share<B>>>,
}

/// Says which servers a monitor probes.
pub(super) type Share<B> = dyn Fn(&B) -> bool + Send + Sync;

impl<B> fmt::Debug for MonitorOptions<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorOptions")
            .field("rules", &self.rules)
            .field("timeout", &self.deadline())
            .field("concurrency", &self.concurrency)
            .field("jitter", &self.jitter)
            .field("tick", &self.tick)
            .field("watch", &self.watch.is_some())
            .field("share", &self.share.is_some())
            .finish_non_exhaustive()
    }
}

impl<B> Default for MonitorOptions<B> {
    fn default() -> Self {
        Self::new(HealthRules::default())
    }
}

impl<B> MonitorOptions<B> {
    /// Options with these rules. An interval below 10 ms counts as 10 ms.
    pub fn new(rules: HealthRules) -> Self {
        use std::hash::BuildHasher;
        let seed = std::hash::RandomState::new().hash_one(0);
        let tick = Duration::from_secs(1);
        Self { rules, timeout: None, concurrency: 64, jitter: 0.1, seed, tick, watch: None, share: None }
    }

    /// The longest a probe may take, from its start. Default: the interval `inter`, at most 5 s.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// So many probes at once, at least 1. Default 64. Servers that were silent last time never take more than seven
    /// eighths of it (at least one), so that they cannot keep the others waiting.
    #[must_use]
    pub fn concurrency(mut self, probes: usize) -> Self {
        self.concurrency = probes.clamp(1, 1 << 16);
        self
    }

    /// Each interval is longer or shorter by up to this fraction, from 0 to 0.5. Default 0.1.
    #[must_use]
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = if fraction.is_finite() { fraction.clamp(0.0, 0.5) } else { 0.0 };
        self
    }

    /// The seed of the jitter, for repeatable runs. Default: chosen by chance.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How often the pool is told the time ([`Pool::tick`](crate::Pool::tick)). Default 1 s, at least 10 ms.
    #[must_use]
    pub fn tick(mut self, every: Duration) -> Self {
        self.tick = every.max(SHORTEST);
        self
    }

    /// Shows every outcome to this watch.
    #[must_use]
    pub fn watch(mut self, watch: Arc<dyn ProbeWatch<B>>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Only these servers are probed by the schedule; other processes probe the rest. Asked again with every tick, also
    /// of servers that were refused before. [`Monitor::poll_now`](crate::Monitor::poll_now) probes all the same, and
    /// what servers of others answer or not says nothing of our own network. Default: all.
    #[must_use]
    pub fn share(mut self, mine: impl Fn(&B) -> bool + Send + Sync + 'static) -> Self {
        self.share = Some(Arc::new(mine));
        self
    }

    /// Whether this server is one that our schedule probes.
    pub(super) fn is_mine(&self, server: &B) -> bool {
        self.share.as_ref().is_none_or(|mine| mine(server))
    }

    /// The longest time between two probes of a server that is up, jitter aside.
    pub(super) fn interval(&self) -> Duration {
        self.rules.inter.max(SHORTEST)
    }

    pub(super) fn deadline(&self) -> Duration {
        self.timeout.unwrap_or_else(|| self.rules.inter.clamp(SHORTEST, LONGEST_TIMEOUT))
    }

    /// The time from one probe to the next of a target whose definition changes again and again.
    pub(super) fn shortest_pause(&self) -> Duration {
        (self.rules.inter.min(Duration::from_secs(60)) / 16).max(SHORTEST)
    }

    /// How many probes of lately silent servers may run at once.
    pub(super) fn silent_share(&self) -> usize {
        (self.concurrency - self.concurrency.div_ceil(8)).max(1)
    }

    /// An interval, longer or shorter by chance.
    pub(super) fn jittered(&self, interval: Duration, random: u64) -> Duration {
        // 53 random bits make an even number from 0 up to 1.
        let even = (random >> 11) as f64 / (1u64 << 53) as f64;
        let factor = 1.0 + self.jitter * (2.0 * even - 1.0);
        let interval = interval.clamp(SHORTEST, Duration::from_secs(86_400));
        interval.mul_f64(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_odd_values_are_tamed() {
        let o = MonitorOptions::<()>::default().jitter(0.1);
        let ten = Duration::from_secs(10);
        assert_eq!(o.jittered(ten, 0), Duration::from_secs(9));
        let most = o.jittered(ten, u64::MAX);
        assert!(most > Duration::from_millis(10_999) && most <= Duration::from_secs(11), "{most:?}");
        assert_eq!(o.jittered(Duration::ZERO, 1 << 63), SHORTEST);
        assert!(o.jittered(Duration::MAX, 5) < Duration::from_secs(100_000));
        assert_eq!(MonitorOptions::<()>::default().jitter(f64::NAN).jittered(ten, 0), ten);
    }

    #[test]
    fn silent_servers_never_take_the_whole_budget() {
        let share = |n| MonitorOptions::<()>::default().concurrency(n).silent_share();
        assert_eq!([share(64), share(8), share(2), share(1)], [56, 7, 1, 1]);
    }
}
