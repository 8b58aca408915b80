//! BigBlueButton for `balancer-core`.
#[cfg(feature = "testing")]
pub mod testing;
