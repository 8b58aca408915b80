//! Hashes whose output is promised: the same on every machine and in every version.

mod key;

pub(crate) use key::mix;
pub use key::stable_hash;
