//! HAProxy's peers protocol, versions 2.0 and 2.1: entries of stick tables, learned and taught.
//!
//! HAProxys of one `peers` section tell each other every change of their stick tables. A program named in that section
//! hears what each of them pins where, and can pin itself: of all ways to write a stick table this is the only one that
//! writes a server's name, in bulk, and with a remaining time.
//!
//! Everything but the connections (the feature `peers`) is pure. [`Message`] is what goes over the connection, [`MessageCutter`] finds messages in bytes,
//! [`TableDefinition`] says how an entry of a table is written, and [`PeerSession`] is one connection: it greets, asks
//! for everything, keeps the names (`dictionary`) and update numbers of both directions, acknowledges and keeps alive.
//!
//! ```
//! use std::time::Instant;
//! use adapter_haproxy::peers::{PeerOptions, PeerSession};
//!
//! let mut session = PeerSession::connect(PeerOptions::new("rust1"), "lb1", Instant::now());
//! assert!(session.take_output().starts_with(b"HAProxyS 2.1\nlb1\nrust1 "));
//! ```
//!
//! # What to know
//!
//! - The protocol knows neither passwords nor encryption: keep it on the loopback interface or wrap it in TLS.
//! - HAProxy ignores updates of a table whose definition is not byte for byte its own: copy the one it sent.
//! - The name of a server beats its number. An empty name un-pins; no name leaves the one that is there.
//! - What HAProxy learns it does not pass on before its next full lesson: be a peer of each of them.
//! - A life can be lengthened, not shortened, and there is no deletion.
//!
//! # Connections
//!
//! With the feature `peers` there is `PeerNode`, which listens for HAProxys and calls them, and `PeerStickStore`, a
//! [`StickStore`](balancer_core::StickStore) that is one table with theirs. On each HAProxy a node needs one line, in the
//! `peers` section that the stick table names; in the node each HAProxy is known by its `localpeer`:
//!
//! ```text
//! peers mesh
//!     bind 10.0.0.1:10000
//!     server lb1
//!     server lb2 10.0.0.2:10000
//!     server rust1 10.0.0.9:10000
//! backend rooms
//!     stick-table type string len 64 size 1m expire 8h peers mesh
//!     stick on url_param(roomId)
//! ```

mod codec;
mod dictionary;
mod entry;
mod handshake;
#[cfg(feature = "peers")]
mod io;
mod session;
mod table;
#[cfg(test)]
mod tests;

pub use codec::{Complaint, Control, MAX_MESSAGE, Message, MessageCutter, PeersError, Update};
pub use dictionary::{DICTIONARY_LEN, NameRef, NamesReceived, NamesSent};
pub use entry::{Datum, Entry, EntryError, Key, Rate};
pub use handshake::{Hello, HelloError, HelloStatus, MAX_HELLO_LINE};
#[cfg(feature = "peers-tls")]
pub use io::PeerTls;
#[cfg(feature = "peers")]
pub use io::{
    MAX_PEERS, NodeEvent, PeerAddress, PeerNode, PeerNodeError, PeerNodeOptions, PeerNodeStatus, PeerServer,
    PeerStatus, PeerStickStore, PeerTableOptions, PeerTableStatus, PinnedEntry,
};
pub use session::{CloseReason, MAX_TABLES, PeerEvent, PeerOptions, PeerSession, TeachError};
pub use table::{DataKind, DataType, KeyType, MAX_ARRAY, TableDefinition};
