//! What a process shows of its servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::runtime::{Process, ServerName, ServerState, StatTable};

/// What one process makes of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Up by its checks.
    Up,
    /// Not checked.
    Unchecked,
    /// Down by its checks, or without an address.
    Down,
    /// In maintenance by order.
    Maint,
}

impl Standing {
    /// Whether HAProxy sends anything there.
    pub(super) fn is_usable(self) -> bool {
        matches!(self, Self::Up | Self::Unchecked)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unchecked => "unchecked",
            Self::Down => "down",
            Self::Maint => "maint",
        }
    }
}

/// One server in one process.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) id: u32,
    /// The weight in force.
    pub(super) weight: u32,
    /// The weight configured.
    pub(super) initial_weight: u32,
    pub(super) standing: Standing,
    pub(super) draining: bool,
    pub(super) address: Option<SocketAddr>,
    /// Sessions open.
    pub(super) sessions: u64,
    /// The most sessions it is given, if there is a limit.
    pub(super) limit: Option<u64>,
    /// How often it went down by its checks.
    pub(super) downs: u64,
}

impl Seen {
    pub(super) fn of(state: &ServerState) -> Self {
        // Bits 1 and 2: maintenance by order, here or where it is inherited from. 32: no address.
        let standing = match state {
            _ if state.admin & 3 != 0 => Standing::Maint,
            _ if state.admin & 32 != 0 || state.operation == 0 => Standing::Down,
            _ if state.is_checked() || state.has_agent() => Standing::Up,
            _ => Standing::Unchecked,
        };
        Self {
            id: state.id,
            weight: state.weight,
            initial_weight: state.initial_weight,
            standing,
            draining: state.admin & 24 != 0,
            address: state.address.map(|ip| SocketAddr::new(ip, state.port)),
            sessions: 0,
            limit: None,
            downs: 0,
        }
    }

    /// Whether a new room may be placed there.
    pub(super) fn takes_rooms(&self) -> bool {
        self.standing.is_usable() && !self.draining && self.weight > 0
    }
}

/// What one process shows.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) process: Process,
    pub(super) at: Instant,
    /// Servers of the backend with the rooms.
    pub(super) servers: BTreeMap<Arc<str>, Seen>,
    /// All servers that are ordered about: in maintenance, drained.
    pub(super) ordered: BTreeMap<ServerName, (bool, bool)>,
}

impl Look {
    pub(super) fn new<'b>(
        process: Process,
        at: Instant,
        backend: &str,
        all: impl Iterator<Item = &'b str>,
        states: &[ServerState],
        stat: &StatTable,
    ) -> Self {
        let backends: Vec<&str> = all.collect();
        let mut look = Self { process, at, servers: BTreeMap::new(), ordered: BTreeMap::new() };
        for state in states.iter().filter(|state| backends.contains(&&*state.backend)) {
            if let Ok(name) = ServerName::new(&state.backend, &state.name) {
                look.ordered.insert(name, (state.admin & 1 != 0, state.admin & 8 != 0));
            }
            if state.backend == backend {
                look.servers.insert(state.name.as_str().into(), Seen::of(state));
            }
        }
        for row in stat.rows().iter().filter(|row| row.proxy() == backend) {
            if let Some(seen) = look.servers.get_mut(row.name()) {
                seen.sessions = row.number("scur").unwrap_or(0) + row.number("qcur").unwrap_or(0);
                seen.limit = row.number("slim").filter(|limit| *limit > 0);
                seen.downs = row.number("chkdown").unwrap_or(0);
            }
        }
        look
    }
}
