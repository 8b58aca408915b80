//! Tests against the public interface, with real servers: Redis, fake BigBlueButton servers, our own HTTP server.
#![allow(clippy::unwrap_used)]

mod addresses;
mod callbacks;
mod callers;
mod failover;
mod ha;
mod hooks;
mod http;
mod importing;
mod logs;
mod metrics;
mod pass_on;
mod placing;
mod plan;
mod receiver;
mod recordings;
mod rotation;
mod s3;
mod schedules;
mod secrets;
mod stage;
mod store;
mod surfaces;
mod tenants;
mod weaknesses;
