//! The rows of one shard: found by key, queued by deadline.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::v3::rapidhash_v3_micro_inline;

use super::deadlines::{Deadlines, Due};
use super::table::Time;
use super::{Binding, StickKey, Token};
use crate::backend::BackendId;

/// Queue entries beyond one per row are tolerated up to so many, or as many as there are rows.
const SLACK: usize = 64;

/// One binding, in a line of the processor's cache.
#[repr(align(64))]
pub(super) struct Row {
    key: StickKey,
    pub(super) until: Time,
    backend: BackendId,
    token: Token,
    stamp: u64,
    /// Which write made it durable.
    pub(super) seq: u64,
}

impl Row {
    #[inline(always)]
    pub(super) fn new(key: StickKey, binding: Binding, until: Time, seq: u64) -> Self {
        let Binding { backend, token, stamp } = binding;
        Self { key, until, backend, token, stamp, seq }
    }

    pub(super) fn key(&self) -> &StickKey {
        &self.key
    }

    pub(super) fn binding(&self) -> Binding {
        Binding { backend: self.backend.clone(), token: self.token, stamp: self.stamp }
    }

    /// Whether it says exactly this.
    pub(super) fn says(&self, binding: &Binding) -> bool {
        (self.token, self.stamp) == (binding.token, binding.stamp) && self.backend.is(&binding.backend)
    }

    /// Where it stands in a listing: rows are listed in the order of their coming.
    fn position(&self) -> Position {
        (self.stamp, hash(self.key.as_str()))
    }
}

/// A row's place in a listing: stamp and hash.
pub(super) type Position = (u64, u64);

#[derive(Default)]
pub(super) struct Rows {
    rows: HashTable<Row>,
    /// At least one entry for each row, never behind its deadline. A mere extension need not touch the queue.
    queue: Deadlines,
}

/// The hash of a room key or of a server's id in this table.
#[inline]
pub(super) fn hash(name: &str) -> u64 {
    rapidhash_v3_micro_inline::<true, false>(name.as_bytes(), &rapidhash::v3::DEFAULT_RAPID_SECRETS)
}

/// The shard was chosen by the highest bits, which are therefore the same here.
fn mixed(hash: u64) -> u64 {
    hash.rotate_right(16)
}

impl Rows {
    pub(super) fn get(&self, hash: u64, key: &StickKey) -> Option<&Row> {
        self.rows.find(mixed(hash), |row| row.key.is(key))
    }

    pub(super) fn get_mut(&mut self, hash: u64, key: &StickKey) -> Option<&mut Row> {
        self.rows.find_mut(mixed(hash), |row| row.key.is(key))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What stands under a key, or room for it, and the queue that a row put there has to join.
    #[inline]
    pub(super) fn entry(&mut self, hash: u64, key: &StickKey) -> (Entry<'_, Row>, &mut Deadlines) {
        let rehash = |row: &Row| mixed(self::hash(row.key.as_str()));
        (self.rows.entry(mixed(hash), |row| row.key.is(key), rehash), &mut self.queue)
    }

    /// Removes the row with this key; whether there was one.
    pub(super) fn remove(&mut self, hash: u64, key: &StickKey) -> bool {
        let found = self.rows.find_entry(mixed(hash), |row| row.key.is(key)).ok().map(|row| row.remove().0);
        found.map(|_| self.thin_out()).is_some()
    }

    /// After a row was removed or overwritten.
    pub(super) fn thin_out(&mut self) {
        if self.queue.len() > 2 * self.rows.len() + SLACK {
            self.queue.refill(self.rows.iter().map(|row| (row.until, hash(row.key.as_str()))));
        }
    }

    /// Moves a row's deadline.
    pub(super) fn set_until(&mut self, hash: u64, key: &StickKey, until: Time, seq: u64) {
        let Some(row) = self.get_mut(hash, key) else { return };
        let nearer = until < row.until;
        row.until = until;
        row.seq = seq;
        if nearer {
            self.queue.push((until, hash));
        }
    }

    /// The row that expires first.
    pub(super) fn nearest(&mut self) -> Option<Due> {
        loop {
            let due = self.queue.first()?;
            let (queued, hash) = due;
            let same = |row: &Row| self::hash(row.key.as_str()) == hash;
            if self.rows.find(mixed(hash), |row| row.until <= queued && same(row)).is_some() {
                return Some(due);
            }
            // Gone, or extended since it was queued: then to where it belongs now.
            let later = self.rows.find(mixed(hash), same).map(|row| row.until);
            self.queue.pop();
            if let Some(until) = later {
                self.queue.push((until, hash));
            }
        }
    }

    /// Removes the row that an answer of [`nearest`](Self::nearest) speaks of; its key.
    pub(super) fn take(&mut self, (queued, hash): Due) -> Option<StickKey> {
        let due = |row: &Row| row.until <= queued && self::hash(row.key.as_str()) == hash;
        let (row, _) = self.rows.find_entry(mixed(hash), due).ok()?.remove();
        self.thin_out();
        Some(row.key)
    }

    /// No row expires before this.
    #[inline]
    pub(super) fn quiet_until(&self) -> Option<Time> {
        self.queue.first().map(|(queued, _)| queued)
    }

    /// How many rows of a server live on at `now`. Looks at every row: a count kept for this would cost every claim.
    pub(super) fn count(&self, backend: &BackendId, now: Time) -> usize {
        self.rows.iter().filter(|row| row.until > now && row.backend.is(backend)).count()
    }

    /// The first rows of a server behind this position that live on at `now`, in order, at most so many. Looks at
    /// every row, for the same reason.
    pub(super) fn of(
        &self,
        backend: &BackendId,
        after: Option<Position>,
        now: Time,
        most: usize,
    ) -> Vec<(Position, &Row)> {
        let mine = self.rows.iter().filter(|row| row.until > now && row.backend.is(backend));
        let behind = mine.map(|row| (row.position(), row)).filter(|(at, _)| after.is_none_or(|after| *at > after));
        let mut rows: Vec<(Position, &Row)> = behind.collect();
        rows.sort_unstable_by_key(|(at, _)| *at);
        rows.truncate(most);
        rows
    }
}
