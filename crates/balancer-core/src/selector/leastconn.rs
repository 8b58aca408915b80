//! `leastconn`: the fewest units in flight for the weight.

use std::cmp::Ordering;

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::least::Least;
use crate::selector::{Ask, Selector, Turn};
use crate::snapshot::Candidates;

/// HAProxy's `leastconn`: the least key, which is 0 for an idle server and (units in flight + 1) / weight otherwise.
///
/// Keys are compared exactly, as fractions. Picks that run beside one another see each other's units: one that was
/// overtaken is made again, so that the load levels exactly.
///
/// Ties: by chance, all equally likely; idle servers are equal whatever their weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastConn;

plain!(LeastConn, "leastconn");

/// What a server is compared by.
#[derive(Clone, Copy)]
struct Key {
    units: u32,
    /// 0 when idle, else units + 1.
    over: u64,
    weight: u64,
}

fn cmp(a: Key, b: Key) -> Ordering {
    (a.over * b.weight).cmp(&(b.over * a.weight))
}

impl<B: Backend, Q: ?Sized> Selector<B, Q> for LeastConn {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        let key = |slot| {
            let units = among.in_flight(slot);
            let over = if units == 0 { 0 } else { u64::from(units) + 1 };
            Key { units, over, weight: u64::from(among.weight(slot).sixteenths()) }
        };
        let mut least = Least::new(turn);
        if let Some(trace) = turn.trace() {
            trace.rule("least key: 0 when idle, else (units in flight + 1) * 256 / weight");
            for slot in among.iter() {
                let k = key(slot);
                trace.score(slot, (k.over * 256 * 16).checked_div(k.weight).unwrap_or(u64::MAX));
                least.offer(among, slot, k, cmp);
            }
        } else {
            for slot in among.iter() {
                least.offer(among, slot, key(slot), cmp);
            }
        }
        let (slot, key) = least.finish(turn.trace())?;
        turn.expect_units(key.units);
        Some(slot)
    }
}
