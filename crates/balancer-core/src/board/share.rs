//! Units in flight for the weight as short keys: kept in step at every change, and the least of them found fast.

use super::lanes::{GUARD, HIDDEN, LANES, all, below_or_equal, coarse, equal_to, hide, least, lowest, with};
use super::scan::{GROUPS, Groups, Live};
use super::{Board, CHUNK_WORDS, COUNT, Chunk, NO_NEW, NOTHING, Slot};
use crate::sync::{AtomicU64, Ordering::*};

/// Words of keys for 64 slots. Slot i of the 64 has lane i / 16 of word i % 16, so that the bits which a comparison
/// leaves in 16 words can be laid side by side into one word in the order of the slots.
const WORDS: usize = 64 / LANES;
/// After so many scans that were overtaken, the choice is made carefully.
const SCANS: usize = 4;

/// What a scan for the least share came to.
pub(crate) struct LeastShare {
    pub(crate) slot: Slot,
    /// Its units in flight, which made it the least.
    pub(crate) units: u32,
    /// How many candidates have the least share.
    pub(crate) ties: usize,
}

/// The key of 0 when idle, else (units + 1) / weight: eleven significant bits, rounded down.
pub(crate) fn share(units: u32, sixteenths: u16) -> u16 {
    let over = if units == 0 { 0 } else { u64::from(units) + 1 };
    // The weight is at most 4,096, so this keeps at least eleven bits behind the point.
    coarse((over << 24).checked_div(u64::from(sixteenths)).unwrap_or(u64::MAX) >> 1)
}

fn place(i: usize) -> (usize, usize) {
    ((i / 64) * WORDS + i % WORDS, (i % 64) / WORDS)
}

impl Board {
    /// Brings the key of a share in step, after units, block bits or weight were written.
    ///
    /// Whoever writes last looks last: one that wrote an outdated key sees it and writes again.
    pub(super) fn settle(&self, c: &Chunk, i: usize) {
        if !self.keep_shares {
            return;
        }
        let source = || (c.word[i].load(SeqCst), c.weight[i].load(SeqCst));
        let mut seen = source();
        loop {
            let (word, weight) = seen;
            let units = u32::try_from(word & COUNT).unwrap_or(u32::MAX);
            let open = word & (NO_NEW | NOTHING) == 0;
            // A closed server is above all others, so that no scan stops at it.
            let key = if open { share(units, u16::try_from(weight).unwrap_or(0)) } else { HIDDEN };
            let (cell, lane) = place(i);
            // Never refused.
            let _ = c.shares[cell].fetch_update(SeqCst, SeqCst, |word| Some(with(word, lane, key)));
            let now = source();
            if now == seen {
                return;
            }
            seen = now;
        }
    }

    /// One of the candidates with the least share, all equally likely. `mask` gives 64 candidates at a time, for
    /// `words` words; `every` says that it hides nobody but who is closed. `draw` decides. `None` when there is no
    /// candidate, or all have changed again and again.
    ///
    /// The least share is mostly what it was at the last scan. So servers of that share are counted first, in one pass
    /// that also notices any lower one; only then the least is searched for.
    pub(crate) fn least_share(
        &self,
        words: usize,
        every: bool,
        mask: impl Fn(usize) -> u64,
        draw: u64,
    ) -> Option<LeastShare> {
        let mut bound = self.least_share.load(Relaxed);
        for scan in 0..SCANS {
            let groups = Groups::of(words);
            // Nobody but members of this snapshot is hidden: a choice that is none of them is made again.
            let mut ties_of = [0; GROUPS];
            let lower = if every && scan == 0 {
                self.count(groups, bound, &mut ties_of)
            } else {
                self.count_masked(groups, &mask, bound, &mut ties_of)
            };
            let ties = ties_of.iter().take(groups.count()).sum();
            if !lower
                && ties > 0
                && let Some(found) = self.nth_of_share(groups, &ties_of, &mask, bound, below(draw, ties))
            {
                return Some(LeastShare { ties: ties as usize, ..found });
            }
            let keys = (0..words).fold(all(HIDDEN), |keys, w| least(keys, self.least_of_word(w, mask(w))));
            let found = lowest(keys);
            if found == HIDDEN && scan > 0 {
                break;
            }
            if found != bound {
                bound = found;
                self.least_share.store(bound, Relaxed);
            }
        }
        None
    }

    /// How many of the candidates have this share, by group, and whether any has a lower one.
    fn count_masked(
        &self,
        groups: Groups,
        mask: impl Fn(usize) -> u64,
        bound: u16,
        ties_of: &mut [u32; GROUPS],
    ) -> bool {
        let mut lower = false;
        for (ties_of, group) in ties_of.iter_mut().zip(groups.iter()) {
            for w in group {
                let (equal, less) = self.compare(w, &mask, bound);
                lower |= less;
                *ties_of += equal.count_ones();
            }
        }
        lower
    }

    /// The same for all servers that are not closed, whoever is a candidate: as fast as reading goes.
    fn count(&self, groups: Groups, bound: u16, ties_of: &mut [u32; GROUPS]) -> bool {
        let bounds = all(bound.min(HIDDEN - 1)) | GUARD;
        let mut less = 0;
        for (c, chunk) in self.chunks.iter().enumerate().take(groups.words().div_ceil(CHUNK_WORDS)) {
            let Some(chunk) = chunk.get() else { continue };
            for (n, cells) in chunk.shares.as_chunks::<WORDS>().0.iter().enumerate() {
                let mut at_most = 0;
                for cell in cells {
                    let not_above = bounds - cell.load(Relaxed);
                    at_most += (not_above >> 15) & all(1);
                    less |= not_above - all(1);
                }
                // The sum of the four lanes, in the highest; at most 64.
                let at_most = u32::try_from(at_most.wrapping_mul(all(1)) >> 48).unwrap_or(0);
                if let Some(ties_of) = ties_of.get_mut(groups.group(c * CHUNK_WORDS + n)) {
                    *ties_of += at_most;
                }
            }
        }
        less & GUARD != 0
    }

    /// The candidate number `nth` of those that have this share.
    fn nth_of_share(
        &self,
        groups: Groups,
        ties_of: &[u32; GROUPS],
        mask: impl Fn(usize) -> u64,
        bound: u16,
        mut nth: u32,
    ) -> Option<LeastShare> {
        for (ties, group) in ties_of.iter().zip(groups.iter()) {
            if nth >= *ties {
                nth -= ties;
                continue;
            }
            for w in group {
                let Some(cells) = self.keys(w) else { continue };
                let mut equal = gather(cells, |keys| equal_to(keys, all(bound))) & mask(w);
                let count = equal.count_ones();
                if nth >= count {
                    nth -= count;
                    continue;
                }
                for _ in 0..nth {
                    equal &= equal - 1;
                }
                let (chunk, from) = self.cells(w)?;
                let bit = equal.trailing_zeros();
                let live = Live::read(chunk, from + bit as usize);
                let slot = Slot(u32::try_from(w).ok()? * 64 + bit);
                // Its units are what the choice stands on: they must be those of the key.
                let same = share(live.units, live.weight.sixteenths()) == bound;
                return same.then_some(LeastShare { slot, units: live.units, ties: 0 });
            }
        }
        None
    }

    /// Which of these 64 are candidates of this share, and whether one of them has a lower one.
    fn compare(&self, w: usize, mask: impl Fn(usize) -> u64, bound: u16) -> (u64, bool) {
        let Some(cells) = self.keys(w) else { return (0, false) };
        let candidates = mask(w);
        let less = if bound == 0 { 0 } else { gather(cells, |keys| below_or_equal(keys, all(bound - 1))) };
        (gather(cells, |keys| equal_to(keys, all(bound))) & candidates, less & candidates != 0)
    }

    fn keys(&self, w: usize) -> Option<&[AtomicU64; WORDS]> {
        let (chunk, from) = self.cells(w)?;
        chunk.shares.get(from / LANES..)?.first_chunk()
    }

    /// The least keys of these candidates among 64 slots, four side by side.
    fn least_of_word(&self, w: usize, candidates: u64) -> u64 {
        let Some(cells) = self.keys(w) else { return all(HIDDEN) };
        // Four chains, so that no comparison waits for the one before it.
        let mut lowest = [all(HIDDEN); 4];
        if candidates != 0 {
            for (n, four) in cells.chunks_exact(4).enumerate() {
                for (lane, (lowest, cell)) in lowest.iter_mut().zip(four).enumerate() {
                    *lowest = least(*lowest, cell.load(Relaxed) | hide(candidates >> (n * 4 + lane)));
                }
            }
        }
        let [a, b, c, d] = lowest;
        least(least(a, b), least(c, d))
    }
}

/// A bit for each of 64 slots, from the highest bit of its lane.
fn gather(cells: &[AtomicU64; WORDS], compare: impl Fn(u64) -> u64) -> u64 {
    let lay = |found, (n, cell): (usize, &AtomicU64)| found | (compare(cell.load(Relaxed)) & GUARD) >> (WORDS - 1 - n);
    cells.iter().enumerate().fold(0, lay)
}

/// A number below `n`, from a random one.
fn below(random: u64, n: u32) -> u32 {
    u32::try_from((u128::from(random) * u128::from(n)) >> 64).unwrap_or(0)
}
