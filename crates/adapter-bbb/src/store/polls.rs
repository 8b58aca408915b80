//! What polls find, who may store it, and what processes tell one another of them.

use std::time::Duration;

use super::Figures;

/// What one poll wants stored.
#[derive(Clone, Debug, Default)]
pub struct PollRecord {
    /// The verdict to publish; absent means unchanged.
    pub online: Option<bool>,
    /// Measured load and figures; absent when the poll failed.
    pub measured: Option<(f64, Figures)>,
    /// The version, when it was asked for.
    pub bbb_version: Option<String>,
    /// The server was cordoned before the poll began: without load it is drained, and becomes disabled.
    pub draining: bool,
    /// The lease that the poll was made under, if leases are given out: without it, or when another process has taken
    /// it meanwhile, nothing is stored.
    pub fence: Option<Fence>,
    /// When the poll began by the store's clock, in milliseconds since the epoch.
    pub began_ms: u64,
    /// Breakout rooms that the poll saw.
    pub breakouts: Vec<String>,
}

/// A lease to poll a server: who holds it, and since which change of hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The process.
    pub process: u64,
    /// Larger with every change of hands.
    pub token: u64,
}

/// A live process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its number.
    pub process: u64,
    /// How long ago it was heard of.
    pub silent: Duration,
}

impl Peer {
    /// A process that was heard of so long ago.
    pub fn new(process: u64, silent: Duration) -> Self {
        Self { process, silent }
    }
}

/// What processes tell one another of a server's polls.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SharedPoll {
    /// Grows with every poll that succeeded.
    pub number: u64,
    /// When the last one that succeeded began by the store's clock, in milliseconds since the epoch.
    pub began_ms: u64,
    /// The load it measured.
    pub load: f64,
    /// The last poll failed.
    pub failed: bool,
    /// Processes that cannot reach the server.
    pub doubters: Vec<u64>,
}

/// What became of a [`doubt`](super::MeetingStore::doubt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another live process has to say so too.
    Alone,
    /// Enough processes say so; from here on this one holds the lease, if leases are given out.
    Agreed(Option<Fence>),
}
