//! One conference as a strategy sees it.

use crate::bridge::{BridgeTable, FocusSettings, PlainStrategy, Row, SelectionStrategy};
use crate::conference::Conference;
use crate::region::RegionGroup;

/// A bridge of the conference, found in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) row: u32,
    pub(crate) participants: u32,
    pub(crate) visitor: bool,
    pub(crate) recent: u32,
}

/// Where a bridge must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Anywhere,
    Region(&'a str),
    Group(RegionGroup<'a>),
}

impl Place<'_> {
    pub(super) fn has(&self, region: Option<&str>) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Region(name) => region == Some(name),
            Self::Group(group) => region.is_some_and(|region| group.contains(region)),
        }
    }
}

/// How full a bridge may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// As it likes.
    Any,
    /// Not overloaded; caps of the conference do not count.
    Stress,
    /// Not overloaded, and no cap of the conference reached.
    Over,
    /// The cap of participants not reached; stress does not count.
    Full,
}

/// The conference, and the one who is to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk<'a> {
    pub(super) table: &'a BridgeTable,
    pub(super) settings: &'a FocusSettings,
    pub(super) entries: &'a [Entry],
    pub(super) conference: &'a Conference,
    /// Only bridges of visitors, or of participants, are taken as the conference's; the others do not exist.
    pub(super) kind: Option<bool>,
}

impl<'a> Talk<'a> {
    /// The bridges of the conference, in its order.
    pub(super) fn own(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let kind = self.kind;
        self.entries.iter().filter(move |entry| kind.is_none_or(|kind| entry.visitor == kind))
    }

    /// What the conference has on a bridge.
    pub(super) fn entry(&self, row: u32) -> Option<&'a Entry> {
        self.own().find(|entry| entry.row == row)
    }

    /// Whether a bridge is one of the other kind.
    pub(super) fn hides(&self, row: u32) -> bool {
        self.kind.is_some_and(|kind| self.entries.iter().any(|entry| entry.row == row && entry.visitor != kind))
    }

    pub(super) fn row(&self, row: u32) -> Option<&'a Row> {
        self.table.row(row)
    }

    pub(super) fn region(&self, row: u32) -> Option<&'a str> {
        self.row(row)?.region.as_deref()
    }

    /// The bridge that the conference keeps because it cannot use another one beside it.
    pub(super) fn kept(&self, relays: bool) -> Option<u32> {
        let first = self.entries.first()?;
        let relays = relays || self.settings.strategy == SelectionStrategy::Plain(PlainStrategy::Split);
        let has_relay = self.row(first.row).is_some_and(|row| row.relay.is_some());
        (!relays || !has_relay).then_some(first.row)
    }

    pub(super) fn passes(&self, row: u32, limit: Limit) -> bool {
        let overloaded = || self.row(row).is_none_or(|row| row.overloaded(self.settings, self.table.now()));
        match limit {
            Limit::Any => true,
            Limit::Stress => !overloaded(),
            Limit::Over => !overloaded() && !self.is_full(row) && !self.is_rushed(row),
            Limit::Full => !self.is_full(row),
        }
    }

    fn is_full(&self, row: u32) -> bool {
        let cap = self.settings.max_participants.filter(|cap| *cap > 0);
        cap.is_some_and(|cap| self.entry(row).is_some_and(|entry| entry.participants >= cap))
    }

    fn is_rushed(&self, row: u32) -> bool {
        let cap = self.settings.max_per_interval.filter(|cap| *cap > 0);
        cap.is_some_and(|cap| self.entry(row).is_some_and(|entry| entry.recent >= cap))
    }
}
