//! How a pool behaves, and why it refuses a change.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::BackendId;
use crate::board::MAX_SLOTS;
use crate::load::LoadModel;
use crate::state::{Admin, Health};

/// How a pool behaves.
pub struct PoolOptions<B> {
    pub(super) load: Option<Arc<dyn LoadModel<B>>>,
    pub(super) trust_new: bool,
    pub(super) cap: Option<(u32, Duration)>,
    pub(super) stale_after: Duration,
    pub(super) dead_after: Option<Duration>,
}

impl<B> std::fmt::Debug for PoolOptions<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolOptions")
            .field("load", &self.load.as_ref().map(|l| l.unit()))
            .field("trust_new", &self.trust_new)
            .field("cap", &self.cap)
            .field("stale_after", &self.stale_after)
            .field("dead_after", &self.dead_after)
            .finish()
    }
}

impl<B> Clone for PoolOptions<B> {
    fn clone(&self) -> Self {
        Self { load: self.load.clone(), ..*self }
    }
}

impl<B> Default for PoolOptions<B> {
    fn default() -> Self {
        Self { load: None, trust_new: true, cap: None, stale_after: Duration::from_secs(180), dead_after: None }
    }
}

impl<B> PoolOptions<B> {
    /// Counts reported load by this model. Without one only units in flight count.
    #[must_use]
    pub fn load(mut self, model: impl LoadModel<B> + 'static) -> Self {
        self.load = Some(Arc::new(model));
        self
    }

    /// Whether a server that was never probed takes new rooms. Default `true`, as HAProxy does.
    #[must_use]
    pub fn trust_new(mut self, trust: bool) -> Self {
        self.trust_new = trust;
        self
    }

    /// At most `max` new rooms per server in each interval of this length. Default: no cap. A lease that
    /// is given up before it landed, such as that of a lost race for a room, does not count.
    #[must_use]
    pub fn cap(mut self, max: u32, every: Duration) -> Self {
        self.cap = Some((max, every.max(Duration::from_millis(1))));
        self
    }

    /// Figures older than this are a class of their own, chosen last. Default 180 s: three probe intervals of 60 s.
    #[must_use]
    pub fn stale_after(mut self, age: Duration) -> Self {
        self.stale_after = age;
        self
    }

    /// A server down for longer than this is dead: its sticks break. Default: never; in a pool shared by several
    /// processes only a shared verdict ([`Pool::declare`](crate::Pool::declare)) may say so.
    #[must_use]
    pub fn dead_after(mut self, grace: Duration) -> Self {
        self.dead_after = Some(grace);
        self
    }
}

/// Why the pool refused a change.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// Two definitions have one id.
    #[error("two servers have the id {id}: ids must be unique")]
    Duplicate {
        /// The id.
        id: BackendId,
    },
    /// No server has this id.
    #[error("no server has the id {id}")]
    Unknown {
        /// The id.
        id: BackendId,
    },
    /// More servers than a pool can hold.
    #[error("{count} servers: a pool holds at most {MAX_SLOTS}, counting removed ones with work in flight")]
    TooMany {
        /// How many were wanted.
        count: usize,
    },
    /// The server takes no work of this kind now.
    #[error("server {id} takes no work ({admin}, {health})")]
    Blocked {
        /// The id.
        id: BackendId,
        /// What the operator ordered.
        admin: Admin,
        /// What was measured.
        health: Health,
    },
}
