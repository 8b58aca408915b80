//! Against a real HAProxy.
#![allow(clippy::unwrap_used)]

#[cfg(all(feature = "agents", feature = "runtime"))]
mod agent_check;
mod alone;
mod balance;
#[path = "../../src/testing/base64.rs"]
mod base64;
mod checked;
mod client;
#[cfg(feature = "control")]
mod control;
mod dice;
mod edumeet;
mod haproxy;
mod health;
mod inputs;
#[cfg(all(feature = "peers", feature = "runtime"))]
mod peers;
#[cfg(feature = "runtime")]
mod proof;
#[cfg(feature = "runtime")]
mod reconcile;
mod rendered;
mod responder;
mod rooms;
#[cfg(feature = "runtime")]
mod runtime;
mod sessions;
#[cfg(all(feature = "agents", feature = "runtime"))]
mod spoe;
mod stickiness;
mod vectors;
