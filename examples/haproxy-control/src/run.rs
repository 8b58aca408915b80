//! `run`: the control loop as a service, until it is told to stop.

use crate::cli::RunArgs;
use crate::settings::{EXAMPLE, Settings};
use console::{Failure, Outcome};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// Settings that cannot be.
pub(crate) fn run(args: &RunArgs) -> Result<Outcome, Failure> {
    if args.example {
        return Ok(Outcome::done(EXAMPLE));
    }
    let path = args.config.as_deref().ok_or_else(|| Failure::usage("--config is missing"))?;
    let settings = Settings::read(path)?;
    if args.check {
        return Ok(Outcome::done(settings.effective()?));
    }
    Err(Failure::failed("the control loop does not run yet"))
}
