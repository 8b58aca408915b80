//! Lines about one bridge folded into what changed.

use std::collections::BTreeMap;

use super::LogLine;
use super::event::LogEventKind;

/// How many bridges a history keeps; when it is full, those that are gone are forgotten.
pub const MAX_HISTORY: usize = 10_000;
/// How many lines are kept for one change.
pub const MAX_NOTES: usize = 64;

/// What became of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BridgeStep {
    /// It is there.
    Added,
    /// It is gone.
    Removed,
}

/// One change of one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeChange {
    /// The bridge's nickname.
    pub bridge: String,
    /// What became of it.
    pub step: BridgeStep,
    /// Whether it left without having announced it.
    pub lost: bool,
    /// When, as the first line about it says.
    pub time: String,
    /// The lines that tell of it, in order, at most [`MAX_NOTES`].
    pub notes: Vec<LogEventKind>,
}

impl BridgeChange {
    /// Whether this is the first line about this change.
    pub const fn is_new(&self) -> bool {
        self.notes.len() == 1
    }
}

/// The last change of every bridge. A focus writes three to five lines when one bridge comes or goes: they are one
/// change here.
#[derive(Clone, Debug, Default)]
pub struct BridgeHistory {
    last: BTreeMap<String, BridgeChange>,
}

impl BridgeHistory {
    /// An empty history.
    pub const fn new() -> Self {
        Self { last: BTreeMap::new() }
    }

    /// Takes a line. `Some` when it is about a bridge that came or went: the change it belongs to,
    /// [new](BridgeChange::is_new) or told already.
    pub fn push(&mut self, line: &LogLine<'_>) -> Option<&BridgeChange> {
        use LogEventKind as Kind;
        let event = line.event.as_ref()?;
        let step = match event.kind {
            Kind::InstanceAdded | Kind::BridgeAdded | Kind::HealthScheduled => BridgeStep::Added,
            Kind::InstanceRemoved | Kind::BridgeLeft | Kind::BridgeRemoved | Kind::BridgeLost | Kind::HealthStopped => {
                BridgeStep::Removed
            }
            _ => return None,
        };
        let nick = event.bridge.as_ref()?.nick;
        if !self.last.contains_key(nick) && self.last.len() >= MAX_HISTORY {
            self.last.retain(|_, change| change.step == BridgeStep::Added);
            if self.last.len() >= MAX_HISTORY {
                return None;
            }
        }
        let fresh = || BridgeChange {
            bridge: nick.to_owned(),
            step,
            lost: false,
            time: line.time.to_owned(),
            notes: Vec::new(),
        };
        let change = self.last.entry(nick.to_owned()).or_insert_with(fresh);
        // A second line of one kind is a second change: the bridge came (or went) again and we missed what was between.
        if change.step != step || change.notes.contains(&event.kind) {
            *change = fresh();
        }
        if change.notes.len() < MAX_NOTES {
            change.notes.push(event.kind);
        }
        change.lost |= event.kind == Kind::BridgeLost;
        Some(change)
    }

    /// The last change of a bridge.
    pub fn last(&self, nick: &str) -> Option<&BridgeChange> {
        self.last.get(nick)
    }

    /// The last change of every bridge, by nickname.
    pub fn iter(&self) -> impl Iterator<Item = &BridgeChange> {
        self.last.values()
    }
}
