//! Log lines on standard output.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging, as text or as JSON. `RUST_LOG` can name other levels for single targets, `TARGET=LEVEL,…`; what
/// cannot be read of it is passed over. A second call changes nothing.
pub(crate) fn start(level: Level, json: bool) {
    let named = std::env::var("RUST_LOG").unwrap_or_default();
    let log = tracing_subscriber::registry().with(filter(level, &named));
    // Fails only when logging runs already.
    let _ = if json {
        log.with(tracing_subscriber::fmt::layer().json()).try_init()
    } else {
        // Colours are control characters too: a terminal that shows lines needs none.
        log.with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Lines(io::stdout()))).try_init()
    };
}

/// What is logged: this level, or the one that is named for a target. A level alone is one for every other target.
fn filter(level: Level, named: &str) -> Targets {
    let mut all = Targets::new().with_default(LevelFilter::from_level(level));
    for part in named.split(',') {
        let (target, level) = match part.rsplit_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part.trim()),
        };
        // Nothing at all would be read as a level, and as what every target begins with.
        if level.is_empty() || target == Some("") {
            continue;
        }
        let Ok(level) = level.parse::<LevelFilter>() else { continue };
        all = match target {
            Some(target) => all.with_target(target, level),
            None => all.with_default(level),
        };
    }
    all
}

/// Writes each event as one line: what came from outside cannot begin another one, nor steer a terminal.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(&one_line(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An event, which ends with a line break, with every other control character written out.
fn one_line(event: &[u8]) -> Vec<u8> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    let text = String::from_utf8_lossy(text);
    let mut line = String::with_capacity(text.len() + 1);
    for char in text.chars() {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn levels_of_targets_are_read_as_far_as_they_can_be() {
        let enabled = |named: &str, target: &str, level: Level| filter(Level::INFO, named).would_enable(target, &level);
        for named in ["", "hyper=warn", "no level here=x,=,", "\u{0},adapter_bbb=", "a[b{c=d}]=debug"] {
            assert!(enabled(named, "bbb_balancer", Level::INFO), "{named:?}");
            assert!(!enabled(named, "bbb_balancer", Level::DEBUG), "{named:?}");
        }
        let named = "hyper=warn, adapter_bbb::cluster=debug,%%%";
        assert!(!enabled(named, "hyper::proto", Level::INFO) && enabled(named, "hyper::proto", Level::WARN));
        assert!(enabled(named, "adapter_bbb::cluster::poll", Level::DEBUG));
        assert!(!enabled(named, "adapter_bbb::service", Level::DEBUG));
        assert!(enabled("debug", "any", Level::DEBUG) && !enabled("off,hyper=info", "any", Level::ERROR));
        assert!(enabled("off,hyper=info", "hyper", Level::INFO));
    }

    #[test]
    fn what_comes_from_outside_stays_within_its_line() {
        let kept = Kept::default();
        let into = kept.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(into.clone())).finish();
        tracing::subscriber::with_default(log, || {
            let forged = "m\r\n2026-11-21T00:00:00Z  INFO forged: \u{1b}[31mred\u{7}\u{2028}x";
            tracing::info!(meeting = forged, host = %forged, "{forged}");
            tracing::info!("second ä");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("second ä\n"), "{text}");
        assert!(!text.trim_end().replace('\n', "").chars().any(char::is_control), "{text:?}");
        assert!(text.contains("\\r\\n2026"), "{text}");
    }
}
