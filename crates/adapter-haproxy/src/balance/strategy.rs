//! The same machines behind the traits of the pool: rooms are placed where HAProxy would place them, without HAProxy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balancer_core::{Ask, Backend, BackendId, Candidates, Change, Member, Members, Selector, Slot, Strategy, Turn};

use super::engine::{Engine, Pick, Rules};
use super::error::SpecError;
use super::farm::Load;
use super::key::Key;
use super::notes::Notes;
use super::server::ServerSpec;
use super::spec::{BackendSpec, units};
use super::version::RingBase;

mod asking;
#[cfg(test)]
mod tests;

pub use asking::{Asking, HaproxyServer, ServerLine};

/// How many candidates an explanation ranks.
const MAX_RANKED: usize = 32;

/// HAProxy's algorithm as a strategy of a pool.
///
/// The pool's states and weights in force stand for HAProxy's: closed servers are out of use, a changed weight counts as
/// `set weight`. A changed list of servers counts as a restart: everything begins anew, as after a reload; a list that
/// HAProxy would refuse (an id twice) changes nothing, so check it with [`validate`](Self::validate) first.
///
/// The pool's units in flight stand for connections. There is no queue: where HAProxy lets requests wait for any server
/// nobody is chosen, and a hashed room goes to its server even when that is at its `maxconn`. Connections that end
/// between two picks are taken as having ended in the order of the servers, which only matters to `leastconn` and only
/// between equals. Filters and exclusions are servers passed over: on a ring, upwards; in a table, to the next slot.
#[derive(Debug)]
pub struct HaproxyStrategy {
    rules: Arc<Rules>,
    ring_base: Option<RingBase>,
    state: Arc<Mutex<State>>,
}

/// The machine and the servers it works on.
#[derive(Clone, Debug)]
struct State {
    engine: Engine,
    /// Each server's identity and line, to tell a change of the list.
    list: Vec<(BackendId, ServerSpec)>,
    slots: Vec<Slot>,
    /// Units in flight when the machine last looked.
    seen: Vec<u32>,
}

impl HaproxyStrategy {
    /// The algorithm of this backend. Its servers and rules of persistence are left out of account: servers are those
    /// of the pool, and sticks are the balancer's matter.
    ///
    /// # Errors
    ///
    /// [`SpecError::RingBase`] if the release does not tell how its ring is numbered.
    pub fn new(spec: &BackendSpec) -> Result<Self, SpecError> {
        let rules = spec.rules();
        units(&rules, spec.ring_base, &[])?;
        let state =
            State { engine: Engine::new(&rules, Vec::new()), list: Vec::new(), slots: Vec::new(), seen: Vec::new() };
        Ok(Self { rules: Arc::new(rules), ring_base: spec.ring_base, state: Arc::new(Mutex::new(state)) })
    }

    /// Checks a list of servers, and tells their ids.
    ///
    /// # Errors
    ///
    /// What HAProxy would refuse.
    pub fn validate<'a>(&self, servers: impl IntoIterator<Item = &'a ServerSpec>) -> Result<Vec<u32>, SpecError> {
        let servers: Vec<&ServerSpec> = servers.into_iter().collect();
        Ok(units(&self.rules, self.ring_base, &servers)?.into_iter().map(|u| u.id).collect())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: ServerLine, Q: Asking + ?Sized> Strategy<B, Q> for HaproxyStrategy {
    fn name(&self) -> &'static str {
        self.rules.name().0
    }

    fn by_key_alone(&self) -> bool {
        Q::BY_ROOM && self.rules.is_by_key_alone()
    }

    fn prepare(&mut self, members: &Members<B>, changes: &[Change]) -> Option<Arc<dyn Selector<B, Q>>> {
        if !changes.contains(&Change::Members) {
            let mut state = lock(&self.state);
            for change in changes {
                if let Change::Weight(slot) | Change::Eligible(slot) = change
                    && let Some(m) = members.by_slot(*slot)
                    && let Some(i) = state.slots.iter().position(|s| s == slot)
                {
                    state.follow(i, m);
                }
            }
            return None;
        }
        let list: Vec<(BackendId, ServerSpec)> =
            members.iter().map(|m| (m.backend().id().clone(), m.backend().line().clone())).collect();
        let slots: Vec<Slot> = members.iter().map(|m| m.slot()).collect();
        let same = lock(&self.state).list == list;
        if same {
            let mut state = lock(&self.state);
            state.slots = slots;
            for (i, m) in members.iter().enumerate() {
                state.follow(i, m);
            }
        } else {
            let lines: Vec<&ServerSpec> = list.iter().map(|(_, line)| line).collect();
            let mut units = units(&self.rules, self.ring_base, &lines).ok()?;
            for (unit, m) in units.iter_mut().zip(members.iter()) {
                unit.sixteenths = u32::from(m.weight().sixteenths());
                unit.running = m.is_open() || m.weight().is_zero();
            }
            let seen = members.iter().map(|m| m.in_flight()).collect();
            let engine = Engine::new(&self.rules, units);
            self.state = Arc::new(Mutex::new(State { engine, list, slots, seen }));
        }
        Some(Arc::new(Chooser { rules: self.rules.clone(), state: self.state.clone() }))
    }

    fn fork(&self) -> Box<dyn Strategy<B, Q>> {
        let state = lock(&self.state).clone();
        Box::new(Self { rules: self.rules.clone(), ring_base: self.ring_base, state: Arc::new(Mutex::new(state)) })
    }
}

/// Connections as the pool counts them.
struct InPool<'a, 'c, B> {
    among: &'a Candidates<'c, B>,
    list: &'a [(BackendId, ServerSpec)],
    slots: &'a [Slot],
    /// A server that is about to get one more.
    more: Option<usize>,
    /// Servers an explanation has ranked already.
    out: &'a [usize],
}

impl<B: Backend> Load for InPool<'_, '_, B> {
    fn served(&self, i: usize) -> u32 {
        let more = u32::from(self.more == Some(i));
        self.slots.get(i).map_or(0, |slot| self.among.in_flight(*slot)).saturating_add(more)
    }

    fn limit(&self, i: usize) -> Option<u32> {
        self.list.get(i).map(|(_, line)| line.maxconn.max(line.minconn)).filter(|max| *max > 0)
    }

    fn max_queue(&self, i: usize) -> u32 {
        self.list.get(i).map_or(0, |(_, line)| line.maxqueue)
    }

    fn total(&self) -> u32 {
        (0..self.slots.len()).fold(0, |sum, i| sum.saturating_add(self.served(i)))
    }

    fn is_barred(&self, i: usize) -> bool {
        self.out.contains(&i) || !self.slots.get(i).is_some_and(|slot| self.among.contains(*slot))
    }
}

/// Weights and states change without connections having changed.
struct Still<'a>(&'a [u32]);

impl Load for Still<'_> {
    fn served(&self, i: usize) -> u32 {
        self.0.get(i).copied().unwrap_or(0)
    }

    fn total(&self) -> u32 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl State {
    /// Takes over the weight and state that the pool has for a server.
    fn follow<B: Backend>(&mut self, i: usize, m: &Member<B>) {
        if let Some(seen) = self.seen.get_mut(i) {
            *seen = m.in_flight();
        }
        let load = Still(&self.seen);
        let weight = u32::from(m.weight().sixteenths());
        if weight > 0 {
            // A closed server of weight 0 may still run.
            self.engine.set_running(i, m.is_open(), &load);
        }
        self.engine.set_weight(i, weight, &load);
    }

    /// Tells the machine of connections that came and went.
    fn catch_up<B: Backend>(&mut self, among: &Candidates<'_, B>) {
        let Self { engine, list, slots, seen } = self;
        let load = InPool { among, list, slots, more: None, out: &[] };
        for (i, seen) in seen.iter_mut().enumerate() {
            let now = load.served(i);
            if now != *seen {
                *seen = now;
                engine.touched(i, &load);
            }
        }
    }

    fn pick<B: Backend>(&mut self, among: &Candidates<'_, B>, key: Key, out: &[usize]) -> Option<usize> {
        let load = InPool { among, list: &self.list, slots: &self.slots, more: None, out };
        match self.engine.pick(key, &load, &mut Notes::off()) {
            Pick::Server(i) if !load.is_barred(i) => Some(i),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Chooser {
    rules: Arc<Rules>,
    state: Arc<Mutex<State>>,
}

impl<B: ServerLine, Q: Asking + ?Sized> Selector<B, Q> for Chooser {
    fn pick(&self, among: &Candidates<'_, B>, ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot> {
        let mut live = lock(&self.state);
        let key = match ask.query.request() {
            Some(request) => live.engine.key(&self.rules, &request.received(), &mut Notes::off()),
            None => Engine::hash_of(&self.rules, ask.key.as_str().as_bytes()),
        };
        if let Some(trace) = turn.trace() {
            trace.rule(self.rules.name().1);
            // Who would be chosen if those before were out.
            let mut copy = live.clone();
            copy.catch_up(among);
            let mut out = Vec::new();
            while out.len() < MAX_RANKED
                && let Some(i) = copy.clone().pick(among, key, &out)
            {
                if let Some(slot) = copy.slots.get(i) {
                    trace.score(*slot, out.len() as u64);
                }
                out.push(i);
            }
        }
        let mut copy;
        let state = if turn.is_trial() {
            copy = live.clone();
            &mut copy
        } else {
            &mut *live
        };
        if self.rules.counts() {
            state.catch_up(among);
        }
        let mut found = state.pick(among, key, &[])?;
        if self.rules.is_chance() {
            let load = InPool { among, list: &state.list, slots: &state.slots, more: None, out: &[] };
            let mut possible = state.engine.possible(&load);
            possible.retain(|i| !load.is_barred(*i));
            found = state.engine.draw(&self.rules, &possible, &load, || turn.random()).unwrap_or(found);
            if let Some(trace) = turn.trace() {
                trace.tie(possible.len(), "by chance, as in this release of HAProxy");
            }
        }
        let slot = *state.slots.get(found)?;
        if self.rules.counts() {
            let units = among.in_flight(slot);
            turn.expect_units(units);
            let State { engine, list, slots, seen } = state;
            if let Some(seen) = seen.get_mut(found) {
                *seen = units.saturating_add(1);
            }
            engine.touched(found, &InPool { among, list, slots, more: Some(found), out: &[] });
        }
        Some(slot)
    }
}
