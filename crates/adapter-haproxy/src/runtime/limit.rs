//! Until when something may take.

use std::time::Duration;

use tokio::time::Instant;

/// How long one call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) began: Instant,
    pub(super) total: Duration,
    /// Between two pieces of an answer.
    pub(super) silence: Duration,
}

impl Limit {
    pub(super) fn end(self) -> Instant {
        later(self.began, self.total)
    }
}

/// This long after that. What no clock can tell is thirty years away, as for tokio.
pub(crate) fn later(from: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    from.checked_add(by).or_else(|| from.checked_add(FAR)).unwrap_or(from)
}
