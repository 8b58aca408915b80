//! What was promised, kept apart from the table that must hold it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::show::nick;
use console::Failure;

/// Who was placed where, and what was known then.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    gone: BTreeSet<String>,
    draining: BTreeSet<String>,
    dead: Option<(String, Instant)>,
    drained: Option<(String, Instant)>,
    placed: u64,
    moved: u64,
    too_early_to_know: u64,
    removal: Option<Duration>,
    avoidance: Option<Duration>,
    violations: Vec<String>,
}

impl Ledger {
    /// A bridge dies; nobody knows yet.
    pub(super) fn dies(&mut self, bridge: &str) {
        self.dead = Some((bridge.to_owned(), Instant::now()));
    }

    /// A bridge begins to drain; nobody knows yet.
    pub(super) fn drains(&mut self, bridge: &str) {
        self.drained = Some((bridge.to_owned(), Instant::now()));
    }

    /// It is known that a bridge has gone.
    pub(super) fn knows_gone(&mut self, bridge: &str) {
        self.gone.insert(bridge.to_owned());
        if let Some((_, at)) = self.dead.as_ref().filter(|(dead, _)| dead == bridge) {
            self.removal.get_or_insert(at.elapsed());
        }
    }

    /// It is known that a bridge drains.
    pub(super) fn knows_draining(&mut self, bridge: &str) {
        self.draining.insert(bridge.to_owned());
        if let Some((_, at)) = self.drained.as_ref().filter(|(drained, _)| drained == bridge) {
            self.avoidance.get_or_insert(at.elapsed());
        }
    }

    /// A participant was placed.
    pub(super) fn placed(&mut self, room: &str, bridge: &str, again: bool) {
        self.placed += 1;
        self.moved += u64::from(again);
        for (known, what) in [(&self.gone, "gone"), (&self.draining, "draining")] {
            if known.contains(bridge) {
                self.violations.push(format!("{room} on {} after that was known to be {what}", nick(bridge)));
            }
        }
        let dead = self.dead.as_ref().is_some_and(|(dead, _)| dead == bridge);
        self.too_early_to_know += u64::from(dead && !self.gone.contains(bridge));
    }

    /// The morning in figures.
    pub(super) fn summary(&self, conferences: usize) -> String {
        let seconds = |time: Option<Duration>| {
            time.map_or_else(|| "not seen".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
        };
        format!(
            "{} placements of {conferences} conferences, {} of them moves away from the dead bridge\n\
             from death to removal {}, {} placed there meanwhile and moved; from drain to avoidance {}\n\
             placed on a bridge known to be gone or draining: {}\n",
            self.placed,
            self.moved,
            seconds(self.removal),
            self.too_early_to_know,
            seconds(self.avoidance),
            self.violations.len(),
        )
    }

    /// Whether everything held.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if let Some(first) = self.violations.first() {
            let count = self.violations.len();
            return Err(Failure::failed(format!("{count} placed where nobody may be placed, such as {first}")));
        }
        if self.has_seen_all() {
            return Ok(());
        }
        Err(Failure::failed("the death or the drain was never seen, so nothing is proved"))
    }

    /// Whether the death and the drain are known.
    pub(super) fn has_seen_all(&self) -> bool {
        self.removal.is_some() && self.avoidance.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn a_placement_on_a_bridge_known_gone_fails_the_demo() {
        let mut ledger = Ledger::default();
        ledger.dies("room@muc/jvb1");
        ledger.drains("room@muc/jvb2");
        ledger.placed("algebra", "room@muc/jvb1", false);
        ledger.knows_gone("room@muc/jvb1");
        ledger.placed("algebra", "room@muc/jvb2", true);
        assert!(ledger.verdict().is_err(), "the drain is not known yet");
        ledger.knows_draining("room@muc/jvb2");
        assert!(ledger.verdict().is_ok());
        assert!(ledger.summary(1).contains("2 placements of 1 conferences, 1 of them moves"));
        ledger.placed("algebra", "room@muc/jvb1", false);
        let said = ledger.verdict().unwrap_err().to_string();
        assert!(said.contains("1 placed where nobody may be placed, such as algebra on jvb1 after that was known"));
    }
}
