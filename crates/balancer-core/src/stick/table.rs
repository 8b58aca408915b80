//! The sharded table under the stores that keep their bindings in this process's memory.
//!
//! Every shard lies under its own mutex and holds its bindings, what is bound to each server, the order in which
//! they expire, and which servers are closed. One lock therefore settles a whole operation, a close included.

use std::fmt;

use super::quota::Quota;
use super::rows::{self, Position, Step};
use super::shard::{Hashed, Shard};
use super::{Binding, Claim, StickError, StickKey, StickPage, Want};
use crate::backend::BackendId;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};

#[cfg(all(test, loom))]
mod model;
#[cfg(test)]
mod tests;

/// Entries that one operation looks at in passing, to clear the expired ones.
const SWEEP_IN_PASSING: usize = 16;
/// Entries in one page of a listing, of a large shard more.
const PAGE: usize = 512;

/// Is told of every change, under the lock of the shard that changed, hence in order for each key.
///
/// What is returned says which write will make the change durable; the default when there is nothing to wait for.
pub(super) trait Journal {
    /// Which write it is.
    type Seq: Copy + Default;

    fn put(&self, key: &StickKey, binding: &Binding, until: Time) -> Self::Seq;
    fn extended(&self, key: &StickKey, binding: &Binding, until: Time);
    fn gone(&self, key: &StickKey) -> Self::Seq;
}

/// Nothing is written anywhere.
pub(super) struct NoJournal;

impl Journal for NoJournal {
    type Seq = ();

    fn put(&self, _: &StickKey, _: &Binding, _: Time) {}
    fn extended(&self, _: &StickKey, _: &Binding, _: Time) {}
    fn gone(&self, _: &StickKey) {}
}

/// A point in time on the clock of the table's owner, in milliseconds.
pub(super) type Time = u64;

/// The moment of an operation: now and the deadline asked for on the table's clock, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) now: Time,
    pub(super) until: Time,
    pub(super) wall_ms: u64,
}

pub(super) struct Table<S = ()> {
    shards: Box<[Mutex<Shard<S>>]>,
    quota: Quota,
    cache: bool,
    evicted: AtomicU64,
    closing: Mutex<()>,
}

impl<S: Copy + Default> fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("shards", &self.shards.len())
            .field("capacity", &self.quota.capacity())
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// What is stored under the key of this text; `until` extends it. For tables without a journal to be told of that.
    pub(super) fn get_named(&self, name: &str, now: Time, until: Option<Time>) -> Option<Binding> {
        let hash = rows::hash(name);
        lock(&self.shards[self.place(hash)]).get_named(hash, name, now, until)
    }
}

impl<S: Copy + Default> Table<S> {
    pub(super) fn new(shards: usize, capacity: usize, cache: bool) -> Self {
        let shards = shards.clamp(1, 65_536);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::default())).collect(),
            quota: Quota::new(capacity, shards),
            cache,
            evicted: AtomicU64::new(0),
            closing: Mutex::new(()),
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Entries stored, expired ones that nobody has swept yet among them.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard<'k>(&self, key: &'k StickKey) -> (MutexGuard<'_, Shard<S>>, Hashed<'k>) {
        let hash = rows::hash(key.as_str());
        (lock(&self.shards[self.place(hash)]), Hashed { key, hash })
    }

    /// Which shard a hash belongs to.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        // By the highest bits; below the number of shards, hence fits.
        usize::try_from((u128::from(hash) * self.shards.len() as u128) >> 64).unwrap_or(0)
    }

    /// Removes expired rows of a shard, looking at so many at the most; how many it removed.
    fn clear(&self, shard: &mut Shard<S>, now: Time, most: usize, journal: &impl Journal<Seq = S>) -> usize {
        let mut cleared = 0;
        for _ in 0..most {
            match shard.step(now) {
                Step::Expired(key, _) => {
                    journal.gone(&key);
                    cleared += 1;
                }
                Step::Requeued => {}
                Step::Quiet => break,
            }
        }
        shard.trim(&self.quota);
        cleared
    }

    /// Removes every expired entry, one shard after the other.
    pub(super) fn sweep(&self, now: Time, journal: &impl Journal<Seq = S>) -> usize {
        self.shards.iter().map(|shard| self.clear(&mut lock(shard), now, usize::MAX, journal)).sum()
    }

    /// What is stored, and which write made it so; `until` extends it.
    pub(super) fn get(
        &self,
        key: &StickKey,
        now: Time,
        until: Option<Time>,
        journal: &impl Journal<Seq = S>,
    ) -> Option<(Binding, S)> {
        let (mut shard, of) = self.shard(key);
        let (binding, seq, extended) = shard.get(of, now, until)?;
        if let Some(until) = extended {
            journal.extended(key, &binding, until);
        }
        Some((binding, seq))
    }

    /// Puts `want` where `seen`, or nothing, is stored; with no `seen`, only where nothing is. `None` when the table is
    /// full.
    #[inline(always)]
    pub(super) fn put(
        &self,
        key: &StickKey,
        seen: Option<&Binding>,
        want: &Want,
        at: At,
        journal: &impl Journal<Seq = S>,
    ) -> Option<(Claim, S)> {
        let write = |binding: &Binding| journal.put(key, binding, at.until);
        let (mut shard, of) = self.shard(key);
        if shard.may_expire(at.now) {
            self.clear(&mut shard, at.now, SWEEP_IN_PASSING, journal);
        }
        let put = shard.put(of, seen, want, at, &self.quota, write);
        if put.is_some() {
            return put;
        }
        drop(shard);
        self.sweep(at.now, journal);
        self.put_in_full(of, seen, want, at, journal)
    }

    /// Puts where the table seemed full. With every shard locked nothing moves: what is free is seen wherever it is,
    /// and what expires first is the first of all.
    #[cold]
    fn put_in_full(
        &self,
        of: Hashed<'_>,
        seen: Option<&Binding>,
        want: &Want,
        at: At,
        journal: &impl Journal<Seq = S>,
    ) -> Option<(Claim, S)> {
        let write = |binding: &Binding| journal.put(of.key, binding, at.until);
        let place = self.place(of.hash);
        // In one order by everybody, and nobody else locks two.
        let mut shards: Vec<_> = self.shards.iter().map(lock).collect();
        self.call_in(&mut shards);
        let put = shards[place].put(of, seen, want, at, &self.quota, write);
        if put.is_some() || !self.cache || !self.evict(&mut shards, journal) {
            return put;
        }
        shards[place].put(of, seen, want, at, &self.quota, write)
    }

    /// Why [`put`](Self::put) refused.
    pub(super) fn full(&self) -> StickError {
        StickError::Full { capacity: self.quota.capacity() }
    }

    /// Takes back what shards were given and have no rows for.
    fn call_in(&self, shards: &mut [MutexGuard<'_, Shard<S>>]) {
        for shard in shards {
            self.quota.give_back(shard.take_spare());
        }
    }

    /// Removes the entry nearest to its expiry; `false` when there is none.
    fn evict(&self, shards: &mut [MutexGuard<'_, Shard<S>>], journal: &impl Journal<Seq = S>) -> bool {
        let nearest = shards.iter_mut().filter_map(|shard| Some((shard.nearest_deadline()?, shard)));
        let Some((_, shard)) = nearest.min_by_key(|(deadline, _)| *deadline) else { return false };
        let Some(key) = shard.take_nearest() else { return false };
        journal.gone(&key);
        self.quota.give_back(shard.take_spare());
        self.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(super) fn renew(&self, key: &StickKey, seen: &Binding, at: At, journal: &impl Journal<Seq = S>) -> (bool, S) {
        let (mut shard, of) = self.shard(key);
        match shard.renew(of, seen, at, |binding| journal.put(key, binding, at.until)) {
            Some(seq) => (true, seq),
            None => (false, S::default()),
        }
    }

    pub(super) fn release(
        &self,
        key: &StickKey,
        seen: &Binding,
        now: Time,
        journal: &impl Journal<Seq = S>,
    ) -> (bool, S) {
        let (mut shard, of) = self.shard(key);
        if !shard.release(of, seen, now, &self.quota) {
            return (false, S::default());
        }
        (true, journal.gone(key))
    }

    /// Closes or opens a server in every shard; `write` runs once, before anybody else may close or open.
    pub(super) fn close<R>(&self, backend: &BackendId, closed: bool, write: impl FnOnce() -> R) -> R {
        let _one_at_a_time = lock(&self.closing);
        for shard in &self.shards {
            lock(shard).close(backend, closed);
        }
        write()
    }

    pub(super) fn count(&self, backend: &BackendId, now: Time, journal: &impl Journal<Seq = S>) -> u64 {
        let each = |shard: &Mutex<Shard<S>>| {
            let mut shard = lock(shard);
            self.clear(&mut shard, now, usize::MAX, journal);
            shard.bound_to(backend) as u64
        };
        self.shards.iter().map(each).sum()
    }

    /// One page of what is bound to a server. A position reads `SHARD:STAMP:HASH`.
    pub(super) fn list(&self, backend: &BackendId, from: Option<&str>, now: Time) -> Result<StickPage, StickError> {
        let (first, mut after) = position(from)?;
        let mut page = StickPage::default();
        for (at, shard) in self.shards.iter().enumerate().skip(first) {
            if let Some((stamp, hash)) =
                lock(shard).list(backend, std::mem::take(&mut after), now, PAGE, &mut page.entries)
            {
                page.next = Some(format!("{at}:{stamp}:{hash:x}"));
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Whether every row has its place, and every place is a row's or to spare.
    #[cfg(test)]
    fn in_step(&self) -> bool {
        let shards: Vec<_> = self.shards.iter().map(lock).collect();
        let held: usize = shards.iter().map(|shard| shard.len() + shard.spare()).sum();
        held == self.quota.given()
    }

    /// Takes over an entry read from elsewhere, whatever the capacity says; not one beyond the servers that can be told
    /// apart.
    #[cfg(feature = "file")]
    pub(super) fn restore(&self, key: &StickKey, binding: &Binding, until: Time) -> bool {
        let (mut shard, of) = self.shard(key);
        let restored = shard.restore(of, binding, until);
        if restored {
            self.quota.take_over();
        }
        restored
    }

    /// Lets no later stamp fall below `stamp`.
    #[cfg(feature = "file")]
    pub(super) fn raise_stamps(&self, stamp: u64) {
        for shard in &self.shards {
            lock(shard).raise_stamp(stamp);
        }
    }
}

fn position(from: Option<&str>) -> Result<(usize, Option<Position>), StickError> {
    let Some(text) = from else { return Ok((0, None)) };
    let mut parts = text.splitn(3, ':');
    let mut read = || {
        let (shard, stamp, hash) = (parts.next()?, parts.next()?, parts.next()?);
        Some((shard.parse().ok()?, Some((stamp.parse().ok()?, u64::from_str_radix(hash, 16).ok()?))))
    };
    read().ok_or_else(|| StickError::Config {
        what: "position of a listing".to_owned(),
        why: "not one that this store gave; begin without a position".to_owned(),
    })
}
