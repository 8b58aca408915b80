//! `hash-type map-based` and `static-rr`: a table of slots, filled by weight.

use std::sync::Arc;

use super::farm::{Farm, Group, Load};
use super::notes::Notes;

/// The table and the place of the last turn.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    slots: Arc<[usize]>,
    cursor: usize,
}

impl Map {
    pub(crate) fn new(farm: &Farm) -> Self {
        Self { slots: table(farm).into(), cursor: 0 }
    }

    /// A server has another weight or state: the table is made anew, the place is kept.
    pub(crate) fn changed(&mut self, farm: &Farm) {
        self.slots = table(farm).into();
    }

    /// The server of a hash.
    pub(crate) fn by_hash(&self, load: &dyn Load, hash: u32, notes: &mut Notes) -> Option<usize> {
        let at = (hash as usize).checked_rem(self.slots.len())?;
        notes.say(|| format!("slot {at} of {}", self.slots.len()));
        // HAProxy knows no way on from a slot: only the caller's own bars are walked past.
        let (front, back) = self.slots.split_at(at);
        back.iter().chain(front).copied().find(|i| !load.is_barred(*i))
    }

    /// The next in turn.
    pub(crate) fn next(&mut self, load: &dyn Load, notes: &mut Notes) -> Option<usize> {
        if self.cursor >= self.slots.len() {
            self.cursor = 0;
        }
        let (front, back) = self.slots.split_at_checked(self.cursor)?;
        let (step, found) = back.iter().chain(front).copied().enumerate().find(|(_, i)| {
            let full = load.is_full(*i);
            if full {
                notes.say_of(*i, || "is full".into());
            }
            !full
        })?;
        notes.say(|| format!("slot {} of {} in turn", (self.cursor + step) % self.slots.len(), self.slots.len()));
        self.cursor = (self.cursor + step) % self.slots.len() + 1;
        Some(found)
    }
}

fn table(farm: &Farm) -> Vec<usize> {
    let (_, total) = farm.totals();
    // Even where one backup alone is in use, all usable ones compete for its slots.
    let backup = match farm.group() {
        Group::Active => false,
        Group::Backups | Group::First(_) => true,
        Group::Nobody => return Vec::new(),
    };
    let mut scores: Vec<(usize, u32, u32)> = farm.usable(backup).map(|(i, u)| (i, u.ew, 0)).collect();
    if total == 1 {
        return scores.first().map(|s| s.0).into_iter().collect();
    }
    let mut slots = Vec::with_capacity(total as usize);
    for _ in 0..total {
        let mut best: Option<(u32, usize)> = None;
        for (at, (_, ew, score)) in scores.iter_mut().enumerate() {
            *score = score.wrapping_add(*ew);
            let v = score.wrapping_add(total) / total;
            if best.is_none_or(|(most, _)| v > most) {
                best = Some((v, at));
            }
        }
        if let Some(best) = best.and_then(|(_, at)| scores.get_mut(at)) {
            best.2 = best.2.wrapping_sub(total);
            slots.push(best.0);
        }
    }
    slots
}
