//! Tests against the public interface, with real servers: Redis, fake BigBlueButton servers, our own HTTP server.
#![allow(clippy::unwrap_used)]

mod failover;
mod http;
mod metrics;
mod placing;
mod plan;
mod redis_server;
mod schedules;
mod secrets;
mod stage;
mod store;
