//! A whole independent copy of a pool: for plans, simulation and replay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::board::Slot;
use crate::seat::Seat;
use crate::selector::{Change, Turn};
use crate::snapshot::{Member, Members};
use crate::sync::Mutex;

use super::published::Snapshot;
use super::{EVENTS, Pool, Writer};

impl<B: Backend, Q: ?Sized + 'static> Pool<B, Q> {
    /// An independent pool that stands as this one does at this moment: the same definitions in the same order, states,
    /// weights, load figures and their ages, caps, units in flight, and the strategy with its own state.
    ///
    /// Every call works on the fork and none of them touches this pool: no event of the fork is told here, no unit
    /// taken there counts here. Time stands still in the fork, at `now`: a cap's interval never ends. What is in flight
    /// here stays in flight there for good; a pick of this very moment may count as one unit more.
    ///
    /// The same changes and the same asks with the same seeds give the same servers in the fork as they would here,
    /// however often they are made. [`plan`](Self::plan) compares two of them.
    #[must_use]
    pub fn fork(&self, now: Instant) -> Self {
        let w = self.write();
        let live = self.snapshot.load_full();
        // Removed servers with work in flight still hold their slots, and get their counters back if they return.
        let leaving: Vec<(BackendId, Arc<Seat>)> =
            w.retired.iter().filter_map(|(id, seat)| Some((id.clone(), seat.upgrade()?))).collect();
        let taken: Vec<&Arc<Seat>> =
            live.members.iter().map(|m| &m.seat).chain(leaving.iter().map(|(_, seat)| seat)).collect();
        let board = Arc::new(self.board.fork(taken.iter().map(|seat| seat.slot)));
        let copied: HashMap<Slot, Arc<Seat>> = taken
            .iter()
            .map(|s| (s.slot, Arc::new(Seat { board: board.clone(), slot: s.slot, tracked: s.tracked })))
            .collect();
        let seat = |slot: Slot| copied.get(&slot).cloned();
        let list = live.members.iter().filter_map(|m| Some(Arc::new(Member::new(m.backend.clone(), seat(m.slot())?))));
        let members = Arc::new(Members::new(list.collect()));
        let retired: HashMap<BackendId, Weak<Seat>> =
            leaving.iter().filter_map(|(id, s)| Some((id.clone(), Arc::downgrade(&seat(s.slot)?)))).collect();
        let held = copied.values().filter(|s| board.in_flight(s.slot) > 0).cloned().collect();
        let mut strategy = w.strategy.fork();
        let selector = strategy.prepare(&members, &[Change::Members]);
        Self {
            board,
            snapshot: ArcSwap::from_pointee(Snapshot { members, selector }),
            writer: Mutex::new(Writer {
                strategy,
                verdicts: w.verdicts.clone(),
                down_since: w.down_since.clone(),
                retired,
                _held: held,
            }),
            options: self.options.clone(),
            processes: AtomicU64::new(self.processes.load(Relaxed)),
            stale_ms: AtomicU64::new(self.stale_ms.load(Relaxed)),
            epoch: self.epoch,
            at: Some(now),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// The time here.
    pub(super) fn now(&self) -> Instant {
        self.at.unwrap_or_else(Instant::now)
    }

    /// A turn at the time here; a live pool's clock is read only when the turn asks for it.
    pub(super) fn turn(&self, seed: u64) -> Turn<'static> {
        self.at.map_or_else(|| Turn::live(seed), |now| Turn::new(now, seed))
    }

    /// The strategy's name.
    pub(crate) fn strategy_name(&self) -> &'static str {
        self.write().strategy.name()
    }

    /// The same pool without a cap of new rooms per interval.
    pub(crate) fn uncapped(mut self) -> Self {
        self.options.cap = None;
        self
    }
}
