//! How a balancer behaves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What to do with a room when the stick table cannot be asked, or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostStore {
    /// Refuse every room.
    Refuse,
    /// A room seen lately goes where it was last known to live, an unknown one is refused. Remembers this many rooms.
    LastKnown(usize),
    /// As [`LastKnown`](Self::LastKnown), and an unknown room is placed by the strategy, provided that its choices
    /// depend on the room key alone (`consistent-hash` without a bound); with another strategy it is refused. Only
    /// where no room was ever placed otherwise; else a room that lives elsewhere would be split.
    Hash(usize),
}

/// How a balancer behaves.
#[derive(Clone, Debug)]
pub struct BalancerOptions {
    pub(super) ttl: Duration,
    pub(super) settle: Duration,
    pub(super) attempts: u32,
    pub(super) lost_store: LostStore,
    pub(super) wall_ms: fn() -> u64,
}

impl Default for BalancerOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(8 * 3600),
            settle: Duration::from_secs(10),
            attempts: 8,
            lost_store: LostStore::LastKnown(65_536),
            wall_ms,
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl BalancerOptions {
    /// How long a room stays bound after it was last asked for. Default 8 h.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// A room that was bound less than this ago is not moved again: processes that disagree about a server must not
    /// push a room to and fro. Set it to the time a dead server takes to be noticed. Default 10 s.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// What happens to rooms while the stick table cannot be asked. Default: the last 65,536 rooms are remembered.
    #[must_use]
    pub fn lost_store(mut self, policy: LostStore) -> Self {
        self.lost_store = policy;
        self
    }

    /// The wall clock in milliseconds since the epoch, against which the ages of bindings are read.
    #[must_use]
    pub fn wall_clock(mut self, now: fn() -> u64) -> Self {
        self.wall_ms = now;
        self
    }
}
