//! What a placer has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) placed: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) adopted: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) left_alone: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) taken_back: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unreadable: AtomicU64,
}

/// What a [`Placer`](super::Placer) has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaceCounts {
    /// New rooms placed.
    pub placed: u64,
    /// Answers for rooms that have a server.
    pub kept: u64,
    /// Rooms moved from a server that is dead or in maintenance.
    pub moved: u64,
    /// Rooms bound where HAProxy had put them by itself.
    pub adopted: u64,
    /// Answers for rooms that HAProxy's stick table has elsewhere; the answer is the stick table's here.
    pub conflicts: u64,
    /// Rooms left to HAProxy, since the server it has them on takes nothing new.
    pub left_alone: u64,
    /// Questions that HAProxy had stopped waiting for when they were read.
    pub stale: u64,
    /// Rooms placed too late for HAProxy, and given back.
    pub taken_back: u64,
    /// Rooms that no server takes, or that the stick table refuses.
    pub refused: u64,
    /// Messages without a room that can be a key, or with too many tags.
    pub unreadable: u64,
}

impl Tally {
    pub(super) fn read(&self) -> PlaceCounts {
        PlaceCounts {
            placed: self.placed.load(Relaxed),
            kept: self.kept.load(Relaxed),
            moved: self.moved.load(Relaxed),
            adopted: self.adopted.load(Relaxed),
            conflicts: self.conflicts.load(Relaxed),
            left_alone: self.left_alone.load(Relaxed),
            stale: self.stale.load(Relaxed),
            taken_back: self.taken_back.load(Relaxed),
            refused: self.refused.load(Relaxed),
            unreadable: self.unreadable.load(Relaxed),
        }
    }
}
