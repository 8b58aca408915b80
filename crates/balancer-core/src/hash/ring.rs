//! A weighted ring: sorted points, and a table that jumps close to the right one by the top bits.

use crate::board::Slot;
use crate::hash::stable_hash;

/// The hash of a server's point number `index`; a ring is nothing but these, sorted.
pub(crate) fn point(id_hash: u64, index: u32) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&id_hash.to_le_bytes());
    bytes[8..].copy_from_slice(&index.to_le_bytes());
    stable_hash(&bytes)
}

/// A server and how many points it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) slot: Slot,
    pub(crate) id_hash: u64,
    pub(crate) points: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    hash: u64,
    slot: Slot,
}

/// Points of all servers on the circle of 64-bit numbers. A key belongs to the first point at or after its hash.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Vec<Point>,
    /// For each value of the top bits the first point that is not before it.
    jump: Vec<u32>,
    shift: u32,
    /// Sorted by slot.
    nodes: Vec<Node>,
}

/// The most bits of a key the table is indexed by: 4 MiB.
const MAX_JUMP_BITS: u32 = 20;

impl Ring {
    pub(crate) fn new(nodes: &[Node]) -> Self {
        Self::build(Vec::new(), Vec::new()).with(nodes)
    }

    /// The ring of these nodes, one for each slot. Only points of nodes that differ from those here are computed and
    /// sorted; all others are merged.
    pub(crate) fn with(&self, nodes: &[Node]) -> Self {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable_by_key(|n| n.slot);
        let known = |n: &Node, list: &[Node]| list.binary_search_by_key(&n.slot, |o| o.slot).map(|i| list[i] == *n);
        let highest = self.nodes.last().map_or(0, |n| n.slot.index() + 1);
        let mut keep = vec![false; highest];
        for n in self.nodes.iter().filter(|n| known(n, &nodes) == Ok(true)) {
            keep[n.slot.index()] = true;
        }
        let mut fresh = Vec::new();
        for n in nodes.iter().filter(|n| known(n, &self.nodes) != Ok(true)) {
            fresh.extend((0..n.points).map(|i| Point { hash: point(n.id_hash, i), slot: n.slot }));
        }
        // Points of one hash follow the hashes of the ids, so that slots do not matter.
        let id = |slot: Slot| nodes.binary_search_by_key(&slot, |n| n.slot).map_or(0, |i| nodes[i].id_hash);
        let before = |a: &Point, b: &Point| a.hash.cmp(&b.hash).then_with(|| id(a.slot).cmp(&id(b.slot)));
        fresh.sort_unstable_by(before);
        let mut points = Vec::with_capacity(self.points.len() + fresh.len());
        let mut fresh = fresh.into_iter().peekable();
        for p in self.points.iter().filter(|p| keep[p.slot.index()]) {
            while let Some(f) = fresh.next_if(|f| before(f, p).is_lt()) {
                points.push(f);
            }
            points.push(*p);
        }
        points.extend(fresh);
        Self::build(points, nodes)
    }

    fn build(points: Vec<Point>, nodes: Vec<Node>) -> Self {
        let bits = (usize::BITS - points.len().leading_zeros()).clamp(1, MAX_JUMP_BITS);
        let shift = u64::BITS - bits;
        let mut jump = Vec::with_capacity(1 << bits);
        let mut at = 0u32;
        for top in 0..1u64 << bits {
            while points.get(at as usize).is_some_and(|p| p.hash >> shift < top) {
                at += 1;
            }
            jump.push(at);
        }
        Self { points, jump, shift, nodes }
    }

    /// The nodes, sorted by slot.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn start(&self, key: u64) -> usize {
        let bucket = usize::try_from(key >> self.shift).unwrap_or(0);
        let mut i = self.jump.get(bucket).map_or(0, |i| *i as usize);
        while self.points.get(i).is_some_and(|p| p.hash < key) {
            i += 1;
        }
        i
    }

    /// Once around the circle from this key on: the hash of each point and whose it is.
    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = (u64, Slot)> + '_ {
        let (head, tail) = self.points.split_at(self.start(key).min(self.points.len()));
        tail.iter().chain(head).map(|p| (p.hash, p.slot))
    }
}

#[cfg(test)]
mod tests;
