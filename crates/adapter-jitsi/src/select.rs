//! Choosing a bridge: jicofo's filters and strategies over the order of the table.

use std::borrow::Cow;
use std::time::Duration;

use balancer_core::BackendId;

use crate::bridge::BridgeTable;
use crate::conference::{Conference, ConferenceBridge};
use crate::rank::CLASSES;

mod field;
mod pool;
mod reason;
mod rules;
mod talk;

use field::Field;
pub use pool::{BridgeClock, BridgePool, BridgeStrategy, SharedBridges};
pub use reason::{NoBridge, Reason};
pub(crate) use talk::Entry;
use talk::Talk;

/// A chosen bridge, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The bridge.
    pub bridge: BackendId,
    /// Why this one.
    pub reason: Reason,
}

/// What is known before any bridge is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gate {
    /// The conference keeps this bridge, whatever its state.
    Keep(BackendId),
    /// A bridge is to be chosen.
    Open,
}

impl BridgeTable {
    /// The whole selection, as jicofo's selector does it: filters, gate, strategy. Ties go to the lower JID.
    ///
    /// A focus hands over the conference's operational bridges only (see [`hand_over`](Self::hand_over)) and afterwards
    /// refuses a bridge the conference cannot be joined with (see [`admit`](Self::admit)); [`place`](Self::place) does
    /// all three.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn select(&mut self, conference: &Conference, now: Duration) -> Result<Choice, NoBridge> {
        let (row, reason) = self.choose(conference, now, &|_| true)?;
        self.named(row, reason)
    }

    fn named(&self, row: u32, reason: Reason) -> Result<Choice, NoBridge> {
        let bridge = self.row(row).ok_or(NoBridge::Strategy)?.id.clone();
        Ok(Choice { bridge, reason })
    }

    /// The bridge for one more participant: [`hand_over`](Self::hand_over), [`select`](Self::select), and
    /// [`admit`](Self::admit) beside all bridges of the conference.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn place(&mut self, conference: &Conference, now: Duration) -> Result<Choice, NoBridge> {
        let handed = self.hand_over(conference, now);
        let choice = self.select(&handed, now)?;
        self.admit(conference, &choice.bridge).map(|()| choice)
    }

    /// The conference with its operational bridges alone, as a focus asks for a bridge.
    pub fn hand_over<'c>(&mut self, conference: &'c Conference, now: Duration) -> Cow<'c, Conference> {
        self.advance(now);
        let (settings, at) = (self.settings(), self.now());
        let operational = |used: &ConferenceBridge| {
            let row = self.index(used.id.as_str()).and_then(|index| self.row(index));
            row.is_some_and(|row| row.operational(settings, at))
        };
        if conference.bridges.iter().all(operational) {
            return Cow::Borrowed(conference);
        }
        let mut handed = conference.clone();
        handed.bridges.retain(operational);
        Cow::Owned(handed)
    }

    /// Whether a conference can be joined with a bridge: one it uses, the first one, or one that has relays as all the
    /// others have, with relays allowed.
    ///
    /// # Errors
    ///
    /// [`NoBridge::NeedsRelay`].
    pub fn admit(&self, conference: &Conference, bridge: &BackendId) -> Result<(), NoBridge> {
        let used = &conference.bridges;
        if used.is_empty() || used.iter().any(|used| used.id == *bridge) {
            return Ok(());
        }
        let has_relay = |id: &BackendId| {
            self.index(id.as_str()).and_then(|index| self.row(index)).is_some_and(|row| row.relay.is_some())
        };
        let all = has_relay(bridge) && used.iter().all(|used| has_relay(&used.id));
        if self.settings().octo && all { Ok(()) } else { Err(NoBridge::NeedsRelay) }
    }

    /// What is decided before bridges are compared: that there is none, or that the conference keeps its own. Only when
    /// the gate is open need a pool be asked.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn gate(&mut self, conference: &Conference, now: Duration) -> Result<Gate, NoBridge> {
        self.advance(now);
        let version = self.required_version(conference)?;
        self.best_class(version.as_deref(), &|_| true)?;
        let relays = self.settings().octo;
        match self.with_talk(conference, |talk| match talk.kept(relays) {
            Some(row) => Some((row, Reason::NoRelay)),
            None => rules::keep(talk),
        }) {
            Ok((row, reason)) => self.named(row, reason).map(|choice| Gate::Keep(choice.bridge)),
            Err(_) => Ok(Gate::Open),
        }
    }

    /// One choice of the strategy among these bridges, taken as sorted; without any filter. For comparisons.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn select_among(
        &mut self,
        sorted: &[BackendId],
        conference: &Conference,
        relays: bool,
        now: Duration,
    ) -> Result<Choice, NoBridge> {
        self.advance(now);
        let list: Vec<u32> = sorted.iter().filter_map(|id| self.index(id.as_str())).collect();
        let (row, reason) = self.with_talk(conference, |talk| match talk.kept(relays) {
            Some(row) => Some((row, Reason::NoRelay)),
            None => rules::choose(talk, &Field::List(&list)),
        })?;
        self.named(row, reason)
    }

    /// Filters, gate and strategy over those bridges that `admit` lets in.
    pub(crate) fn choose(
        &mut self,
        conference: &Conference,
        now: Duration,
        admit: &dyn Fn(u32) -> bool,
    ) -> Result<(u32, Reason), NoBridge> {
        self.advance(now);
        let version = self.required_version(conference)?;
        let version = version.as_deref();
        let class = self.best_class(version, admit)?;
        let relays = self.settings().octo;
        let found = self.with_talk(conference, |talk| match talk.kept(relays) {
            Some(row) => Some((row, Reason::NoRelay)),
            None => rules::choose(talk, &Field::Order { order: &talk.table.order, class, version, admit }),
        })?;
        // Its own bridge may be one that is left out.
        if admit(found.0) { Ok(found) } else { Err(NoBridge::Closed) }
    }

    /// Candidates in the order of preference, at most so many.
    pub(crate) fn candidates(&self, conference: &Conference, admit: &dyn Fn(u32) -> bool, most: usize) -> Vec<u32> {
        let Ok(version) = self.required_version(conference) else { return Vec::new() };
        let Ok(class) = self.best_class(version.as_deref(), admit) else { return Vec::new() };
        let wanted = |kind: &crate::rank::Kind| version.as_deref().is_none_or(|v| kind.0.as_deref() == Some(v));
        let mut keys: Vec<_> = self.order.all(class, wanted).filter(|key| admit(key.row)).collect();
        keys.sort_unstable();
        keys.into_iter().take(most).map(|key| key.row).collect()
    }

    fn with_talk(
        &mut self,
        conference: &Conference,
        choose: impl FnOnce(&Talk<'_>) -> Option<(u32, Reason)>,
    ) -> Result<(u32, Reason), NoBridge> {
        let mut entries = std::mem::take(&mut self.scratch);
        entries.clear();
        for used in &conference.bridges {
            if let Some(row) = self.index(used.id.as_str())
                && !entries.iter().any(|entry: &Entry| entry.row == row)
            {
                let (participants, visitor, recent) = (used.participants, used.visitor, used.recent);
                entries.push(Entry { row, participants, visitor, recent });
            }
        }
        let settings = self.shared_settings();
        let talk = Talk { table: self, settings: &settings, entries: &entries, conference, kind: None };
        let found = choose(&talk);
        self.scratch = entries;
        found.ok_or(NoBridge::Strategy)
    }

    /// The version that candidates must have, if any.
    fn required_version(&self, conference: &Conference) -> Result<Option<std::sync::Arc<str>>, NoBridge> {
        let first = conference.bridges.iter().find_map(|used| self.index(used.id.as_str()));
        let own = first.and_then(|row| self.row(row)?.full_version.clone());
        match (own, &conference.version) {
            (Some(own), Some(pinned)) if own != *pinned => Err(NoBridge::PinMismatch),
            (own, pinned) => {
                let version = own.or_else(|| pinned.clone());
                Ok(version.filter(|_| !self.settings().mixed_versions))
            }
        }
    }

    /// The best class that has a candidate.
    fn best_class(&self, version: Option<&str>, admit: &dyn Fn(u32) -> bool) -> Result<u8, NoBridge> {
        let wanted = |kind: &crate::rank::Kind| version.is_none_or(|v| kind.0.as_deref() == Some(v));
        let open = |class: &u8| self.order.first(*class, None, wanted, |key| admit(key.row)).is_some();
        (0..CLASSES).find(open).ok_or_else(|| self.why_none(version))
    }

    #[cold]
    fn why_none(&self, version: Option<&str>) -> NoBridge {
        let (settings, now) = (self.settings(), self.now());
        let operational: Vec<_> = self.rows.iter().filter(|row| row.known && row.operational(settings, now)).collect();
        let running = || operational.iter().filter(|row| !row.shutting_down);
        if operational.is_empty() {
            NoBridge::NoneOperational
        } else if running().next().is_none() {
            NoBridge::AllShuttingDown
        } else if version.is_some_and(|v| !running().any(|row| row.full_version.as_deref() == Some(v))) {
            NoBridge::NoneOfVersion
        } else {
            NoBridge::Closed
        }
    }
}
