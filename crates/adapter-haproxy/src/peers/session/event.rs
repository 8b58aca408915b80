//! What happens on a connection, and what cannot.

use std::time::Duration;

use thiserror::Error;

use super::MAX_TABLES;
use crate::peers::codec::{Complaint, PeersError};
use crate::peers::entry::{Entry, EntryError};
use crate::peers::handshake::{HelloError, HelloStatus};
use crate::peers::table::TableDefinition;

/// What happened on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// Both sides have greeted; from now on there may be [teaching](super::PeerSession::teach).
    Open {
        /// The other side's name.
        peer: String,
        /// The version within 2.
        minor: u32,
    },
    /// The other side told, for the first time or otherwise than before, what a table is.
    Table(TableDefinition),
    /// An entry was changed there.
    Learned {
        /// The other side's number of its table.
        table: u64,
        /// What it is now.
        entry: Entry,
        /// The name of the server it is stuck to: `None` leaves the one known, an empty one un-pins.
        server_key: Option<Vec<u8>>,
        /// What is left of its life; `None` is as long as the table says.
        remaining: Option<Duration>,
        /// Part of an answer to our asking for everything.
        lesson: bool,
    },
    /// What we asked for has come. Most HAProxys never call themselves complete, although they told everything.
    Learnt {
        /// The other side holds that it knows everything.
        complete: bool,
    },
    /// The other side asks for everything: [teach](super::PeerSession::teach) it, then
    /// [end](super::PeerSession::end_lesson). End it at once if there is nothing to teach: HAProxy waits five seconds for
    /// it and tells nothing of its own meanwhile.
    Asked,
    /// The other side has heard the end of our lesson.
    Taught,
    /// Everything up to this update of ours has arrived.
    Acknowledged {
        /// Our number of the table.
        table: u64,
        /// What [`teach`](super::PeerSession::teach) gave.
        update: u32,
    },
    /// The connection is over; write the output and close.
    Closed(CloseReason),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side refused our greeting.
    Refused(HelloStatus),
    /// We refused its greeting.
    Unwelcome(HelloStatus),
    /// It sent no message of this protocol.
    Invalid(PeersError),
    /// It sent no greeting.
    NoGreeting(HelloError),
    /// It holds that of us.
    Complained(Complaint),
    /// Not a word for five seconds.
    Silent,
}

/// An entry that cannot be taught.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TeachError {
    /// Too early, or too late.
    #[error("the connection is not open: teach between the event of its opening and its end")]
    NotOpen,
    /// A table of no definition.
    #[error("table {table} is not defined on this connection: define it first")]
    NoTable {
        /// Its number.
        table: u64,
    },
    /// Too many tables.
    #[error("more than {MAX_TABLES} tables on one connection")]
    TooManyTables,
    /// An entry longer than HAProxy's buffer.
    #[error("an entry of {len} bytes is longer than HAProxy's buffer: shorten key or name")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// An entry that is not as its table says.
    #[error(transparent)]
    Entry(#[from] EntryError),
}
