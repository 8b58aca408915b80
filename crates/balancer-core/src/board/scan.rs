//! Finding the least server without looking at all of them closely.

use std::ops::Range;

use crate::backend::Weight;
use crate::sync::Ordering::*;

use super::{Board, CHUNK_WORDS, COUNT, Chunk, Slot};

/// Into how many parts a scan divides the slots, so that its second pass looks at few of them.
pub(super) const GROUPS: usize = 64;

/// The words of a scan, group by group.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    words: usize,
    /// A group has as many words as this power of two.
    shift: u32,
}

impl Groups {
    pub(super) fn of(words: usize) -> Self {
        Self { words, shift: words.div_ceil(GROUPS).max(1).next_power_of_two().trailing_zeros() }
    }

    pub(super) fn words(self) -> usize {
        self.words
    }

    /// How many groups there are.
    pub(super) fn count(self) -> usize {
        self.words.div_ceil(1 << self.shift)
    }

    /// In which group a word is.
    pub(super) fn group(self, word: usize) -> usize {
        word >> self.shift
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.words).step_by(1 << self.shift).map(move |from| from..self.words.min(from + (1 << self.shift)))
    }
}

/// What a choice is made by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    /// Units in flight.
    pub(crate) units: u32,
    /// Expected load with its class.
    pub(crate) rank: u64,
    /// The weight in force.
    pub(crate) weight: Weight,
}

impl Live {
    pub(super) fn read(c: &Chunk, i: usize) -> Self {
        let sixteenths = u16::try_from(c.weight[i].load(Relaxed)).unwrap_or(0);
        Self {
            units: u32::try_from(c.word[i].load(Relaxed) & COUNT).unwrap_or(u32::MAX),
            rank: c.rank[i].load(Relaxed),
            weight: Weight::from_sixteenths(sixteenths),
        }
    }
}

impl Board {
    pub(crate) fn live(&self, slot: Slot) -> Live {
        let (c, i) = self.at(slot);
        Live::read(c, i)
    }

    /// Visits every slot of these candidates that has the least rank; `false` when there is none or all of
    /// them have changed meanwhile. `mask` gives 64 candidates at a time, for `words` words.
    pub(crate) fn near_least_rank(
        &self,
        words: usize,
        mask: impl Fn(usize) -> u64,
        visit: &mut dyn FnMut(Slot, Live),
    ) -> bool {
        let mut lowest_of = [u64::MAX; GROUPS];
        let groups = Groups::of(words);
        for (lowest_of, group) in lowest_of.iter_mut().zip(groups.iter()) {
            *lowest_of = group.map(|w| self.least_rank(w, mask(w))).min().unwrap_or(u64::MAX);
        }
        let bound = lowest_of.iter().copied().min().unwrap_or(u64::MAX);
        let mut visited = false;
        for w in groups.iter().zip(lowest_of).filter(|(_, lowest)| *lowest == bound).flat_map(|(group, _)| group) {
            let Some((chunk, from)) = self.cells(w) else { continue };
            let mut bits = mask(w);
            while bits != 0 {
                let i = bits.trailing_zeros();
                bits &= bits - 1;
                let cell = from + i as usize;
                if chunk.rank[cell].load(Relaxed) <= bound
                    && let Ok(w) = u32::try_from(w)
                {
                    visited = true;
                    visit(Slot(w * 64 + i), Live::read(chunk, cell));
                }
            }
        }
        visited
    }

    /// The least rank of these candidates among 64 slots; the largest number without any.
    fn least_rank(&self, w: usize, candidates: u64) -> u64 {
        let Some((chunk, from)) = self.cells(w) else { return u64::MAX };
        let Some(cells) = chunk.rank.get(from..from + 64) else { return u64::MAX };
        // Four chains, so that no comparison waits for the one before it.
        let mut lowest = [u64::MAX; 4];
        if candidates == u64::MAX {
            for four in cells.chunks_exact(4) {
                for (lowest, cell) in lowest.iter_mut().zip(four) {
                    *lowest = (*lowest).min(cell.load(Relaxed));
                }
            }
        } else if candidates != 0 {
            for (n, four) in cells.chunks_exact(4).enumerate() {
                for (lane, (lowest, cell)) in lowest.iter_mut().zip(four).enumerate() {
                    // All ones for who is no candidate.
                    let hidden = ((candidates >> (n * 4 + lane)) & 1).wrapping_sub(1);
                    *lowest = (*lowest).min(cell.load(Relaxed) | hidden);
                }
            }
        }
        lowest.into_iter().min().unwrap_or(u64::MAX)
    }

    pub(super) fn cells(&self, w: usize) -> Option<(&Chunk, usize)> {
        let chunk = self.chunks.get(w / CHUNK_WORDS)?.get()?;
        Some((chunk, (w % CHUNK_WORDS) * 64))
    }
}
