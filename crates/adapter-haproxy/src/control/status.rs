//! What a controller tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::book::Why;
use super::cycle::wall_ms;
use super::durations::Durations;
use super::judge::Verdict;
use super::mode::Mode;
use super::options::ControlOptions;
use super::state::State;

/// What a server is ordered to. Kept in the store, so that every controller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Order {
    /// Keep its rooms, take no new ones.
    Drain,
    /// Give its rooms away, then take nothing.
    Maint,
}

impl Order {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// A room that moved.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Moved {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Which, percent-encoded.
    pub room: String,
    /// From there.
    pub from: String,
    /// To there.
    pub to: String,
    /// Why.
    pub why: Why,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub up: bool,
    /// Its number.
    pub pid: Option<u32>,
    /// Its release.
    pub version: Option<String>,
    /// Seconds since it last answered.
    pub age_seconds: Option<f64>,
    /// How many pins it has; none in another mode than [`Mode::Map`].
    pub pins: Option<usize>,
    /// How many pins it lacks or has otherwise.
    pub behind: Option<usize>,
    /// What is wrong with it.
    pub trouble: Option<String>,
}

/// One server.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// What all views come to.
    pub verdict: Verdict,
    /// How long that is so, in seconds.
    pub since_seconds: f64,
    /// Whether its rooms move away.
    pub dead: bool,
    /// Our order.
    pub order: Option<Order>,
    /// Whether it is given new rooms.
    pub takes_rooms: bool,
    /// Rooms pinned to it.
    pub rooms: u64,
    /// Sessions open to it, in all processes.
    pub sessions: u64,
    /// The most sessions all processes that answer give it, where each has a limit (`maxconn`).
    pub session_limit: Option<u64>,
    /// What each process makes of it: `up`, `down`, `maint`, `unchecked`, with `drain` where it is drained.
    pub seen: BTreeMap<String, String>,
    /// What our own probe makes of it.
    pub probe: Option<balancer_core::Health>,
    /// Its address.
    pub address: Option<String>,
    /// The weight in force.
    pub weight: Option<u32>,
}

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The backend.
    pub backend: String,
    /// Where the places of its rooms are written.
    pub mode: Mode,
    /// The processes.
    pub processes: Vec<ProcessStatus>,
    /// The servers.
    pub servers: Vec<ServerStatus>,
    /// Rooms known.
    pub rooms: usize,
    /// Why nothing is in control, if so.
    pub unready: Option<String>,
    /// Whether the store answers.
    pub store_up: bool,
    /// What is wrong with the store.
    pub store_trouble: Option<String>,
    /// Rooms that are to move and cannot: no server takes any.
    pub stranded: usize,
    /// Rooms that tables show in use at two servers.
    pub splits: usize,
    /// Rooms placed, moved and ended, by why.
    pub decisions: BTreeMap<String, u64>,
    /// How long placements and moves took, from the table that was read until the pins were in force.
    pub took: Durations,
    /// Answers of the store that another controller had been quicker.
    pub conflicts: u64,
    /// Pins pushed, in all processes.
    pub pushed: u64,
}

/// What is left on a server that is to be empty.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Remaining {
    /// Which server.
    pub server: String,
    /// Our order.
    pub order: Option<Order>,
    /// Rooms in use, by their last use, the latest first: percent-encoded, and seconds since.
    pub rooms: Vec<(String, u64)>,
    /// Rooms bound there that nobody uses. Once it drains and no session is open, they are forgotten.
    pub idle: usize,
    /// Rooms that stick tables have there, in all processes; counted while it is under an order.
    pub entries: usize,
    /// Sessions open, in all processes.
    pub sessions: u64,
    /// Nothing is left.
    pub empty: bool,
}

impl State {
    pub(super) fn status(&self, options: &ControlOptions, now: Instant) -> Status {
        let age = |at: Instant| now.duration_since(at).as_secs_f64();
        let processes = self.processes.iter().map(|watched| {
            let look = watched.look.as_ref();
            let map = watched.map.as_ref().filter(|_| self.mode == Mode::Map);
            let behind = map.map(|map| {
                let other = |(room, known): (_, &super::book::Room)| {
                    map.entries.get(room).map(|at| &**at) != Some(known.server())
                };
                self.book.rooms().iter().filter(|(room, known)| other((*room, *known))).count()
            });
            ProcessStatus {
                name: watched.name.clone(),
                up: watched.lost.is_none() && look.is_some(),
                pid: look.map(|look| look.process.pid),
                version: look.map(|look| look.process.version_text.clone()),
                age_seconds: look.map(|look| age(look.at)),
                pins: map.map(|map| map.entries.len()),
                behind,
                trouble: watched
                    .lost
                    .as_ref()
                    .map(|(_, why)| why)
                    .or(watched.trouble.as_ref())
                    .or(watched.refused.as_ref())
                    .cloned(),
            }
        });
        let counts = self.book.counts();
        let servers = self.servers.iter().map(|(name, life)| {
            let seen = self.processes.iter().filter(|watched| watched.lost.is_none()).filter_map(|watched| {
                let seen = watched.look.as_ref()?.servers.get(name)?;
                let drain = if seen.draining { " drain" } else { "" };
                Some((watched.name.clone(), format!("{}{drain}", seen.standing.word())))
            });
            let first = self.looks().find_map(|look| look.servers.get(name));
            ServerStatus {
                name: name.to_string(),
                verdict: life.verdict,
                since_seconds: age(life.since),
                dead: life.dead,
                order: self.orders.get(name).copied(),
                takes_rooms: self.takes_rooms(name),
                rooms: counts.get(&**name).copied().unwrap_or(0),
                sessions: self.sessions(name),
                session_limit: self.session_limit(name),
                seen: seen.collect(),
                probe: self.probes.get(name).copied(),
                address: first.and_then(|seen| seen.address).map(|address| address.to_string()),
                weight: first.map(|seen| seen.weight),
            }
        });
        Status {
            backend: options.backend.clone(),
            mode: self.mode,
            processes: processes.collect(),
            servers: servers.collect(),
            rooms: self.book.rooms().len(),
            unready: self.unready(),
            store_up: self.store.lost.is_none() && self.store.synced,
            store_trouble: self.store.lost.as_ref().map(|(_, why)| why.clone()),
            stranded: self.stranded,
            splits: self.split_rooms(now, wall_ms()).count(),
            decisions: self.decisions.iter().map(|((what, why), n)| (format!("{what} {why}"), *n)).collect(),
            took: self.took.clone(),
            conflicts: self.store.conflicts,
            pushed: self.processes.iter().map(|watched| watched.pushed).sum(),
        }
    }

    /// Sessions open to a server, in all processes that answer.
    pub(super) fn sessions(&self, server: &str) -> u64 {
        self.looks().filter_map(|look| look.servers.get(server)).map(|seen| seen.sessions).sum()
    }

    fn session_limit(&self, server: &str) -> Option<u64> {
        let limits: Option<Vec<u64>> =
            self.looks().filter_map(|look| look.servers.get(server)).map(|it| it.limit).collect();
        limits.filter(|limits| !limits.is_empty()).map(|limits| limits.iter().sum())
    }

    pub(super) fn remaining(&self, server: &str, options: &ControlOptions, wall_ms: u64) -> Remaining {
        let idle_ms = u64::try_from(options.idle.as_millis()).unwrap_or(u64::MAX);
        let theirs = self.book.rooms().iter().filter(|(_, known)| known.server() == server);
        let (mut rooms, mut idle) = (Vec::new(), 0);
        for (room, known) in theirs {
            let unused = wall_ms.saturating_sub(known.used_ms);
            if unused >= idle_ms {
                idle += 1;
            } else {
                rooms.push((room.to_string(), Duration::from_millis(unused).as_secs()));
            }
        }
        rooms.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        let sessions = self.sessions(server);
        let order = self.orders.get(server).copied();
        let entries = self.entries_at(server);
        // Sticks lead to a server that drains, and end in maintenance.
        let stuck = order == Some(Order::Drain) && idle + entries > 0;
        let empty = rooms.is_empty() && sessions == 0 && !stuck;
        Remaining { server: server.to_owned(), order, rooms, idle, entries, sessions, empty }
    }
}
