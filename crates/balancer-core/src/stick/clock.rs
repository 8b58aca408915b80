//! The wall clock of a stick store, which tests can replace.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The longest time to live a store keeps (ten years); longer wishes are held at this, so that no sum overflows.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Milliseconds since the Unix epoch, from the system or from a function of the caller.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// The system's clock.
    pub fn system() -> Self {
        // The coarse clock is read in a fifth of the time, and a few milliseconds behind at most.
        Self::from_fn(|| coarsetime::Clock::now_since_epoch().as_millis())
    }

    /// A clock that answers what `read` answers, in milliseconds since the epoch.
    pub fn from_fn(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Now, in milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

/// What a table in memory tells the time by, in nanoseconds since its beginning.
#[derive(Clone, Debug)]
pub(super) enum Ticks {
    /// The machine's coarse monotonic clock: a few milliseconds behind at most, and much cheaper to read.
    Coarse(coarsetime::Instant),
    /// Tokio's, which tests can pause.
    Tokio(tokio::time::Instant),
}

impl Ticks {
    pub(super) fn coarse() -> Self {
        Self::Coarse(coarsetime::Instant::now())
    }

    pub(super) fn tokio() -> Self {
        Self::Tokio(tokio::time::Instant::now())
    }

    /// 584 years fit.
    pub(super) fn now(&self) -> u64 {
        match self {
            Self::Coarse(epoch) => coarsetime::Instant::now().duration_since(*epoch).as_nanos(),
            Self::Tokio(epoch) => nanos(tokio::time::Instant::now().saturating_duration_since(*epoch)),
        }
    }
}

/// A duration in whole nanoseconds; what does not fit is held at the largest number.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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

#[cfg(any(feature = "file", feature = "redis"))]
/// A duration in whole milliseconds; what does not fit is held at the largest number.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
