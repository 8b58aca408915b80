//! What is known of one table: where each key is, until when, and which peers know it too.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use hashbrown::HashTable;

use super::names::NOBODY;

const FREE: u32 = u32::MAX;

/// One key.
#[derive(Debug)]
struct Row {
    key: Box<[u8]>,
    /// Of the store's binding; what is older does not replace it.
    stamp: u64,
    /// When it ends, in milliseconds of the node's clock.
    until: u64,
    /// The peers that know it, by bit.
    knows: u64,
    /// When the store last heard of it, in seconds of the node's clock; zero is never.
    stored: u32,
    server: u32,
}

/// What became of something told by a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// As it is known, and longer now.
    Known,
    /// As it is known; the store has not heard of it for long.
    Stale,
    /// Not known yet, or otherwise.
    Differs,
}

/// Something to be taught.
#[derive(Clone, Debug)]
pub(super) struct Lesson {
    pub(super) key: Box<[u8]>,
    pub(super) server: u32,
    pub(super) until: u64,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin {
    pub(super) server: u32,
    pub(super) stamp: u64,
    pub(super) until: u64,
    /// Peers that know it already.
    pub(super) knows: u64,
    /// Whether the store has it.
    pub(super) stored: bool,
}

/// Keys and servers, in slots that keep their places.
#[derive(Debug)]
pub(super) struct Mirror {
    rows: Vec<Row>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    limit: usize,
    swept: usize,
}

impl Mirror {
    pub(super) fn new(limit: usize) -> Self {
        let (rows, free, index) = (Vec::new(), Vec::new(), HashTable::new());
        Self { rows, free, index, hasher: RandomState::new(), limit: limit.min(FREE as usize - 1), swept: 0 }
    }

    /// How many keys are known; those un-pinned count until their time is over.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.rows.len()
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        let is = |at: &u32| self.rows.get(*at as usize).is_some_and(|row| &*row.key == key);
        self.index.find(self.hasher.hash_one(key), is).copied()
    }

    fn find_mut(&mut self, key: &[u8]) -> Option<(u32, &mut Row)> {
        let at = self.find(key)?;
        self.rows.get_mut(at as usize).map(|row| (at, row))
    }

    /// The server of a key and when it ends, if it has not.
    pub(super) fn get(&self, key: &[u8], now: u64) -> Option<(u32, u64)> {
        let row = self.rows.get(self.find(key)? as usize)?;
        (row.until > now && row.server != NOBODY).then_some((row.server, row.until))
    }

    /// A peer told this; `ttl` in milliseconds.
    pub(super) fn hear(&mut self, key: &[u8], server: u32, peer: u64, ttl: u64, now: u64) -> Heard {
        let Some((_, row)) = self.find_mut(key) else { return Heard::Differs };
        if row.server != server {
            return Heard::Differs;
        }
        row.until = row.until.max(now.saturating_add(ttl));
        row.knows |= peer;
        if server == NOBODY || !overdue(row.stored, ttl, now) {
            return Heard::Known;
        }
        row.stored = seconds(now);
        Heard::Stale
    }

    /// Keeps this unless something newer is there. The slot if any peer has to be told; `Err` if there is no room.
    pub(super) fn set(&mut self, key: &[u8], pin: Pin, now: u64) -> Result<Option<u32>, ()> {
        let stored = if pin.stored { seconds(now) } else { 0 };
        if let Some((at, row)) = self.find_mut(key) {
            // Who hears of a release from a peer knows no stamp.
            let stamp = if pin.server == NOBODY && pin.stamp == 0 { row.stamp } else { pin.stamp };
            if stamp < row.stamp {
                return Ok(None);
            }
            row.stamp = stamp;
            row.stored = stored;
            if row.server == pin.server && row.until > now {
                row.until = row.until.max(pin.until);
                row.knows |= pin.knows;
            } else {
                row.server = pin.server;
                row.until = pin.until;
                row.knows = pin.knows;
            }
            return Ok(Some(at));
        }
        if self.len() >= self.limit {
            return Err(());
        }
        let Pin { server, stamp, until, knows, .. } = pin;
        let row = Row { key: key.into(), stamp, until, knows, stored, server };
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(slot) = self.rows.get_mut(at as usize) {
                    *slot = row;
                }
                at
            }
            None => {
                let at = u32::try_from(self.rows.len()).map_err(|_| ())?;
                self.rows.push(row);
                at
            }
        };
        let (rows, hasher) = (&self.rows, &self.hasher);
        let rehash = |at: &u32| hasher.hash_one(rows.get(*at as usize).map_or(&[][..], |row| &row.key));
        self.index.insert_unique(hasher.hash_one(key), at, rehash);
        Ok(Some(at))
    }

    /// A caller used a binding, which holds for `ttl` milliseconds more (zero: nobody says it); whether peers should hear
    /// of it.
    pub(super) fn touch(&mut self, key: &[u8], server: u32, stamp: u64, ttl: u64, now: u64) -> Option<(u32, bool)> {
        let (at, row) = self.find_mut(key)?;
        if row.server != server || row.stamp > stamp || row.until <= now {
            return None;
        }
        row.stamp = stamp;
        row.until = row.until.max(now.saturating_add(ttl));
        let due = ttl > 0 && overdue(row.stored, ttl, now);
        if due {
            row.stored = seconds(now);
            row.knows = 0;
        }
        Some((at, due))
    }

    /// Everybody is to be told of this key again.
    pub(super) fn insist(&mut self, key: &[u8]) -> Option<u32> {
        let (at, row) = self.find_mut(key)?;
        row.knows = 0;
        Some(at)
    }

    /// A peer knows nothing any more.
    pub(super) fn forget_peer(&mut self, peer: u64) {
        for row in &mut self.rows {
            row.knows &= !peer;
        }
    }

    /// What this peer does not know of these slots, which it does from now on. Ends after so many.
    pub(super) fn lessons(
        &mut self,
        slots: Range<usize>,
        peer: u64,
        most: usize,
        now: u64,
        out: &mut Vec<Lesson>,
    ) -> usize {
        let mut at = slots.start;
        while at < slots.end.min(self.rows.len()) && out.len() < most {
            if let Some(row) = self.rows.get_mut(at)
                && row.server != FREE
                && row.knows & peer == 0
                && row.until > now
            {
                row.knows |= peer;
                out.push(Lesson { key: row.key.clone(), server: row.server, until: row.until });
            }
            at += 1;
        }
        at
    }

    /// Removes what has ended among the next so many slots; tells the keys that the store has not heard of.
    pub(super) fn sweep(&mut self, most: usize, now: u64, waiting: &mut Vec<Lesson>) {
        for _ in 0..most.min(self.rows.len()) {
            let at = self.swept % self.rows.len();
            self.swept = at + 1;
            let Some(row) = self.rows.get_mut(at) else { continue };
            if row.server == FREE {
                continue;
            }
            if row.until > now {
                if row.stored == 0 && row.server != NOBODY {
                    waiting.push(Lesson { key: row.key.clone(), server: row.server, until: row.until });
                }
                continue;
            }
            let hash = self.hasher.hash_one(&*row.key);
            row.server = FREE;
            row.key = Box::default();
            let Ok(at) = u32::try_from(at) else { continue };
            if let Ok(slot) = self.index.find_entry(hash, |other| *other == at) {
                slot.remove();
            }
            self.free.push(at);
        }
    }

    /// All keys that have a server.
    pub(super) fn all(&self, now: u64) -> impl Iterator<Item = (&[u8], u32, u64)> {
        let there = move |row: &&Row| row.server != FREE && row.server != NOBODY && row.until > now;
        self.rows.iter().filter(there).map(|row| (&*row.key, row.server, row.until))
    }
}

fn seconds(now: u64) -> u32 {
    u32::try_from(now / 1000).unwrap_or(u32::MAX).max(1)
}

/// Whether a quarter of a life has passed.
fn overdue(stored: u32, ttl: u64, now: u64) -> bool {
    stored == 0 || now.saturating_sub(u64::from(stored) * 1000) >= ttl / 4
}
