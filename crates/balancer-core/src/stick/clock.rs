//! The wall clock of a stick store, which tests can replace.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest time to live a store keeps (ten years); longer wishes are held at this, so that no sum overflows.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Milliseconds since the Unix epoch, from the system or from a function of the caller.
#[derive(Clone)]
pub struct WallClock(Source);

#[derive(Clone)]
enum Source {
    System(Arc<CoarseWall>),
    Caller(Arc<dyn Fn() -> u64 + Send + Sync>),
}

impl WallClock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System(Arc::new(CoarseWall::new())))
    }

    /// A clock that answers what `read` answers, in milliseconds since the epoch.
    pub fn from_fn(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Source::Caller(Arc::new(read)))
    }

    /// Now, in milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        self.now_ms_by(None)
    }

    /// The same by a reading of the coarse clock, if there is one.
    pub(super) fn now_ms_by(&self, coarse: Option<coarsetime::Instant>) -> u64 {
        match &self.0 {
            Source::System(clock) => clock.now_ms(coarse.unwrap_or_else(coarse_now)),
            Source::Caller(read) => read(),
        }
    }
}

/// How long the wall clock runs by the monotonic one before it is read again, in milliseconds.
const REREAD: u64 = 100;

/// The system's wall clock, carried on by the coarse monotonic one, which is read in a fifth of the time and does not
/// hold up the processor. At most a tenth of a second late in following a step of the clock.
#[derive(Debug)]
struct CoarseWall {
    epoch: coarsetime::Instant,
    /// The wall clock's lead over the monotonic one, in milliseconds.
    lead: AtomicU64,
    /// When to read it again, by the monotonic clock; at first at once.
    reread: AtomicU64,
}

impl CoarseWall {
    fn new() -> Self {
        Self { epoch: coarse_now(), lead: AtomicU64::new(0), reread: AtomicU64::new(0) }
    }

    fn now_ms(&self, now: coarsetime::Instant) -> u64 {
        self.by(now.duration_since(self.epoch).as_millis(), || {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// The wall clock at this moment of the monotonic one.
    #[inline]
    fn by(&self, now: u64, read: impl FnOnce() -> u64) -> u64 {
        if now >= self.reread.load(Acquire) {
            let wall = read();
            self.lead.store(wall.wrapping_sub(now), Relaxed);
            self.reread.store(now + REREAD, Release);
            return wall;
        }
        now.wrapping_add(self.lead.load(Relaxed))
    }
}

/// Without the cached copy of the time, a line of memory that all threads would write.
fn coarse_now() -> coarsetime::Instant {
    coarsetime::Instant::now_without_cache_update()
}

/// What a table in memory tells the time by, in milliseconds since its beginning.
#[derive(Clone, Debug)]
pub(super) enum Ticks {
    /// The machine's coarse monotonic clock: a few milliseconds behind at most, and much cheaper to read.
    Coarse(coarsetime::Instant),
    /// Tokio's, which tests can pause.
    Tokio(tokio::time::Instant),
}

impl Ticks {
    pub(super) fn coarse() -> Self {
        Self::Coarse(coarse_now())
    }

    pub(super) fn tokio() -> Self {
        Self::Tokio(tokio::time::Instant::now())
    }

    pub(super) fn now(&self) -> u64 {
        self.read().0
    }

    /// Now, and the reading of the coarse clock if that was read.
    pub(super) fn read(&self) -> (u64, Option<coarsetime::Instant>) {
        match self {
            Self::Coarse(epoch) => {
                let now = coarse_now();
                (now.duration_since(*epoch).as_millis(), Some(now))
            }
            Self::Tokio(epoch) => (millis(tokio::time::Instant::now().saturating_duration_since(*epoch)), None),
        }
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&self.now_ms()).finish()
    }
}

/// A duration in whole milliseconds; what does not fit is held at the largest number.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A clock that is stepped forward and back, and read now and then.
        #[test]
        fn a_step_of_the_clock_is_followed_within_a_tenth_of_a_second(
            steps in prop::collection::vec((0_u64..300, prop::option::of(0_u64..1_000_000)), 1..50),
        ) {
            let clock = CoarseWall::new();
            let (mut now, mut offset, mut stepped) = (0, 500_000_u64, 0);
            for (pass, step) in steps {
                now += pass;
                if let Some(to) = step {
                    (offset, stepped) = (to, now);
                }
                let told = clock.by(now, || now + offset);
                if now >= stepped + REREAD {
                    prop_assert_eq!(told, now + offset);
                }
            }
        }
    }

    #[test]
    fn the_system_clock_is_told() {
        let clock = WallClock::system();
        for _ in 0..3 {
            let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let (before, told, after) = (system(), Duration::from_millis(clock.now_ms()), system());
            let near = Duration::from_secs(1);
            assert!(told + near > before && told < after + near, "{told:?} instead of {before:?} to {after:?}");
        }
    }
}
