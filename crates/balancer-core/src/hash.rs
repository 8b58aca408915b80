//! Hashes whose output is promised: the same on every machine and in every version.

mod key;
mod ring;
mod simple;

pub(crate) use key::mix;
pub use key::stable_hash;
pub(crate) use ring::{Node, Ring, point};
pub use simple::SimpleRing;
