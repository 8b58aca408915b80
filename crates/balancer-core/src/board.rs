//! Live state of every server in dense arrays of atomics, in chunks that never move.
//!
//! One word per slot carries the block bits and the count of units in flight, so that every race between a pick and
//! a change of state is settled by one `fetch_add` or `fetch_or` on that word. The set of open slots is only a hint
//! for speed: closing sets the word before the hint, opening clears it last.

use std::collections::VecDeque;
use std::sync::OnceLock;

use tokio::time::Instant;

use crate::backend::Weight;
use crate::load::{MAX_COST, Report};
use crate::state::{Admin, Health};
use crate::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Mutex, Ordering::*, lock};

use lanes::LANES;
pub(crate) use scan::Live;
pub(crate) use share::{LeastShare, share};

#[cfg(all(test, loom))]
mod model;

/// Slots in a chunk; a model has as few as possible, so that every one of its atomics can be followed.
pub(crate) const CHUNK: usize = if cfg!(loom) { 2 } else { 256 };
const CHUNKS: usize = if cfg!(loom) { 1 } else { 512 };
/// Words of a bit for each slot of a chunk, and of all chunks.
const CHUNK_WORDS: usize = CHUNK.div_ceil(64);
const OPEN_WORDS: usize = MAX_SLOTS.div_ceil(64);
/// Words of the keys of a chunk; the keys of the first slots lie in words of their own.
const SHARES: usize = if cfg!(loom) { CHUNK } else { CHUNK / LANES };
/// The most servers one pool may have.
pub(crate) const MAX_SLOTS: usize = CHUNK * CHUNKS;

/// No new work: drained, down, weight 0.
pub(crate) const NO_NEW: u64 = 1 << 62;
/// Nothing at all: maintenance, dead, removed.
pub(crate) const NOTHING: u64 = 1 << 63;
const COUNT: u64 = (1 << 32) - 1;

const CLASS_SHIFT: u32 = 56;
/// A sum that no further room adds to. Half of what fits below the class: as many takers as could run it over between
/// reading the sum and adding to it, each with the largest size and one with the largest cost, there never are.
const FULL: u64 = 1 << (CLASS_SHIFT - 1);
/// Load figures are current.
pub(crate) const FRESH: u8 = 0;
/// Load figures are older than allowed.
pub(crate) const STALE: u8 = 2;
/// No load figures yet.
pub(crate) const MISSING: u8 = 3;

const HISTORY: usize = 512;

/// A place on the board: valid within one snapshot only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a pick saw of the slot it chose; taking fails when it has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Any,
    Rank(u64),
    Units(u32),
}

/// Why a unit could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The slot is blocked for this kind of work.
    Blocked,
    /// Somebody else changed the slot since it was chosen.
    Changed,
    /// The cap of new rooms per interval is reached.
    Capped,
}

/// Counts that only grow, and the last report. Behind a lock, since landings and reports are rare.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    pub(crate) placed: u64,
    pub(crate) covered: u64,
    pub(crate) cost: u64,
    pub(crate) class: u8,
    pub(crate) born: Option<Instant>,
    pub(crate) last: Option<Report>,
    /// (when, `placed` after it) of every landing not yet covered.
    history: VecDeque<(Instant, u64)>,
}

impl Ledger {
    /// What `placed` was at that moment.
    fn placed_at(&mut self, when: Instant) -> u64 {
        let mut at = self.covered;
        while let Some(&(t, total)) = self.history.front() {
            if t > when {
                break;
            }
            at = total;
            self.history.pop_front();
        }
        at
    }

    fn landed(&mut self, charge: u64, now: Instant) {
        self.placed = self.placed.wrapping_add(charge);
        if self.history.len() >= HISTORY {
            // Halve the resolution: the later moment of each pair stands for both, so nothing is covered too early.
            let mut keep = false;
            self.history.retain(|_| {
                keep = !keep;
                !keep
            });
        }
        self.history.push_back((now, self.placed));
    }
}

mod cap;
mod lanes;
mod scan;
mod share;

struct Chunk {
    word: [AtomicU64; CHUNK],
    /// Coarse keys of the shares, packed.
    shares: [AtomicU64; SHARES],
    rank: [AtomicU64; CHUNK],
    inverse: [AtomicU32; CHUNK],
    weight: [AtomicU32; CHUNK],
    state: [AtomicU8; CHUNK],
    cap: [AtomicU64; CHUNK],
    /// Most of the bytes, and seldom looked at.
    ledger: Box<[Mutex<Ledger>]>,
}

impl Chunk {
    fn new() -> Box<Self> {
        Box::new(Self {
            word: std::array::from_fn(|_| AtomicU64::new(NO_NEW | NOTHING)),
            shares: std::array::from_fn(|_| AtomicU64::new(lanes::all(lanes::HIDDEN))),
            rank: std::array::from_fn(|_| AtomicU64::new(0)),
            inverse: std::array::from_fn(|_| AtomicU32::new(0)),
            weight: std::array::from_fn(|_| AtomicU32::new(0)),
            state: std::array::from_fn(|_| AtomicU8::new(0)),
            cap: std::array::from_fn(|_| AtomicU64::new(0)),
            // Put together where it stays: on the way through a stack all of that stack would be kept.
            ledger: (0..CHUNK).map(|_| Mutex::new(Ledger::default())).collect(),
        })
    }
}

/// The arrays, and the list of free slots.
pub(crate) struct Board {
    chunks: Box<[OnceLock<Box<Chunk>>]>,
    /// The hint of open slots, a bit for each.
    open: Box<[AtomicU64]>,
    /// Whether the shares are kept.
    keep_shares: bool,
    /// The least key of the last scan.
    least_share: AtomicU16,
    free: Mutex<Free>,
}

#[derive(Clone, Default)]
struct Free {
    next: u32,
    list: Vec<u32>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl Board {
    /// An empty board; `keep_shares` for [`least_share`](Self::least_share).
    pub(crate) fn new(keep_shares: bool) -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            open: (0..OPEN_WORDS).map(|_| AtomicU64::new(0)).collect(),
            keep_shares,
            least_share: AtomicU16::new(0),
            free: Mutex::new(Free::default()),
        }
    }

    fn open(&self, slot: Slot) -> (&AtomicU64, u64) {
        (&self.open[(slot.index() / 64) % OPEN_WORDS], 1 << (slot.index() % 64))
    }

    fn at(&self, slot: Slot) -> (&Chunk, usize) {
        let i = slot.index();
        (self.chunks[(i / CHUNK) % CHUNKS].get_or_init(Chunk::new), i % CHUNK)
    }

    /// A free slot, everything zero, blocked. `None` when the board is full.
    pub(crate) fn alloc(&self, now: Instant, tracked: bool) -> Option<Slot> {
        let slot = {
            let mut free = lock(&self.free);
            match free.list.pop() {
                Some(s) => Slot(s),
                None if (free.next as usize) < MAX_SLOTS => {
                    free.next += 1;
                    Slot(free.next - 1)
                }
                None => return None,
            }
        };
        let class = if tracked { MISSING } else { FRESH };
        let (c, i) = self.at(slot);
        *lock(&c.ledger[i]) = Ledger { class, born: Some(now), ..Ledger::default() };
        c.word[i].store(NO_NEW | NOTHING, SeqCst);
        c.rank[i].store(u64::from(class) << CLASS_SHIFT, SeqCst);
        self.settle(c, i);
        c.cap[i].store(0, SeqCst);
        c.state[i].store(0, SeqCst);
        Some(slot)
    }

    /// Gives a slot back; called when nobody can point at it any more.
    pub(crate) fn free(&self, slot: Slot) {
        self.block(slot, NO_NEW | NOTHING);
        lock(&self.free).list.push(slot.0);
    }

    /// Takes one unit. `mask` are the block bits that forbid it. The answer is what is charged for it: nothing more
    /// where the sum is [`FULL`].
    pub(crate) fn take(&self, slot: Slot, mask: u64, charge: u64, expect: Expect) -> Result<u64, Refused> {
        let (c, i) = self.at(slot);
        let old = c.word[i].fetch_add(1, AcqRel);
        let refuse = |why| {
            c.word[i].fetch_sub(1, AcqRel);
            self.settle(c, i);
            Err(why)
        };
        if old & mask != 0 {
            return refuse(Refused::Blocked);
        }
        let rank = if let Expect::Rank(seen) = expect { seen } else { c.rank[i].load(Relaxed) };
        let charge = if split_rank(rank).1 < FULL { charge } else { 0 };
        match expect {
            Expect::Rank(seen) => {
                if c.rank[i].compare_exchange(seen, seen.wrapping_add(charge), AcqRel, Relaxed).is_err() {
                    return refuse(Refused::Changed);
                }
            }
            Expect::Units(seen) if (old & COUNT) != u64::from(seen) => return refuse(Refused::Changed),
            Expect::Units(_) | Expect::Any => {
                c.rank[i].fetch_add(charge, AcqRel);
            }
        }
        self.settle(c, i);
        Ok(charge)
    }

    /// Whether [`take`](Self::take) would not be refused for these block bits.
    pub(crate) fn takes(&self, slot: Slot, mask: u64) -> bool {
        let (c, i) = self.at(slot);
        c.word[i].load(Acquire) & mask == 0
    }

    /// Gives a unit back that never became work.
    pub(crate) fn cancel(&self, slot: Slot, charge: u64) {
        let (c, i) = self.at(slot);
        c.rank[i].fetch_sub(charge, AcqRel);
        c.word[i].fetch_sub(1, AcqRel);
        self.settle(c, i);
    }

    /// Gives a unit back whose work arrived: its charge stays until a measurement that began later covers it.
    pub(crate) fn land(&self, slot: Slot, charge: u64, now: Instant) {
        let (c, i) = self.at(slot);
        if charge > 0 {
            lock(&c.ledger[i]).landed(charge, now);
        }
        c.word[i].fetch_sub(1, AcqRel);
        self.settle(c, i);
    }

    /// Sets block bits; the answer is what was in flight at that moment.
    pub(crate) fn block(&self, slot: Slot, bits: u64) -> u32 {
        let (c, i) = self.at(slot);
        let old = c.word[i].fetch_or(bits, SeqCst);
        if bits & (NO_NEW | NOTHING) != 0 {
            let (open, bit) = self.open(slot);
            open.fetch_and(!bit, SeqCst);
            self.settle(c, i);
        }
        u32::try_from(old & COUNT).unwrap_or(u32::MAX)
    }

    /// Sets exactly these block bits, keeping the count. One caller at a time: two could leave the hint behind the word.
    pub(crate) fn set_block(&self, slot: Slot, bits: u64) {
        let (c, i) = self.at(slot);
        self.block(slot, bits);
        let clear = (NO_NEW | NOTHING) & !bits;
        c.word[i].fetch_and(!clear, SeqCst);
        if bits == 0 {
            let (open, bit) = self.open(slot);
            open.fetch_or(bit, SeqCst);
            self.settle(c, i);
        }
    }

    pub(crate) fn in_flight(&self, slot: Slot) -> u32 {
        let (c, i) = self.at(slot);
        u32::try_from(c.word[i].load(Acquire) & COUNT).unwrap_or(u32::MAX)
    }

    pub(crate) fn rank(&self, slot: Slot) -> u64 {
        let (c, i) = self.at(slot);
        c.rank[i].load(Relaxed)
    }

    /// 2^32 / weight in sixteenths, rounded; 0 for weight 0.
    pub(crate) fn inverse(&self, slot: Slot) -> u32 {
        let (c, i) = self.at(slot);
        c.inverse[i].load(Relaxed)
    }

    pub(crate) fn weight(&self, slot: Slot) -> Weight {
        let (c, i) = self.at(slot);
        Weight::from_sixteenths(u16::try_from(c.weight[i].load(Relaxed)).unwrap_or(0))
    }

    pub(crate) fn set_weight(&self, slot: Slot, weight: Weight) {
        let (c, i) = self.at(slot);
        let w = u64::from(weight.sixteenths());
        let inverse = (1u64 << 32).checked_div(w).unwrap_or(0);
        c.weight[i].store(u32::from(weight.sixteenths()), SeqCst);
        c.inverse[i].store(u32::try_from(inverse).unwrap_or(u32::MAX), SeqCst);
        self.settle(c, i);
    }

    pub(crate) fn state(&self, slot: Slot) -> (Admin, Health) {
        let (c, i) = self.at(slot);
        let s = c.state[i].load(Acquire);
        let admin = match s & 3 {
            0 => Admin::Ready,
            1 => Admin::Drain,
            _ => Admin::Maint,
        };
        let health = match s >> 2 {
            0 => Health::Unknown,
            1 => Health::Up,
            2 => Health::Suspect,
            3 => Health::Down,
            _ => Health::Dead,
        };
        (admin, health)
    }

    pub(crate) fn set_state(&self, slot: Slot, admin: Admin, health: Health) {
        let (c, i) = self.at(slot);
        c.state[i].store((admin as u8) | ((health as u8) << 2), Release);
    }

    /// 64 slots of the hint of open slots.
    pub(crate) fn open_word(&self, word: usize) -> u64 {
        self.open.get(word).map_or(0, |open| open.load(Relaxed))
    }

    /// Takes in a report. The answer is the class of the figures before; `None` when the report is older than the
    /// newest one or than this slot's server.
    pub(crate) fn report(&self, slot: Slot, cost: u64, report: Report) -> Option<u8> {
        let (c, i) = self.at(slot);
        let mut l = lock(&c.ledger[i]);
        let newest = l.last.as_ref().map(|r| r.began).or(l.born);
        if newest.is_some_and(|t| report.began < t) {
            return None;
        }
        let before = l.class;
        let covered = if report.frozen { l.covered } else { l.placed_at(report.began) };
        let cost = cost.min(MAX_COST);
        let delta = cost
            .wrapping_sub(l.cost)
            .wrapping_sub(covered.wrapping_sub(l.covered))
            .wrapping_add(class_delta(l.class, FRESH));
        l.cost = cost;
        l.covered = covered;
        l.class = FRESH;
        l.last = Some(report);
        c.rank[i].fetch_add(delta, AcqRel);
        Some(before)
    }

    /// Puts figures older than `limit` into a class of their own. `true` when the class changed.
    pub(crate) fn age(&self, slot: Slot, now: Instant, limit: std::time::Duration) -> bool {
        let (c, i) = self.at(slot);
        let mut l = lock(&c.ledger[i]);
        let Some(began) = l.last.as_ref().map(|r| r.began) else { return false };
        let class = if now.saturating_duration_since(began) > limit { STALE } else { FRESH };
        if class == l.class {
            return false;
        }
        c.rank[i].fetch_add(class_delta(l.class, class), AcqRel);
        l.class = class;
        true
    }

    pub(crate) fn ledger(&self, slot: Slot) -> Ledger {
        let (c, i) = self.at(slot);
        lock(&c.ledger[i]).clone()
    }

    /// A copy of these slots, standing still.
    pub(crate) fn freeze(&self, slots: impl Iterator<Item = Slot>) -> Self {
        let copy = Self::new(self.keep_shares);
        for slot in slots {
            let (from, i) = self.at(slot);
            let (to, _) = copy.at(slot);
            *lock(&to.ledger[i]) = lock(&from.ledger[i]).clone();
            to.word[i].store(from.word[i].load(Acquire), Relaxed);
            to.rank[i].store(from.rank[i].load(Acquire), Relaxed);
            to.inverse[i].store(from.inverse[i].load(Acquire), Relaxed);
            to.weight[i].store(from.weight[i].load(Acquire), Relaxed);
            to.state[i].store(from.state[i].load(Acquire), Relaxed);
            to.cap[i].store(from.cap[i].load(Acquire), Relaxed);
            copy.settle(to, i);
            let (open, bit) = self.open(slot);
            if open.load(Acquire) & bit != 0 {
                copy.open(slot).0.fetch_or(bit, Relaxed);
            }
            let mut free = lock(&copy.free);
            free.next = free.next.max(slot.0 + 1);
        }
        copy
    }

    /// [`freeze`](Self::freeze) that also gives out the same free slots next.
    pub(crate) fn fork(&self, slots: impl Iterator<Item = Slot>) -> Self {
        let free = lock(&self.free).clone();
        let copy = self.freeze(slots);
        *lock(&copy.free) = free;
        copy
    }
}

fn class_delta(from: u8, to: u8) -> u64 {
    (u64::from(to) << CLASS_SHIFT).wrapping_sub(u64::from(from) << CLASS_SHIFT)
}

/// Splits a rank into its class and its load.
pub(crate) fn split_rank(rank: u64) -> (u8, u64) {
    ((rank >> CLASS_SHIFT) as u8, rank & ((1 << CLASS_SHIFT) - 1))
}
