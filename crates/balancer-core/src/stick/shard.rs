//! One shard of a stick table: what each verb does to its rows.

use super::rows::Rows;
use super::table::{At, Time};
use super::{Binding, StickKey, Want};
use crate::backend::BackendId;

/// The answer of a shard to a claim or rebind.
#[derive(Debug)]
pub(super) enum Put {
    Won(Binding),
    Held(Binding),
    Closed,
}

/// A key and its hash.
#[derive(Clone, Copy)]
pub(super) struct Hashed<'k> {
    pub(super) key: &'k StickKey,
    pub(super) hash: u64,
}

#[derive(Default)]
pub(super) struct Shard {
    rows: Rows,
    last_stamp: u64,
}

impl Shard {
    /// What is stored, with the write that made it durable if `durable` asks for that, and the new deadline if it was
    /// extended.
    pub(super) fn get(
        &mut self,
        of: Hashed<'_>,
        now: Time,
        until: Option<Time>,
        durable: bool,
    ) -> Option<(Binding, u64, Option<Time>)> {
        let row = self.rows.get_mut(of.hash, of.key).filter(|row| row.until > now)?;
        let extended = until.filter(|until| *until > row.until);
        if let Some(until) = extended {
            row.until = until;
        }
        let facts = row.facts;
        let seq = if durable { self.rows.seq(facts) } else { 0 };
        Some((self.rows.binding(facts)?, seq, extended))
    }

    /// Puts `want` where `seen`, or nothing, is stored. `reserve` is asked before a row is added; `None` when it
    /// refuses.
    pub(super) fn put(
        &mut self,
        of: Hashed<'_>,
        seen: Option<&Binding>,
        want: &Want,
        at: At,
        reserve: impl FnOnce() -> bool,
        written: impl FnOnce(&Binding) -> u64,
    ) -> Option<(Put, u64)> {
        let present = self.rows.get(of.hash, of.key);
        if let Some(row) = present
            && row.until > at.now
            && !seen.is_some_and(|seen| self.rows.says(row.facts, seen))
        {
            return Some((Put::Held(self.rows.binding(row.facts)?), self.rows.seq(row.facts)));
        }
        let present = present.is_some();
        if self.rows.is_closed(&want.backend) {
            return Some((Put::Closed, 0));
        }
        // A row that is overwritten, expired or not, leaves its place to the new one.
        if present {
            self.rows.remove(of.hash, of.key);
        } else if !reserve() {
            return None;
        }
        let stamp = self.last_stamp.saturating_add(1).max(at.wall_ms);
        self.last_stamp = stamp;
        let binding = Binding { backend: want.backend.clone(), token: want.token, stamp };
        let seq = written(&binding);
        self.rows.insert(of.hash, of.key.clone(), &binding, at.until, seq);
        Some((Put::Won(binding), seq))
    }

    pub(super) fn renew(
        &mut self,
        of: Hashed<'_>,
        seen: &Binding,
        at: At,
        written: impl FnOnce(&Binding) -> u64,
    ) -> Option<u64> {
        self.rows.get(of.hash, of.key).filter(|row| row.until > at.now && self.rows.says(row.facts, seen))?;
        let seq = written(seen);
        self.rows.set_until(of.hash, of.key, at.until, seq);
        Some(seq)
    }

    pub(super) fn release(&mut self, of: Hashed<'_>, seen: &Binding, now: Time) -> bool {
        let row = self.rows.get(of.hash, of.key);
        let same = row.is_some_and(|row| row.until > now && self.rows.says(row.facts, seen));
        same && self.rows.remove(of.hash, of.key)
    }

    pub(super) fn close(&mut self, backend: &BackendId, closed: bool) {
        self.rows.close(backend, closed);
    }

    /// How many rows a server has, expired ones that were not taken out among them.
    pub(super) fn bound_to(&self, backend: &BackendId) -> usize {
        self.rows.count(backend)
    }

    /// Adds rows of a server until `into` has `most`; then returns the number of the last one.
    pub(super) fn list(
        &self,
        backend: &BackendId,
        after: u64,
        now: Time,
        most: usize,
        into: &mut Vec<(StickKey, Binding)>,
    ) -> Option<u64> {
        for (number, key, row) in self.rows.of(backend, after).filter(|(.., row)| row.until > now) {
            let Some(binding) = self.rows.binding(row.facts) else { continue };
            into.push((key.clone(), binding));
            if into.len() >= most {
                return Some(number);
            }
        }
        None
    }

    /// When the row that expires first does so.
    pub(super) fn nearest_deadline(&mut self) -> Option<Time> {
        self.rows.nearest().map(|(deadline, _)| deadline)
    }

    /// Removes the row nearest to its expiry.
    pub(super) fn take_nearest(&mut self) -> Option<StickKey> {
        let (_, place) = self.rows.nearest()?;
        self.rows.take(place)
    }

    /// Removes one expired row.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<StickKey> {
        if self.rows.quiet_until()? > now || self.nearest_deadline()? > now {
            return None;
        }
        self.take_nearest()
    }

    #[cfg(feature = "file")]
    pub(super) fn restore(&mut self, of: Hashed<'_>, binding: &Binding, until: Time) {
        self.raise_stamp(binding.stamp);
        self.rows.insert(of.hash, of.key.clone(), binding, until, 0);
    }

    #[cfg(feature = "file")]
    pub(super) fn raise_stamp(&mut self, stamp: u64) {
        self.last_stamp = self.last_stamp.max(stamp);
    }
}
