//! Tests against the public interface, some with real servers.
#![allow(clippy::unwrap_used)]

mod monitor;
mod plan;
#[cfg(feature = "probes")]
mod probes;
#[cfg(feature = "redis-cluster")]
mod redis_cluster;
#[cfg(feature = "redis-sentinel")]
mod redis_sentinel;
#[cfg(feature = "redis")]
mod redis_server;
#[cfg(feature = "file")]
mod stick_file;
mod stick_memory;
#[cfg(feature = "redis")]
mod stick_redis;
#[cfg(feature = "redis-tls")]
mod stick_tls;
