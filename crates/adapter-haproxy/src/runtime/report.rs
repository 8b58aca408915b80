//! HAProxy's view of a server as a report for a pool.

use balancer_core::{LoadModel, Report};
use tokio::time::Instant;

use super::reply::{ServerStatus, StatRow};

/// What HAProxy knows of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFigures {
    /// Its status.
    pub status: ServerStatus,
    /// Sessions now.
    pub sessions: u64,
    /// Requests that wait for it.
    pub queued: u64,
    /// Sessions begun in the last second.
    pub rate: u64,
    /// The weight in force.
    pub weight: u64,
    /// The most sessions, if limited.
    pub limit: Option<u64>,
    /// What its last check found, in words.
    pub last_check: Option<String>,
}

impl From<&StatRow> for ServerFigures {
    fn from(row: &StatRow) -> Self {
        let number = |name| row.number(name).unwrap_or(0);
        Self {
            status: row.status(),
            sessions: number("scur"),
            queued: number("qcur"),
            rate: number("rate"),
            weight: number("weight"),
            limit: row.number("slim"),
            last_check: row.field("last_chk").or_else(|| row.field("check_status")).map(str::to_owned),
        }
    }
}

impl ServerFigures {
    /// Whether HAProxy holds it for usable: not down, not in maintenance. A drained server is; its rooms go on.
    pub fn is_usable(&self) -> bool {
        matches!(
            self.status,
            ServerStatus::Up
                | ServerStatus::NoCheck
                | ServerStatus::NoLb
                | ServerStatus::Drain
                | ServerStatus::DrainAgent
        )
    }

    /// The report: sessions and waiting requests together are its cost, and its people as far as each has one.
    pub fn report(&self, began: Instant) -> Report {
        let cost = self.sessions.saturating_add(self.queued);
        #[allow(clippy::cast_precision_loss)]
        let fact = |n: u64| n as f64;
        Report::new(began)
            .with_users(self.sessions)
            .with_cost(cost)
            .with_fact("sessions", fact(self.sessions))
            .with_fact("queued", fact(self.queued))
            .with_fact("rate", fact(self.rate))
            .with_fact("weight", fact(self.weight))
    }
}

/// Load is what HAProxy has open and waiting for a server; a new room is expected to bring `room` of that.
#[derive(Clone, Copy, Debug)]
pub struct BySessions {
    /// Sessions expected of a new room.
    pub room: u64,
}

impl<B: ?Sized> LoadModel<B> for BySessions {
    fn cost(&self, _of: &B, report: &Report) -> u64 {
        report.cost.unwrap_or(0)
    }

    fn knows(&self, report: &Report) -> bool {
        report.cost.is_some()
    }

    fn size(&self, _of: &B) -> u64 {
        self.room
    }

    fn unit(&self) -> &'static str {
        "sessions"
    }
}
