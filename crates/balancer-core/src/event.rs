//! What changed, for logs and metrics: a bounded broadcast that nobody has to read.

use std::fmt;

use serde::Serialize;

use crate::backend::{BackendId, Weight};
use crate::state::{Admin, Health};

/// One change of the pool. Slow readers lose the oldest events, never block the pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A server joined the pool.
    Added {
        /// Which.
        id: BackendId,
    },
    /// A server left the pool.
    Removed {
        /// Which.
        id: BackendId,
    },
    /// A server's definition was replaced.
    Redefined {
        /// Which.
        id: BackendId,
    },
    /// The operator changed a server's state.
    Admin {
        /// Which.
        id: BackendId,
        /// Before.
        from: Admin,
        /// Now.
        to: Admin,
    },
    /// A server's measured health changed.
    Health {
        /// Which.
        id: BackendId,
        /// Before.
        from: Health,
        /// Now.
        to: Health,
        /// The last observation in words.
        why: String,
    },
    /// A server's weight in force changed.
    Weight {
        /// Which.
        id: BackendId,
        /// Now, in sixteenths.
        sixteenths: u16,
    },
    /// A server's figures became too old, or current again.
    Stale {
        /// Which.
        id: BackendId,
        /// Whether they are too old now.
        stale: bool,
    },
    /// Every probe failed without an answer at once: the monitor suspects its own network and changes no verdict.
    OwnNetwork {
        /// Whether it is suspected now.
        suspected: bool,
        /// How many servers gave no answer.
        silent: usize,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { id } => write!(f, "{id} added"),
            Self::Removed { id } => write!(f, "{id} removed"),
            Self::Redefined { id } => write!(f, "{id} redefined"),
            Self::Admin { id, from, to } => write!(f, "{id} set from {from} to {to}"),
            Self::Health { id, from, to, why } => write!(f, "{id} went from {from} to {to}: {why}"),
            Self::Weight { id, sixteenths } => {
                write!(f, "{id} has weight {}", Weight::from_sixteenths(*sixteenths))
            }
            Self::Stale { id, stale: true } => write!(f, "figures of {id} are too old"),
            Self::Stale { id, stale: false } => write!(f, "figures of {id} are current again"),
            Self::OwnNetwork { suspected: true, silent } => {
                write!(f, "none of {silent} servers answers: suspecting our own network, verdicts are held")
            }
            Self::OwnNetwork { suspected: false, .. } => f.write_str("servers answer again"),
        }
    }
}
