//! One shard of a stick table: what each verb does to its rows.

use hashbrown::hash_table::Entry;

use super::quota::Quota;
use super::rows::{Position, Row, Rows, Step};
use super::servers::{Number, Servers};
use super::table::{At, Time};
use super::{Binding, Claim, StickKey, Want};
use crate::backend::BackendId;

/// How often a listing may go through all rows of a shard, since each page does so.
const PASSES: usize = 16;

/// A deadline is left as it is when what is asked for would move it by less than this part of the time to live: a room
/// that is asked for all the time need not be written all the time.
const SHORT: Time = 1024;

/// A key and its hash.
#[derive(Clone, Copy)]
pub(super) struct Hashed<'k> {
    pub(super) key: &'k StickKey,
    pub(super) hash: u64,
}

/// Moves a row's deadline to this one where that is worth it; where to.
fn extend<S>(row: &mut Row<S>, now: Time, until: Option<Time>) -> Option<Time> {
    let extended = until.filter(|until| *until > row.until().saturating_add(until.saturating_sub(now) / SHORT));
    if let Some(until) = extended {
        row.set_until(until);
    }
    extended
}

pub(super) struct Shard<S> {
    rows: Rows<S>,
    /// Whom the rows name, and who takes no new ones.
    servers: Servers,
    last_stamp: u64,
    /// How many rows may be added before the table is asked for more.
    spare: usize,
}

impl<S> Default for Shard<S> {
    fn default() -> Self {
        Self { rows: Rows::default(), servers: Servers::default(), last_stamp: 0, spare: 0 }
    }
}

impl<S: Copy + Default> Shard<S> {
    /// What is stored, with the write that made it durable, and the new deadline if it was extended.
    pub(super) fn get(&mut self, of: Hashed<'_>, now: Time, until: Option<Time>) -> Option<(Binding, S, Option<Time>)> {
        let row = self.rows.get_mut(of.hash, of.key).filter(|row| row.until() > now)?;
        let extended = extend(row, now, until);
        Some((row.binding(&self.servers), row.seq, extended))
    }

    /// What is stored under the key of this text.
    pub(super) fn get_named(&mut self, hash: u64, name: &str, now: Time, until: Option<Time>) -> Option<Binding> {
        let row = self.rows.get_named(hash, name).filter(|row| row.until() > now)?;
        extend(row, now, until);
        Some(row.binding(&self.servers))
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
        written: impl FnOnce(&Binding) -> S,
    ) -> Option<(Claim, S)> {
        let (entry, queue) = self.rows.entry(of.hash, of.key);
        if let Entry::Occupied(found) = &entry
            && found.get().until() > at.now
            && !seen.is_some_and(|seen| found.get().says(seen, &self.servers))
        {
            return Some((Claim::Held(found.get().binding(&self.servers)), found.get().seq));
        }
        let server = self.servers.find(&want.backend);
        if server.is_some_and(|server| self.servers.is_closed(server)) {
            return Some((Claim::Closed, S::default()));
        }
        // A row that is overwritten, expired or not, leaves its place to the new one.
        if matches!(entry, Entry::Vacant(_)) {
            if self.spare == 0 {
                self.spare = quota.take();
            }
            self.spare.checked_sub(1)?;
        }
        let server = server.or_else(|| self.servers.number(&want.backend))?;
        self.servers.add_row(server);
        let stamp = self.last_stamp.saturating_add(1).max(at.wall_ms);
        self.last_stamp = stamp;
        let binding = Binding { backend: want.backend.clone(), token: want.token, stamp };
        let seq = written(&binding);
        let row = Row::new(of.key.clone(), server, want.token, stamp, at.until, seq);
        queue.push((row.until(), of.hash));
        match entry {
            Entry::Vacant(free) => {
                free.insert(row);
                self.spare -= 1;
            }
            Entry::Occupied(mut found) => {
                let old = std::mem::replace(found.get_mut(), row);
                self.servers.remove_row(old.server());
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
        written: impl FnOnce(&Binding) -> S,
    ) -> Option<S> {
        self.rows.get(of.hash, of.key).filter(|row| row.until() > at.now && row.says(seen, &self.servers))?;
        let seq = written(seen);
        self.rows.set_until(of.hash, of.key, at.until, seq);
        Some(seq)
    }

    pub(super) fn release(&mut self, of: Hashed<'_>, seen: &Binding, now: Time, quota: &Quota) -> bool {
        let row = self.rows.get(of.hash, of.key);
        if !row.is_some_and(|row| row.until() > now && row.says(seen, &self.servers)) {
            return false;
        }
        if let Some(server) = self.rows.remove(of.hash, of.key) {
            self.removed(server);
        }
        quota.trim(&mut self.spare);
        true
    }

    /// A row that named this server is gone.
    fn removed(&mut self, server: Number) {
        self.servers.remove_row(server);
        self.spare += 1;
    }

    pub(super) fn close(&mut self, backend: &BackendId, closed: bool) {
        self.servers.close(backend, closed);
    }

    /// How many rows of a server there are, expired ones that were not cleared yet among them.
    pub(super) fn bound_to(&self, backend: &BackendId) -> usize {
        self.servers.find(backend).map_or(0, |server| self.servers.rows(server))
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
        let server = self.servers.find(backend).filter(|server| self.servers.rows(*server) > 0)?;
        let rows = self.rows.of(server, after, now, room);
        into.extend(rows.iter().map(|row| (row.key().clone(), row.binding(&self.servers))));
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
        let (key, server) = self.rows.take(due)?;
        self.removed(server);
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
        if let Step::Expired(_, server) = &step {
            self.removed(*server);
        }
        step
    }

    #[cfg(feature = "file")]
    pub(super) fn restore(&mut self, of: Hashed<'_>, binding: &Binding, until: Time) -> bool {
        self.raise_stamp(binding.stamp);
        let Some(server) = self.servers.number(&binding.backend) else { return false };
        self.servers.add_row(server);
        let (entry, queue) = self.rows.entry(of.hash, of.key);
        let row = Row::new(of.key.clone(), server, binding.token, binding.stamp, until, S::default());
        queue.push((row.until(), of.hash));
        match entry {
            Entry::Vacant(free) => drop(free.insert(row)),
            Entry::Occupied(mut found) => self.servers.remove_row(std::mem::replace(found.get_mut(), row).server()),
        }
        true
    }

    #[cfg(feature = "file")]
    pub(super) fn raise_stamp(&mut self, stamp: u64) {
        self.last_stamp = self.last_stamp.max(stamp);
    }
}
