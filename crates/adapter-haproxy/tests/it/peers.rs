//! Nodes of ours among real HAProxys of every release found.

mod bare;
mod bench;
mod faults;
mod flood;
mod mesh;
mod recorded;
mod soak;
mod teach;
mod types;
