//! What a change would do, found out on forks of the pool: which rooms move, where to and why.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use tokio::time::Instant;

use crate::backend::{Backend, BackendId, Weight};
use crate::hash::{mix, stable_hash};
use crate::lease::Lease;
use crate::pool::{Pool, PoolError};
use crate::selector::Ask;
use crate::state::{Admin, Health};
use crate::stick::StickKey;

mod show;
mod step;
mod why;

pub use step::Step;
pub use why::Why;

use why::Standing;

/// A room to be placed in a plan.
#[derive(Debug)]
#[non_exhaustive]
pub struct Room<'a, Q: ?Sized = ()> {
    /// How it is asked for.
    pub ask: Ask<'a, Q>,
    /// The server it lives on now, if any.
    pub stick: Option<BackendId>,
}

impl<Q: ?Sized> Clone for Room<'_, Q> {
    fn clone(&self) -> Self {
        Self { ask: self.ask, stick: self.stick.clone() }
    }
}

impl<'a, Q: ?Sized> Room<'a, Q> {
    /// A room that lives nowhere yet.
    pub fn new(ask: Ask<'a, Q>) -> Self {
        Self { ask, stick: None }
    }

    /// It lives on this server.
    #[must_use]
    pub fn on(mut self, server: impl Into<BackendId>) -> Self {
        self.stick = Some(server.into());
        self
    }
}

/// How a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    now: Instant,
    seed: u64,
    capped: bool,
}

impl PlanOptions {
    /// A plan for this moment, with seed 0 and the pool's own cap.
    pub fn new(now: Instant) -> Self {
        Self { now, seed: 0, capped: true }
    }

    /// What every room's own seed is made from. The same pool, steps, rooms and seed always give the same plan.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Without the cap of new rooms per interval: as if the rooms came one by one, not all at this moment.
    #[must_use]
    pub fn without_cap(mut self) -> Self {
        self.capped = false;
        self
    }

    /// The seed of one room's pick. It depends on the room and not on its place in the list.
    pub fn room_seed(&self, room: &StickKey) -> u64 {
        mix(self.seed ^ stable_hash(room.as_str().as_bytes()))
    }
}

/// A step that the pool refuses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("step {step} of the plan cannot be made")]
#[non_exhaustive]
pub struct PlanError {
    /// Which one, from 1.
    pub step: usize,
    /// Why.
    #[source]
    pub source: PoolError,
}

/// What becomes of a room whose stick is obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It stays where it lives.
    Stays,
    /// It moves when it is asked for next.
    Moves,
    /// It lived nowhere and is placed.
    Placed,
    /// No server may take it.
    Refused,
}

/// One room in a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedRoom {
    /// The room.
    pub room: StickKey,
    /// Where it lives.
    pub from: Option<BackendId>,
    /// Where it would live, its stick obeyed.
    pub to: Option<BackendId>,
    /// What becomes of it, its stick obeyed.
    pub fate: Fate,
    /// Why.
    pub why: Why,
    /// Where the selector alone, without any sticks, puts it today.
    pub alone_before: Option<BackendId>,
    /// Where the selector alone would put it.
    pub alone_after: Option<BackendId>,
    /// Why the selector alone puts it elsewhere, if it does.
    pub alone_why: Why,
    /// The seed of its picks.
    pub seed: u64,
}

impl PlannedRoom {
    /// Whether the selector alone would put it elsewhere.
    pub fn moves_alone(&self) -> bool {
        self.alone_before != self.alone_after
    }
}

/// One server in a plan: how many of the rooms it has. A server that is gone has neither state nor weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedServer {
    /// The server.
    pub id: BackendId,
    /// Whether it is new.
    pub added: bool,
    /// Whether it is gone.
    pub removed: bool,
    /// What the operator will have ordered.
    pub admin: Option<Admin>,
    /// What was measured.
    pub health: Option<Health>,
    /// Its weight in force afterwards.
    pub weight: Option<f64>,
    /// Rooms that live here.
    pub before: usize,
    /// Rooms that would live here, sticks obeyed.
    pub after: usize,
    /// Rooms that the selector alone puts here today.
    pub alone_before: usize,
    /// Rooms that the selector alone would put here.
    pub alone_after: usize,
}

/// The sums of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Rooms asked about.
    pub rooms: usize,
    /// Those that stay, sticks obeyed.
    pub stay: usize,
    /// Those that move, sticks obeyed.
    pub moved: usize,
    /// Those that lived nowhere and are placed.
    pub placed: usize,
    /// Those that no server may take, sticks obeyed.
    pub refused: usize,
    /// Those that the selector alone puts elsewhere.
    pub moved_alone: usize,
}

/// What a change would do. `Display` is a table of what changes; as JSON it holds every room.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The strategy's name.
    pub strategy: &'static str,
    /// The seed.
    pub seed: u64,
    /// The sums.
    pub totals: Totals,
    /// Every server of before and after: those of today in their order, then new ones. A server that rooms live on
    /// although the pool does not know it comes last.
    pub servers: Vec<PlannedServer>,
    /// Every room in the order given.
    pub rooms: Vec<PlannedRoom>,
}

impl<B: Backend, Q: ?Sized + 'static> Pool<B, Q> {
    /// What these steps would do to these rooms. Nothing here is touched: everything happens on forks.
    ///
    /// Rooms are placed in the order given. A room that is named twice counts once, as it was named first. The rules
    /// are those of the [`Balancer`](crate::Balancer): a room with a stick stays while its server lets it, draining or
    /// failing as it may be, and moves when that server is in maintenance, dead or gone. A binding is taken as
    /// settled, and gone servers as known to be gone. A room that stays takes no unit, since the figures of its server
    /// count it already; one that is placed stays in flight, so that later ones see it.
    ///
    /// By the selector alone every room is placed, on the pool as it stands and on the changed one, in the same order
    /// and with the same seeds, so that ties do not look like moves. Load figures keep what the rooms cost where they
    /// are today.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names the step that the pool refuses.
    pub fn plan(&self, steps: &[Step<B>], rooms: &[Room<'_, Q>], options: &PlanOptions) -> Result<Plan, PlanError> {
        let origin = self.fork(options.now);
        let origin = if options.capped { origin } else { origin.uncapped() };
        let changed = origin.fork(options.now);
        for (step, change) in (1..).zip(steps) {
            change.apply(&changed).map_err(|source| PlanError { step, source })?;
        }
        let mut seen = HashSet::with_capacity(rooms.len());
        let rooms: Vec<(&Room<'_, Q>, u64)> = rooms
            .iter()
            .filter(|room| seen.insert(room.ask.key))
            .map(|room| (room, options.room_seed(room.ask.key)))
            .collect();
        let before = Standing::of(&origin);
        let after = Standing::of(&changed);

        let alone_after = alone(&changed.fork(options.now), &rooms);
        let alone_before = alone(&origin, &rooms);
        let mut held = Vec::new();
        let mut planned = Vec::with_capacity(rooms.len());
        for ((&(room, seed), alone_before), alone_after) in rooms.iter().zip(alone_before).zip(alone_after) {
            let (to, fate, why) = obeyed(&changed, room, seed, &after, &mut held);
            let alone_why = why::alone(alone_before.as_ref(), alone_after.as_ref(), &before, &after);
            planned.push(PlannedRoom {
                room: room.ask.key.clone(),
                from: room.stick.clone(),
                to,
                fate,
                why,
                alone_before,
                alone_after,
                alone_why,
                seed,
            });
        }
        let totals = totals(&planned);
        let servers = servers(&before, &after, &planned);
        Ok(Plan { strategy: self.strategy_name(), seed: options.seed, totals, servers, rooms: planned })
    }
}

/// Every room placed without sticks.
fn alone<B: Backend, Q: ?Sized + 'static>(pool: &Pool<B, Q>, rooms: &[(&Room<'_, Q>, u64)]) -> Vec<Option<BackendId>> {
    let mut held = Vec::with_capacity(rooms.len());
    rooms.iter().map(|(room, seed)| take(pool, room, *seed, &mut held)).collect()
}

/// Places a room and keeps it in flight.
fn take<B: Backend, Q: ?Sized + 'static>(
    pool: &Pool<B, Q>,
    room: &Room<'_, Q>,
    seed: u64,
    held: &mut Vec<Lease<B>>,
) -> Option<BackendId> {
    let lease = pool.place(&room.ask, seed)?;
    let id = lease.backend().id().clone();
    held.push(lease);
    Some(id)
}

/// Where a room goes when its stick is obeyed.
fn obeyed<B: Backend, Q: ?Sized + 'static>(
    pool: &Pool<B, Q>,
    room: &Room<'_, Q>,
    seed: u64,
    after: &Standing,
    held: &mut Vec<Lease<B>>,
) -> (Option<BackendId>, Fate, Why) {
    let why = match &room.stick {
        None => Why::New,
        Some(home) => match pool.lease(home, 0) {
            Ok(lease) => {
                lease.cancel();
                return (Some(home.clone()), Fate::Stays, after.keeps(home));
            }
            Err(_) => after.breaks(home),
        },
    };
    match take(pool, room, seed, held) {
        Some(to) if room.stick.is_some() => (Some(to), Fate::Moves, why),
        Some(to) => (Some(to), Fate::Placed, why),
        None => (None, Fate::Refused, Why::NoCandidate),
    }
}

fn totals(rooms: &[PlannedRoom]) -> Totals {
    let mut t = Totals { rooms: rooms.len(), ..Totals::default() };
    for room in rooms {
        match room.fate {
            Fate::Stays => t.stay += 1,
            Fate::Moves => t.moved += 1,
            Fate::Placed => t.placed += 1,
            Fate::Refused => t.refused += 1,
        }
        t.moved_alone += usize::from(room.moves_alone());
    }
    t
}

fn servers(before: &Standing, after: &Standing, rooms: &[PlannedRoom]) -> Vec<PlannedServer> {
    let mut order: Vec<&BackendId> = Vec::new();
    let mut place: HashMap<&BackendId, usize> = HashMap::new();
    let known = before.ids().chain(after.ids()).chain(rooms.iter().filter_map(|r| r.from.as_ref()));
    for id in known {
        place.entry(id).or_insert_with(|| {
            order.push(id);
            order.len() - 1
        });
    }
    let mut list: Vec<PlannedServer> = order
        .iter()
        .map(|id| {
            let now = after.get(id);
            PlannedServer {
                id: (*id).clone(),
                added: before.get(id).is_none() && now.is_some(),
                removed: now.is_none(),
                admin: now.map(|s| s.admin),
                health: now.map(|s| s.health),
                weight: now.map(|s| f64::from(Weight::sixteenths(s.weight)) / 16.0),
                before: 0,
                after: 0,
                alone_before: 0,
                alone_after: 0,
            }
        })
        .collect();
    type Count = fn(&mut PlannedServer) -> &mut usize;
    let mut count = |id: &Option<BackendId>, what: Count| {
        let at = id.as_ref().and_then(|id| place.get(id).copied());
        if let Some(server) = at.and_then(|at| list.get_mut(at)) {
            *what(server) += 1;
        }
    };
    for room in rooms {
        count(&room.from, |s| &mut s.before);
        count(&room.to, |s| &mut s.after);
        count(&room.alone_before, |s| &mut s.alone_before);
        count(&room.alone_after, |s| &mut s.alone_after);
    }
    list
}
