//! A weighted ring: sorted points, laid out so that a lookup reads one line of memory.

use std::cmp::Ordering;

use crate::board::{MAX_SLOTS, Slot};
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

/// Points of all servers on the circle of 64-bit numbers. A key belongs to the first point at or after its hash, by the
/// highest 44 bits of both.
///
/// The circle is divided evenly among lines, each as long as a line of the processor's cache. A point lies in its own
/// line, or behind the last point where that is full; a place without a point repeats the next one. So everything is
/// sorted, and the first place that is not before a key is found in the key's own line, or very seldom behind it.
#[derive(Debug)]
pub(crate) struct Ring {
    lines: Vec<Line>,
    /// Over how many lines the circle is divided; what did not fit lies behind them.
    divided: u64,
    /// Sorted by slot.
    nodes: Vec<Node>,
}

const LINE: usize = 8;

/// Each place is a point: its hash above its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(64))]
struct Line([u64; LINE]);

const SLOT_BITS: u32 = 20;
const SLOT: u64 = (1 << SLOT_BITS) - 1;
/// Behind the last point.
const END: u64 = u64::MAX;

const _: () = assert!((MAX_SLOTS as u64) < SLOT, "a slot fits beside the hash of its point, and END is none");

fn cut(hash: u64) -> u64 {
    hash & !SLOT
}

fn slot(point: u64) -> Slot {
    // 20 bits fit.
    Slot(u32::try_from(point & SLOT).unwrap_or(0))
}

impl Ring {
    pub(crate) fn new(nodes: &[Node]) -> Self {
        Self::build(&[], Vec::new()).with(nodes)
    }

    /// The ring of these nodes, one for each slot. Only points of nodes that differ from those here are computed: they
    /// are put in or taken out where they lie, as long as the lines stay neither too full nor too empty.
    pub(crate) fn with(&self, nodes: &[Node]) -> Self {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable_by_key(|n| n.slot);
        let known = |n: &Node, list: &[Node]| list.binary_search_by_key(&n.slot, |o| o.slot).map(|i| list[i] == *n);
        let highest = self.nodes.last().map_or(0, |n| n.slot.index() + 1);
        let mut gone = vec![false; highest];
        for n in self.nodes.iter().filter(|n| known(n, &nodes) != Ok(true)) {
            gone[n.slot.index()] = true;
        }
        let mut fresh = Vec::new();
        for n in nodes.iter().filter(|n| known(n, &self.nodes) != Ok(true)) {
            fresh.extend((0..n.points).map(|i| cut(point(n.id_hash, i)) | u64::from(n.slot.0)));
        }
        // Points of one hash follow the hashes of the ids, so that slots do not matter.
        let id = |point| nodes.binary_search_by_key(&slot(point), |n| n.slot).map_or(0, |i| nodes[i].id_hash);
        let before = |a: &u64, b: &u64| cut(*a).cmp(&cut(*b)).then_with(|| id(*a).cmp(&id(*b)));
        let count: u64 = nodes.iter().map(|n| u64::from(n.points)).sum();
        let fits = (self.divided * 4..=self.divided * 6).contains(&count);
        if fits && fresh.len() < self.lines.len() {
            let mut ring = Self { lines: self.lines.clone(), divided: self.divided, nodes: Vec::new() };
            if gone.contains(&true) {
                ring.take_out(&gone);
            }
            fresh.iter().for_each(|p| ring.put_in(*p, before));
            ring.nodes = nodes;
            return ring;
        }
        fresh.sort_unstable_by(before);
        let mut points = Vec::with_capacity(self.lines.len() * LINE + fresh.len());
        let mut fresh = fresh.into_iter().peekable();
        for p in self.points(0).filter(|p| !gone[slot(*p).index()]) {
            while let Some(f) = fresh.next_if(|f| before(f, &p).is_lt()) {
                points.push(f);
            }
            points.push(p);
        }
        points.extend(fresh);
        // A server's own points seldom share a hash; one of them is enough.
        points.dedup();
        Self::build(&points, nodes)
    }

    /// Takes out every point of these slots: the next one is repeated in their places.
    fn take_out(&mut self, gone: &[bool]) {
        let mut next = END;
        for place in self.lines.iter_mut().rev().flat_map(|l| l.0.iter_mut().rev()) {
            if *place != END && gone.get(slot(*place).index()) == Some(&true) {
                *place = next;
            }
            next = *place;
        }
    }

    /// Puts a point in: the points behind it move on up to the next place that repeats one.
    fn put_in(&mut self, point: u64, before: impl Fn(&u64, &u64) -> Ordering) {
        // One line of ends always remains for whoever looks for a place.
        if self.lines.last().is_none_or(|l| l.0[0] != END) {
            self.lines.push(Line([END; LINE]));
        }
        let own = line(point, self.divided) * LINE;
        let mut at = own;
        while self.at(at) != END && before(&self.at(at), &point).is_lt() {
            at += 1;
        }
        let next = self.at(at);
        if next == point {
            return;
        }
        // Places in front that repeated the next point repeat this one.
        for i in (0..at).rev().take_while(|_| at == own) {
            if self.at(i) != next {
                break;
            }
            self.set(i, point);
        }
        let mut moved = point;
        while moved != END {
            let here = self.at(at);
            let repeated = here == self.at(at + 1);
            self.set(at, moved);
            if repeated {
                return;
            }
            moved = here;
            at += 1;
        }
    }

    fn at(&self, place: usize) -> u64 {
        self.lines.get(place / LINE).map_or(END, |l| l.0[place % LINE])
    }

    fn set(&mut self, place: usize, point: u64) {
        if let Some(l) = self.lines.get_mut(place / LINE) {
            l.0[place % LINE] = point;
        }
    }

    fn build(points: &[u64], nodes: Vec<Node>) -> Self {
        // Five or six points to a line.
        let divided = points.len() as u64 * 3 / 16 + 1;
        let mut places = Vec::with_capacity(points.len() * 3 / 2 + 2 * LINE);
        for p in points {
            let own = line(*p, divided) * LINE;
            // Places without a point repeat the next one.
            while places.len() < own {
                places.push(*p);
            }
            places.push(*p);
        }
        // Whoever looks for a place always finds one.
        let whole = places.len().max(usize::try_from(divided).unwrap_or(0) * LINE).next_multiple_of(LINE) + LINE;
        places.resize(whole, END);
        let lines = places.as_chunks().0.iter().map(|places| Line(*places)).collect();
        Self { lines, divided, nodes }
    }

    /// The nodes, sorted by slot.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The first place that is not before this key, as a line and a place in it.
    fn start(&self, key: u64) -> (usize, usize) {
        let key = cut(key);
        let mut at = line(key, self.divided);
        while let Some(Line(places)) = self.lines.get(at) {
            let before = count_below(places, key);
            if before < LINE {
                return (at, before);
            }
            at += 1;
        }
        (at, 0)
    }

    /// The owner of this key.
    pub(crate) fn owner(&self, key: u64) -> Option<Slot> {
        let (at, place) = self.start(key);
        let first = || self.lines.first().map(|l| l.0[0]);
        let point = self.lines.get(at).and_then(|l| l.0.get(place)).copied().filter(|p| *p != END).or_else(first)?;
        (point != END).then(|| slot(point))
    }

    /// The points from this key on to the end, each once.
    fn points(&self, key: u64) -> impl Iterator<Item = u64> + '_ {
        let (at, place) = self.start(key);
        let rest = self.lines.get(at..).unwrap_or(&[]).iter().flat_map(|l| l.0);
        let mut last = END;
        rest.skip(place).take_while(|p| *p != END).filter(move |p| std::mem::replace(&mut last, *p) != *p)
    }

    /// Once around the circle from this key on: the hash of each point and whose it is.
    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = (u64, Slot)> + '_ {
        let around = self.points(0).take_while(move |p| *p < cut(key));
        self.points(key).chain(around).map(|p| (cut(p), slot(p)))
    }
}

/// How many of these, which are sorted, are below the key; without a branch that anybody could guess wrong.
fn count_below(places: &[u64; LINE], key: u64) -> usize {
    let below = |n: usize| usize::from(places[n % LINE] < key);
    let mut n = 4 * below(3);
    n += 2 * below(n + 1);
    n += below(n);
    if n == 7 { 7 + below(7) } else { n }
}

/// In which line of so many a hash lies.
fn line(hash: u64, lines: u64) -> usize {
    usize::try_from((u128::from(hash) * u128::from(lines)) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
