//! Looks at bridges that were recorded by `watch -o json` or `rank -o json`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use adapter_jitsi::CapacityBridge;
use serde_json::Value;

use super::mind::{Sample, endpoints};
use crate::connect;
use console::Failure;

/// The longest line, in bytes: ten thousand bridges.
const MAX_LINE: u64 = 16 << 20;
/// How often bridges may be told of: fifty of them, looked at every two seconds for two days.
const MAX_SAMPLES: usize = 4_500_000;

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
    let mut input = BufReader::new(connect::open(path)?);
    let (mut all, mut line): (Vec<Look>, _) = (Vec::new(), Vec::new());
    let (mut first, mut number, mut figures) = (None, 0_u64, 0);
    loop {
        line.clear();
        let length = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line);
        let length = length.map_err(connect::unreadable(path))? as u64;
        number += 1;
        let broken = |why: String| {
            Failure::failed(format!("line {number} of {} is not what `watch -o json` prints", path.display()))
                .cause(why)
        };
        match length {
            0 => return Ok(all),
            1..=MAX_LINE => {}
            _ => return Err(broken(format!("it is longer than {MAX_LINE} bytes"))),
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_slice(&line).map_err(|e| broken(e.to_string()))?;
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
        figures += samples.len();
        if figures > MAX_SAMPLES {
            let what = format!("{} tells of bridges more than {MAX_SAMPLES} times", path.display());
            return Err(Failure::failed(what).hint("record with `jitsi-picker watch -o json --every 30`"));
        }
        all.push(Look { at, unix_ms, samples });
    }
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
