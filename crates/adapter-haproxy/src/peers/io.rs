//! Connections of peers: to any number of HAProxys and to each other, for any number of tables.

mod address;
mod calls;
mod error;
mod fresh;
mod hear;
mod judge;
mod keys;
mod line;
mod link;
mod mirror;
mod names;
mod node;
mod options;
mod shelf;
mod status;
mod stick;
mod teach;
#[cfg(test)]
mod tests;
#[cfg(feature = "peers-tls")]
mod tls;

pub use address::PeerAddress;
pub use error::PeerNodeError;
pub use node::PeerNode;
pub use options::{MAX_PEERS, PeerNodeOptions, PeerServer, PeerTableOptions};
pub use status::{NodeEvent, PeerNodeStatus, PeerStatus, PeerTableStatus, PinnedEntry};
pub use stick::PeerStickStore;
#[cfg(feature = "peers-tls")]
pub use tls::PeerTls;
