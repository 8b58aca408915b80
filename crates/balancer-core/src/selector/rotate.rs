//! `roundrobin`: every server in turn, as often as its weight says, evenly spaced.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::random::weighted;
use crate::selector::{Ask, Change, Selector, Strategy, Turn};
use crate::snapshot::{Candidates, Members};

/// The most turns of one cycle, beside one turn that every server has at least.
pub(super) const MAX_CYCLE: u64 = 16_384;
/// After so many turns of servers that are no candidates, chance decides.
const MAX_SKIPS: usize = 4_096;
/// After so many turns that others took first, chance decides.
const MAX_TRIES: usize = 64;

/// Weighted round robin without bursts.
///
/// A cycle gives every server as many turns as its weight says, in lowest terms, spaced so evenly that after any
/// number of turns each server is less than one turn away from its exact share (two where a turn was moved apart from
/// its like). No server has two turns in a row unless its weight is more than half of the sum. A sum above 16,384 is
/// scaled down to that, so weights are then met within one turn per cycle. The position is kept when servers, weights
/// or states change. A server that is no candidate loses its turn to the next; after 4,096 lost turns in a row, chance
/// decides by weight.
///
/// Ties: servers due at the same moment follow the order of the definitions.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: Arc<AtomicU64>,
}

impl RoundRobin {
    /// Starts at the first server.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<B: Backend, Q: ?Sized> Strategy<B, Q> for RoundRobin {
    fn name(&self) -> &'static str {
        "roundrobin"
    }

    fn prepare(&mut self, members: &Members<B>, _changes: &[Change]) -> Option<Arc<dyn Selector<B, Q>>> {
        let open: Vec<_> = members.iter().filter(|m| m.is_open()).collect();
        let weights: Vec<u64> = open.iter().map(|m| u64::from(m.weight().sixteenths())).collect();
        let cycle = cycle(&weights).into_iter().filter_map(|i| open.get(i).map(|m| m.slot())).collect();
        Some(Arc::new(Rotation { cycle, turn: self.turn.clone() }))
    }

    fn fork(&self) -> Box<dyn Strategy<B, Q>> {
        Box::new(Self { turn: Arc::new(AtomicU64::new(self.turn.load(Relaxed))) })
    }
}

/// A prepared cycle and the shared position in it.
#[derive(Debug)]
struct Rotation {
    cycle: Vec<Slot>,
    turn: Arc<AtomicU64>,
}

impl<B: Backend, Q: ?Sized> Selector<B, Q> for Rotation {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        if let Some(trace) = turn.trace() {
            trace.rule("the next in a cycle with as many evenly spaced turns as the weight says");
            let at = self.turn.load(Relaxed);
            let mut seen = HashSet::new();
            for wait in 0..self.cycle.len() as u64 {
                if let Some(slot) = self.at(at.wrapping_add(wait))
                    && among.contains(slot)
                    && seen.insert(slot)
                {
                    trace.score(slot, wait);
                }
            }
        }
        let mut from = self.turn.load(Relaxed);
        for _ in 0..MAX_TRIES {
            let Some((slot, then)) = self.next(among, from) else {
                // Nobody to choose from is seen at once, and moves nothing.
                among.iter().next()?;
                break;
            };
            if turn.is_trial() {
                return Some(slot);
            }
            match self.turn.compare_exchange_weak(from, then, Relaxed, Relaxed) {
                Ok(_) => return Some(slot),
                Err(now) => from = now,
            }
        }
        weighted(among, turn)
    }
}

impl Rotation {
    /// Whose turn it is from this position on, and the position behind it.
    fn next<B: Backend>(&self, among: &Candidates<'_, B>, from: u64) -> Option<(Slot, u64)> {
        let mut at = self.place(from)?;
        for _ in 0..self.cycle.len().min(MAX_SKIPS) {
            let slot = *self.cycle.get(at)?;
            at += 1;
            if at >= self.cycle.len() {
                at = 0;
            }
            if among.contains(slot) {
                return Some((slot, at as u64));
            }
        }
        None
    }

    /// The place in the cycle that a position stands for: itself, unless the cycle has become shorter.
    fn place(&self, turn: u64) -> Option<usize> {
        let place = usize::try_from(turn).ok()?;
        if place < self.cycle.len() { Some(place) } else { place.checked_rem(self.cycle.len()) }
    }

    fn at(&self, turn: u64) -> Option<Slot> {
        self.cycle.get(self.place(turn)?).copied()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The order of turns for these weights (none of them 0), as positions in the slice.
pub(super) fn cycle(weights: &[u64]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut turns: Vec<u64> = weights.iter().map(|w| w / divisor).collect();
    let sum: u64 = turns.iter().sum();
    if sum > MAX_CYCLE {
        for t in &mut turns {
            *t = (*t * MAX_CYCLE / sum).max(1);
        }
    }
    let mut order = spaced(&turns);
    let next = order.iter().cycle().skip(1);
    let twice: BTreeSet<usize> = order.iter().zip(next).filter(|(a, b)| a == b).map(|(a, _)| *a).collect();
    for who in twice {
        if turns[who] * 2 <= order.len() as u64 {
            part(&mut order, who);
        }
    }
    order
}

/// Evenly spaced turns: turn k of n belongs between k and k + 1 n-ths of the cycle. Always the most urgent one of those
/// that are due, which is known to keep every such window.
pub(super) fn spaced(turns: &[u64]) -> Vec<usize> {
    let sum: u64 = turns.iter().sum();
    let due = |k: u64, n: u64| k * sum / n;
    let end = |k: u64, n: u64| ((k + 1) * sum).div_ceil(n);
    let mut waiting = BinaryHeap::new();
    let mut ready = BinaryHeap::new();
    for (who, n) in turns.iter().enumerate().filter(|(_, n)| **n > 0) {
        ready.push(Reverse((end(0, *n), who, 0)));
    }
    let mut order = Vec::new();
    for now in 0..sum {
        while let Some(Reverse((from, who, k))) = waiting.peek().copied() {
            if from > now {
                break;
            }
            waiting.pop();
            ready.push(Reverse((end(k, turns[who]), who, k)));
        }
        let Some(Reverse((_, who, k))) = ready.pop() else { continue };
        order.push(who);
        if k + 1 < turns[who] {
            waiting.push(Reverse((due(k + 1, turns[who]), who, k + 1)));
        }
    }
    order
}

/// Moves turns of `who` that follow one another to the nearest place between two others. There is one, as long as
/// `who` has no more than half of the turns; no new neighbours of one kind arise.
fn part(order: &mut Vec<usize>, who: usize) {
    let len = order.len();
    let next = |i: usize| (i + 1) % len;
    let mut i = 0;
    while i < len {
        if order[i] != who || order[next(i)] != who {
            i += 1;
            continue;
        }
        let gap = |j: &usize| order[*j] != who && order[next(*j)] != who;
        let away = |j: &usize| (*j).abs_diff(i).min(len - (*j).abs_diff(i));
        let Some(j) = (0..len).filter(gap).min_by_key(away) else { return };
        // Take the turn out of `i` and put it behind what stands at `j`.
        order.remove(i);
        let place = if j > i { j } else { j + 1 };
        order.insert(place, who);
    }
}
