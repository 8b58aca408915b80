//! What a message asks for.

use std::net::IpAddr;

use balancer_core::{Clause, Filter, FilterError, StickKey, Tag};

use super::options::PlacerOptions;
use crate::spoe::Value;

/// Where HAProxy's stick table has a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home<'a> {
    Number(u32),
    Name(&'a str),
}

/// What a message tells, where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) room: &'a str,
    pub(super) home: Option<Home<'a>>,
    at: Option<u64>,
    tags: Option<Value<&'a [u8]>>,
    region: Option<Value<&'a [u8]>>,
    source: Option<Value<&'a [u8]>>,
}

fn text(value: Option<Value<&[u8]>>) -> Option<&str> {
    value.and_then(Value::text).filter(|text| !text.is_empty())
}

impl<'a> Told<'a> {
    /// Reads the arguments of a message, whose names all differ; `None` if it names no room.
    pub(super) fn read(
        args: impl Iterator<Item = (&'a [u8], Value<&'a [u8]>)>,
        options: &PlacerOptions,
    ) -> Option<Self> {
        let names = &options.args;
        // As they are rendered: as a rule each is at its place, or soon after.
        let names = [&names.room, &names.source, &names.tags, &names.region, &names.home, &names.at];
        let (mut told, mut next) = ([None; 6], 0);
        for (name, value) in args {
            let is = |at: &usize| names.get(*at).is_some_and(|wanted| name == wanted.as_bytes());
            let Some(at) = (next..names.len()).chain(0..next).find(is) else { continue };
            next = at + 1;
            if let Some(told) = told.get_mut(at) {
                told.get_or_insert(value);
            }
        }
        let [room, source, tags, region, home, at] = told;
        let home = home.and_then(|home| match home.as_integer() {
            Some(number) => u32::try_from(number).ok().filter(|number| *number > 0).map(Home::Number),
            None => text(Some(home)).map(Home::Name),
        });
        let at = at.and_then(|at| at.as_integer()).and_then(|at| u64::try_from(at).ok());
        Some(Self { room: text(room)?, home, at, tags, region, source })
    }

    /// Whether HAProxy waits no more.
    pub(super) fn is_stale(&self, options: &PlacerOptions) -> bool {
        is_stale(self.at, options)
    }
}

fn is_stale(at: Option<u64>, options: &PlacerOptions) -> bool {
    let patience = u64::try_from(options.patience.as_millis()).unwrap_or(u64::MAX);
    at.is_some_and(|at| (options.wall_ms)().saturating_sub(at) >= patience)
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wish {
    /// The room.
    pub room: StickKey,
    /// Tags that a server must have, all of them.
    pub tags: Vec<Tag>,
    /// A tag that a server should have.
    pub region: Option<Tag>,
    /// Who asks.
    pub source: Option<IpAddr>,
    home: Option<OwnHome>,
    at: Option<u64>,
}

/// As [`Home`], on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnHome {
    Number(u32),
    Name(String),
}

impl Wish {
    /// The same on its own; `None` if the room can be no key.
    pub(super) fn new(told: &Told<'_>) -> Option<Self> {
        let room = StickKey::new(told.room).ok()?;
        let tags = text(told.tags).into_iter().flat_map(|tags| tags.split(','));
        let tags = tags.map(str::trim).filter(|tag| !tag.is_empty()).map(Tag::from).collect();
        let source = match told.source {
            Some(Value::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Value::Ipv6(address)) => Some(IpAddr::V6(address)),
            other => text(other).and_then(|text| text.parse().ok()),
        };
        let home = told.home.map(|home| match home {
            Home::Number(number) => OwnHome::Number(number),
            Home::Name(name) => OwnHome::Name(name.to_owned()),
        });
        Some(Self { room, tags, region: text(told.region).map(Tag::from), source, home, at: told.at })
    }

    pub(super) fn home(&self) -> Option<Home<'_>> {
        self.home.as_ref().map(|home| match home {
            OwnHome::Number(number) => Home::Number(*number),
            OwnHome::Name(name) => Home::Name(name),
        })
    }

    /// Whether HAProxy waits no more.
    pub(super) fn is_stale(&self, options: &PlacerOptions) -> bool {
        is_stale(self.at, options)
    }

    /// The servers that may be chosen.
    pub(super) fn filter(&self) -> Result<Option<Filter>, FilterError> {
        let needed = || self.tags.iter().map(|tag| Clause::any_of([tag.clone()]));
        match &self.region {
            None if self.tags.is_empty() => Ok(None),
            None => Filter::ladder(vec![needed().collect()]).map(Some),
            Some(region) => {
                let near = needed().chain([Clause::any_of([region.clone()])]).collect();
                Filter::ladder(vec![near, needed().collect()]).map(Some)
            }
        }
    }
}
