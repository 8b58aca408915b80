//! `leastconn`: the fewest units in flight for the weight.

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::least::BY_CHANCE;
use crate::selector::{Ask, Needs, Selector, Turn};
use crate::snapshot::Candidates;

/// HAProxy's `leastconn`: the least key, which is 0 for an idle server and (units in flight + 1) / weight otherwise.
///
/// Keys are compared by their first eleven binary digits: two that differ by less than a thousandth count as equal,
/// which at equal weights matters from 2,048 units in flight to one server on. Picks that run beside one another see
/// each other's units: one that was overtaken is made again, so that the load levels exactly.
///
/// Ties: by chance, all equally likely; idle servers are equal whatever their weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastConn;

plain!(LeastConn, "leastconn", Needs::SHARES);

impl<B: Backend, Q: ?Sized> Selector<B, Q> for LeastConn {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        let least = among.least_share(turn.random());
        if let Some(trace) = turn.trace() {
            trace.rule("least key: 0 when idle, else (units in flight + 1) * 256 / weight");
            for slot in among.iter() {
                let live = among.live(slot);
                let over = if live.units == 0 { 0 } else { u64::from(live.units) + 1 };
                let key = (over * 256 * 16).checked_div(u64::from(live.weight.sixteenths()));
                trace.score(slot, key.unwrap_or(u64::MAX));
            }
            if let Some(least) = least.as_ref().filter(|l| l.ties > 1) {
                trace.tie(least.ties, BY_CHANCE);
            }
        }
        let least = least?;
        turn.expect_units(least.units);
        Some(least.slot)
    }
}
