//! The least of the candidates, ties broken by chance: one pass, no allocation.

use crate::backend::Backend;
use crate::board::Slot;
use crate::hash::mix;
use crate::selector::{Trace, Turn};
use crate::snapshot::Candidates;

/// How ties are broken, in words.
pub(super) const BY_CHANCE: &str = "one of them by chance";

/// Finds the least candidate under an order that need not be that of a number.
///
/// Equal candidates are told apart by one random number per pick, spread by the hash of each id: every one of them is
/// equally likely, whatever the order of the scan, and the same seed always chooses the same one.
#[derive(Debug)]
pub(super) struct Least<K> {
    draw: u64,
    best: Option<(Slot, K)>,
    /// How many are equal to the best.
    equal: usize,
    /// The number of the best one in the draw; computed at the first tie.
    lot: u64,
}

impl<K: Copy> Least<K> {
    pub(super) fn new(turn: &mut Turn<'_>) -> Self {
        Self { draw: turn.random(), best: None, equal: 0, lot: 0 }
    }

    /// Offers one candidate; `cmp(a, b)` tells whether `a` is before `b`.
    pub(super) fn offer<B: Backend>(
        &mut self,
        among: &Candidates<'_, B>,
        slot: Slot,
        key: K,
        cmp: impl FnOnce(K, K) -> std::cmp::Ordering,
    ) {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let Some((held, best)) = self.best else {
            self.best = Some((slot, key));
            self.equal = 1;
            return;
        };
        match cmp(key, best) {
            Greater => {}
            Less => {
                self.best = Some((slot, key));
                self.equal = 1;
            }
            Equal => {
                if self.equal == 1 {
                    self.lot = self.lot_of(among, held);
                }
                self.equal += 1;
                let lot = self.lot_of(among, slot);
                if lot < self.lot {
                    self.lot = lot;
                    self.best = Some((slot, key));
                }
            }
        }
    }

    fn lot_of<B: Backend>(&self, among: &Candidates<'_, B>, slot: Slot) -> u64 {
        mix(self.draw ^ among.members().id_hash(slot))
    }

    /// The winner and its key; notes a tie.
    pub(super) fn finish(self, trace: Option<&mut Trace>) -> Option<(Slot, K)> {
        if let Some(trace) = trace
            && self.equal > 1
        {
            trace.tie(self.equal, BY_CHANCE);
        }
        self.best
    }
}
