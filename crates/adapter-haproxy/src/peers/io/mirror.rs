//! What is known of one table: where each key is, until when, and which peers know it too.

use std::ops::Range;

use hashbrown::HashTable;

use super::keys::{KeyHash, KeyPlace, Keys};
use super::names::NOBODY;

/// No server has this number.
const FREE: u16 = u16::MAX;

/// Somebody who asks the store holds the slot: it keeps its key until [`Mirror::settle`] or [`Mirror::give_up`].
const HELD: u8 = 1;
/// The store has not answered yet: until then nobody hears of it.
const ASKED: u8 = 2;

/// One key.
#[derive(Debug)]
struct Row {
    key: KeyPlace,
    /// Of the store's binding; what is older does not replace it.
    stamp: u64,
    /// When it ends, in milliseconds of the node's clock.
    until: u64,
    /// The peers that know it, by bit.
    knows: u64,
    /// When the store last heard of it, in seconds of the node's clock; zero is never.
    stored: u32,
    server: u16,
    state: u8,
}

impl Row {
    fn is_free(&self) -> bool {
        self.server == FREE
    }

    fn is_asked(&self) -> bool {
        self.state & ASKED != 0
    }

    fn is_on(&self, server: u32) -> bool {
        u32::from(self.server) == server
    }

    /// Takes this unless something newer is there; whether it did.
    fn take(&mut self, pin: Pin, now: u64) -> bool {
        // Who hears of a release from a peer knows no stamp.
        let stamp = if pin.server == NOBODY && pin.stamp == 0 { self.stamp } else { pin.stamp };
        if stamp < self.stamp {
            return false;
        }
        self.stamp = stamp;
        self.stored = if pin.stored { seconds(now) } else { 0 };
        self.state &= !ASKED;
        if self.is_on(pin.server) && self.until > now {
            self.until = self.until.max(pin.until);
            self.knows |= pin.knows;
        } else {
            self.server = number(pin.server);
            self.until = pin.until;
            self.knows = pin.knows;
        }
        true
    }
}

/// What became of something told by a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// As it is known, and longer now.
    Known,
    /// As it is known; the store has not heard of it for long.
    Stale,
    /// Not known yet: kept in this slot, for the store to be asked.
    New(u32),
    /// Known otherwise, or there is no room.
    Differs,
}

/// What a peer told, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) server: u32,
    /// The peer, by bit.
    pub(super) peer: u64,
    /// What is left of its life, in milliseconds.
    pub(super) ttl: u64,
    pub(super) now: u64,
}

/// A key's hash, and where it is if it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) hash: u32,
    at: Option<u32>,
}

/// Something to be told the store.
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
    keys: Keys,
    free: Vec<u32>,
    /// Half the hash of each key, and its slot: the table grows without looking at keys.
    index: HashTable<(u32, u32)>,
    hash: KeyHash,
    limit: usize,
    swept: usize,
}

impl Mirror {
    pub(super) fn new(limit: usize) -> Self {
        let (rows, free, index, limit) = (Vec::new(), Vec::new(), HashTable::new(), limit.min(u32::MAX as usize));
        Self { rows, keys: Keys::default(), free, index, hash: KeyHash::new(), limit, swept: 0 }
    }

    /// How many keys are known; those un-pinned count until their time is over.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        let row_is = |at: u32| self.rows.get(at as usize).is_some_and(|row| self.keys.get(row.key) == key);
        self.index.find(spread(hash), |&(half, at)| half == hash && row_is(at)).map(|&(_, at)| at)
    }

    fn find_mut(&mut self, key: &[u8]) -> Option<(u32, &mut Row)> {
        let at = self.find(self.hash.of(key), key)?;
        self.rows.get_mut(at as usize).map(|row| (at, row))
    }

    /// Where a key is, for [`hear`](Self::hear). Many that are looked up one after the other, before anything is done
    /// about them, wait for memory together.
    #[inline]
    pub(super) fn spot(&self, key: &[u8]) -> Spot {
        let hash = self.hash.of(key);
        Spot { hash, at: self.find(hash, key) }
    }

    /// The server of a key and when it ends, if it has not.
    pub(super) fn get(&self, key: &[u8], now: u64) -> Option<(u32, u64)> {
        let row = self.rows.get(self.find(self.hash.of(key), key)? as usize)?;
        let there = row.until > now && !row.is_on(NOBODY) && !row.is_asked();
        there.then_some((u32::from(row.server), row.until))
    }

    /// A peer told this of a key that was looked up. Since then others may have been added, and none removed.
    pub(super) fn hear(&mut self, spot: Spot, key: &[u8], word: Word) -> Heard {
        let Word { server, peer, ttl, now } = word;
        let until = now.saturating_add(ttl);
        let at = spot.at.or_else(|| self.find(spot.hash, key));
        let Some(row) = at.and_then(|at| self.rows.get_mut(at as usize)) else {
            if server == NOBODY {
                return Heard::Differs;
            }
            let (place, server) = (KeyPlace::default(), number(server));
            let row = Row { key: place, stamp: 0, until, knows: peer, stored: 0, server, state: HELD | ASKED };
            return self.insert(spot.hash, key, row).map_or(Heard::Differs, Heard::New);
        };
        if !row.is_on(server) {
            return Heard::Differs;
        }
        row.until = row.until.max(until);
        row.knows |= peer;
        if server == NOBODY || row.is_asked() || !overdue(row.stored, ttl, now) {
            return Heard::Known;
        }
        row.stored = seconds(now);
        Heard::Stale
    }

    /// A slot of its own for a key and what is known of it; none if there is no room.
    fn insert(&mut self, hash: u32, key: &[u8], mut row: Row) -> Option<u32> {
        if self.len() >= self.limit {
            return None;
        }
        row.key = self.keys.add(key)?;
        let at = match self.free.pop() {
            Some(at) => {
                *self.rows.get_mut(at as usize)? = row;
                at
            }
            None => {
                let at = u32::try_from(self.rows.len()).ok()?;
                self.rows.push(row);
                at
            }
        };
        self.index.insert_unique(spread(hash), (hash, at), |&(half, _)| spread(half));
        Some(at)
    }

    /// Keeps this unless something newer is there. The slot if any peer has to be told; `Err` if there is no room.
    pub(super) fn set(&mut self, key: &[u8], pin: Pin, now: u64) -> Result<Option<u32>, ()> {
        if let Some((at, row)) = self.find_mut(key) {
            return Ok(row.take(pin, now).then_some(at));
        }
        let Pin { server, stamp, until, knows, stored } = pin;
        let (stored, server) = (if stored { seconds(now) } else { 0 }, number(server));
        let row = Row { key: KeyPlace::default(), stamp, until, knows, stored, server, state: 0 };
        self.insert(self.hash.of(key), key, row).map(Some).ok_or(())
    }

    /// The key in a slot that is [new](Heard::New), and whether the store is still to be asked.
    pub(super) fn held(&self, at: u32) -> Option<(&[u8], u64, bool)> {
        let row = self.rows.get(at as usize).filter(|row| !row.is_free())?;
        Some((self.keys.get(row.key), row.until, row.is_asked()))
    }

    /// The store has this for a slot that was [new](Heard::New), which nobody holds any more. Which peers know it then,
    /// if others have to be told.
    pub(super) fn settle(&mut self, at: u32, pin: Pin, now: u64) -> Option<u64> {
        let row = self.rows.get_mut(at as usize).filter(|row| !row.is_free())?;
        row.state &= !HELD;
        row.take(pin, now).then_some(row.knows)
    }

    /// Nobody asks the store about a slot that was [new](Heard::New): it is as if it had not been heard, unless
    /// something else is known by now.
    pub(super) fn give_up(&mut self, at: u32) {
        let Some(row) = self.rows.get_mut(at as usize).filter(|row| !row.is_free()) else { return };
        row.state &= !HELD;
        if row.is_asked() {
            self.remove(at);
        }
    }

    /// The same, but it is known as something that the store did not answer for.
    pub(super) fn postpone(&mut self, at: u32) {
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.state = 0;
        }
    }

    fn remove(&mut self, at: u32) {
        let Some(row) = self.rows.get_mut(at as usize) else { return };
        let key = std::mem::take(&mut row.key);
        row.server = FREE;
        row.state = 0;
        let hash = self.hash.of(self.keys.get(key));
        self.keys.remove(key);
        if let Ok(slot) = self.index.find_entry(spread(hash), |&(_, other)| other == at) {
            slot.remove();
        }
        self.free.push(at);
    }

    /// A caller used a binding, which holds for `ttl` milliseconds more (zero: nobody says it); whether peers should hear
    /// of it.
    pub(super) fn touch(&mut self, key: &[u8], server: u32, stamp: u64, ttl: u64, now: u64) -> Option<(u32, bool)> {
        let (at, row) = self.find_mut(key)?;
        if !row.is_on(server) || row.stamp > stamp || row.until <= now || row.is_asked() {
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

    /// The store is to hear of this key once more.
    pub(super) fn doubt(&mut self, key: &[u8]) {
        if let Some((_, row)) = self.find_mut(key) {
            row.stored = 0;
        }
    }

    /// A peer knows nothing any more.
    pub(super) fn forget_peer(&mut self, peer: u64) {
        for row in &mut self.rows {
            row.knows &= !peer;
        }
    }

    /// Goes through these slots and tells (key, server, end) of what this peer does not know, which it does from now on,
    /// for as long as the answer is yes. Where it ended.
    pub(super) fn lessons(
        &mut self,
        slots: Range<usize>,
        peer: u64,
        now: u64,
        mut tell: impl FnMut(&[u8], u32, u64) -> bool,
    ) -> usize {
        let end = slots.end.min(self.rows.len());
        let rows = self.rows.get_mut(slots.start.min(end)..end).unwrap_or_default();
        for (at, row) in (slots.start..).zip(rows) {
            if row.knows & peer == 0 && row.until > now && !row.is_free() && !row.is_asked() {
                row.knows |= peer;
                if !tell(self.keys.get(row.key), u32::from(row.server), row.until) {
                    return at + 1;
                }
            }
        }
        end
    }

    /// Removes what has ended among the next so many slots, and gathers the keys that stay; tells the keys that the store
    /// has not heard of, up to so many.
    pub(super) fn sweep(&mut self, slots: usize, now: u64, most: usize, waiting: &mut Vec<Lesson>) {
        for _ in 0..slots.min(self.rows.len()) {
            let at = self.swept % self.rows.len();
            self.swept = at + 1;
            let Some(row) = self.rows.get_mut(at) else { continue };
            if row.is_free() || row.state != 0 {
                continue;
            }
            if row.until > now {
                row.key = self.keys.gather(row.key);
                if row.stored == 0 && !row.is_on(NOBODY) && waiting.len() < most {
                    let key = self.keys.get(row.key).into();
                    waiting.push(Lesson { key, server: row.server.into(), until: row.until });
                }
            } else if let Ok(at) = u32::try_from(at) {
                self.remove(at);
            }
        }
    }

    /// All keys that have a server.
    pub(super) fn all(&self, now: u64) -> impl Iterator<Item = (&[u8], u32, u64)> {
        let there = move |row: &&Row| !row.is_free() && !row.is_on(NOBODY) && row.until > now && !row.is_asked();
        self.rows.iter().filter(there).map(|row| (self.keys.get(row.key), u32::from(row.server), row.until))
    }
}

/// A server's number as it is kept: there are fewer than [`FREE`].
fn number(server: u32) -> u16 {
    u16::try_from(server).unwrap_or(FREE)
}

/// Of half a hash, one that differs where a table looks: at both ends.
fn spread(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

fn seconds(now: u64) -> u32 {
    u32::try_from(now / 1000).unwrap_or(u32::MAX).max(1)
}

/// Whether a quarter of a life has passed.
fn overdue(stored: u32, ttl: u64, now: u64) -> bool {
    stored == 0 || now.saturating_sub(u64::from(stored) * 1000) >= ttl / 4
}
