//! `leastconn`: the least connections for the weight, in order of the last change among equals.

use std::collections::BTreeSet;

use super::farm::{Farm, Load};
use super::notes::Notes;

/// The state of `leastconn`: who stands where.
#[derive(Clone, Debug)]
pub(crate) struct LeastConn {
    /// Key, order of arrival, server: of the active servers and of the backups.
    sides: [BTreeSet<(u32, u64, usize)>; 2],
    places: Vec<Option<(u32, u64)>>,
    arrivals: u64,
}

fn key(count: u32, ew: u32) -> u32 {
    match count {
        0 => 0,
        n => n.wrapping_add(1).wrapping_mul(4096).checked_div(ew).unwrap_or(u32::MAX),
    }
}

impl LeastConn {
    pub(crate) fn new(farm: &Farm) -> Self {
        let mut all = Self { sides: Default::default(), places: vec![None; farm.units.len()], arrivals: 0 };
        for i in 0..farm.units.len() {
            all.put(farm, i, 0);
        }
        all
    }

    fn put(&mut self, farm: &Farm, i: usize, count: u32) {
        let side = usize::from(farm.is_backup(i));
        if let Some((key, order)) = self.places.get_mut(i).and_then(Option::take) {
            self.sides[side].remove(&(key, order, i));
        }
        let Some(unit) = farm.units.get(i).filter(|u| u.usable()) else { return };
        self.arrivals += 1;
        let key = key(count, unit.ew);
        self.sides[side].insert((key, self.arrivals, i));
        self.places[i] = Some((key, self.arrivals));
    }

    /// A server has another weight or state.
    pub(crate) fn changed(&mut self, farm: &Farm, load: &dyn Load, i: usize) {
        self.put(farm, i, load.served(i).saturating_add(load.queued(i)));
    }

    /// A server has taken or released a connection.
    pub(crate) fn touched(&mut self, farm: &Farm, load: &dyn Load, i: usize) {
        let count = load.served(i).saturating_add(load.queued(i));
        let (Some(unit), Some(place)) = (farm.units.get(i), self.places.get(i)) else { return };
        if place.is_some_and(|(old, _)| old != key(count, unit.ew)) {
            self.put(farm, i, count);
        }
    }

    /// The servers of the least key that are not full, in order of the last change.
    pub(crate) fn least(&self, farm: &Farm, load: &dyn Load) -> Vec<usize> {
        let open = |i: usize| !load.is_barred(i) && !load.is_packed(i);
        let side = match farm.group().side() {
            Ok(side) => side,
            Err(only) => return only.into_iter().collect(),
        };
        let mut least = None;
        let open = self.sides[side].iter().filter(|(_, _, i)| open(*i));
        open.take_while(|(key, ..)| *least.get_or_insert(*key) == *key).map(|(_, _, i)| *i).collect()
    }

    /// The least loaded.
    pub(crate) fn next(&self, farm: &Farm, load: &dyn Load, notes: &mut Notes) -> Option<usize> {
        let side = match farm.group().side() {
            Ok(side) => side,
            Err(only) => return only,
        };
        let open = |i: usize| !load.is_barred(i) && !load.is_packed(i);
        let (key, _, found) = self.sides[side].iter().find(|(_, _, i)| open(*i))?;
        notes.say(|| format!("least key {key}: {} connections or waiting", load.served(*found) + load.queued(*found)));
        Some(*found)
    }
}
