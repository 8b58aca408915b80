//! The order in which the rows of one shard expire.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::table::Time;

/// An entry: deadline and hash of the row's key.
pub(super) type Due = (Time, u64);

/// Entries, the earliest first.
///
/// Rows mostly come with one lifetime, so each is due behind all that came before it, or with those that came at the
/// same tick of a coarse clock: these stand in line and cost a push of one word. Only the others are sorted.
#[derive(Default)]
pub(super) struct Deadlines {
    /// The hashes of those in line.
    line: VecDeque<u64>,
    /// How many in line have which deadline; each run has at least one.
    runs: VecDeque<(Time, usize)>,
    others: BinaryHeap<Reverse<Due>>,
}

impl Deadlines {
    pub(super) fn len(&self) -> usize {
        self.line.len() + self.others.len()
    }

    #[inline]
    pub(super) fn push(&mut self, (due, hash): Due) {
        match self.runs.back_mut() {
            Some((last, count)) if *last == due => *count += 1,
            Some((last, _)) if *last > due => {
                self.others.push(Reverse((due, hash)));
                return;
            }
            _ => self.runs.push_back((due, 1)),
        }
        self.line.push_back(hash);
    }

    #[inline]
    fn first_in_line(&self) -> Option<Due> {
        Some((self.runs.front()?.0, *self.line.front()?))
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Due> {
        match (self.first_in_line(), self.others.peek()) {
            (Some(line), Some(Reverse(other))) => Some(if other.0 < line.0 { *other } else { line }),
            (Some(due), None) => Some(due),
            (None, other) => other.map(|Reverse(due)| *due),
        }
    }

    /// Takes the first out.
    pub(super) fn pop(&mut self) {
        let other = self.others.peek();
        if self.first_in_line().is_none_or(|line| other.is_some_and(|Reverse(other)| other.0 < line.0)) {
            self.others.pop();
            return;
        }
        self.line.pop_front();
        if let Some((_, count)) = self.runs.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// These instead of all there are.
    pub(super) fn refill(&mut self, dues: impl Iterator<Item = Due>) {
        self.others.clear();
        self.line.clear();
        self.runs.clear();
        let mut dues: Vec<Due> = dues.collect();
        dues.sort_unstable();
        dues.into_iter().for_each(|due| self.push(due));
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
