//! A live HAProxy, asked and changed over its runtime API.
//!
//! Commands ([`Command`]) and answers ([`Info`], [`StatTable`], [`ServerState`], …) are pure and always there. So are
//! the two layers under a connection: [`Decoder`] cuts bytes into lines and answers, [`Session`] knows what was asked
//! and until when an answer is waited for. The feature `runtime` adds what needs sockets: `Client` for the socket of a
//! process, `MasterClient` for that of a master, `MapUpdate` for maps replaced in one step, `RuntimeProbe` for HAProxy's
//! own view of its servers.
//!
//! ```
//! use adapter_haproxy::runtime::{AdminState, Command, ServerName, ServerState};
//!
//! let server = ServerName::new("rooms", "mm1")?;
//! assert_eq!(Command::set_state(&server, AdminState::Drain).line(), "set server rooms/mm1 state drain");
//! let (name, last) = ("rooms/mm 1", "99999");
//! assert!(name.parse::<ServerName>().is_err()); // no blank ever becomes another word
//! assert!(last.parse::<u16>().is_err()); // and no port wraps around
//! # Ok::<(), adapter_haproxy::runtime::CommandError>(())
//! ```
//!
//! # What HAProxy does not say
//!
//! - An empty answer is success for orders and "nothing there" for questions; a sentence is success for some orders and
//!   a refusal for others. Each command knows which ([`Command::accept`]).
//! - 2.6 leaves out the empty line at the end of many refusals: answers are told apart by the prompt, never by it.
//! - `set server … addr … port 99999` is taken modulo 65536, `set table` creates an entry even when it fails, 2.6 takes
//!   any key of an address table as `0.0.0.0`: such orders are refused here.
//! - After a reload a connection still speaks to the old process for as long as it lives. `Client` lets go of
//!   connections early and tells of a new process.

mod codec;
mod command;
mod error;
mod ids;
mod reply;
mod report;
mod session;
mod word;

#[cfg(feature = "runtime")]
mod client;
#[cfg(feature = "runtime")]
mod limit;
#[cfg(feature = "runtime")]
mod map_update;
#[cfg(feature = "runtime")]
mod master;
#[cfg(feature = "runtime")]
mod probe;

#[cfg(feature = "runtime")]
pub(crate) use client::Pinned;
#[cfg(feature = "runtime")]
pub use client::{Client, ClientOptions, Process, RemoveOptions, RuntimeAddress, WorkerTarget};
pub use codec::{Decoder, Framing, MAX_ANSWER, MAX_LINE, Piece};
pub use command::{
    AddServer, AdminState, AgentState, Command, HealthState, MAX_REQUEST, MapEntry, ServerName, StatKinds, StatScope,
    TableFilter, TableKey, TableTest, WeightChange,
};
#[cfg(feature = "runtime")]
pub use error::RuntimeError;
pub use error::{CommandError, Refusal, RefusalKind, ReplyError};
pub use ids::ServerIds;
#[cfg(feature = "runtime")]
pub(crate) use limit::later;
#[cfg(feature = "runtime")]
pub use map_update::{MapReplaced, MapUpdate};
#[cfg(feature = "runtime")]
pub use master::{MasterClient, ReloadReport};
#[cfg(feature = "runtime")]
pub use probe::RuntimeProbe;
pub use reply::{
    CliSocket, Info, MapHit, MapInfo, MapLine, MasterProcess, PeerState, PeerTable, PeersFlags, PeersSection,
    ProcessKind, Processes, ReloadOutcome, Reply, ServerConns, ServerState, ServerStatus, SessionLine, StatColumns,
    StatKind, StatRow, StatTable, TableEntry, TableInfo, TableReader, TypedField, TypedObject, TypedStat, TypedValue,
    WeightInForce,
};
pub use report::{BySessions, ServerFigures};
pub use session::{Level, Session, SessionError, SessionEvent, SessionLimits};
