//! Groups of regions that are near to one another.

use std::collections::HashMap;
use std::sync::Arc;

/// Which regions belong together (`region-groups`).
///
/// A region named by no group is a group of itself; one that several groups name belongs to the last of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionGroups {
    of: HashMap<Arc<str>, Arc<[Arc<str>]>>,
}

impl RegionGroups {
    /// These groups, in order.
    pub fn new<G, R>(groups: impl IntoIterator<Item = G>) -> Self
    where
        G: IntoIterator<Item = R>,
        R: Into<Arc<str>>,
    {
        let mut of = HashMap::new();
        for group in groups {
            let group: Arc<[Arc<str>]> = group.into_iter().map(Into::into).collect();
            for region in group.iter() {
                of.insert(region.clone(), group.clone());
            }
        }
        Self { of }
    }

    /// The regions near this one, itself included. None for no region.
    pub fn group<'a>(&'a self, region: Option<&'a str>) -> RegionGroup<'a> {
        match region.and_then(|name| self.of.get(name)) {
            Some(group) => RegionGroup::Named(group),
            None => RegionGroup::Alone(region),
        }
    }
}

/// Regions near one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionGroup<'a> {
    /// As configured.
    Named(&'a [Arc<str>]),
    /// One region, or none.
    Alone(Option<&'a str>),
}

impl<'a> RegionGroup<'a> {
    /// Whether a region is among them. No region is in no group.
    pub fn contains(&self, region: &str) -> bool {
        match self {
            Self::Named(names) => names.iter().any(|name| &**name == region),
            Self::Alone(name) => *name == Some(region),
        }
    }

    /// The regions, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        let (named, alone) = match *self {
            Self::Named(names) => (names, None),
            Self::Alone(name) => (&[] as &[Arc<str>], name),
        };
        named.iter().map(|name| &**name).chain(alone)
    }
}
