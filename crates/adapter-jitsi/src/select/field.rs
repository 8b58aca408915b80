//! The candidates: the table's order, or a given list.

use super::talk::{Limit, Place, Talk};
use crate::rank::{Key, Kind, Order, stress_bits};

/// Candidates in order of preference.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    /// The order of the table, of one class.
    Order { order: &'a Order, class: u8, version: Option<&'a str>, admit: &'a dyn Fn(u32) -> bool },
    /// These, as they stand.
    List(&'a [u32]),
}

impl Field<'_> {
    /// The first candidate there that is not too full.
    pub(super) fn first(&self, talk: &Talk<'_>, place: Place<'_>, limit: Limit) -> Option<u32> {
        self.search(talk, place, limit, false)
    }

    /// The first candidate that the conference does not use.
    pub(super) fn first_other(&self, talk: &Talk<'_>) -> Option<u32> {
        self.search(talk, Place::Anywhere, Limit::Any, true)
    }

    fn search(&self, talk: &Talk<'_>, place: Place<'_>, limit: Limit, other: bool) -> Option<u32> {
        let fits = |row: u32| !talk.hides(row) && talk.passes(row, limit) && !(other && talk.entry(row).is_some());
        match *self {
            Self::List(list) => list.iter().copied().find(|row| place.has(talk.region(*row)) && fits(*row)),
            Self::Order { order, class, version, admit } => {
                let wanted =
                    |kind: &Kind| version.is_none_or(|v| kind.0.as_deref() == Some(v)) && place.has(kind.1.as_deref());
                let below = match limit {
                    Limit::Any | Limit::Full => None,
                    Limit::Stress | Limit::Over => Some(stress_bits(talk.settings.stress_threshold)),
                };
                order.first(class, below, wanted, |key| admit(key.row) && fits(key.row)).map(|key| key.row)
            }
        }
    }

    /// The first candidate there that the conference uses and that is not too full.
    pub(super) fn first_own(&self, talk: &Talk<'_>, place: Place<'_>, limit: Limit) -> Option<u32> {
        let fits = |row: u32| place.has(talk.region(row)) && talk.passes(row, limit);
        match self {
            Self::List(list) => list.iter().copied().find(|row| talk.entry(*row).is_some() && fits(*row)),
            Self::Order { .. } => {
                let keys = talk.own().filter_map(|entry| self.key(talk, entry.row)).filter(|key| fits(key.row));
                keys.min().map(|key| key.row)
            }
        }
    }

    /// Whether any candidate is there.
    pub(super) fn any(&self, talk: &Talk<'_>, place: Place<'_>) -> bool {
        self.first(talk, place, Limit::Any).is_some()
    }

    pub(super) fn contains(&self, talk: &Talk<'_>, row: u32) -> bool {
        match self {
            Self::List(list) => list.contains(&row) && !talk.hides(row),
            Self::Order { .. } => self.key(talk, row).is_some() && !talk.hides(row),
        }
    }

    fn key<'t>(&self, talk: &Talk<'t>, row: u32) -> Option<&'t Key> {
        let Self::Order { class, version, admit, .. } = *self else { return None };
        let (kind, key) = talk.row(row)?.placed.as_ref()?;
        let fits = key.class == class && version.is_none_or(|v| kind.0.as_deref() == Some(v)) && admit(row);
        fits.then_some(key)
    }
}
