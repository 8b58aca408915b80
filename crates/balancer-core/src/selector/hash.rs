//! `consistent-hash`: the same room to the same server, and few rooms moved when servers change.

use std::collections::HashSet;
use std::sync::Arc;

use crate::backend::{Backend, Weight};
use crate::board::Slot;
use crate::hash::{Node, Ring, mix, stable_hash};
use crate::selector::least::Least;
use crate::selector::{Ask, Change, Selector, Strategy, Turn};
use crate::snapshot::{Candidates, Members};

/// How many points of the ring are tried before the key is hashed again over the candidates.
const MAX_STEPS: usize = 128;
const MAX_POINTS: u32 = 1_000;
/// Bound factors are kept in 1,024ths.
const ONE: u32 = 1_024;

/// A consistent hash of the room key over a weighted ring.
///
/// A server's points depend only on its own id and weight: removing a server moves only its rooms, adding one moves
/// rooms only to it, a new weight moves rooms only from or to that server. A server's share of the keys differs from
/// its weight's share by about 1 in the square root of its number of points, as a standard deviation.
///
/// States move nothing on the ring. A server that is no candidate is passed over in favour of the next on the ring;
/// where 128 points in a row belong to none, the key is hashed again over the candidates, by weight.
///
/// Ties: points of the same hash follow the hash of the id. With a [bound](Self::bounded) that no server meets, the
/// least units in flight for the weight decide, then chance.
#[derive(Clone, Debug)]
pub struct ConsistentHash {
    points: u32,
    /// In 1,024ths; 0 is no bound.
    bound: u32,
    ring: Arc<Ring>,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self { points: 100, bound: 0, ring: Arc::new(Ring::new(&[])) }
    }
}

impl ConsistentHash {
    /// 100 points for weight 1, no bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// Points on the ring for weight 1, from 1 to 1,000; default 100. A point takes 12 bytes, so with large weights
    /// use fewer.
    #[must_use]
    pub fn points(mut self, points: u32) -> Self {
        self.points = points.clamp(1, MAX_POINTS);
        self
    }

    /// Bounds the load: a server may have at most `factor` times its share of all units in flight to the candidates,
    /// counting the new one, rounded up. A full server is passed over. Factors below 1, or that are no number, count
    /// as 1; above 1,000 as 1,000. Common is 1.25.
    #[must_use]
    pub fn bounded(mut self, factor: f64) -> Self {
        let factor = if factor >= 1.0 { factor.min(1000.0) } else { 1.0 };
        // Between 1,024 and 1,024,000 here.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bound = (factor * f64::from(ONE)) as u32;
        self.bound = bound.max(ONE);
        self
    }

    fn count(&self, weight: Weight) -> u32 {
        match u32::from(weight.sixteenths()) {
            0 => 0,
            w => (self.points * w / 16).max(1),
        }
    }
}

impl<B: Backend, Q: ?Sized> Strategy<B, Q> for ConsistentHash {
    fn name(&self) -> &'static str {
        "consistent-hash"
    }

    fn by_key_alone(&self) -> bool {
        self.bound == 0
    }

    fn prepare(&mut self, members: &Members<B>, changes: &[Change]) -> Option<Arc<dyn Selector<B, Q>>> {
        if changes.iter().all(|c| matches!(c, Change::Eligible(_))) {
            return None;
        }
        let mut nodes: Vec<Node> = members
            .iter()
            .map(|m| Node { slot: m.slot(), id_hash: m.id_hash(), points: self.count(m.weight()) })
            .collect();
        nodes.sort_unstable_by_key(|n| n.slot);
        if nodes != self.ring.nodes() {
            self.ring = Arc::new(self.ring.with(&nodes));
        }
        Some(Arc::new(OnRing { ring: self.ring.clone(), bound: self.bound }))
    }

    fn fork(&self) -> Box<dyn Strategy<B, Q>> {
        // A ring never changes once it is made, so sharing it is as good as a copy.
        Box::new(self.clone())
    }
}

#[derive(Debug)]
struct OnRing {
    ring: Arc<Ring>,
    bound: u32,
}

/// Who is full, under a bound.
#[derive(Clone, Copy)]
struct Bound {
    /// The bound's factor times all units in flight and the new one.
    allowed: u128,
    /// The sum of the weights, scaled like the factor.
    weights: u128,
}

impl Bound {
    fn new<B: Backend>(factor: u32, among: &Candidates<'_, B>) -> Self {
        let (mut units, mut weights) = (1u64, 0u64);
        for slot in among.iter() {
            units += u64::from(among.in_flight(slot));
            weights += u64::from(among.weight(slot).sixteenths());
        }
        Self { allowed: u128::from(factor) * u128::from(units), weights: u128::from(ONE) * u128::from(weights) }
    }

    /// Whether this server, with these units in flight, can have one more.
    fn admits(self, units: u32, weight: Weight) -> bool {
        u128::from(units) * self.weights < self.allowed * u128::from(weight.sixteenths())
    }
}

impl<B: Backend, Q: ?Sized> Selector<B, Q> for OnRing {
    fn pick(&self, among: &Candidates<'_, B>, ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        let key = stable_hash(ask.key.as_str().as_bytes());
        if self.bound == 0
            && turn.trace().is_none()
            && let Some(owner) = self.ring.owner(key).filter(|slot| among.contains(*slot))
        {
            return Some(owner);
        }
        self.search(among, key, turn)
    }
}

impl OnRing {
    /// A pick that is explained, bounded, or whose key belongs to a server that is no candidate.
    #[inline(never)]
    fn search<B: Backend>(&self, among: &Candidates<'_, B>, key: u64, turn: &mut Turn<'_>) -> Option<Slot> {
        if let Some(trace) = turn.trace() {
            trace.rule(if self.bound == 0 {
                "the next on the ring from the room's hash"
            } else {
                "the next on the ring from the room's hash that has room within the bound"
            });
            let mut seen = HashSet::new();
            for (hash, slot) in self.ring.walk(key) {
                if among.contains(slot) && seen.insert(slot) {
                    trace.score(slot, hash.wrapping_sub(key & !0xf_ffff));
                }
            }
        }
        if self.bound == 0 {
            let near = self.ring.walk(key).take(MAX_STEPS).map(|(_, slot)| slot);
            return near.into_iter().find(|slot| among.contains(*slot)).or_else(|| rendezvous(among, key, |_| true));
        }
        let bound = Bound::new(self.bound, among);
        let room = |slot: Slot| {
            let units = among.in_flight(slot);
            bound.admits(units, among.weight(slot)).then_some((slot, units))
        };
        let near = self.ring.walk(key).take(MAX_STEPS).map(|(_, slot)| slot);
        let found = near
            .into_iter()
            .filter(|slot| among.contains(*slot))
            .find_map(room)
            .or_else(|| rendezvous(among, key, |slot| room(slot).is_some()).and_then(room));
        if let Some((slot, units)) = found {
            turn.expect_units(units);
            return Some(slot);
        }
        // Everybody is full, which happens only when figures change during the pick.
        let mut least = Least::new(turn);
        for slot in among.iter() {
            let share = u64::from(among.in_flight(slot)) * u64::from(among.inverse_weight(slot));
            least.offer(among, slot, share, |a, b| a.cmp(&b));
        }
        least.finish(turn.trace()).map(|(slot, _)| slot)
    }
}

/// The highest random weight of the key over those candidates that `admit` lets in.
///
/// With u a uniform hash of key and server, the least -log(u) / weight wins each server its exact share.
fn rendezvous<B: Backend>(among: &Candidates<'_, B>, key: u64, admit: impl Fn(Slot) -> bool) -> Option<Slot> {
    let mut best: Option<(Slot, u64, u64, u64)> = None;
    for slot in among.iter() {
        let weight = u64::from(among.weight(slot).sixteenths());
        let Some(m) = among.member(slot) else { continue };
        if weight == 0 || !admit(slot) {
            continue;
        }
        let cost = minus_log2(mix(key ^ mix(m.id_hash())));
        let better = best.is_none_or(|(_, c, w, id)| (cost * w, m.id_hash()) < (c * weight, id));
        if better {
            best = Some((slot, cost, weight, m.id_hash()));
        }
    }
    best.map(|(slot, ..)| slot)
}

/// -log2 of `x` / 2^64 in 2^-32ths, in whole numbers so that every machine gets the same. 0 counts as 1.
fn minus_log2(x: u64) -> u64 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    // In [1, 2) with 63 bits behind the point; squaring doubles the logarithm, whose next bit is the overflow.
    let mut m = x << zeros;
    let mut fraction = 0u64;
    for _ in 0..32 {
        let square = (u128::from(m) * u128::from(m)) >> 63;
        fraction <<= 1;
        let carry = square >> 64;
        if carry != 0 {
            fraction |= 1;
        }
        m = u64::try_from(square >> carry).unwrap_or(u64::MAX);
    }
    // log2(x) = 63 - zeros + fraction.
    ((u64::from(zeros) + 1) << 32) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_is_that_of_the_library() {
        for x in [1, 2, 3, 0xffff, 1 << 40, 0x1234_5678_9abc_def0, 1 << 63, (1 << 63) + 1, u64::MAX] {
            let want = 64.0 - (x as f64).log2();
            let got = minus_log2(x) as f64 / f64::from(ONE).powi(3) / 4.0;
            assert!((got - want).abs() < 1e-8, "{x}: {got} for {want}");
        }
        assert_eq!(minus_log2(0), minus_log2(1));
    }
}
