//! What a message asks for.

use std::net::IpAddr;

use balancer_core::{Clause, Filter, FilterError, StickKey, Tag};

use super::options::PlacerOptions;
use crate::spoe::Value;

/// Where HAProxy's stick table has a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Number(u32),
    Name(String),
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
    pub(super) home: Option<Home>,
    at: Option<u64>,
}

impl Wish {
    /// Reads it from the arguments of a message, whose names all differ; `None` if it names no room that can be a key.
    pub(super) fn read<'a>(
        args: impl Iterator<Item = (&'a [u8], Value<&'a [u8]>)>,
        options: &PlacerOptions,
    ) -> Option<Self> {
        let names = &options.args;
        let names = [&names.room, &names.tags, &names.region, &names.source, &names.home, &names.at];
        let mut told = [None; 6];
        for (name, value) in args {
            let known = names.iter().position(|wanted| name == wanted.as_bytes());
            if let Some(told) = known.and_then(|at| told.get_mut(at)) {
                told.get_or_insert(value);
            }
        }
        let [room, tags, region, source, home, at] = told;
        let text = |value: Option<Value<&'a [u8]>>| value.and_then(Value::text).filter(|text| !text.is_empty());
        let room = StickKey::new(text(room)?).ok()?;
        let tags = text(tags).into_iter().flat_map(|tags| tags.split(','));
        let tags = tags.map(str::trim).filter(|tag| !tag.is_empty()).map(Tag::from).collect();
        let source = match source {
            Some(Value::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Value::Ipv6(address)) => Some(IpAddr::V6(address)),
            other => text(other).and_then(|text| text.parse().ok()),
        };
        let home = home.and_then(|home| match home.as_integer() {
            Some(number) => u32::try_from(number).ok().filter(|number| *number > 0).map(Home::Number),
            None => text(Some(home)).map(|name| Home::Name(name.to_owned())),
        });
        let at = at.and_then(|at| at.as_integer()).and_then(|at| u64::try_from(at).ok());
        Some(Self { room, tags, region: text(region).map(Tag::from), source, home, at })
    }

    /// Whether HAProxy waits no more.
    pub(super) fn is_stale(&self, options: &PlacerOptions) -> bool {
        let patience = u64::try_from(options.patience.as_millis()).unwrap_or(u64::MAX);
        self.at.is_some_and(|at| (options.wall_ms)().saturating_sub(at) >= patience)
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
