//! What users are promised of a live HAProxy, shown on real ones and counted. Each has a short form here and a long one
//! that a command runs.

mod files;
mod peers;
mod reload;
mod scale;
mod size;
