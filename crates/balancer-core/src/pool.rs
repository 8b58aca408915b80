//! The pool: the only writer of the board and of the published snapshot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::backend::{Backend, BackendId, Weight};
use crate::board::{Board, Expect, NO_NEW, NOTHING, Refused, STALE, Slot};
use crate::event::Event;
use crate::filter::{Clause, Filter};
use crate::lease::Lease;
use crate::load::{MAX_SIZE, Report};
use crate::seat::Seat;
use crate::selector::{Ask, Change, Strategy, Turn};
use crate::snapshot::{Candidates, Member, Members};
use crate::state::{Admin, Health, HealthRules, Verdict};
use crate::sync::{Mutex, MutexGuard, lock};

mod fork;
mod freeze;
mod membership;
mod options;
mod published;
#[cfg(test)]
mod tests;
mod view;

pub use freeze::Frozen;
pub use options::{PoolError, PoolOptions};
pub use view::ServerView;

use published::Snapshot;

/// How often a pick is repeated when the server it chose was taken or blocked meanwhile.
const TRIES: usize = 64;
/// After so many repeats the choice is taken as it is, slightly out of date.
const EXACT_TRIES: usize = 32;
const EVENTS: usize = 1024;

pub(crate) struct Writer<B: Backend, Q: ?Sized> {
    strategy: Box<dyn Strategy<B, Q>>,
    verdicts: HashMap<BackendId, Verdict>,
    down_since: HashMap<BackendId, Instant>,
    retired: HashMap<BackendId, Weak<Seat>>,
    /// In a fork: seats that work in flight holds in the pool it was forked from.
    _held: Vec<Arc<Seat>>,
}

/// Servers, their live state and the prepared selector.
///
/// Everything a pick needs is published in one swap. Counters belong to the pool: they survive a changed definition,
/// a rebuilt selector and a removal while work is in flight.
pub struct Pool<B: Backend, Q: ?Sized = ()> {
    board: Arc<Board>,
    snapshot: ArcSwap<Snapshot<B, Q>>,
    writer: Mutex<Writer<B, Q>>,
    options: PoolOptions<B>,
    processes: AtomicU64,
    /// The age at which figures are too old unless the options say so, in milliseconds.
    stale_ms: AtomicU64,
    epoch: Instant,
    /// Where time stands still, in a fork.
    at: Option<Instant>,
    events: broadcast::Sender<Event>,
}

impl<B: Backend, Q: ?Sized> std::fmt::Debug for Pool<B, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("members", &self.snapshot.load().members).finish_non_exhaustive()
    }
}

impl<B: Backend> Pool<B> {
    /// An empty pool with this strategy.
    pub fn new(strategy: Box<dyn Strategy<B>>, options: PoolOptions<B>) -> Self {
        Self::with_query(strategy, options)
    }
}

impl<B: Backend, Q: ?Sized + 'static> Pool<B, Q> {
    /// An empty pool whose selectors understand the query `Q`.
    pub fn with_query(mut strategy: Box<dyn Strategy<B, Q>>, options: PoolOptions<B>) -> Self {
        let members = Arc::new(Members::new(Vec::new()));
        let selector = strategy.prepare(&members, &[Change::Members]);
        Self {
            board: Arc::new(Board::new(strategy.needs().shares)),
            snapshot: ArcSwap::from_pointee(Snapshot { members, selector }),
            writer: Mutex::new(Writer {
                strategy,
                verdicts: HashMap::new(),
                down_since: HashMap::new(),
                retired: HashMap::new(),
                _held: Vec::new(),
            }),
            options,
            processes: AtomicU64::new(1),
            stale_ms: AtomicU64::new(in_ms(options::STALE_AFTER)),
            epoch: Instant::now(),
            at: None,
            events: broadcast::Sender::new(EVENTS),
        }
    }

    fn write(&self) -> MutexGuard<'_, Writer<B, Q>> {
        lock(&self.writer)
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// Follows what changes in this pool from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Sets the block bits as state and weight demand; whether eligibility changed.
    fn refresh_block(&self, m: &Member<B>) -> bool {
        let slot = m.slot();
        let (admin, health) = self.board.state(slot);
        let healthy = match health {
            Health::Up => true,
            Health::Unknown => self.options.trust_new,
            _ => false,
        };
        let mut bits = 0;
        if admin != Admin::Ready || !healthy || self.board.weight(slot).is_zero() {
            bits |= NO_NEW;
        }
        if admin == Admin::Maint || health == Health::Dead {
            bits |= NO_NEW | NOTHING;
        }
        let before = self.board.open_word(slot.index() / 64) & (1 << (slot.index() % 64)) != 0;
        self.board.set_block(slot, bits);
        before != (bits == 0)
    }

    fn publish(&self, w: &mut Writer<B, Q>, changes: &[Change]) {
        let old = self.snapshot.load_full();
        if let Some(selector) = w.strategy.prepare(&old.members, changes) {
            let members = old.members.clone();
            self.snapshot.store(Arc::new(Snapshot { members, selector: Some(selector) }));
        }
    }

    fn change<T>(
        &self,
        id: &BackendId,
        f: impl FnOnce(&mut Writer<B, Q>, &Member<B>) -> (T, Vec<Change>, Option<Event>),
    ) -> Result<T, PoolError> {
        let mut w = self.write();
        let snapshot = self.snapshot.load_full();
        let m = snapshot.members.by_id(id.as_str()).ok_or_else(|| PoolError::Unknown { id: id.clone() })?;
        let (out, mut changes, event) = f(&mut w, m);
        if self.refresh_block(m) {
            changes.push(Change::Eligible(m.slot()));
        }
        if !changes.is_empty() {
            self.publish(&mut w, &changes);
        }
        drop(w);
        if let Some(e) = event {
            self.tell(e);
        }
        Ok(out)
    }

    /// Orders a server into a state. The answer is what was in flight to it at that moment.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn set_admin(&self, id: &BackendId, to: Admin) -> Result<u32, PoolError> {
        // The seat is kept, for the server may be removed before its units are counted.
        let seat = self.change(id, |_, m| {
            let (from, health) = self.board.state(m.slot());
            self.board.set_state(m.slot(), to, health);
            let event = (from != to).then(|| Event::Admin { id: id.clone(), from, to });
            (m.seat.clone(), Vec::new(), event)
        })?;
        Ok(self.board.in_flight(seat.slot))
    }

    /// Sets the weight in force; the definition keeps its own.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn set_weight(&self, id: &BackendId, weight: Weight) -> Result<(), PoolError> {
        self.change(id, |_, m| {
            if self.board.weight(m.slot()) == weight {
                return ((), Vec::new(), None);
            }
            self.board.set_weight(m.slot(), weight);
            let event = Event::Weight { id: id.clone(), sixteenths: weight.sixteenths() };
            ((), vec![Change::Weight(m.slot())], Some(event))
        })
    }

    /// One observation of a server for the rise/fall machine. The answer is the new verdict.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn observe(&self, id: &BackendId, passed: bool, rules: &HealthRules, why: &str) -> Result<Verdict, PoolError> {
        let next = |old: Verdict| old.observe(passed, rules);
        self.set_verdict(id, next, why)
    }

    /// Declares a verdict that was reached elsewhere: published by another process, or by hard proof.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn declare(&self, id: &BackendId, health: Health, why: &str) -> Result<Verdict, PoolError> {
        let next = |old: Verdict| if old.health == health { old } else { Verdict { health, against: 0 } };
        self.set_verdict(id, next, why)
    }

    fn set_verdict(
        &self,
        id: &BackendId,
        next: impl FnOnce(Verdict) -> Verdict,
        why: &str,
    ) -> Result<Verdict, PoolError> {
        self.change(id, |w, m| {
            let old = w.verdicts.get(id).copied().unwrap_or_default();
            let new = next(old);
            w.verdicts.insert(id.clone(), new);
            if new.health == Health::Down {
                w.down_since.entry(id.clone()).or_insert_with(|| self.now());
            } else {
                w.down_since.remove(id);
            }
            let (admin, from) = self.board.state(m.slot());
            self.board.set_state(m.slot(), admin, new.health);
            let event = (from != new.health).then(|| Event::Health {
                id: id.clone(),
                from,
                to: new.health,
                why: why.to_owned(),
            });
            (new, Vec::new(), event)
        })
    }

    /// The verdict so far; `None` for an unknown id.
    pub fn verdict(&self, id: &BackendId) -> Option<Verdict> {
        let w = self.write();
        let snapshot = self.snapshot.load();
        snapshot.members.by_id(id.as_str())?;
        Some(w.verdicts.get(id).copied().unwrap_or_default())
    }

    /// Takes in a report. `false` when it began before the newest one, or before this server was known, or has
    /// nothing that the load model counts.
    ///
    /// A report cannot have begun later than now: one that says so, its sender's clock being ahead, counts as one that
    /// began now, lest it keep true ones out until then.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn report(&self, id: &BackendId, mut report: Report) -> Result<bool, PoolError> {
        report.began = report.began.min(self.now());
        let snapshot = self.snapshot.load();
        let m = snapshot.members.by_id(id.as_str()).ok_or_else(|| PoolError::Unknown { id: id.clone() })?;
        let cost = match &self.options.load {
            Some(model) if !model.knows(&report) => return Ok(false),
            Some(model) => model.cost(&m.backend, &report),
            None => 0,
        };
        let before = self.board.report(m.slot(), cost, report);
        if before == Some(STALE) {
            self.tell(Event::Stale { id: id.clone(), stale: false });
        }
        Ok(before.is_some())
    }

    /// Passes time: figures that became too old change their class, servers down for too long are dead. Without a load
    /// model figures count for nothing and have no class.
    pub fn tick(&self, now: Instant) {
        let snapshot = self.snapshot.load_full();
        let limit = self.stale_after();
        for m in snapshot.members.iter() {
            if m.seat.tracked && self.board.age(m.slot(), now, limit) {
                let stale = self.board.rank(m.slot()) >> 56 != 0;
                self.tell(Event::Stale { id: m.backend.id().clone(), stale });
            }
        }
        let Some(grace) = self.options.dead_after else { return };
        let due: Vec<BackendId> = {
            let w = self.write();
            let overdue = |since: &Instant| now.saturating_duration_since(*since) >= grace;
            w.down_since.iter().filter(|(_, t)| overdue(t)).map(|(id, _)| id.clone()).collect()
        };
        for id in due {
            // It may have come up again since we looked. A server removed meanwhile needs no verdict.
            let dead = Verdict { health: Health::Dead, against: 0 };
            let next = |old: Verdict| if old.health == Health::Down { dead } else { old };
            let _ = self.set_verdict(&id, next, "down for longer than the grace time");
        }
    }

    fn stale_after(&self) -> Duration {
        self.options.stale_after.unwrap_or_else(|| Duration::from_millis(self.stale_ms.load(Relaxed)))
    }

    /// Says how often the servers are probed, which sets the age at which figures are too old by default.
    pub(crate) fn probed_every(&self, interval: Duration) {
        self.stale_ms.store(in_ms(interval.saturating_mul(3)), Relaxed);
    }

    /// How many live processes place rooms on these servers: each counts its own uncovered rooms that many times.
    pub fn set_processes(&self, count: u32) {
        self.processes.store(u64::from(count.max(1)), Relaxed);
    }

    fn window(&self, turn: &mut Turn<'_>) -> Option<(u32, u32)> {
        let (max, every) = self.options.cap?;
        let n = turn.now().saturating_duration_since(self.epoch).as_millis() / every.as_millis().max(1);
        // The ordinal wraps after 2^32 windows; only equality matters. 0, what a fresh slot has, is never used.
        Some((u32::try_from(n % u128::from(u32::MAX)).unwrap_or(0) + 1, max))
    }

    fn charge(&self, m: &Member<B>, size: Option<u64>) -> u64 {
        let size = size.or_else(|| self.options.load.as_ref().map(|l| l.size(&m.backend))).unwrap_or(1);
        size.saturating_mul(self.processes.load(Relaxed)).min(MAX_SIZE)
    }

    /// Picks a server for a new room and takes a unit there, without asking any stick table. `None` when no server
    /// may take it.
    pub fn place(&self, ask: &Ask<'_, Q>, seed: u64) -> Option<Lease<B>> {
        let snapshot = self.snapshot.load();
        let mut turn = self.turn(seed);
        let selector = snapshot.selector.as_ref()?;
        let cap = self.window(&mut turn);
        let mut among = candidates(&snapshot, &self.board, ask, cap);
        // Rung by rung, again when the chosen server was blocked or taken meanwhile.
        for rung in rungs(ask) {
            among.set_rung(rung);
            for attempt in 0..TRIES {
                turn.again();
                let Some(slot) = selector.pick(&among, ask, &mut turn) else { break };
                let Some(m) = snapshot.members.by_slot(slot) else { break };
                match self.take(m, ask, &turn, cap, attempt) {
                    Ok(lease) => return Some(lease),
                    Err(Refused::Changed) => {}
                    Err(Refused::Blocked | Refused::Capped) => {
                        if !among.exclude(slot) {
                            break;
                        }
                    }
                }
            }
        }
        None
    }

    /// Takes a unit for a new room on the server that this turn chose.
    fn take(
        &self,
        m: &Arc<Member<B>>,
        ask: &Ask<'_, Q>,
        turn: &Turn<'_>,
        cap: Option<(u32, u32)>,
        attempt: usize,
    ) -> Result<Lease<B>, Refused> {
        let expect = if attempt < EXACT_TRIES { turn.expect } else { Expect::Any };
        let charge = self.charge(m, ask.size);
        let charge = self.board.take(m.slot(), NO_NEW | NOTHING, charge, expect)?;
        if let Some((window, max)) = cap
            && !self.board.try_cap(m.slot(), window, max)
        {
            self.board.cancel(m.slot(), charge);
            return Err(Refused::Capped);
        }
        Ok(Lease::new(m.clone(), charge, cap.map(|(window, _)| window)))
    }

    /// The choice alone: what a pick of this moment chooses, with no unit taken. For callers whose work the pool need
    /// not count, and the cheapest way to a server. A selector with a state of its own moves on as in
    /// [`place`](Self::place).
    #[inline]
    pub fn choose<T>(&self, ask: &Ask<'_, Q>, seed: u64, then: impl FnOnce(&Arc<B>) -> T) -> Option<T> {
        let snapshot = self.snapshot.load();
        let selector = snapshot.selector.as_ref()?;
        let mut turn = self.turn(seed);
        let cap = self.window(&mut turn);
        let mut among = candidates(&snapshot, &self.board, ask, cap);
        let slot = match ask.filter {
            None => selector.pick(&among, ask, &mut turn),
            Some(filter) => filter.rungs().iter().find_map(|rung| {
                among.set_rung(rung);
                turn.again();
                selector.pick(&among, ask, &mut turn)
            }),
        };
        slot.and_then(|slot| snapshot.members.definition(slot)).map(then)
    }

    /// Takes a unit on a server where the room already lives, of this expected extra cost. Refused only when the
    /// server takes nothing at all.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`] or [`PoolError::Blocked`].
    pub fn lease(&self, id: &BackendId, cost: u64) -> Result<Lease<B>, PoolError> {
        let snapshot = self.snapshot.load();
        let m = snapshot.members.by_id(id.as_str()).ok_or_else(|| PoolError::Unknown { id: id.clone() })?;
        let charge = if cost == 0 { 0 } else { self.charge(m, Some(cost)) };
        match self.board.take(m.slot(), NOTHING, charge, Expect::Any) {
            Ok(charge) => Ok(Lease::new(m.clone(), charge, None)),
            Err(_) => {
                let (admin, health) = self.board.state(m.slot());
                Err(PoolError::Blocked { id: id.clone(), admin, health })
            }
        }
    }

    /// What `look` finds at a server that [`lease`](Self::lease) would take a unit on; none is taken. `None` where it would
    /// be refused.
    pub fn serving<T>(&self, id: &BackendId, look: impl FnOnce(&B) -> T) -> Option<T> {
        let snapshot = self.snapshot.load();
        let member = snapshot.members.by_id(id.as_str())?;
        self.board.takes(member.slot(), NOTHING).then(|| look(&member.backend))
    }

    /// Whether the strategy's choices depend on the room key and the servers alone.
    pub(crate) fn by_key_alone(&self) -> bool {
        self.write().strategy.by_key_alone()
    }

    /// A member by id, as of now.
    pub fn member(&self, id: &str) -> Option<Arc<Member<B>>> {
        self.snapshot.load().members.by_id(id).cloned()
    }

    /// All members, as of now, in order.
    pub fn members(&self) -> Vec<Arc<Member<B>>> {
        self.snapshot.load().members.list.clone()
    }

    /// How many servers would take a new room now.
    pub fn open_count(&self) -> usize {
        let snapshot = self.snapshot.load();
        Candidates::new(&snapshot.members, &self.board, None).count()
    }
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

// Inlined, since moving it out would copy its several hundred bytes.
#[inline(always)]
fn candidates<'a, B: Backend, Q: ?Sized>(
    snapshot: &'a Snapshot<B, Q>,
    board: &'a Board,
    ask: &Ask<'_, Q>,
    cap: Option<(u32, u32)>,
) -> Candidates<'a, B> {
    let mut among = Candidates::new(&snapshot.members, board, cap);
    for id in ask.exclude {
        if let Some(m) = snapshot.members.by_id(id.as_str()) {
            among.exclude(m.slot());
        }
    }
    among
}

/// The rungs of what is asked for: one that admits every server when there is no filter.
fn rungs<'a, Q: ?Sized>(ask: &Ask<'a, Q>) -> &'a [Vec<Clause>] {
    const EVERY: &[Vec<Clause>] = &[Vec::new()];
    ask.filter.map_or(EVERY, Filter::rungs)
}

/// Whether this slot is open by the hint.
pub(crate) fn is_open(board: &Board, slot: Slot) -> bool {
    board.open_word(slot.index() / 64) & (1 << (slot.index() % 64)) != 0
}
