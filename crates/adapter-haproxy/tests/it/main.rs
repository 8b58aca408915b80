//! Against a real HAProxy.
#![allow(clippy::unwrap_used)]

mod balance;
mod haproxy;
mod responder;
