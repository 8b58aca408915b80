//! Several Jitsis side by side: every room on one of them.
//!
//! A shard is one Jitsi: its web server, its XMPP server, its focus and its bridges. All of a room must reach the same
//! one, else there are two rooms of one name. Where a room goes is decided by the core's [`Balancer`] over one of its
//! stick tables; this module says what a shard is, how it is, and what its operators and the other pickers want of it.
//!
//! [`Balancer`]: balancer_core::Balancer

mod desk;
mod error;
mod focus;
#[cfg(feature = "rest")]
mod health;
mod load;
mod notes;
mod orders;
mod pins;
mod plan;
mod shard;
mod side;
#[cfg(test)]
mod tests;

pub use desk::{ShardChoice, ShardOptions, Shards};
pub use error::ShardError;
pub use focus::{FocusRooms, Kept, MAX_FOCUS_ROOMS};
#[cfg(feature = "rest")]
pub use health::{BridgeSource, PartSeen, ShardPart, ShardProbe, ShardSeen, focus_rooms};
pub use load::{ShardLoad, ShardUnit};
pub use orders::{ShardEvent, ShardRooms};
pub use pins::{MAX_PINNED_ROOMS, ShardPin, ShardPins};
pub use plan::ShardStep;
pub use shard::{MAX_SHARDS, Shard, ShardAddresses};
