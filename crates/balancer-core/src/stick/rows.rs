//! The rows of one shard: found by key, linked by server in the order of their coming, queued by deadline.
//!
//! What a lookup reads lies in the hash table itself. The rest has a place that does not change while the row lives;
//! links and queue refer to places, so that adding a row touches one of each kind and sorts nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use hashbrown::HashTable;

use super::table::Time;
use super::{Binding, StickKey, Token};
use crate::backend::BackendId;

/// No place.
const NONE: u32 = u32::MAX;
/// Queue entries of rows that are gone are tolerated up to so many, or as many as there are rows.
const SLACK: usize = 64;

/// One binding: what a lookup reads, in less than a line of the processor's cache.
pub(super) struct Row {
    key: StickKey,
    pub(super) until: Time,
    pub(super) facts: Facts,
}

/// What a row says, and where the rest of it is.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    token: Token,
    stamp: u64,
    home: u32,
    place: u32,
}

/// What only changes touch.
#[derive(Clone, Copy)]
struct Back {
    hash: u64,
    /// The number of its coming; no two rows of a shard ever have the same. 0 in a free place.
    born: u64,
    /// Where the row stands in the queue: never later than its deadline, so that a mere extension need not touch it.
    queued: Time,
    /// Which write made the row durable.
    seq: u64,
    before: u32,
    after: u32,
}

/// A server, as far as this shard knows it.
struct Home {
    backend: BackendId,
    first: u32,
    last: u32,
    count: usize,
    closed: bool,
}

/// An entry of the queue: deadline, number, place.
type Due = (Time, u64, u32);

#[derive(Default)]
pub(super) struct Rows {
    rows: HashTable<Row>,
    backs: Vec<Back>,
    free: Vec<u32>,
    homes: Vec<Home>,
    spare_homes: Vec<u32>,
    by_backend: HashMap<BackendId, u32, rapidhash::fast::RandomState>,
    queue: BinaryHeap<Reverse<Due>>,
    born: u64,
}

/// The shard was chosen by the highest bits, which are therefore the same here.
fn mixed(hash: u64) -> u64 {
    hash.rotate_right(16)
}

impl Rows {
    pub(super) fn get(&self, hash: u64, key: &StickKey) -> Option<&Row> {
        self.rows.find(mixed(hash), |row| row.key == *key)
    }

    pub(super) fn get_mut(&mut self, hash: u64, key: &StickKey) -> Option<&mut Row> {
        self.rows.find_mut(mixed(hash), |row| row.key == *key)
    }

    /// What a row says.
    pub(super) fn binding(&self, row: Facts) -> Option<Binding> {
        let backend = self.homes.get(row.home as usize)?.backend.clone();
        Some(Binding { backend, token: row.token, stamp: row.stamp })
    }

    /// Whether a row says exactly this.
    pub(super) fn says(&self, row: Facts, binding: &Binding) -> bool {
        (row.token, row.stamp) == (binding.token, binding.stamp)
            && self.homes.get(row.home as usize).is_some_and(|home| home.backend == binding.backend)
    }

    /// Which write made a row durable.
    pub(super) fn seq(&self, row: Facts) -> u64 {
        self.backs.get(row.place as usize).map_or(0, |back| back.seq)
    }

    /// Adds a row whose key is not there yet.
    pub(super) fn insert(&mut self, hash: u64, key: StickKey, binding: &Binding, until: Time, seq: u64) {
        self.born += 1;
        let home = self.home(&binding.backend);
        let place = self.free.pop().unwrap_or_else(|| u32::try_from(self.backs.len()).unwrap_or(NONE));
        let mut before = NONE;
        if let Some(h) = self.homes.get_mut(home as usize) {
            before = std::mem::replace(&mut h.last, place);
            h.count += 1;
            if before == NONE {
                h.first = place;
            }
        }
        if let Some(previous) = self.backs.get_mut(before as usize) {
            previous.after = place;
        }
        let back = Back { hash, born: self.born, queued: until, seq, before, after: NONE };
        match self.backs.get_mut(place as usize) {
            Some(free) => *free = back,
            None => self.backs.push(back),
        }
        self.queue.push(Reverse((until, self.born, place)));
        let facts = Facts { token: binding.token, stamp: binding.stamp, home, place };
        let row = Row { key, until, facts };
        let backs = &self.backs;
        let hasher = |row: &Row| backs.get(row.facts.place as usize).map_or(0, |back| mixed(back.hash));
        self.rows.insert_unique(mixed(hash), row, hasher);
    }

    /// Removes the row with this key; whether there was one.
    pub(super) fn remove(&mut self, hash: u64, key: &StickKey) -> bool {
        let found = self.rows.find_entry(mixed(hash), |row| row.key == *key).ok().map(|row| row.remove().0);
        found.map(|row| self.unlink(&row)).is_some()
    }

    /// Removes the row in this place; its key.
    pub(super) fn take(&mut self, place: u32) -> Option<StickKey> {
        let hash = self.backs.get(place as usize)?.hash;
        let (row, _) = self.rows.find_entry(mixed(hash), |row| row.facts.place == place).ok()?.remove();
        self.unlink(&row);
        Some(row.key)
    }

    fn unlink(&mut self, row: &Row) {
        let Facts { home: at_home, place, .. } = row.facts;
        let Some(back) = self.backs.get_mut(place as usize) else { return };
        let Back { before, after, .. } = *back;
        back.born = 0;
        self.free.push(place);
        if let Some(next) = self.backs.get_mut(after as usize) {
            next.before = before;
        }
        if let Some(previous) = self.backs.get_mut(before as usize) {
            previous.after = after;
        }
        if let Some(home) = self.homes.get_mut(at_home as usize) {
            home.count -= 1;
            if home.first == place {
                home.first = after;
            }
            if home.last == place {
                home.last = before;
            }
        }
        self.leave(at_home);
        if self.queue.len() > 2 * self.rows.len() + SLACK {
            let backs = &self.backs;
            self.queue.retain(|Reverse(due)| is_current(backs, due));
        }
    }

    /// Moves a row's deadline. One that comes nearer is queued once more, and the entry further behind counts no more.
    pub(super) fn set_until(&mut self, hash: u64, key: &StickKey, until: Time, seq: u64) {
        let Some(row) = self.get_mut(hash, key) else { return };
        row.until = until;
        let place = row.facts.place;
        let Some(back) = self.backs.get_mut(place as usize) else { return };
        back.seq = seq;
        if until < back.queued {
            back.queued = until;
            self.queue.push(Reverse((until, back.born, place)));
        }
    }

    /// The row that expires first, and when.
    pub(super) fn nearest(&mut self) -> Option<(Time, u32)> {
        loop {
            let Reverse(due) = *self.queue.peek()?;
            let (queued, born, place) = due;
            let back = self.backs.get_mut(place as usize).filter(|back| is_now(back, &due));
            let row =
                back.and_then(|back| Some((self.rows.find(mixed(back.hash), |row| row.facts.place == place)?, back)));
            match row {
                Some((row, _)) if row.until <= queued => return Some((queued, place)),
                // Extended since it was queued: to where it belongs now.
                Some((row, back)) => {
                    back.queued = row.until;
                    self.queue.pop();
                    self.queue.push(Reverse((row.until, born, place)));
                }
                None => drop(self.queue.pop()),
            }
        }
    }

    /// No row expires before this.
    pub(super) fn quiet_until(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse((queued, ..))| *queued)
    }

    /// How many rows a server has.
    pub(super) fn count(&self, backend: &BackendId) -> usize {
        self.known(backend).map_or(0, |home| home.count)
    }

    pub(super) fn is_closed(&self, backend: &BackendId) -> bool {
        self.known(backend).is_some_and(|home| home.closed)
    }

    pub(super) fn close(&mut self, backend: &BackendId, closed: bool) {
        let home = self.home(backend);
        if let Some(home) = self.homes.get_mut(home as usize) {
            home.closed = closed;
        }
        self.leave(home);
    }

    /// The rows of a server that came after number `born`, in the order of their coming.
    pub(super) fn of(&self, backend: &BackendId, born: u64) -> impl Iterator<Item = (u64, &StickKey, &Row)> {
        let mut next = self.known(backend).map_or(NONE, |home| home.first);
        let rows = std::iter::from_fn(move || {
            let place = next;
            let back = self.backs.get(place as usize)?;
            next = back.after;
            let row = self.rows.find(mixed(back.hash), |row| row.facts.place == place)?;
            Some((back.born, &row.key, row))
        });
        rows.filter(move |(number, ..)| *number > born)
    }

    fn known(&self, backend: &BackendId) -> Option<&Home> {
        self.homes.get(*self.by_backend.get(backend)? as usize)
    }

    fn home(&mut self, backend: &BackendId) -> u32 {
        if let Some(home) = self.by_backend.get(backend) {
            return *home;
        }
        let home = self.spare_homes.pop().unwrap_or_else(|| u32::try_from(self.homes.len()).unwrap_or(NONE));
        self.by_backend.insert(backend.clone(), home);
        let fresh = Home { backend: backend.clone(), first: NONE, last: NONE, count: 0, closed: false };
        match self.homes.get_mut(home as usize) {
            Some(spare) => *spare = fresh,
            None => self.homes.push(fresh),
        }
        home
    }

    /// Forgets a server about which there is nothing to remember.
    fn leave(&mut self, home: u32) {
        let Some(known) = self.homes.get(home as usize).filter(|home| home.count == 0 && !home.closed) else { return };
        self.by_backend.remove(&known.backend);
        self.spare_homes.push(home);
    }
}

fn is_now(back: &Back, (queued, born, _): &Due) -> bool {
    back.born == *born && back.queued == *queued
}

/// Whether an entry of the queue still speaks of the row in its place.
fn is_current(backs: &[Back], due: &Due) -> bool {
    backs.get(due.2 as usize).is_some_and(|back| is_now(back, due))
}
