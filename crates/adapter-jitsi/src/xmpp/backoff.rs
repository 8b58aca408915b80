//! How long to wait before the next try.

use std::time::{Duration, Instant};

/// Longer than any program runs: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Waits that double up to a cap, each cut down by chance to something between a half and the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before try number `attempt`, the first being 0; `random` is any number, evenly distributed.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let whole = self.first.saturating_mul(1 << attempt.min(20)).min(self.cap);
        let share = (random >> 32) as f64 / f64::from(u32::MAX);
        // Rounding may exceed the longest time there is.
        Duration::try_from_secs_f64(whole.as_secs_f64() * (0.5 + share.min(1.0) / 2.0)).unwrap_or(whole)
    }
}

/// The end of a wait. One that is too long for the clock ends in the far future, never at once.
pub(super) fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn waits_grow_to_the_cap_and_differ_by_chance() {
        let backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(10) };
        assert_eq!(backoff.delay(0, u64::MAX), Duration::from_secs(1));
        assert_eq!(backoff.delay(2, u64::MAX), Duration::from_secs(4));
        assert_eq!(backoff.delay(2, 0), Duration::from_secs(2));
        assert_eq!(backoff.delay(u32::MAX, u64::MAX), Duration::from_secs(10));
        let long = Backoff { first: Duration::MAX, cap: Duration::MAX };
        assert!(long.delay(3, 0) > Duration::from_secs(1));
        assert_eq!(long.delay(3, u64::MAX), Duration::MAX);
    }
}
