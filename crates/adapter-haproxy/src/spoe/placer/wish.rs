//! What a message asks for.

use std::net::IpAddr;

use balancer_core::{Clause, Filter, FilterError, StickKey, Tag};

use super::options::PlacerOptions;
use crate::spoe::{Message, Value};

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
    /// Reads it; `None` if it names no room that can be a key.
    pub(super) fn read(message: &Message, options: &PlacerOptions) -> Option<Self> {
        let names = &options.args;
        let text = |name: &str| message.arg(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let room = StickKey::new(text(&names.room)?).ok()?;
        let tags = text(&names.tags).into_iter().flat_map(|tags| tags.split(','));
        let tags = tags.map(str::trim).filter(|tag| !tag.is_empty()).map(Tag::from).collect();
        let source = match message.arg(&names.source) {
            Some(Value::Ipv4(address)) => Some(IpAddr::V4(*address)),
            Some(Value::Ipv6(address)) => Some(IpAddr::V6(*address)),
            Some(other) => other.as_str().and_then(|text| text.parse().ok()),
            None => None,
        };
        let home = message.arg(&names.home).and_then(|home| match home.as_integer() {
            Some(number) => u32::try_from(number).ok().filter(|number| *number > 0).map(Home::Number),
            None => home.as_str().filter(|name| !name.is_empty()).map(|name| Home::Name(name.to_owned())),
        });
        let at = message.arg(&names.at).and_then(Value::as_integer).and_then(|at| u64::try_from(at).ok());
        Some(Self { room, tags, region: text(&names.region).map(Tag::from), source, home, at })
    }

    /// Whether HAProxy waits no more.
    pub(super) fn is_stale(&self, options: &PlacerOptions) -> bool {
        let age = |at: u64| u128::from((options.wall_ms)().saturating_sub(at));
        self.at.is_some_and(|at| age(at) >= options.patience.as_millis())
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
