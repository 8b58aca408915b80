//! Integration tests: one binary.

#![allow(clippy::unwrap_used)]

mod burst;
mod bytes;
#[cfg(feature = "testing")]
mod crowd;
#[cfg(feature = "testing")]
mod prosody;
#[cfg(feature = "testing")]
mod proxy;
#[cfg(feature = "rest")]
mod rest;
mod selection;
#[cfg(all(feature = "rest", feature = "testing"))]
mod shard_health;
mod shard_memory;
mod shards;
mod vectors;
#[cfg(feature = "testing")]
mod xmpp_faults;
#[cfg(feature = "testing")]
mod xmpp_login;
#[cfg(feature = "testing")]
mod xmpp_removal;
#[cfg(feature = "testing")]
mod xmpp_room;
#[cfg(feature = "testing")]
mod xmpp_table;
mod xmpp_vectors;
