//! What a server is: a chosen identity, a weight, tags.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The chosen name of a server: unique in its pool, cheap to clone, kept for life.
///
/// Identity is never derived from an address. A server that moves keeps its rooms when it keeps its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(Arc<str>);

impl BackendId {
    /// Equality that looks at the text only where the two are not one allocation.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }

    /// Wraps a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl From<&str> for BackendId {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for BackendId {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl std::borrow::Borrow<str> for BackendId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for BackendId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BackendId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::from)
    }
}

/// A share of the work, from 0 (no new work) to 256, kept in sixteenths so that a slow start can grow smoothly.
///
/// The range is HAProxy's (`weight 0..256`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// Weight 1, the default.
    pub const ONE: Self = Self(16);
    /// Weight 0: keeps what it has, takes no new work.
    pub const ZERO: Self = Self(0);
    /// The largest weight, 256.
    pub const MAX: Self = Self(256 * 16);

    /// A whole weight; values above 256 are held at 256.
    pub const fn new(weight: u16) -> Self {
        Self::from_sixteenths(if weight > 256 { 4096 } else { weight * 16 })
    }

    /// A weight in sixteenths (16 is weight 1); values above 4096 are held at 4096.
    pub const fn from_sixteenths(sixteenths: u16) -> Self {
        Self(if sixteenths > 4096 { 4096 } else { sixteenths })
    }

    /// The weight in sixteenths.
    pub const fn sixteenths(self) -> u16 {
        self.0
    }

    /// Whether this weight takes no new work.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 16.0)
    }
}

/// A label of a server: region, tenant, pool name, release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Wraps a label.
    pub fn new(label: impl Into<Arc<str>>) -> Self {
        Self(label.into())
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Tag {
    fn from(label: &str) -> Self {
        Self::new(label)
    }
}

impl From<String> for Tag {
    fn from(label: String) -> Self {
        Self::new(label)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server as an adapter knows it: immutable, shared as `Arc<B>` by every snapshot.
///
/// Counters, health and admin state are not here; they belong to the pool and survive a changed
/// definition of the same id.
pub trait Backend: Send + Sync + 'static {
    /// The chosen identity, unique in the pool.
    fn id(&self) -> &BackendId;

    /// The configured weight.
    fn weight(&self) -> Weight {
        Weight::ONE
    }

    /// Labels that a filter can ask for.
    fn tags(&self) -> &[Tag] {
        &[]
    }
}
