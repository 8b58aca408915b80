//! What happened, for logs.

use std::fmt;

use serde::Serialize;

use super::Why;
use super::judge::Verdict;
use super::status::Order;

/// Something that happened. Slow readers lose the oldest ones.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ControlEvent {
    /// A process answers, one that was not known so far.
    Process {
        /// Its name.
        process: String,
        /// Its number.
        pid: u32,
        /// Its release.
        version: String,
    },
    /// A process does not answer.
    ProcessLost {
        /// Its name.
        process: String,
        /// Why.
        why: String,
    },
    /// The verdict on a server changed.
    Server {
        /// Which.
        server: String,
        /// Now.
        verdict: Verdict,
        /// Whether its rooms move.
        dead: bool,
    },
    /// A room moved.
    Moved {
        /// Which, percent-encoded.
        room: String,
        /// From there.
        from: String,
        /// To there.
        to: String,
        /// Why.
        why: Why,
    },
    /// Rooms of a server moved.
    MovedAll {
        /// From there.
        server: String,
        /// How many.
        rooms: usize,
        /// How long it took from the verdict on, in milliseconds.
        took_ms: u64,
    },
    /// Rooms cannot move: no server takes any.
    Nowhere {
        /// How many.
        rooms: usize,
    },
    /// Pins were pushed.
    Pushed {
        /// To this process.
        process: String,
        /// New ones.
        added: usize,
        /// Changed ones.
        changed: usize,
        /// Ended ones.
        removed: usize,
    },
    /// The store does not answer: rooms that are known stay, nothing moves.
    StoreLost {
        /// Why.
        why: String,
    },
    /// The store answers again.
    StoreBack,
    /// An order was given, changed or ended.
    Ordered {
        /// About this server.
        server: String,
        /// The order; none ends it.
        order: Option<Order>,
    },
    /// Something could not be done.
    Trouble {
        /// In words.
        text: String,
    },
}

impl ControlEvent {
    /// Whether somebody should look.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::ProcessLost { .. } | Self::Nowhere { .. } | Self::StoreLost { .. } | Self::Trouble { .. } => true,
            Self::Server { verdict, dead, .. } => *dead || *verdict != Verdict::Up,
            _ => false,
        }
    }

    /// Whether it names a room.
    pub fn names_room(&self) -> bool {
        matches!(self, Self::Moved { .. })
    }
}

impl fmt::Display for ControlEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { process, pid, version } => write!(f, "{process} is process {pid}, HAProxy {version}"),
            Self::ProcessLost { process, why } => write!(f, "{process} does not answer: {why}"),
            Self::Server { server, verdict, dead: true } => {
                write!(f, "{server} is {}: its rooms move", verdict.as_str())
            }
            Self::Server { server, verdict, dead: false } => write!(f, "{server} is {}", verdict.as_str()),
            Self::Moved { room, from, to, why } => write!(f, "room {room} moved from {from} to {to}: {}", why.as_str()),
            Self::MovedAll { server, rooms, took_ms } => write!(f, "{rooms} rooms of {server} moved in {took_ms} ms"),
            Self::Nowhere { rooms } => write!(f, "{rooms} rooms cannot move: no server takes rooms"),
            Self::Pushed { process, added, changed, removed } => {
                write!(f, "pins of {process}: {added} added, {changed} changed, {removed} removed")
            }
            Self::StoreLost { why } => {
                write!(f, "the store is lost, rooms that are known stay and nothing moves: {why}")
            }
            Self::StoreBack => f.write_str("the store answers again"),
            Self::Ordered { server, order: Some(order) } => write!(f, "{server} is ordered to {}", order.as_str()),
            Self::Ordered { server, order: None } => write!(f, "{server} is under no order"),
            Self::Trouble { text } => f.write_str(text),
        }
    }
}
