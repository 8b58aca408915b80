//! One shard of a stick table: what each verb does to its rows.

use std::collections::HashSet;

use hashbrown::hash_table::Entry;

use super::quota::Quota;
use super::rows::{Position, Row, Rows, Step};
use super::table::{At, Time};
use super::{Binding, Claim, StickKey, Want};
use crate::backend::BackendId;

/// How often a listing may go through all rows of a shard, since each page does so.
const PASSES: usize = 16;

/// A key and its hash.
#[derive(Clone, Copy)]
pub(super) struct Hashed<'k> {
    pub(super) key: &'k StickKey,
    pub(super) hash: u64,
}

#[derive(Default)]
pub(super) struct Shard {
    rows: Rows,
    /// The servers that take no new rooms.
    closed: HashSet<BackendId, rapidhash::fast::RandomState>,
    last_stamp: u64,
    /// How many rows may be added before the table is asked for more.
    spare: usize,
}

impl Shard {
    /// What is stored, with the write that made it durable, and the new deadline if it was extended.
    pub(super) fn get(
        &mut self,
        of: Hashed<'_>,
        now: Time,
        until: Option<Time>,
    ) -> Option<(Binding, u64, Option<Time>)> {
        let row = self.rows.get_mut(of.hash, of.key).filter(|row| row.until > now)?;
        let extended = until.filter(|until| *until > row.until);
        if let Some(until) = extended {
            row.until = until;
        }
        Some((row.binding(), row.seq, extended))
    }

    /// Puts `want` where `seen`, or nothing, is stored. `None` when a row would have to be added and none may be.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        of: Hashed<'_>,
        seen: Option<&Binding>,
        want: &Want,
        at: At,
        quota: &Quota,
        written: impl FnOnce(&Binding) -> u64,
    ) -> Option<(Claim, u64)> {
        let (entry, queue) = self.rows.entry(of.hash, of.key);
        if let Entry::Occupied(found) = &entry
            && found.get().until > at.now
            && !seen.is_some_and(|seen| found.get().says(seen))
        {
            return Some((Claim::Held(found.get().binding()), found.get().seq));
        }
        if self.closed.contains(&want.backend) {
            return Some((Claim::Closed, 0));
        }
        // A row that is overwritten, expired or not, leaves its place to the new one.
        if matches!(entry, Entry::Vacant(_)) {
            if self.spare == 0 {
                self.spare = quota.take();
            }
            self.spare = self.spare.checked_sub(1)?;
        }
        let stamp = self.last_stamp.saturating_add(1).max(at.wall_ms);
        self.last_stamp = stamp;
        let binding = Binding { backend: want.backend.clone(), token: want.token, stamp };
        let seq = written(&binding);
        // Atomic counters first: such a step waits for all that was written before it.
        let (key, said) = (of.key.clone(), binding.clone());
        queue.push((at.until, of.hash));
        match entry {
            Entry::Vacant(free) => drop(free.insert(Row::new(key, said, at.until, seq))),
            Entry::Occupied(mut found) => {
                *found.get_mut() = Row::new(key, said, at.until, seq);
                self.rows.thin_out();
            }
        }
        Some((Claim::Won(binding), seq))
    }

    pub(super) fn renew(
        &mut self,
        of: Hashed<'_>,
        seen: &Binding,
        at: At,
        written: impl FnOnce(&Binding) -> u64,
    ) -> Option<u64> {
        self.rows.get(of.hash, of.key).filter(|row| row.until > at.now && row.says(seen))?;
        let seq = written(seen);
        self.rows.set_until(of.hash, of.key, at.until, seq);
        Some(seq)
    }

    pub(super) fn release(&mut self, of: Hashed<'_>, seen: &Binding, now: Time, quota: &Quota) -> bool {
        let row = self.rows.get(of.hash, of.key);
        let same = row.is_some_and(|row| row.until > now && row.says(seen));
        let removed = same && self.rows.remove(of.hash, of.key);
        self.spare += usize::from(removed);
        quota.trim(&mut self.spare);
        removed
    }

    pub(super) fn close(&mut self, backend: &BackendId, closed: bool) {
        if closed {
            self.closed.insert(backend.clone());
        } else {
            self.closed.remove(backend);
        }
    }

    /// How many rows of a server live on.
    pub(super) fn bound_to(&self, backend: &BackendId, now: Time) -> usize {
        self.rows.count(backend, now)
    }

    /// Adds rows of a server until `into` has `most`, or more where the shard is so large that it would be gone through
    /// too often; then returns the position of the last one.
    pub(super) fn list(
        &self,
        backend: &BackendId,
        after: Option<Position>,
        now: Time,
        most: usize,
        into: &mut Vec<(StickKey, Binding)>,
    ) -> Option<Position> {
        let room = most.saturating_sub(into.len()).max(self.rows.len() / PASSES).max(1);
        let rows = self.rows.of(backend, after, now, room);
        into.extend(rows.iter().map(|row| (row.key().clone(), row.binding())));
        rows.last().filter(|_| rows.len() >= room).map(|row| row.position())
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What may still be added, for the table to hand out anew.
    pub(super) fn take_spare(&mut self) -> usize {
        std::mem::take(&mut self.spare)
    }

    #[cfg(test)]
    pub(super) fn spare(&self) -> usize {
        self.spare
    }

    /// Gives back what is too much after rows were removed.
    pub(super) fn trim(&mut self, quota: &Quota) {
        quota.trim(&mut self.spare);
    }

    /// When the row that expires first does so.
    pub(super) fn nearest_deadline(&mut self) -> Option<Time> {
        self.rows.nearest().map(|(deadline, _)| deadline)
    }

    /// Removes the row nearest to its expiry.
    pub(super) fn take_nearest(&mut self) -> Option<StickKey> {
        let due = self.rows.nearest()?;
        let key = self.rows.take(due)?;
        self.spare += 1;
        Some(key)
    }

    /// Whether a row may have expired.
    #[inline]
    pub(super) fn may_expire(&self, now: Time) -> bool {
        self.rows.quiet_until().is_some_and(|until| until <= now)
    }

    /// Looks at one row that may have expired, and removes it if so.
    pub(super) fn step(&mut self, now: Time) -> Step {
        let step = self.rows.step(now);
        self.spare += usize::from(matches!(step, Step::Expired(_)));
        step
    }

    #[cfg(feature = "file")]
    pub(super) fn restore(&mut self, of: Hashed<'_>, binding: &Binding, until: Time) {
        self.raise_stamp(binding.stamp);
        let (entry, queue) = self.rows.entry(of.hash, of.key);
        queue.push((until, of.hash));
        let row = Row::new(of.key.clone(), binding.clone(), until, 0);
        match entry {
            Entry::Vacant(free) => drop(free.insert(row)),
            Entry::Occupied(mut found) => *found.get_mut() = row,
        }
    }

    #[cfg(feature = "file")]
    pub(super) fn raise_stamp(&mut self, stamp: u64) {
        self.last_stamp = self.last_stamp.max(stamp);
    }
}
