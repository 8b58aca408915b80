//! Why a room got no server.

use crate::backend::BackendId;
use crate::state::{Admin, Health};
use crate::stick::{StickError, StickErrorKind};

/// Why a room got no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// No server may take the room.
    #[error("no server may take the room: all are down, drained, full or filtered out")]
    NoCandidate,
    /// The room lives on a server that takes nothing now, and was bound too recently to be moved.
    #[error("the room lives on {id}, which takes nothing ({admin}, {health}); it was placed too recently to move")]
    Pinned {
        /// The server.
        id: BackendId,
        /// What the operator ordered.
        admin: Admin,
        /// What was measured.
        health: Health,
    },
    /// The room lives on a server this process does not know: its membership is behind, or the server was removed.
    #[error("the room lives on {id}, which this process does not know: refresh the list of servers")]
    Unknown {
        /// The server.
        id: BackendId,
    },
    /// Whoever asked [waits no longer](crate::Ask::until); no claim was made.
    #[error("whoever asked for the room waits no longer; it was not placed")]
    Late,
    /// Others changed the binding at every attempt.
    #[error("the room's binding changed {attempts} times while it was being placed: try again")]
    Contended {
        /// How many times.
        attempts: u32,
    },
    /// A server that is to be removed is still in use; it stays closed meanwhile.
    #[error("{id} is still in use ({rooms} rooms, {units} units in flight): repeat its removal")]
    InUse {
        /// The server.
        id: BackendId,
        /// Rooms that were bound to it at the last look.
        rooms: u64,
        /// Units in flight to it at the last look.
        units: u32,
    },
    /// The stick table cannot be asked, and the room was not seen lately.
    #[error("the stick table cannot be asked")]
    Store(#[from] StickError),
}

impl RouteError {
    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(e) => matches!(e.kind(), StickErrorKind::Lost),
            // A cap starts anew, and servers come back; one that no filter lets in is the price of saying so.
            Self::NoCandidate
            | Self::Late
            | Self::Pinned { .. }
            | Self::Contended { .. }
            | Self::Unknown { .. }
            | Self::InUse { .. } => true,
        }
    }
}
