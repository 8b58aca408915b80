//! A backend as HAProxy would run it, request by request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::algorithm::Balance;
use super::connections::Connections;
use super::engine::{Engine, Pick, Rules};
use super::error::{ChangeError, SpecError};
use super::farm::{Avoiding, Group, Load};
use super::key::{Key, Request};
use super::notes::Notes;
use super::prediction::{Outcome, Prediction};
use super::server::ServerState;
use super::spec::BackendSpec;
use super::stick::Table;

mod change;
mod flow;
mod persistence;
#[cfg(test)]
mod tests;

/// A request that [`Predictor::open`] let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Where an open request is.
#[derive(Clone, Debug)]
struct Open {
    /// The server that serves it; none while it waits.
    server: Option<usize>,
    /// Whether it counts among that server's connections.
    counts: bool,
    /// What the answer will leave in the stick table.
    stick: Option<Vec<u8>>,
}

/// The most requests that may be open at once.
const MAX_OPEN: usize = 1 << 20;

/// HAProxy's choices for one backend: the same definition, the same orders and the same requests in the same order
/// give the same servers as HAProxy of that release with one thread.
#[derive(Clone, Debug)]
pub struct Predictor {
    spec: Arc<BackendSpec>,
    rules: Arc<Rules>,
    names: Arc<[Arc<str>]>,
    engine: Engine,
    states: Vec<ServerState>,
    connections: Connections,
    table: Option<Table>,
    open: HashMap<u64, Open>,
    tickets: u64,
    now: Duration,
}

/// Who a request is meant for.
enum Aim {
    /// This server, by persistence.
    Direct(usize),
    /// This server, by the algorithm.
    Chosen(usize),
    /// Whoever is free first.
    Anybody,
    /// Nobody.
    Nobody,
}

impl Predictor {
    /// The backend just after its start.
    ///
    /// # Errors
    ///
    /// [`SpecError`] if HAProxy would refuse the definition or part of it is not modelled.
    pub fn new(spec: BackendSpec) -> Result<Self, SpecError> {
        let rules = spec.rules();
        let engine = Engine::new(&rules, spec.units()?);
        Ok(Self {
            names: spec.servers.iter().map(|s| Arc::from(s.name.as_str())).collect(),
            engine,
            states: spec.servers.iter().map(|s| s.state).collect(),
            connections: Connections::new(&spec.servers, spec.fullconn),
            table: spec.table.clone().map(Table::new),
            open: HashMap::new(),
            tickets: 0,
            now: Duration::ZERO,
            rules: Arc::new(rules),
            spec: Arc::new(spec),
        })
    }

    fn name(&self, i: usize) -> Option<Arc<str>> {
        self.names.get(i).cloned()
    }

    /// Lets time pass: entries of the stick table expire.
    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
    }

    /// A request that is answered before the next one comes. One that would wait gives up at once.
    pub fn route(&mut self, request: &Request) -> Prediction {
        let (ticket, prediction) = self.open_with(request, None, &mut Notes::off());
        if let Some(ticket) = ticket {
            self.finish(ticket);
        }
        prediction
    }

    /// What [`route`](Self::route) would answer, with reasons; nothing moves.
    pub fn explain(&self, request: &Request) -> Prediction {
        let mut notes = Notes::on();
        let mut prediction = self.clone().open_with(request, None, &mut notes).1;
        prediction.why = notes.told(|i| self.names.get(i).map_or("?", |n| n));
        prediction
    }

    /// A request that stays open: it keeps a slot of its server, or waits, until it is [closed](Self::close). No ticket
    /// for one that is refused.
    pub fn open(&mut self, request: &Request) -> (Option<Ticket>, Prediction) {
        self.open_with(request, None, &mut Notes::off())
    }

    /// Like [`open`](Self::open), where chance decides and is known to have decided for this server.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotPossible`] if it could not have; nothing has moved then.
    pub fn open_on(&mut self, request: &Request, server: &str) -> Result<(Option<Ticket>, Prediction), ChangeError> {
        let mut possible = self.possible(request);
        if !possible.iter().any(|name| &**name == server) {
            possible.truncate(16);
            return Err(ChangeError::NotPossible { name: server.to_owned(), among: possible.join(", ") });
        }
        let known = self.names.iter().position(|name| &**name == server);
        Ok(self.open_with(request, known, &mut Notes::off()))
    }

    /// The servers of which one would be chosen now: one, unless chance decides. Nothing moves.
    pub fn possible(&self, request: &Request) -> Vec<Arc<str>> {
        let prediction = self.clone().open_with(request, None, &mut Notes::off()).1;
        match prediction.outcome {
            Outcome::Server(_) if prediction.by_chance => {
                self.engine.possible(&self.connections).into_iter().filter_map(|i| self.name(i)).collect()
            }
            Outcome::Server(name) => vec![name],
            _ => Vec::new(),
        }
    }

    fn open_with(
        &mut self,
        request: &Request,
        known: Option<usize>,
        notes: &mut Notes,
    ) -> (Option<Ticket>, Prediction) {
        let answer = |outcome, by_chance| Prediction { outcome, by_chance, why: Vec::new() };
        if request.is_refused(self.rules.version) {
            return (None, answer(Outcome::BadRequest, false));
        }
        let request = &*request.received();
        if self.open.len() >= MAX_OPEN {
            notes.say(|| "too many requests are open".into());
            return (None, answer(Outcome::Unavailable, false));
        }
        self.connections.arrive();
        let (direct, stick) = self.persistence(request, notes);
        let mut key = Key::Absent;
        let aim = match direct {
            Some(i) => {
                if self.spec.redispatch {
                    // It may be balanced after all.
                    key = self.engine.key(&self.rules, request, &mut Notes::off());
                }
                Aim::Direct(i)
            }
            None => {
                key = self.engine.key(&self.rules, request, notes);
                self.aim(key, None, notes)
            }
        };
        let by_chance = direct.is_none() && self.rules.is_chance();
        let aim = match (aim, known) {
            (Aim::Chosen(_), Some(i)) if by_chance => Aim::Chosen(i),
            (aim, _) => aim,
        };
        self.tickets += 1;
        let ticket = self.tickets;
        let outcome = self.admit(ticket, key, aim, stick, notes);
        let kept = matches!(outcome, Outcome::Server(_) | Outcome::Queued(_));
        if !kept {
            self.connections.leave();
        }
        (kept.then_some(Ticket(ticket)), answer(outcome, by_chance))
    }

    /// Balances, and avoids a server if it can.
    fn aim(&mut self, key: Key, avoid: Option<usize>, notes: &mut Notes) -> Aim {
        let in_turn = matches!(self.rules.balance, Balance::RoundRobin | Balance::StaticRr | Balance::First);
        let usable = self.engine.farm.group() != Group::Nobody;
        let busy = !self.rules.version.empties_queue() || self.connections.total() > 0;
        if usable && in_turn && busy && self.connections.backend_waits() {
            notes.say(|| "others wait for any server already".into());
            return Aim::Anybody;
        }
        // A slot of a table leads nowhere else.
        let is_slot = self.rules.refuses_weights() && matches!(key, Key::Hash(_));
        if let Some(avoid) = avoid.filter(|_| !is_slot) {
            let mut engine = self.engine.clone();
            let load = Avoiding { load: &self.connections, avoid };
            if let Pick::Server(i) = engine.pick(key, &load, notes) {
                self.engine = engine;
                return Aim::Chosen(i);
            }
        }
        match self.engine.pick(key, &self.connections, notes) {
            Pick::Server(i) => Aim::Chosen(i),
            Pick::Full => Aim::Anybody,
            Pick::Nobody => Aim::Nobody,
        }
    }

    /// The server an open request is on; `None` while it waits or when it is not open.
    pub fn server_of(&self, ticket: Ticket) -> Option<&str> {
        let i = self.open.get(&ticket.0)?.server?;
        self.names.get(i).map(|n| &**n)
    }

    /// Connections that a server is serving, and requests that wait for it; `None` for an unknown name.
    pub fn connections(&self, server: &str) -> Option<(u32, u32)> {
        let i = self.names.iter().position(|n| &**n == server)?;
        Some((self.connections.served(i), self.connections.queued(i)))
    }
}
