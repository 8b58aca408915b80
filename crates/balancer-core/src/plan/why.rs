//! The reasons of a plan.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::backend::{Backend, BackendId, Tag, Weight};
use crate::pool::Pool;
use crate::state::{Admin, Health};

/// Why a room is where it is in a plan, in a word for programs; `Display` says it in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// Nothing changes for it.
    Same,
    /// It lives nowhere yet.
    New,
    /// Its server drains and keeps it.
    KeptDraining,
    /// Its server fails, and keeps it until it is dead.
    KeptFailing,
    /// Its server has weight 0 and keeps it.
    KeptWeightless,
    /// Its server is gone.
    Gone,
    /// Its server is in maintenance.
    Maint,
    /// Its server is dead.
    Dead,
    /// Its server drains.
    Drain,
    /// Its server fails or was never probed.
    Unhealthy,
    /// Its server has weight 0.
    Weightless,
    /// A server that was added is chosen.
    Added,
    /// A server that was closed to new rooms is chosen.
    Opened,
    /// The weight or the definition of one of its two servers changed.
    Redefined,
    /// The servers are fuller or emptier than today, or their order changed.
    Balance,
    /// No server may take it.
    NoCandidate,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "nothing changes for it",
            Self::New => "it lives nowhere yet",
            Self::KeptDraining => "its server drains and keeps it",
            Self::KeptFailing => "its server fails and keeps it",
            Self::KeptWeightless => "its server has weight 0 and keeps it",
            Self::Gone => "its server is gone",
            Self::Maint => "its server is in maintenance",
            Self::Dead => "its server is dead",
            Self::Drain => "its server drains",
            Self::Unhealthy => "its server is not up",
            Self::Weightless => "its server has weight 0",
            Self::Added => "a new server is chosen",
            Self::Opened => "a server is open again",
            Self::Redefined => "a server's weight or definition changed",
            Self::Balance => "the balance or order of the servers changed",
            Self::NoCandidate => "no server may take it",
        })
    }
}

/// How one server stands.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) admin: Admin,
    pub(super) health: Health,
    pub(super) weight: Weight,
    open: bool,
    tags: Vec<Tag>,
    /// Where its definition is kept: another place is another definition.
    definition: usize,
}

/// How all servers stand on one side of a plan.
#[derive(Debug)]
pub(super) struct Standing {
    order: Vec<BackendId>,
    by_id: HashMap<BackendId, Server>,
}

impl Standing {
    pub(super) fn of<B: Backend, Q: ?Sized + 'static>(pool: &Pool<B, Q>) -> Self {
        let members = pool.members();
        let order = members.iter().map(|m| m.backend().id().clone()).collect();
        let by_id = members.iter().map(|m| {
            let server = Server {
                admin: m.admin(),
                health: m.health(),
                weight: m.weight(),
                open: m.is_open(),
                tags: m.backend().tags().to_vec(),
                definition: std::sync::Arc::as_ptr(m.backend()).addr(),
            };
            (m.backend().id().clone(), server)
        });
        Self { order, by_id: by_id.collect() }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &BackendId> {
        self.order.iter()
    }

    pub(super) fn get(&self, id: &BackendId) -> Option<&Server> {
        self.by_id.get(id)
    }

    /// Why a server keeps the rooms it has.
    pub(super) fn keeps(&self, id: &BackendId) -> Why {
        match self.get(id) {
            Some(s) if s.admin == Admin::Drain => Why::KeptDraining,
            Some(s) if matches!(s.health, Health::Suspect | Health::Down) => Why::KeptFailing,
            Some(s) if s.weight.is_zero() => Why::KeptWeightless,
            _ => Why::Same,
        }
    }

    /// Why a server's sticks break.
    pub(super) fn breaks(&self, id: &BackendId) -> Why {
        match self.get(id) {
            None => Why::Gone,
            Some(s) if s.admin == Admin::Maint => Why::Maint,
            Some(_) => Why::Dead,
        }
    }

    /// Why a server takes no new rooms, if so.
    fn closed(&self, id: &BackendId) -> Option<Why> {
        let Some(s) = self.get(id) else { return Some(Why::Gone) };
        if s.open {
            return None;
        }
        Some(match (s.admin, s.health) {
            (Admin::Maint, _) => Why::Maint,
            (Admin::Drain, _) => Why::Drain,
            (_, Health::Dead) => Why::Dead,
            _ if s.weight.is_zero() => Why::Weightless,
            _ => Why::Unhealthy,
        })
    }
}

/// Why the selector alone puts a room elsewhere.
pub(super) fn alone(from: Option<&BackendId>, to: Option<&BackendId>, before: &Standing, after: &Standing) -> Why {
    if from == to {
        return Why::Same;
    }
    if let Some(closed) = from.and_then(|id| after.closed(id)) {
        return closed;
    }
    let Some(to) = to else { return Why::NoCandidate };
    match before.get(to) {
        None => return Why::Added,
        Some(s) if !s.open => return Why::Opened,
        Some(_) => {}
    }
    let redefined = |id: &BackendId| match (before.get(id), after.get(id)) {
        (Some(a), Some(b)) => a.weight != b.weight || a.definition != b.definition || a.tags != b.tags,
        _ => false,
    };
    if redefined(to) || from.is_some_and(redefined) { Why::Redefined } else { Why::Balance }
}
