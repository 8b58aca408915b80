//! The order in which the rows of one shard expire.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::table::Time;

/// An entry: deadline and hash of the row's key.
pub(super) type Due = (Time, u64);

/// Entries, the earliest first.
///
/// Rows mostly come with one lifetime, so each is due behind all that came before it, or with those that came at the
/// same tick of a coarse clock: these stand in line and cost a push. Only the others are sorted.
#[derive(Default)]
pub(super) struct Deadlines {
    line: VecDeque<Due>,
    others: BinaryHeap<Reverse<Due>>,
}

impl Deadlines {
    pub(super) fn len(&self) -> usize {
        self.line.len() + self.others.len()
    }

    #[inline]
    pub(super) fn push(&mut self, due: Due) {
        if self.line.back().is_none_or(|last| last.0 <= due.0) {
            self.line.push_back(due);
        } else {
            self.others.push(Reverse(due));
        }
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Due> {
        match (self.line.front(), self.others.peek()) {
            (Some(line), Some(Reverse(other))) => Some(if other.0 < line.0 { *other } else { *line }),
            (Some(due), None) | (None, Some(Reverse(due))) => Some(*due),
            (None, None) => None,
        }
    }

    /// Takes the first out.
    pub(super) fn pop(&mut self) {
        let other = self.others.peek();
        if self.line.front().is_some_and(|line| other.is_none_or(|Reverse(other)| line.0 <= other.0)) {
            self.line.pop_front();
        } else {
            self.others.pop();
        }
    }

    /// These instead of all there are.
    pub(super) fn refill(&mut self, dues: impl Iterator<Item = Due>) {
        self.others.clear();
        self.line.clear();
        self.line.extend(dues);
        self.line.make_contiguous().sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn come_out_in_order(
            before in prop::collection::vec((0_u64..50, 0_u64..1000), 0..100),
            dues in prop::collection::vec((0_u64..50, 0_u64..1000), 0..200),
            refilled: bool,
        ) {
            let mut queue = Deadlines::default();
            let mut want = dues.clone();
            if refilled {
                before.iter().for_each(|due| queue.push(*due));
                queue.refill(dues.into_iter());
            } else {
                dues.into_iter().for_each(|due| queue.push(due));
            }
            want.sort_unstable();
            prop_assert_eq!(queue.len(), want.len());
            let mut out = Vec::new();
            while let Some(due) = queue.first() {
                prop_assert!(out.last().is_none_or(|(before, _)| *before <= due.0));
                out.push(due);
                queue.pop();
            }
            out.sort_unstable();
            prop_assert_eq!(out, want);
        }
    }

    #[test]
    fn what_comes_at_one_tick_stands_in_line() {
        let mut queue = Deadlines::default();
        for (n, tick) in (0..1_000).map(|n| (n, 7 + n / 100)) {
            // Hashes come in any order.
            queue.push((tick, n * 7919 % 1_000));
        }
        assert_eq!((queue.line.len(), queue.others.len()), (1_000, 0));
    }
}
