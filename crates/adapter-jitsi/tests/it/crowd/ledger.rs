//! What was known of whom, and who was placed all the same: kept apart from the table that must hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What can be known against a bridge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Known {
    /// It left the room.
    Gone,
    /// The same, for one that died while nothing was heard.
    GoneUnheard,
    /// It was not there when we came back.
    Missing,
    /// It publishes nothing.
    Silent,
    Draining,
    Overloaded,
    /// Its figures stand still. That keeps nobody away.
    Flat,
}

/// Bridges, what is known of them, and placements.
#[derive(Default)]
pub(super) struct Ledger {
    known: BTreeMap<Known, BTreeSet<String>>,
    present: BTreeSet<String>,
    /// What was done to whom, until it is known.
    done: BTreeMap<(Known, String), Instant>,
    delays: BTreeMap<Known, Vec<Duration>>,
    /// Placed on a bridge between what was done and its becoming known.
    unaware: BTreeMap<Known, u64>,
    on: BTreeMap<String, u64>,
    pub(super) placed: u64,
    pub(super) moved: u64,
    /// Found no bridge at first.
    pub(super) refused: u64,
    /// Placed while our connection was lost.
    pub(super) blind: u64,
    pub(super) violations: Vec<String>,
}

impl Ledger {
    /// Something happens to a bridge, and nobody knows yet.
    pub(super) fn does(&mut self, what: Known, bridge: &str) {
        self.done.insert((what, bridge.to_owned()), Instant::now());
    }

    /// It is known now, or known to have ended.
    pub(super) fn knows(&mut self, what: Known, bridge: &str, holds: bool) {
        if !holds {
            if let Some(bridges) = self.known.get_mut(&what) {
                bridges.remove(bridge);
            }
            return;
        }
        self.known.entry(what).or_default().insert(bridge.to_owned());
        if let Some(at) = self.done.remove(&(what, bridge.to_owned())) {
            self.delays.entry(what).or_default().push(at.elapsed());
        }
    }

    pub(super) fn is(&self, what: Known, bridge: &str) -> bool {
        self.known.get(&what).is_some_and(|bridges| bridges.contains(bridge))
    }

    /// A bridge publishes.
    pub(super) fn seen(&mut self, bridge: &str) {
        self.present.insert(bridge.to_owned());
        self.knows(Known::Gone, bridge, false);
        self.knows(Known::GoneUnheard, bridge, false);
        self.knows(Known::Missing, bridge, false);
    }

    /// A bridge left.
    pub(super) fn left(&mut self, bridge: &str) {
        self.present.remove(bridge);
        self.known.values_mut().for_each(|bridges| {
            bridges.remove(bridge);
        });
        self.knows(Known::Gone, bridge, true);
        self.knows(Known::GoneUnheard, bridge, true);
    }

    /// Whether everything that was done is known.
    pub(super) fn knows_all(&self) -> bool {
        self.done.is_empty()
    }

    fn against(&self, bridge: &str) -> Option<Known> {
        let (what, _) = self.known.iter().find(|(what, bridges)| **what != Known::Flat && bridges.contains(bridge))?;
        Some(*what)
    }

    /// Bridges in the room as far as known.
    pub(super) fn present(&self) -> impl Iterator<Item = &String> {
        self.present.iter()
    }

    /// Bridges nothing is known against.
    pub(super) fn good(&self) -> impl Iterator<Item = &String> {
        self.present.iter().filter(|bridge| self.against(bridge).is_none())
    }

    /// How many came to a bridge, ever.
    pub(super) fn on(&self, bridge: &str) -> u64 {
        self.on.get(bridge).copied().unwrap_or(0)
    }

    /// A participant was placed.
    pub(super) fn placed(&mut self, room: &str, bridge: &str, again: bool) {
        self.placed += 1;
        self.moved += u64::from(again);
        *self.on.entry(bridge.to_owned()).or_default() += 1;
        for what in [Known::Gone, Known::GoneUnheard, Known::Silent, Known::Draining, Known::Overloaded] {
            if self.done.contains_key(&(what, bridge.to_owned())) {
                *self.unaware.entry(what).or_default() += 1;
            }
        }
        let Some(what) = self.against(bridge) else { return };
        // One that is gone is never right; the others are when nothing better is left.
        if what == Known::Gone || self.good().next().is_some() {
            self.violations.push(format!("{room} on {bridge}, known: {what:?}"));
        }
    }

    /// How long it took until each was known: count, least, median, most, and who was placed meanwhile.
    pub(super) fn delays(&self) -> String {
        let mut text = String::new();
        for (what, delays) in &self.delays {
            let name = match what {
                Known::Gone => "from death to removal",
                Known::GoneUnheard => "the same, for those who died while nothing was heard",
                Known::Missing => continue,
                Known::Silent => "from silence to avoidance",
                Known::Draining => "from drain to avoidance",
                Known::Overloaded => "from overload to avoidance",
                Known::Flat => "from standing still to being found flat",
            };
            let mut sorted = delays.clone();
            sorted.sort_unstable();
            let (Some(least), Some(most), Some(median)) = (sorted.first(), sorted.last(), sorted.get(sorted.len() / 2))
            else {
                continue;
            };
            let [least, median, most] = [least, median, most].map(Duration::as_secs_f64);
            let unaware = self.unaware.get(what).copied().unwrap_or(0);
            text.push_str(&format!(
                "{name}: {least:.2} s at least, {median:.2} s in the middle, {most:.2} s at most, of {}; \
                 {unaware} placed there meanwhile\n",
                delays.len()
            ));
        }
        text
    }
}
