//! What can be wrong with a backend's definition or an order to change it.

use super::version::Version;

/// A definition cannot be understood, or HAProxy would refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A line or expression is malformed.
    #[error("{text:?} {why}")]
    Syntax {
        /// Its beginning.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A line or expression that is not modelled: nothing can be said of this backend.
    #[error("{text:?} is not modelled, so no prediction can be exact: {what}")]
    Unsupported {
        /// The line.
        text: String,
        /// Which part of it.
        what: String,
    },
    /// This release of HAProxy does not know it.
    #[error("HAProxy {version} does not know {what}: use a later release")]
    Version {
        /// What it is.
        what: &'static str,
        /// The release.
        version: Version,
    },
    /// The release does not tell how its ring is numbered.
    #[error("HAProxy {version} may number its ring either way: state which with ring_base")]
    RingBase {
        /// The release.
        version: Version,
    },
    /// Two servers of one name.
    #[error("server {name:?} is defined twice: rename one")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two servers of one id.
    #[error("servers {first:?} and {second:?} both have id {id}: give each its own")]
    DuplicateId {
        /// The id.
        id: u32,
        /// The first of them.
        first: String,
        /// The second.
        second: String,
    },
    /// A value out of its range.
    #[error("{what} of {value} is out of range: {range} is allowed")]
    Range {
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// More than can be modelled.
    #[error("{count} {what} are too many: at most {max} are modelled")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// A server that a rule names is not there.
    #[error("no server is called {name:?}")]
    NoServer {
        /// The name.
        name: String,
    },
}

/// An order to change a server is refused; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such server.
    #[error("no server is called {name:?}")]
    NoServer {
        /// The name.
        name: String,
    },
    /// The algorithm is static: only weight 0 and the configured weight are allowed.
    #[error("the balance algorithm is static: only weight 0 and the configured {configured} are accepted")]
    Static {
        /// The configured weight.
        configured: u16,
    },
    /// Not a weight.
    #[error("{text:?} is no weight: write 0 to 256, or a percentage")]
    Weight {
        /// The order.
        text: String,
    },
    /// No request of this ticket.
    #[error("ticket {ticket} is not open: it was closed or refused")]
    NoTicket {
        /// Its number.
        ticket: u64,
    },
    /// The named server cannot be the one that was chosen.
    #[error("{name:?} cannot be chosen: one of {among} would be")]
    NotPossible {
        /// The name.
        name: String,
        /// Those that can.
        among: String,
    },
}
