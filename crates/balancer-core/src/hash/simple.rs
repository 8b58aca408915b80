//! A ring of equals over the `hashring` crate.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;

use crate::hash::{point, stable_hash};

/// The most points a ring may have; above, each member has fewer.
const MAX_POINTS: usize = 1 << 20;

/// Divides keys evenly among a fixed list of equals, such as probes among balancer processes.
///
/// Every process with the same list gives the same answer, whatever the order of the list. There are no weights and no
/// changes: a new membership is a new ring, in which the keys of the others stay where they are. Servers, which have
/// weights and states, are divided by [`ConsistentHash`](crate::ConsistentHash), on the same points.
#[derive(Clone)]
pub struct SimpleRing {
    ring: HashRing<Virtual, AsIs>,
    ids: Vec<String>,
}

impl std::fmt::Debug for SimpleRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimpleRing").field("ids", &self.ids).field("points", &self.ring.len()).finish()
    }
}

/// One of a member's points.
#[derive(Clone, Debug)]
struct Virtual {
    hash: u64,
    member: usize,
}

impl Hash for Virtual {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A key whose hash is known.
struct Key(u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes hashes as they are: they were made by the stable hash, which promises its output.
#[derive(Clone, Debug)]
struct AsIs;

impl BuildHasher for AsIs {
    type Hasher = Last;

    fn build_hasher(&self) -> Last {
        Last(0)
    }
}

#[derive(Debug)]
struct Last(u64);

impl Hasher for Last {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= stable_hash(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl SimpleRing {
    /// A ring of these members, `virtual_nodes` points each (at least 1; 100 give each its share within about a
    /// tenth). An id given twice counts once.
    pub fn new<S: Into<String>>(ids: impl IntoIterator<Item = S>, virtual_nodes: u32) -> Self {
        let mut ids: Vec<String> = ids.into_iter().map(Into::into).collect();
        ids.sort_unstable();
        ids.dedup();
        let most = u32::try_from(MAX_POINTS / ids.len().max(1)).unwrap_or(u32::MAX);
        let each = virtual_nodes.min(most).max(1);
        let points = ids.iter().enumerate().flat_map(|(member, id)| {
            let id_hash = stable_hash(id.as_bytes());
            (0..each).map(move |i| Virtual { hash: point(id_hash, i), member })
        });
        let points = points.collect();
        let mut ring = HashRing::with_hasher(AsIs);
        ring.batch_add(points);
        Self { ring, ids }
    }

    /// Whose this key is; `None` when there is no member.
    pub fn owner(&self, key: &str) -> Option<&str> {
        let at = self.ring.get(&Key(stable_hash(key.as_bytes())))?;
        self.ids.get(at.member).map(String::as_str)
    }

    /// The members, sorted.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }
}
