//! Runs the balancer.

use crate::failure::Failure;
use crate::settings::Settings;

/// Serves until told to stop.
///
/// # Errors
///
/// Whatever keeps it from starting.
#[allow(clippy::unused_async, clippy::needless_pass_by_value)]
pub(crate) async fn run(_settings: Settings) -> Result<(), Failure> {
    Err(Failure::failed("serve is not built yet"))
}
