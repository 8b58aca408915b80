//! The strategies. Each names the rule that made the choice.

use super::Reason;
use super::field::Field;
use super::talk::{Limit, Place, Talk};
use crate::bridge::{PlainStrategy, SelectionStrategy};

type Found = Option<(u32, Reason)>;

/// One choice by the configured strategy.
pub(super) fn choose(talk: &Talk<'_>, field: &Field<'_>) -> Found {
    match talk.settings.strategy {
        SelectionStrategy::Plain(plain) => by(plain, talk, field),
        SelectionStrategy::Visitor { participants, visitors } => {
            let visitor = talk.conference.visitor;
            let plain = if visitor { visitors } else { participants };
            let apart = Talk { kind: Some(visitor), ..*talk };
            by(plain, &apart, field).or_else(|| by(plain, talk, field))
        }
    }
}

/// The bridge that the strategy leaves the conference on without looking at any other.
pub(super) fn keep(talk: &Talk<'_>) -> Found {
    let one = |plain, talk: &Talk<'_>| if plain == PlainStrategy::Single { same(talk) } else { None };
    match talk.settings.strategy {
        SelectionStrategy::Plain(plain) => one(plain, talk),
        SelectionStrategy::Visitor { participants, visitors } => {
            let visitor = talk.conference.visitor;
            let plain = if visitor { visitors } else { participants };
            let apart = Talk { kind: Some(visitor), ..*talk };
            // Without one of its kind a new one is looked for first.
            let any = apart.own().next().is_some();
            any.then(|| one(plain, &apart).or_else(|| one(plain, talk))).flatten()
        }
    }
}

fn by(plain: PlainStrategy, talk: &Talk<'_>, field: &Field<'_>) -> Found {
    match plain {
        PlainStrategy::Single => single(talk, field),
        PlainStrategy::Split => split(talk, field),
        PlainStrategy::IntraRegion => intra_region(talk, field),
        PlainStrategy::RegionBased => region_based(talk, field),
    }
}

fn single(talk: &Talk<'_>, field: &Field<'_>) -> Found {
    match talk.own().next() {
        None => {
            let near = talk.conference.region.as_deref().and_then(|r| field.first(talk, Place::Region(r), Limit::Any));
            near.map(|row| (row, Reason::Region))
                .or_else(|| Some((field.first(talk, Place::Anywhere, Limit::Any)?, Reason::First)))
        }
        _ => same(talk),
    }
}

/// The one bridge of the conference, while it is operational.
fn same(talk: &Talk<'_>) -> Found {
    let mut own = talk.own();
    let (one, None) = (own.next()?, own.next()) else { return None };
    let operational = talk.row(one.row)?.operational(talk.settings, talk.table.now());
    operational.then_some((one.row, Reason::Same))
}

fn split(talk: &Talk<'_>, field: &Field<'_>) -> Found {
    if let Some(row) = field.first_other(talk) {
        return Some((row, Reason::Other));
    }
    let mut own = talk.own().filter(|entry| field.contains(talk, entry.row));
    let first = own.next()?;
    let fewest = own.fold(first, |best, entry| if entry.participants < best.participants { entry } else { best });
    Some((fewest.row, Reason::Fewest))
}

fn intra_region(talk: &Talk<'_>, field: &Field<'_>) -> Found {
    let Some(first) = talk.own().next() else {
        let near = talk.conference.region.as_deref().and_then(|r| field.first(talk, Place::Region(r), Limit::Over));
        return near
            .map(|row| (row, Reason::FreeInRegion))
            .or_else(|| Some((field.first(talk, Place::Anywhere, Limit::Any)?, Reason::First)));
    };
    let place = Place::Region(talk.region(first.row)?);
    let own = |limit, reason| Some((field.first_own(talk, place, limit)?, reason));
    own(Limit::Over, Reason::OwnInRegion)
        .or_else(|| Some((field.first(talk, place, Limit::Over)?, Reason::FreeInRegion)))
        .or_else(|| own(Limit::Any, Reason::OwnInRegionOverloaded))
}

fn region_based(talk: &Talk<'_>, field: &Field<'_>) -> Found {
    let groups = &talk.settings.region_groups;
    let local = talk.settings.local_region.as_deref();
    let mut region = talk.conference.region.as_deref().or(local);
    if let Some(local) = local {
        let group = groups.group(region);
        let empty = talk.own().next().is_none();
        if empty && region != Some(local) && group.contains(local) {
            region = Some(local);
        }
        if !field.any(talk, Place::Group(group)) {
            region = Some(local);
        }
    }
    let group = Place::Group(groups.group(region));
    let exact = region.map(Place::Region);
    let own = |place, limit, reason| Some((field.first_own(talk, place, limit)?, reason));
    let any = |place, limit, reason| Some((field.first(talk, place, limit)?, reason));
    exact
        .and_then(|place| own(place, Limit::Over, Reason::OwnInRegion))
        .or_else(|| own(group, Limit::Over, Reason::OwnInGroup))
        .or_else(|| exact.and_then(|place| any(place, Limit::Over, Reason::FreeInRegion)))
        .or_else(|| any(group, Limit::Over, Reason::FreeInGroup))
        .or_else(|| own(Place::Anywhere, Limit::Over, Reason::Own))
        .or_else(|| any(Place::Anywhere, Limit::Stress, Reason::Free))
        .or_else(|| own(Place::Anywhere, Limit::Full, Reason::OwnOverloaded))
        .or_else(|| any(Place::Anywhere, Limit::Any, Reason::Overloaded))
}
