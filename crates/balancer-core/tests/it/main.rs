//! Tests of the whole crate, in one binary.

mod monitor;
#[cfg(feature = "probes")]
mod probes;
