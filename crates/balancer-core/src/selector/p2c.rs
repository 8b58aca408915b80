//! `p2c`: the better one of two drawn by chance.

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::random::below;
use crate::selector::{Ask, Selector, Turn};
use crate::snapshot::Candidates;

/// Power of two choices: draws two different candidates, all pairs equally likely, and takes the one with the lower
/// expected load (old figures after fresh ones), then the one with fewer units in flight for its weight.
///
/// Many processes that cannot see one another's placements spread their rooms well this way, where all of them would
/// run to the one least loaded server.
///
/// Ties: the first one drawn, so by chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerOfTwo;

plain!(PowerOfTwo, "p2c");

impl<B: Backend, Q: ?Sized> Selector<B, Q> for PowerOfTwo {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        let count = among.count() as u64;
        let first = below(turn.random(), count);
        let mut second = below(turn.random(), count.saturating_sub(1));
        if second >= first {
            second += 1;
        }
        // Servers may close between counting and walking: then whoever was passed stands in.
        let (mut a, mut b, mut passed) = (None, None, None);
        for (at, slot) in (0u64..).zip(among.iter()) {
            if at == first {
                a = Some(slot);
            } else if at == second {
                b = Some(slot);
            } else {
                passed = Some(slot);
            }
            if at >= first.max(second) {
                break;
            }
        }
        let a = a.or(passed);
        let key = |slot| {
            let share = u64::from(among.in_flight(slot)) * u64::from(among.inverse_weight(slot));
            (among.rank(slot), share)
        };
        let chosen = match (a, b) {
            (Some(a), Some(b)) if key(b) < key(a) => Some(b),
            (a, b) => a.or(b),
        };
        if let Some(trace) = turn.trace() {
            trace.rule("of two drawn by chance, the lower expected load, then fewer units in flight / weight");
            for slot in [a, b].into_iter().flatten() {
                trace.score(slot, among.load(slot));
            }
            if let (Some(a), Some(b)) = (a, b)
                && key(a) == key(b)
            {
                trace.tie(2, "the first one drawn");
            }
        }
        chosen
    }
}
