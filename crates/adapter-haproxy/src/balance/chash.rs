//! `hash-type consistent`: the nearest node on a ring, bounded load, turns along the nodes.

use std::collections::HashSet;
use std::sync::Arc;

use super::farm::{Farm, Load};
use super::notes::Notes;
use super::ring::{Point, Ring, node};

/// What a request does whose server is full: `hash-preserve-affinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affinity {
    /// It waits there.
    #[default]
    Always,
    /// It goes on to the next that is not at its limit.
    MaxConn,
    /// It goes on to the next whose queue is not full either.
    MaxQueue,
}

/// The state of the consistent trees.
#[derive(Clone, Debug)]
pub(crate) struct Chash {
    factor: u32,
    affinity: Affinity,
    /// Of the active servers and of the backups.
    rings: [Arc<Ring>; 2],
    /// Nodes now and at most so far, by server.
    nodes: Vec<(u32, u32)>,
    /// Of the usable servers before each at start.
    before: Vec<u32>,
    /// Ring and place of the last turn.
    cursor: Option<(usize, usize)>,
}

impl Chash {
    pub(crate) fn new(farm: &Farm, factor: u32, affinity: Affinity) -> Self {
        let mut points = [Vec::new(), Vec::new()];
        let mut sums = [0u32; 2];
        let mut nodes = Vec::with_capacity(farm.units.len());
        let mut before = Vec::with_capacity(farm.units.len());
        for (owner, u) in (0u32..).zip(&farm.units) {
            let side = usize::from(u.backup);
            let now = if u.usable() { u.ew } else { 0 };
            before.push(if u.usable() { sums[side] } else { 0 });
            sums[side] += now;
            points[side].extend((0..now).map(|i| (node(u.node_base, i), owner)));
            nodes.push((now, u.sixteenths));
        }
        Self { factor, affinity, rings: points.map(|p| Arc::new(Ring::new(p))), nodes, before, cursor: None }
    }

    /// A server has another weight or state.
    pub(crate) fn changed(&mut self, farm: &Farm, i: usize) {
        let (Some(unit), Some((now, most))) = (farm.units.get(i), self.nodes.get(i).copied()) else { return };
        let side = usize::from(unit.backup);
        let want = if unit.usable() { unit.ew } else { 0 };
        let mut now = now;
        let mut most = most;
        let owner = u32::try_from(i).unwrap_or(u32::MAX);
        // More than ever: all are made anew and so come last among equals.
        let keep = if want > most { 0 } else { want };
        most = most.max(want);
        if keep < now {
            let gone: HashSet<u32> = (keep..now).map(|n| node(unit.node_base, n)).collect();
            self.remove(side, owner, &gone);
            now = keep;
        }
        if now < want {
            let new: Vec<Point> = (now..want).map(|n| (node(unit.node_base, n), owner)).collect();
            let at = self.cursor.filter(|(s, _)| *s == side).map(|(_, at)| at);
            // Every new point at or before the cursor's key in order moves it by one; equal keys come behind it.
            let shift =
                at.and_then(|at| self.rings[side].key(at)).map_or(0, |key| new.iter().filter(|p| p.0 < key).count());
            Arc::make_mut(&mut self.rings[side]).add(new);
            if let Some((_, at)) = self.cursor.as_mut().filter(|(s, _)| *s == side) {
                *at += shift;
            }
        }
        self.nodes[i] = (want, most);
    }

    /// Removes points; a cursor on one of them moves to the first that stays.
    fn remove(&mut self, side: usize, owner: u32, gone: &HashSet<u32>) {
        let ring = &self.rings[side];
        let is_gone =
            |at: usize| ring.owner(at) == Some(owner as usize) && ring.key(at).is_some_and(|key| gone.contains(&key));
        let moved = match self.cursor {
            Some((s, at)) if s == side => {
                let n = ring.len();
                let stays = (0..n).map(|step| (at + step) % n).find(|at| !is_gone(*at));
                stays.map(|at| (side, at - (0..at).filter(|p| is_gone(*p)).count()))
            }
            other => other,
        };
        self.cursor = moved;
        Arc::make_mut(&mut self.rings[side]).remove(owner, gone);
    }

    /// The server of a hash.
    pub(crate) fn by_hash(&self, farm: &Farm, load: &dyn Load, hash: u32, notes: &mut Notes) -> Option<usize> {
        let side = match farm.group().side() {
            Ok(side) => side,
            Err(only) => return only,
        };
        let ring = &self.rings[side];
        if self.factor == 0
            && self.affinity == Affinity::Always
            && !notes.are_on()
            && let Some(owner) = ring.nearest_owner(hash).filter(|i| !load.is_barred(*i))
        {
            return Some(owner);
        }
        let start = ring.nearest(hash)?;
        let first = ring.owner(start)?;
        notes.say(|| {
            let key = ring.key(start).unwrap_or(0);
            let (below, above) = (hash.wrapping_sub(key), key.wrapping_sub(hash));
            format!("nearest node {key:#010x} is {} away", below.min(above))
        });
        if self.factor == 0 && self.affinity == Affinity::Always && !load.is_barred(first) {
            return Some(first);
        }
        let total = farm.totals().1;
        let (mut at, mut wraps) = (start, 0);
        loop {
            let i = ring.owner(at)?;
            if self.admits(farm, load, total, i) {
                return Some(i);
            }
            notes.say_of(i, || "is full, so the walk goes on upwards".into());
            at += 1;
            if at == ring.len() {
                at = 0;
                wraps += 1;
                if wraps > 1 {
                    return Some(i);
                }
            }
        }
    }

    fn admits(&self, farm: &Farm, load: &dyn Load, total: u32, i: usize) -> bool {
        if load.is_barred(i) {
            return false;
        }
        let bounded = self.factor == 0 || self.slots(farm, load, total, i).is_none_or(|slots| load.served(i) < slots);
        bounded
            && match self.affinity {
                Affinity::Always => true,
                // A walk passes those at their limit, whether or not somebody waits.
                Affinity::MaxConn => load.limit(i).is_none_or(|limit| load.served(i) < limit),
                Affinity::MaxQueue => load.max_queue(i) == 0 || !load.is_packed(i),
            }
    }

    /// The connections a server may have under the bound; `None` if there is nobody.
    fn slots(&self, farm: &Farm, load: &dyn Load, total: u32, i: usize) -> Option<u32> {
        let ew = farm.units.get(i)?.ew;
        let before = self.before.get(i).copied()?;
        let all = load.total().wrapping_add(1).wrapping_mul(self.factor).wrapping_add(99) / 100;
        let (share, rest) = (all.checked_div(total)?, all.checked_rem(total)?);
        let upto = |weight: u32| weight.wrapping_mul(rest) / total;
        let slots = ew.wrapping_mul(share).wrapping_add(upto(before.wrapping_add(ew))).wrapping_sub(upto(before));
        Some(slots.max(1))
    }

    /// The next in turn along the nodes.
    pub(crate) fn next(&mut self, farm: &Farm, load: &dyn Load, notes: &mut Notes) -> Option<usize> {
        let side = match farm.group().side() {
            Ok(side) => side,
            Err(only) => return only,
        };
        let mut stop = self.cursor;
        // A cursor of the other ring may never be met again.
        for _ in 0..=self.rings[0].len() + self.rings[1].len() {
            // A cursor of the other ring is followed to that ring's end first.
            let next = match self.cursor {
                Some((s, at)) if at + 1 < self.rings[s].len() => (s, at + 1),
                _ => (side, 0),
            };
            self.cursor = Some(next);
            let Some(i) = self.rings[next.0].owner(next.1) else {
                self.cursor = None;
                return None;
            };
            stop = stop.or(Some(next));
            if !load.is_full(i) {
                notes.say(|| "no key: the next node after that of the last such request".into());
                return Some(i);
            }
            notes.say_of(i, || "is full".into());
            if stop == Some(next) {
                break;
            }
        }
        None
    }
}
