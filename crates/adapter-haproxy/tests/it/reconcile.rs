//! Plans, reloads and gates on real HAProxy.

mod apply;
pub(crate) mod crowd;
pub(crate) mod farm;
mod faults;
mod gate;
