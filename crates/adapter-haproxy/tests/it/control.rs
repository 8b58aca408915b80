//! The control loop over real HAProxys.

mod dying;
mod orders;
mod site;
mod splits;
mod two;
