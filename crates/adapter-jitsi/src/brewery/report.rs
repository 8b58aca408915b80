//! The statistics of one presence, by name.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_core::{Report, stable_hash};
use tokio::time::Instant;

use super::value::{read_bool, read_number};

/// Longest text kept of a bridge: its version, release, region or relay id, in bytes. A longer one counts as missing.
pub const MAX_TEXT: usize = 1024;

/// Names of statistics that jicofo reads as numbers.
const NUMBERS: [&str; 2] = ["stress_level", "average_participant_stress"];

/// What a bridge says of itself in one presence. Names that are absent change nothing.
///
/// Every statistic is kept as text under its name; the first of a name counts. The methods read those that jicofo
/// reads, by its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeReport {
    stats: BTreeMap<Box<str>, Box<str>>,
}

impl BridgeReport {
    /// A report of these names and values. The first value of a name counts.
    pub fn from_stats<N: AsRef<str>, V: AsRef<str>>(stats: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut report = Self::default();
        for (name, value) in stats {
            report.push(name.as_ref(), value.as_ref());
        }
        report
    }

    /// Adds a value unless there is one of this name.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        if !self.stats.contains_key(name) {
            self.stats.insert(name.into(), value.into());
        }
    }

    /// How many names have a value.
    pub fn len(&self) -> usize {
        self.stats.len()
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.stats.is_empty()
    }

    /// The text of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.stats.get(name).map(|value| &**value)
    }

    /// The number of this name; `None` when it is missing or no number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(read_number)
    }

    /// The truth of this name: "true" in any case is true, any other text is not.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(read_bool)
    }

    /// All names and texts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.stats.iter().map(|(name, value)| (&**name, &**value))
    }

    /// `stress_level`: load as a share of what the bridge can bear. May exceed 1, be negative or not a number.
    pub fn stress(&self) -> Option<f64> {
        self.number("stress_level")
    }

    /// `average_participant_stress`: what one more endpoint is expected to add to the stress.
    pub fn average_participant_stress(&self) -> Option<f64> {
        self.number("average_participant_stress")
    }

    /// Whether `graceful_shutdown` is true. That it is not says nothing: the state never ends.
    pub fn graceful_shutdown(&self) -> bool {
        self.flag("graceful_shutdown") == Some(true)
    }

    /// Whether `shutting_down` is true. That it is not says nothing: the state never ends.
    pub fn shutting_down(&self) -> bool {
        self.flag("shutting_down") == Some(true)
    }

    /// `drain`.
    pub fn drain(&self) -> Option<bool> {
        self.flag("drain")
    }

    /// `healthy`.
    pub fn healthy(&self) -> Option<bool> {
        self.flag("healthy")
    }

    /// A text that is kept, if it is not too long to be.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| text.len() <= MAX_TEXT)
    }

    /// The names among those jicofo reads whose values are no numbers: the previous value stays in force.
    pub fn malformed(&self) -> impl Iterator<Item = &'static str> + '_ {
        NUMBERS.into_iter().filter(|name| self.get(name).is_some_and(|text| read_number(text).is_none()))
    }

    /// A number that is the same while the figures stand still. The time stamp is not among the figures.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.stats.iter().filter(|(name, _)| &***name != "current_timestamp").fold(0, |sum, (name, value)| {
            let pair = stable_hash(name.as_bytes()).rotate_left(17) ^ stable_hash(value.as_bytes());
            (sum ^ pair).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
        })
    }

    /// The same for a pool of the core: people are the `endpoints` (or `participants`), rooms the `conferences`, the
    /// cost is the stress in millionths, not below 0. `lag` is how old the figures may be: a bridge samples every 10 s
    /// and publishes every 5 s.
    pub fn to_report(&self, received: Instant, lag: Duration) -> Report {
        let mut report = Report::new(received.checked_sub(lag).unwrap_or(received));
        // Casts of floats saturate; what is not a number becomes 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = |value: f64| value as u64;
        report.users = self.number("endpoints").or_else(|| self.number("participants")).map(whole);
        report.rooms = self.number("conferences").map(whole);
        report.cost = self.stress().map(|stress| whole(stress * 1e6));
        for name in NUMBERS {
            if let Some(value) = self.number(name) {
                report = report.with_fact(name, value);
            }
        }
        report
    }
}
