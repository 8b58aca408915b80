//! The sharded table under the stores that keep their bindings in this process's memory.
//!
//! Every shard lies under its own mutex and holds its bindings, what is bound to each server, the order in which
//! they expire, and a copy of the closed set. One lock therefore settles a whole operation, a close included.

use std::fmt;

use rapidhash::v3::rapidhash_v3_micro_inline;

use super::shard::{Hashed, Put, Shard};
use super::{Binding, StickError, StickKey, StickPage, Want};
use crate::backend::BackendId;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, lock};

#[cfg(all(test, loom))]
mod model;

/// Expired entries cleared in passing by one operation.
const SWEEP_IN_PASSING: usize = 16;
/// Entries in one page of a listing.
const PAGE: usize = 512;

/// Is told of every change, under the lock of the shard that changed, hence in order for each key.
///
/// The returned number says which write will make the change durable; zero when there is nothing to wait for.
pub(super) trait Journal {
    /// Whether anybody waits for writes.
    const DURABLE: bool;

    fn put(&self, key: &StickKey, binding: &Binding, until: Time) -> u64;
    fn extended(&self, key: &StickKey, binding: &Binding, until: Time);
    fn gone(&self, key: &StickKey) -> u64;
}

/// Nothing is written anywhere.
pub(super) struct NoJournal;

impl Journal for NoJournal {
    const DURABLE: bool = false;

    fn put(&self, _: &StickKey, _: &Binding, _: Time) -> u64 {
        0
    }
    fn extended(&self, _: &StickKey, _: &Binding, _: Time) {}
    fn gone(&self, _: &StickKey) -> u64 {
        0
    }
}

/// A point in time on the clock of the table's owner, who chooses the unit.
pub(super) type Time = u64;

/// The moment of an operation: now and the deadline asked for on the table's clock, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) now: Time,
    pub(super) until: Time,
    pub(super) wall_ms: u64,
}

pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    len: AtomicUsize,
    capacity: usize,
    cache: bool,
    evicted: AtomicU64,
    closing: Mutex<()>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("shards", &self.shards.len())
            .field("len", &self.len.load(Ordering::Relaxed))
            .field("capacity", &self.capacity)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Table {
    pub(super) fn new(shards: usize, capacity: usize, cache: bool) -> Self {
        let shards = shards.clamp(1, 65_536);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::default())).collect(),
            len: AtomicUsize::new(0),
            capacity,
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
        self.len.load(Ordering::Relaxed)
    }

    fn shard<'k>(&self, key: &'k StickKey) -> (MutexGuard<'_, Shard>, Hashed<'k>) {
        let hash =
            rapidhash_v3_micro_inline::<true, false>(key.as_str().as_bytes(), &rapidhash::v3::DEFAULT_RAPID_SECRETS);
        // By the highest bits; below the number of shards, hence fits.
        let at = usize::try_from((u128::from(hash) * self.shards.len() as u128) >> 64).unwrap_or(0);
        (lock(&self.shards[at]), Hashed { key, hash })
    }

    fn clear(&self, shard: &mut Shard, now: Time, most: usize, journal: &impl Journal) -> usize {
        let mut cleared = 0;
        while cleared < most {
            let Some(key) = shard.take_expired(now) else { break };
            journal.gone(&key);
            cleared += 1;
        }
        if cleared > 0 {
            self.len.fetch_sub(cleared, Ordering::Relaxed);
        }
        cleared
    }

    /// Removes every expired entry, one shard after the other.
    pub(super) fn sweep(&self, now: Time, journal: &impl Journal) -> usize {
        self.shards.iter().map(|shard| self.clear(&mut lock(shard), now, usize::MAX, journal)).sum()
    }

    /// What is stored, and which write made it so; `until` extends it.
    pub(super) fn get<J: Journal>(
        &self,
        key: &StickKey,
        now: Time,
        until: Option<Time>,
        journal: &J,
    ) -> Option<(Binding, u64)> {
        let (mut shard, of) = self.shard(key);
        let (binding, seq, extended) = shard.get(of, now, until, J::DURABLE)?;
        if let Some(until) = extended {
            journal.extended(key, &binding, until);
        }
        Some((binding, seq))
    }

    /// Puts `want` where `seen`, or nothing, is stored; with no `seen`, only where nothing is.
    pub(super) fn put(
        &self,
        key: &StickKey,
        seen: Option<&Binding>,
        want: &Want,
        at: At,
        journal: &impl Journal,
    ) -> Result<(Put, u64), StickError> {
        // Room made by one caller can be taken by another, so this may have to be tried again.
        for _ in 0..16 {
            let (mut shard, of) = self.shard(key);
            self.clear(&mut shard, at.now, SWEEP_IN_PASSING, journal);
            let write = |binding: &Binding| journal.put(key, binding, at.until);
            if let Some(put) = shard.put(of, seen, want, at, || self.reserve(), write) {
                return Ok(put);
            }
            drop(shard);
            // Somebody else may have made the room just now.
            let room =
                self.sweep(at.now, journal) > 0 || self.len() < self.capacity || (self.cache && self.evict(journal));
            if !room {
                break;
            }
        }
        Err(StickError::Full { capacity: self.capacity })
    }

    fn reserve(&self) -> bool {
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| (len < self.capacity).then_some(len + 1))
            .is_ok()
    }

    /// Removes the entry nearest to its expiry; `false` when there is none.
    fn evict(&self, journal: &impl Journal) -> bool {
        let mut nearest: Option<(Time, usize)> = None;
        for (at, shard) in self.shards.iter().enumerate() {
            if let Some(deadline) = lock(shard).nearest_deadline()
                && nearest.is_none_or(|(best, _)| deadline < best)
            {
                nearest = Some((deadline, at));
            }
        }
        let Some((_, at)) = nearest else { return false };
        let mut shard = lock(&self.shards[at]);
        let Some(key) = shard.take_nearest() else { return true };
        journal.gone(&key);
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(super) fn renew(&self, key: &StickKey, seen: &Binding, at: At, journal: &impl Journal) -> (bool, u64) {
        let (mut shard, of) = self.shard(key);
        match shard.renew(of, seen, at, |binding| journal.put(key, binding, at.until)) {
            Some(seq) => (true, seq),
            None => (false, 0),
        }
    }

    pub(super) fn release(&self, key: &StickKey, seen: &Binding, now: Time, journal: &impl Journal) -> (bool, u64) {
        let (mut shard, of) = self.shard(key);
        if !shard.release(of, seen, now) {
            return (false, 0);
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
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

    pub(super) fn count(&self, backend: &BackendId, now: Time, journal: &impl Journal) -> u64 {
        let each = |shard: &Mutex<Shard>| {
            let mut shard = lock(shard);
            self.clear(&mut shard, now, usize::MAX, journal);
            shard.bound_to(backend) as u64
        };
        self.shards.iter().map(each).sum()
    }

    /// One page of what is bound to a server. A position reads `SHARD:NUMBER`, the number being the row's.
    pub(super) fn list(&self, backend: &BackendId, from: Option<&str>, now: Time) -> Result<StickPage, StickError> {
        let (first, mut after) = position(from)?;
        let mut page = StickPage::default();
        for (at, shard) in self.shards.iter().enumerate().skip(first) {
            if let Some(last) = lock(shard).list(backend, std::mem::take(&mut after), now, PAGE, &mut page.entries) {
                page.next = Some(format!("{at}:{last}"));
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Takes over an entry read from elsewhere, whatever the capacity says.
    #[cfg(feature = "file")]
    pub(super) fn restore(&self, key: &StickKey, binding: &Binding, until: Time) {
        self.len.fetch_add(1, Ordering::Relaxed);
        let (mut shard, of) = self.shard(key);
        shard.restore(of, binding, until);
    }

    /// Lets no later stamp fall below `stamp`.
    #[cfg(feature = "file")]
    pub(super) fn raise_stamps(&self, stamp: u64) {
        for shard in &self.shards {
            lock(shard).raise_stamp(stamp);
        }
    }
}

fn position(from: Option<&str>) -> Result<(usize, u64), StickError> {
    let Some(text) = from else { return Ok((0, 0)) };
    let parts = text.split_once(':').and_then(|(shard, number)| Some((shard.parse().ok()?, number.parse().ok()?)));
    parts.ok_or_else(|| StickError::Config {
        what: "position of a listing".to_owned(),
        why: "not one that this store gave; begin without a position".to_owned(),
    })
}
