//! What keeps a node from its work.

use std::net::SocketAddr;

use thiserror::Error;

/// Why a node of peers cannot be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PeerNodeError {
    /// An address that is none.
    #[error("{address:?} is no address of a peer: write HOST:PORT, an IPv6 address in brackets")]
    Address {
        /// As it was given.
        address: String,
    },
    /// An address beyond private networks, without TLS.
    #[error(
        "{address} is public, and the peers protocol has neither password nor encryption: use a loopback or private \
         address, or TLS"
    )]
    Public {
        /// Which.
        address: String,
    },
    /// A name that cannot be told.
    #[error("{name:?} is no name of a peer: 1 to 200 visible characters without blanks")]
    Name {
        /// As it was given.
        name: String,
    },
    /// A peer of our own name, or two of one.
    #[error("the peer {name} is there twice: each has a name of its own, and ours is none of them")]
    Twice {
        /// Which.
        name: String,
    },
    /// More peers than a node can have.
    #[error("{count} peers are more than {most}")]
    TooMany {
        /// How many.
        count: usize,
        /// The most.
        most: usize,
    },
    /// A table that is there already.
    #[error("the table {name} has a store already")]
    Table {
        /// Which.
        name: String,
    },
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates that cannot be used.
    #[error("{what}: {why}")]
    Tls {
        /// Which part.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The node is running, or has run.
    #[error("a node runs once: make another")]
    Running,
}
