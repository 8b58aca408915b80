//! Shows a balancer and pretended servers at work.

use crate::cli::DemoOptions;
use crate::failure::Failure;

/// Runs the demonstration.
///
/// # Errors
///
/// Whatever keeps it from starting.
#[allow(clippy::unused_async, clippy::needless_pass_by_value)]
pub(crate) async fn run(_options: DemoOptions) -> Result<(), Failure> {
    Err(Failure::failed("demo is not built yet"))
}
