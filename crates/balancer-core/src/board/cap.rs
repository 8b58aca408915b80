//! The cap of new rooms per interval: one word per slot, of a window and what was taken in it.

use crate::sync::Ordering::*;

use super::{Board, COUNT, Slot};

/// How many windows of the cap a caller may come late.
const LATE_WINDOWS: u32 = 1 << 16;

impl Board {
    /// Tries the cap of new rooms: at most `max` in each window. A window is its ordinal number, never 0.
    pub(crate) fn try_cap(&self, slot: Slot, window: u32, max: u32) -> bool {
        let (c, i) = self.at(slot);
        c.cap[i]
            .fetch_update(AcqRel, Acquire, |old| {
                let (window, count) = cap_count(old, window);
                (count < max).then(|| (u64::from(window) << 32) | u64::from(count + 1))
            })
            .is_ok()
    }

    /// Gives back what [`try_cap`](Self::try_cap) took, if its window is still the one that counts.
    pub(crate) fn uncap(&self, slot: Slot, window: u32) {
        let (c, i) = self.at(slot);
        // Another window has a count of its own.
        let _ = c.cap[i].fetch_update(AcqRel, Acquire, |old| {
            ((old >> 32) == u64::from(window) && (old & COUNT) > 0).then(|| old - 1)
        });
    }

    /// Whether the cap of this window is used up; a hint for the scan.
    pub(crate) fn capped(&self, slot: Slot, window: u32, max: u32) -> bool {
        let (c, i) = self.at(slot);
        cap_count(c.cap[i].load(Relaxed), window).1 >= max
    }
}

/// The window that a caller counts in and what was taken in it. A caller whose clock was read before the newest window
/// began counts in the newest one: going back would forget what was taken there.
fn cap_count(word: u64, window: u32) -> (u32, u32) {
    let newest = (word >> 32) as u32;
    if newest != 0 && newest.wrapping_sub(window) < LATE_WINDOWS {
        (newest, (word & COUNT) as u32)
    } else {
        (window, 0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_caller_of_the_window_before_counts_in_the_newest() {
        let board = Board::new(false);
        let slot = board.alloc(Instant::now(), false).unwrap();
        assert!(board.try_cap(slot, 9, 1));
        assert!(!board.try_cap(slot, 8, 1), "its clock was read before the window changed");
        assert!(board.capped(slot, 8, 1) && !board.try_cap(slot, 9, 1));
        assert!(board.try_cap(slot, 10, 1));
        // The ordinal wraps.
        let slot = board.alloc(Instant::now(), false).unwrap();
        assert!(board.try_cap(slot, u32::MAX, 1) && board.try_cap(slot, 1, 1) && !board.try_cap(slot, u32::MAX, 1));
    }
}
