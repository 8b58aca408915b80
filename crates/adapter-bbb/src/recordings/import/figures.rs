//! What an importer did, in figures.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ImportError;
use crate::times::Times;

/// What an importer did since the process began.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Archives whose recordings are all in their places.
    pub(crate) done: AtomicU64,
    /// Archives that cannot come in as they are.
    pub(crate) refused: AtomicU64,
    /// Tries that did not work, and are repeated.
    pub(crate) failed: AtomicU64,
    /// Recordings that came in, again and again counted.
    pub(crate) recordings: AtomicU64,
    /// Bytes of archives that came in as a whole.
    pub(crate) bytes: AtomicU64,
    /// Archives in the spool, by the last look at it.
    pub(crate) spool: AtomicU64,
    /// When an archive came in last, in milliseconds since the epoch; 0 is never.
    pub(crate) last_done_ms: AtomicU64,
    /// How long archives took, by what became of them.
    pub(crate) took: Times,
}

impl Figures {
    /// So many archives were found in the spool.
    pub(super) fn waiting(&self, archives: usize) {
        self.spool.store(archives as u64, Relaxed);
    }

    /// One of them is gone.
    pub(super) fn left(&self) {
        let _ = self.spool.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1)));
    }

    /// One archive was tried.
    pub(super) fn one(&self, done: &Result<(), ImportError>, recordings: usize, bytes: u64, took: Duration) {
        let (counter, label) = match done {
            Ok(()) => (&self.done, "done"),
            Err(e) if e.is_lasting() => (&self.refused, "refused"),
            Err(_) => (&self.failed, "failed"),
        };
        counter.fetch_add(1, Relaxed);
        self.recordings.fetch_add(recordings as u64, Relaxed);
        self.took.note(label, took);
        if done.is_ok() {
            self.bytes.fetch_add(bytes, Relaxed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_done_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
    }
}
