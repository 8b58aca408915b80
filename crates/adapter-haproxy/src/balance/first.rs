//! `first`: the lowest id that is not full.

use super::farm::{Farm, Load};
use super::notes::Notes;

/// The order of the ids.
#[derive(Clone, Debug)]
pub(crate) struct First(Vec<usize>);

impl First {
    pub(crate) fn new(farm: &Farm) -> Self {
        let mut order: Vec<usize> = (0..farm.units.len()).collect();
        order.sort_by_key(|i| farm.units.get(*i).map(|u| u.id));
        Self(order)
    }

    /// The first that is not full.
    pub(crate) fn next(&self, farm: &Farm, load: &dyn Load, notes: &mut Notes) -> Option<usize> {
        let backup = match farm.group().side() {
            Ok(side) => side == 1,
            Err(only) => return only,
        };
        self.0.iter().copied().find(|i| {
            let counts = farm.units.get(*i).is_some_and(|u| u.backup == backup && u.usable());
            if counts && load.is_full(*i) {
                notes.say_of(*i, || "is full".into());
            }
            counts && !load.is_full(*i)
        })
    }
}
