//! Integration tests: one binary.

#![allow(clippy::unwrap_used)]

mod burst;
mod selection;
mod speed;
mod vectors;
