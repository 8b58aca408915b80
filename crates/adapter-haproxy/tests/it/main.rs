//! Against a real HAProxy.

mod balance;
mod haproxy;
mod responder;
