//! Points of the consistent tree in order, with a table of places to jump to.

use std::collections::HashSet;

use super::cells::Cells;
use super::hash::avalanche;

/// A point: its key, and the server that owns it.
pub(crate) type Point = (u32, u32);

/// Points sorted by key; equal keys stay in the order in which they were added.
///
/// The keys are mixed numbers and so spread evenly: a table with about one place per point, indexed by the top bits of
/// the hash, leads to within a step or two of the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    points: Vec<Point>,
    /// Where the points begin whose key has these top bits; one more place for the end.
    jump: Vec<u32>,
    shift: u32,
    cells: Option<Cells>,
}

/// The key of node `i` of a server.
pub(crate) fn node(base: u32, i: u32) -> u32 {
    avalanche(base.wrapping_add(i))
}

impl Ring {
    /// A ring of these points, in order of insertion.
    pub(crate) fn new(mut points: Vec<Point>) -> Self {
        points.sort_by_key(|p| p.0);
        let mut ring = Self { points, jump: Vec::new(), shift: 0, cells: None };
        ring.index();
        ring
    }

    fn index(&mut self) {
        self.cells = Cells::new(&self.points);
        // The table only serves what the cells leave over.
        let spread = if self.cells.is_some() { 2 } else { 0 };
        let bits = (usize::BITS - self.points.len().leading_zeros()).saturating_sub(spread);
        let bits = bits.clamp(1, 26);
        self.shift = 32 - bits;
        self.jump.clear();
        self.jump.reserve((1 << bits) + 1);
        let mut at = 0;
        for place in 0..=(1u64 << bits) {
            let from = place << self.shift;
            while self.points.get(at).is_some_and(|p| u64::from(p.0) < from) {
                at += 1;
            }
            self.jump.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    #[cfg(test)]
    pub(crate) fn cells(&self) -> Option<&Cells> {
        self.cells.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// The owner of the point at this place.
    pub(crate) fn owner(&self, at: usize) -> Option<usize> {
        self.points.get(at).map(|p| p.1 as usize)
    }

    /// The key of the point at this place.
    pub(crate) fn key(&self, at: usize) -> Option<u32> {
        self.points.get(at).map(|p| p.0)
    }

    /// Adds points of a server behind all of the same keys.
    pub(crate) fn add(&mut self, mut new: Vec<Point>) {
        new.sort_by_key(|p| p.0);
        let old = std::mem::take(&mut self.points);
        let mut merged = Vec::with_capacity(old.len() + new.len());
        let mut new = new.into_iter().peekable();
        for p in old {
            while let Some(n) = new.next_if(|n| n.0 < p.0) {
                merged.push(n);
            }
            merged.push(p);
        }
        merged.extend(new);
        self.points = merged;
        self.index();
    }

    /// Removes those points of a server that have these keys.
    pub(crate) fn remove(&mut self, owner: u32, keys: &HashSet<u32>) {
        self.points.retain(|(key, who)| *who != owner || !keys.contains(key));
        self.index();
    }

    /// The place of the first point with this key or a greater one; the smallest behind the last. `None` if empty.
    pub(crate) fn at_or_after(&self, hash: u32) -> Option<usize> {
        let mut at = *self.jump.get((hash >> self.shift) as usize)? as usize;
        while self.points.get(at).is_some_and(|p| p.0 < hash) {
            at += 1;
        }
        match self.points.len() {
            0 => None,
            n => Some(if at == n { 0 } else { at }),
        }
    }

    /// The place of the nearest point, on either side; the lower one of two as near.
    pub(crate) fn nearest(&self, hash: u32) -> Option<usize> {
        let next = self.at_or_after(hash)?;
        let prev = next.checked_sub(1).unwrap_or(self.points.len() - 1);
        let (below, above) = (hash.wrapping_sub(self.points[prev].0), self.points[next].0.wrapping_sub(hash));
        Some(if below <= above { prev } else { next })
    }

    /// The owner of the nearest point.
    pub(crate) fn nearest_owner(&self, hash: u32) -> Option<usize> {
        let known = self.cells.as_ref().and_then(|c| c.owner(hash));
        known.or_else(|| self.nearest(hash).and_then(|at| self.owner(at)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_search_finds(
            mut keys in prop::collection::vec(prop_oneof![any::<u32>(), 0u32..9, (u32::MAX - 9)..], 1..60),
            hashes in prop::collection::vec(prop_oneof![any::<u32>(), 0u32..9, (u32::MAX - 9)..], 1..60),
        ) {
            let ring = Ring::new(keys.iter().map(|k| (*k, 0)).collect());
            keys.sort_unstable();
            for h in hashes {
                let at = keys.partition_point(|k| *k < h);
                prop_assert_eq!(ring.at_or_after(h), Some(if at == keys.len() { 0 } else { at }));
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_and_equal_keys_keep_their_order() {
        let mut ring = Ring::new(vec![(10, 0), (20, 1), (10, 2)]);
        let owner = |r: &Ring, h| r.nearest(h).and_then(|at| r.owner(at));
        // 15 is as near to 10 as to 20: the last of the equal ones before.
        assert_eq!(owner(&ring, 15), Some(2));
        assert_eq!(owner(&ring, 16), Some(1));
        // Straight at 10 the point before is far: the first of the equal ones.
        assert_eq!(owner(&ring, 10), Some(0));
        ring.remove(0, &HashSet::from([10]));
        ring.add(vec![(10, 0)]);
        assert_eq!(owner(&ring, 10), Some(2));
        assert_eq!(Ring::default().nearest(5), None);
        assert_eq!(Ring::new(Vec::new()).nearest(5), None);
    }

    /// 1,000 servers of weight 100.
    #[test]
    #[ignore = "a measurement for a release build on a quiet machine: cargo xtask bench haproxy runs it"]
    fn lookup_is_faster_than_a_search() {
        let points = (1..=1000u32).flat_map(|id| (0..1600).map(move |i| (node(id * 4096, i), id)));
        let ring = Ring::new(points.collect());
        let hashes: Vec<u32> = (0..1_000_000).map(|i| avalanche(i ^ 0x5bd1_e995)).collect();
        let search = |h: u32| {
            let at = ring.points.partition_point(|p| p.0 < h);
            let next = if at == ring.len() { 0 } else { at };
            let prev = next.checked_sub(1).unwrap_or(ring.len() - 1);
            if h.wrapping_sub(ring.points[prev].0) <= ring.points[next].0.wrapping_sub(h) { prev } else { next }
        };
        // Short runs over ever other hashes, of which the median counts: others use the machine too.
        let timed = |find: &dyn Fn(u32) -> usize| {
            let (mut times, mut sum) = (Vec::new(), 0usize);
            for part in hashes.chunks(10_000) {
                let start = std::time::Instant::now();
                sum = part.iter().fold(sum, |sum, h| sum.wrapping_add(find(*h)));
                times.push(start.elapsed().as_secs_f64() * 1e9 / part.len() as f64);
            }
            times.sort_by(f64::total_cmp);
            (times[times.len() / 2], sum)
        };
        let (slow, a) = timed(&search);
        let (jump, b) = timed(&|h| ring.nearest(h).unwrap_or(0));
        assert_eq!(a, b);
        let (fast, _) = timed(&|h| ring.nearest_owner(h).unwrap_or(0));
        println!(
            "{} points: search {slow:.1} ns, jump {jump:.1} ns, lookup {fast:.1} ns, {:.1} times as fast",
            ring.len(),
            slow / fast
        );
        assert!(slow / fast >= 5.0);
    }
}
