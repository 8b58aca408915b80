//! One unit in flight to a server.

use std::sync::Arc;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::snapshot::Member;

#[cfg(all(test, loom))]
mod model;

/// One unit of work on its way to a server. It is given back exactly once: by [`land`](Self::land) when the work has
/// arrived, by [`cancel`](Self::cancel) or a drop when it has not.
#[must_use = "dropping a lease gives its unit back"]
pub struct Lease<B: Backend> {
    member: Arc<Member<B>>,
    charge: u64,
    /// The window of the cap that this unit counts in, if it counts as a new room.
    window: Option<u32>,
    open: bool,
}

impl<B: Backend> std::fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("id", self.member.backend.id()).field("charge", &self.charge).finish()
    }
}

impl<B: Backend> Lease<B> {
    pub(crate) fn new(member: Arc<Member<B>>, charge: u64, window: Option<u32>) -> Self {
        Self { member, charge, window, open: true }
    }

    /// The server.
    pub fn backend(&self) -> &Arc<B> {
        &self.member.backend
    }

    /// The expected cost this lease counts for.
    pub fn charge(&self) -> u64 {
        self.charge
    }

    /// The work has arrived: its cost stays counted until a report whose measuring began later covers it.
    pub fn land(self) {
        self.land_at(Instant::now());
    }

    /// [`land`](Self::land) at a given moment.
    pub fn land_at(mut self, now: Instant) {
        self.open = false;
        let seat = &self.member.seat;
        if seat.tracked {
            seat.board.land(seat.slot, self.charge, now);
        } else {
            seat.board.cancel(seat.slot, self.charge);
        }
    }

    /// The work never arrived.
    pub fn cancel(self) {}
}

impl<B: Backend> Drop for Lease<B> {
    fn drop(&mut self) {
        if self.open {
            let seat = &self.member.seat;
            seat.board.cancel(seat.slot, self.charge);
            if let Some(window) = self.window {
                seat.board.uncap(seat.slot, window);
            }
        }
    }
}
