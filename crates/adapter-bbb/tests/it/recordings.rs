//! Recordings: their index in every place it can be kept, and the calls about them.

mod away;
mod bench;
mod calls;
mod conformance;
mod schema;
pub(crate) mod tracks;
mod world;
