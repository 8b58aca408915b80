//! What happens, and how much of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Something that happened. Slow readers lose the oldest ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NodeEvent {
    /// A peer is connected.
    Open {
        /// Which.
        peer: String,
    },
    /// A peer is no longer connected, or could not be reached for the first time.
    Lost {
        /// Which.
        peer: String,
        /// Why.
        why: String,
    },
    /// A peer has told everything it knows.
    Learnt {
        /// Which.
        peer: String,
    },
    /// A peer has been told everything we know.
    Taught {
        /// Which.
        peer: String,
    },
    /// A peer pinned a key elsewhere than the store; it is told the store's word.
    Conflict {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Who.
        peer: String,
        /// What it told.
        told: String,
        /// What holds.
        kept: String,
    },
    /// A room whose server cannot be used was moved to where a peer put it.
    Moved {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The server before.
        from: String,
        /// The server now.
        to: String,
    },
    /// A peer's table has keys of another type than ours: it is left alone.
    OtherKeys {
        /// The table.
        table: String,
        /// Whose.
        peer: String,
    },
    /// The store could not be asked; what a peer told holds until it can.
    StoreLost {
        /// The table.
        table: String,
        /// Why.
        why: String,
    },
}

impl fmt::Display for NodeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { peer } => write!(f, "peer {peer} is connected"),
            Self::Lost { peer, why } => write!(f, "peer {peer} is not connected: {why}"),
            Self::Learnt { peer } => write!(f, "peer {peer} has told everything it knows"),
            Self::Taught { peer } => write!(f, "peer {peer} has been told everything"),
            Self::Conflict { table, key, peer, told, kept } => {
                write!(f, "{table}: {peer} has {key:?} on {told}; it stays on {kept}")
            }
            Self::Moved { table, key, from, to } => write!(f, "{table}: {key:?} moved from {from} to {to}"),
            Self::OtherKeys { table, peer } => write!(f, "{table}: keys of another type at {peer}, left alone"),
            Self::StoreLost { table, why } => write!(f, "{table}: the store cannot be asked: {why}"),
        }
    }
}

/// A node at a glance.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct PeerNodeStatus {
    /// Each peer, in the order given.
    pub peers: Vec<PeerStatus>,
    /// Each table, in the order given.
    pub tables: Vec<PeerTableStatus>,
}

/// A peer. All counts are since the node began.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Connections that came to be; all but the first are reconnections.
    pub connections: u64,
    /// Calls that failed, and connections that ended.
    pub failures: u64,
    /// Entries it told.
    pub updates_in: u64,
    /// Entries it was told.
    pub updates_out: u64,
    /// How often it told everything.
    pub lessons_in: u64,
    /// How often it was told everything because it asked.
    pub lessons_out: u64,
    /// Why the last call failed, or the last connection ended.
    pub last: Option<String>,
}

/// A table. All counts are since the node began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PeerTableStatus {
    /// Its name.
    pub name: String,
    /// Entries known now.
    pub entries: u64,
    /// Entries that peers told first, and the store took.
    pub learned: u64,
    /// Entries that peers had elsewhere than the store.
    pub conflicts: u64,
    /// Entries moved because their servers could not be used.
    pub moved: u64,
    /// Entries that peers put on servers that take no new ones: kept there by the peers, not by the store.
    pub closed: u64,
    /// Entries of servers by numbers that nobody named.
    pub unknown: u64,
    /// Entries that no peer can be told: their keys do not fit the table, or it is full.
    pub untaught: u64,
    /// Questions that the store did not answer.
    pub unanswered: u64,
}

/// Where a key is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PinnedEntry {
    /// The key, as the store writes it.
    pub key: String,
    /// The server, as the store names it.
    pub server: String,
    /// What is left of its life.
    pub remaining: Duration,
}

/// Counters of one table.
#[derive(Debug, Default)]
pub(super) struct TableCounts {
    pub(super) learned: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) untaught: AtomicU64,
    pub(super) unanswered: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl TableCounts {
    pub(super) fn status(&self, name: &str, entries: usize) -> PeerTableStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerTableStatus {
            name: name.to_owned(),
            entries: entries as u64,
            learned: read(&self.learned),
            conflicts: read(&self.conflicts),
            moved: read(&self.moved),
            closed: read(&self.closed),
            unknown: read(&self.unknown),
            untaught: read(&self.untaught),
            unanswered: read(&self.unanswered),
        }
    }
}
