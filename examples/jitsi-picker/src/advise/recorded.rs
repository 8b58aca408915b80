//! Looks at bridges that were recorded by `watch -o json` or `rank -o json`.

use std::path::Path;
use std::time::Duration;

use adapter_jitsi::CapacityBridge;
use serde_json::Value;

use super::mind::{Sample, endpoints};
use crate::connect;
use console::Failure;

/// One look.
#[derive(Debug)]
pub(super) struct Look {
    /// Since the first one.
    pub(super) at: Duration,
    /// In milliseconds since 1970, where it is known.
    pub(super) unix_ms: Option<u64>,
    /// The bridges.
    pub(super) samples: Vec<Sample>,
}

/// All looks of a file, in order. Those without a connection are left out, for they show the past.
pub(super) fn read(path: &Path) -> Result<Vec<Look>, Failure> {
    let bytes = connect::read(path)?;
    let mut all: Vec<Look> = Vec::new();
    let mut first = None;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let broken = |why: String| {
            Failure::failed(format!("line {} of {} is not what `watch -o json` prints", number + 1, path.display()))
                .cause(why)
        };
        let value: Value = serde_json::from_slice(line).map_err(|e| broken(e.to_string()))?;
        let away = value["connected"] == false;
        let Some(bridges) = value["bridges"].as_array().filter(|_| !away) else {
            if value["type"].is_string() {
                continue;
            }
            return Err(broken("it has no bridges".to_owned()));
        };
        let unix_ms = value["unix_ms"].as_u64();
        let before = all.last().map_or(Duration::ZERO, |look| look.at);
        let since = unix_ms.map(|now| now.saturating_sub(*first.get_or_insert(now)));
        // A clock that was set back does not take time back.
        let at = since.map_or(before, Duration::from_millis).max(before);
        let samples: Option<Vec<Sample>> = bridges.iter().map(sample).collect();
        let samples = samples.ok_or_else(|| broken("a bridge has no name".to_owned()))?;
        all.push(Look { at, unix_ms, samples });
    }
    Ok(all)
}

fn sample(bridge: &Value) -> Option<Sample> {
    let id = bridge["jid"].as_str().or_else(|| bridge["bridge"].as_str())?;
    let number = |name: &str| bridge[name].as_f64();
    let holds = |name: &str| bridge[name] == true;
    let stress = number("stress").unwrap_or(f64::NAN);
    let mut one =
        CapacityBridge::new(id, number("corrected_stress").unwrap_or(stress), endpoints(bridge["endpoints"].as_u64()));
    one.region = bridge["region"].as_str().map(Into::into);
    one.overloaded = bridge["overloaded"].as_bool().unwrap_or(one.overloaded);
    one.operational = bridge["operational"].as_bool().unwrap_or(true);
    one.draining = holds("drain");
    one.ending = holds("graceful_shutdown") || holds("shutting_down");
    Some(Sample { stress, bridge: one })
}
