//! `first`: the first candidate in the order of the definitions.

use crate::backend::Backend;
use crate::board::Slot;
use crate::selector::{Ask, Selector, Turn};
use crate::snapshot::Candidates;

/// The first candidate in the order in which the servers were given: HAProxy's `first` without its `maxconn`. With a
/// cap of new rooms per interval the next server takes over when the first has its share.
///
/// There are no ties.
#[derive(Clone, Copy, Debug, Default)]
pub struct First;

plain!(First, "first");

impl<B: Backend, Q: ?Sized> Selector<B, Q> for First {
    fn pick(&self, among: &Candidates<'_, B>, _ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        if let Some(trace) = turn.trace() {
            trace.rule("the first in the order of the definitions");
            for (place, m) in (0..).zip(among.members().iter()) {
                if among.contains(m.slot()) {
                    trace.score(m.slot(), place);
                }
            }
        }
        among.members().iter().map(|m| m.slot()).find(|slot| among.contains(*slot))
    }
}
