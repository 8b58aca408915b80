//! Log lines on standard output.

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging, as text or as JSON. `RUST_LOG` can name other levels for single targets. A second call changes
/// nothing.
pub(crate) fn start(level: Level, json: bool) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::from_level(level).into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // Fails only when logging runs already.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}
