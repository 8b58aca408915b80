//! What an agent has done, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::status::Status;

/// The most engines told apart: each start of a HAProxy makes a new one. Those that were there first are kept.
const MAX_ENGINES: usize = 64;

/// The most statuses told apart.
const MAX_STATUSES: usize = 32;

/// The figures of an agent, for as long as anybody holds them.
#[derive(Debug, Default)]
pub struct AgentCounters {
    accepted: AtomicU64,
    turned_away: AtomicU64,
    open: AtomicU64,
    checks: AtomicU64,
    opinions: AtomicU64,
    without: AtomicU64,
    late: AtomicU64,
    overloaded: AtomicU64,
    too_long: AtomicU64,
    silent: AtomicU64,
    stalled: AtomicU64,
    ends: Mutex<Ends>,
}

/// What happens once in the life of a connection.
#[derive(Debug, Default)]
struct Ends {
    refused: BTreeMap<u32, u64>,
    left: BTreeMap<u32, u64>,
    engines: BTreeMap<Arc<str>, Arc<EngineCounters>>,
}

#[derive(Debug, Default)]
pub(super) struct EngineCounters {
    connections: AtomicU64,
    queries: AtomicU64,
}

impl EngineCounters {
    pub(super) fn asked(&self, queries: u64) {
        self.queries.fetch_add(queries, Relaxed);
    }
}

/// The figures of an agent at one moment, since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentCounts {
    /// Connections that came, health checks among them.
    pub accepted: u64,
    /// Connections for which there was no place.
    pub turned_away: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Health checks answered.
    pub health_checks: u64,
    /// Answers that set or unset something.
    pub opinions: u64,
    /// Answers without an opinion, the late ones and those below among them.
    pub without_opinion: u64,
    /// Queries that got no opinion because the answer took too long.
    pub late: u64,
    /// Queries that got no opinion because too many others were being answered.
    pub overloaded: u64,
    /// Answers that were too long for the frames agreed on.
    pub too_long: u64,
    /// Connections ended because nothing came.
    pub silent: u64,
    /// Connections ended because HAProxy read nothing.
    pub stalled: u64,
    /// Connections refused for what came over them, by [`Status`].
    pub refused: BTreeMap<u32, u64>,
    /// Connections that HAProxy left, by [`Status`].
    pub left: BTreeMap<u32, u64>,
    /// By engine, the first 64 of them.
    pub engines: BTreeMap<Arc<str>, EngineCounts>,
}

/// The figures of one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineCounts {
    /// Connections that greeted.
    pub connections: u64,
    /// Queries.
    pub queries: u64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl AgentCounters {
    pub(super) fn accepted(&self) {
        add(&self.accepted);
    }

    pub(super) fn turned_away(&self) {
        add(&self.turned_away);
    }

    pub(super) fn opened(&self) {
        add(&self.open);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(super) fn checked(&self) {
        add(&self.checks);
    }

    /// So many answers with an opinion, and so many without.
    pub(super) fn answered(&self, opinions: u64, without: u64) {
        if opinions > 0 {
            self.opinions.fetch_add(opinions, Relaxed);
        }
        if without > 0 {
            self.without.fetch_add(without, Relaxed);
        }
    }

    pub(super) fn late(&self) {
        add(&self.late);
    }

    pub(super) fn overloaded(&self) {
        add(&self.overloaded);
    }

    pub(super) fn too_long(&self) {
        add(&self.too_long);
    }

    pub(super) fn silent(&self) {
        add(&self.silent);
    }

    pub(super) fn stalled(&self) {
        add(&self.stalled);
    }

    pub(super) fn refused(&self, status: Status) {
        self.ends(|ends| count(&mut ends.refused, status));
    }

    pub(super) fn left(&self, status: Status) {
        self.ends(|ends| count(&mut ends.left, status));
    }

    pub(super) fn engine(&self, name: &Arc<str>) -> Arc<EngineCounters> {
        let counters = self.ends(|ends| match ends.engines.get(name) {
            Some(known) => Arc::clone(known),
            None if ends.engines.len() < MAX_ENGINES => Arc::clone(ends.engines.entry(Arc::clone(name)).or_default()),
            None => Arc::default(),
        });
        add(&counters.connections);
        counters
    }

    fn ends<T>(&self, then: impl FnOnce(&mut Ends) -> T) -> T {
        then(&mut self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The figures now.
    pub fn read(&self) -> AgentCounts {
        let (refused, left, engines) = self.ends(|ends| {
            let engine = |(name, counters): (&Arc<str>, &Arc<EngineCounters>)| {
                let (connections, queries) = (counters.connections.load(Relaxed), counters.queries.load(Relaxed));
                (Arc::clone(name), EngineCounts { connections, queries })
            };
            (ends.refused.clone(), ends.left.clone(), ends.engines.iter().map(engine).collect())
        });
        AgentCounts {
            accepted: self.accepted.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            open: self.open.load(Relaxed),
            health_checks: self.checks.load(Relaxed),
            opinions: self.opinions.load(Relaxed),
            without_opinion: self.without.load(Relaxed),
            late: self.late.load(Relaxed),
            overloaded: self.overloaded.load(Relaxed),
            too_long: self.too_long.load(Relaxed),
            silent: self.silent.load(Relaxed),
            stalled: self.stalled.load(Relaxed),
            refused,
            left,
            engines,
        }
    }
}

fn count(by: &mut BTreeMap<u32, u64>, status: Status) {
    if by.len() < MAX_STATUSES || by.contains_key(&status.code()) {
        *by.entry(status.code()).or_default() += 1;
    }
}
