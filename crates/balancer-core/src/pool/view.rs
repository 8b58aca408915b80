//! What a status table shows of each server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Backend, Weight};
use crate::board::{MISSING, STALE, split_rank};
use crate::load::Report;
use crate::state::{Admin, Health};

use super::Pool;

/// One server as it stands now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerView<B> {
    /// Its definition.
    pub backend: Arc<B>,
    /// What the operator ordered.
    pub admin: Admin,
    /// What was measured.
    pub health: Health,
    /// The weight in force.
    pub weight: Weight,
    /// Units in flight.
    pub in_flight: u32,
    /// Expected load: reported, plus placed since, plus in flight.
    pub expected: u64,
    /// Load by the last report.
    pub reported: u64,
    /// What was placed here since the measuring of the last report began.
    pub uncovered: u64,
    /// The last report.
    pub report: Option<Report>,
    /// Age of the last report's measuring.
    pub age: Option<Duration>,
    /// Whether the figures are too old.
    pub stale: bool,
    /// Whether there are no figures yet although the pool counts reported load.
    pub missing: bool,
    /// Whether a new room may be placed here.
    pub open: bool,
}

impl<B: Backend, Q: ?Sized + 'static> Pool<B, Q> {
    /// Every server as it stands at this moment, in order.
    pub fn view(&self, now: Instant) -> Vec<ServerView<B>> {
        let snapshot = self.snapshot.load_full();
        snapshot
            .members
            .iter()
            .map(|m| {
                let slot = m.slot();
                let (admin, health) = self.board.state(slot);
                let (class, expected) = split_rank(self.board.rank(slot));
                let ledger = self.board.ledger(slot);
                ServerView {
                    backend: m.backend.clone(),
                    admin,
                    health,
                    weight: self.board.weight(slot),
                    in_flight: self.board.in_flight(slot),
                    expected,
                    reported: ledger.cost,
                    uncovered: ledger.placed.wrapping_sub(ledger.covered),
                    age: ledger.last.as_ref().map(|r| now.saturating_duration_since(r.began)),
                    report: ledger.last,
                    stale: class == STALE,
                    missing: class == MISSING,
                    open: super::is_open(&self.board, slot),
                }
            })
            .collect()
    }
}
