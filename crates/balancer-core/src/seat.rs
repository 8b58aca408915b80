//! A seat owns one slot of the board and gives it back when the last who can point at it is gone.

use std::sync::Arc;

use tokio::time::Instant;

use crate::board::{Board, Slot};

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) board: Arc<Board>,
    pub(crate) slot: Slot,
    /// Whether landed work stays counted until a report covers it.
    pub(crate) tracked: bool,
}

impl Seat {
    pub(crate) fn new(board: &Arc<Board>, now: Instant, tracked: bool) -> Option<Arc<Self>> {
        let slot = board.alloc(now, tracked)?;
        Some(Arc::new(Self { board: board.clone(), slot, tracked }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.free(self.slot);
    }
}
