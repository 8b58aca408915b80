//! `p2c`: the better one of two drawn by chance.

use std::cmp::Ordering;

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

/// How many places are drawn before the candidates are counted out.
const DRAWS: usize = 24;

impl<B: Backend, Q: ?Sized> Selector<B, Q> for PowerOfTwo {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        if let Some(pair) = drawn(among, turn) {
            return better(among, pair, turn);
        }
        // Few of the servers are candidates: count them out.
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
        better(among, (a.or(passed)?, b), turn)
    }
}

/// Two candidates by drawing places until they are candidates and differ; `None` when too many draws failed.
fn drawn<B: Backend>(among: &Candidates<'_, B>, turn: &mut Turn<'_>) -> Option<(Slot, Option<Slot>)> {
    let places = among.members().len() as u64;
    let mut draws = 0..DRAWS;
    let mut draw = |not: Option<Slot>| {
        draws.find_map(|_| {
            let place = usize::try_from(below(turn.random(), places)).ok()?;
            among.at_place(place).filter(|slot| Some(*slot) != not)
        })
    };
    let a = draw(None)?;
    Some((a, Some(draw(Some(a))?)))
}

/// The better one of the pair.
fn better<B: Backend>(among: &Candidates<'_, B>, (a, b): (Slot, Option<Slot>), turn: &mut Turn<'_>) -> Option<Slot> {
    // The second figure is read only where the first leaves a tie: on a large pool each is a line of memory.
    let share = |slot| u64::from(among.in_flight(slot)) * u64::from(among.inverse_weight(slot));
    let order = b.map(|b| {
        among.rank(b).cmp(&among.rank(a)).then_with(|| match (among.in_flight(b), among.in_flight(a)) {
            (0, 0) => Ordering::Equal,
            _ => share(b).cmp(&share(a)),
        })
    });
    let chosen = b.filter(|_| order == Some(Ordering::Less)).unwrap_or(a);
    if let Some(trace) = turn.trace() {
        trace.rule("of two drawn by chance, the lower expected load, then fewer units in flight / weight");
        for slot in std::iter::once(a).chain(b) {
            trace.score(slot, among.load(slot));
        }
        if order == Some(Ordering::Equal) {
            trace.tie(2, "the first one drawn");
        }
    }
    Some(chosen)
}
