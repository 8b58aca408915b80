//! `least-loaded`: the least expected load.

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::least::Least;
use crate::selector::{Ask, Selector, Turn};
use crate::snapshot::Candidates;

/// The least expected load: what was reported, what landed since, what is on its way.
///
/// Servers whose figures are too old come after all others, servers without any figures last. The load model decides
/// what load is; weights do not enter. Picks that run beside one another see each other's rooms: one that was
/// overtaken is made again, so that the load levels exactly.
///
/// Ties: by chance, all equally likely.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

plain!(LeastLoaded, "least-loaded");

impl<B: Backend, Q: ?Sized> Selector<B, Q> for LeastLoaded {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        let mut least = Least::new(turn);
        if let Some(trace) = turn.trace() {
            trace.rule("least expected load; servers with old figures after all others, without figures last");
            for slot in among.iter() {
                trace.score(slot, among.load(slot));
                least.offer(among, slot, among.rank(slot), |a, b| a.cmp(&b));
            }
        } else {
            among.near_least_rank(|slot, live| least.offer(among, slot, live.rank, |a, b| a.cmp(&b)));
        }
        let (slot, rank) = least.finish(turn.trace())?;
        turn.expect_rank(rank);
        Some(slot)
    }
}
