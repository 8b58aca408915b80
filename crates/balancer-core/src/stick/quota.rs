//! How many rows a table may hold, handed out to its shards by the handful.

use crate::sync::{AtomicUsize, Ordering};

/// The most that a shard is given at once.
const HANDFUL: usize = 64;

/// What no shard has been given yet. A shard adds and removes rows within what it was given without touching this, so
/// that claims of different shards share no counter.
pub(super) struct Quota {
    given: AtomicUsize,
    capacity: usize,
    handful: usize,
}

impl Quota {
    pub(super) fn new(capacity: usize, shards: usize) -> Self {
        let handful = (capacity / (shards.max(1) * 8)).clamp(1, HANDFUL);
        Self { given: AtomicUsize::new(0), capacity, handful }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A handful more, less where less is left; 0 when nothing is.
    pub(super) fn take(&self) -> usize {
        let left = |given: usize| self.handful.min(self.capacity.saturating_sub(given));
        let taken = self.given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| Some(given + left(given)));
        taken.map_or(0, left)
    }

    /// One more, whatever the capacity says.
    #[cfg(feature = "file")]
    pub(super) fn take_over(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back what a shard has too much of: all of it while more was taken over than there is capacity.
    pub(super) fn trim(&self, spare: &mut usize) {
        let kept = if self.is_over() { 0 } else { self.handful };
        if *spare > 2 * kept {
            self.give_back(*spare - kept);
            *spare = kept;
        }
    }

    fn is_over(&self) -> bool {
        self.given.load(Ordering::Relaxed) > self.capacity
    }

    pub(super) fn give_back(&self, count: usize) {
        if count > 0 {
            self.given.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// What shards have been given, for rows or to spare.
    #[cfg(test)]
    pub(super) fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}
