//! `random`: by chance, in proportion to the weights.

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::{Ask, Selector, Turn};
use crate::snapshot::Candidates;

/// A candidate by chance, each with its share of the weights.
///
/// There are no ties.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

plain!(Random, "random");

/// A number below `n`, from a random one; 0 when `n` is 0. The bias is below n / 2^64.
pub(super) fn below(random: u64, n: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(n)) >> 64).unwrap_or(0)
}

/// One candidate by weight.
pub(super) fn weighted<B: Backend>(among: &Candidates<'_, B>, turn: &mut Turn<'_>) -> Option<Slot> {
    let weight = |slot| u64::from(among.weight(slot).sixteenths());
    let total = among.iter().map(weight).sum();
    let mut left = below(turn.random(), total);
    let mut last = None;
    for slot in among.iter() {
        let w = weight(slot);
        if left < w {
            return Some(slot);
        }
        left -= w;
        last = Some(slot);
    }
    // Weights or states changed between the two passes.
    last
}

impl<B: Backend, Q: ?Sized> Selector<B, Q> for Random {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        if let Some(trace) = turn.trace() {
            trace.rule("by chance, in proportion to the weights");
        }
        weighted(among, turn)
    }
}
