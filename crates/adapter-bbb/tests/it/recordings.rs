//! Recordings: their index in every place it can be kept, and the calls about them.

mod away;
mod bench;
mod calls;
mod conformance;
mod schema;
mod tls;
pub(crate) mod tracks;
pub(crate) mod world;
