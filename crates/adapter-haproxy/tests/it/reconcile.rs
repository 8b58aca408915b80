//! Plans, reloads and gates on real HAProxy.

mod apply;
mod farm;
mod faults;
mod gate;
