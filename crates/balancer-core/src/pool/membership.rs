//! Which servers a pool has.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::board::{NO_NEW, NOTHING};
use crate::event::Event;
use crate::seat::Seat;
use crate::selector::Change;
use crate::snapshot::{Member, Members};
use crate::state::{Admin, Health};
use crate::sync::MutexGuard;

use super::published::Snapshot;
use super::{Pool, PoolError, Writer};

impl<B: Backend, Q: ?Sized + 'static> Pool<B, Q> {
    /// Replaces all definitions, in this order. Servers that stay keep their counters, health, admin state and, unless
    /// its definition changed it, their weight in force.
    ///
    /// # Errors
    ///
    /// [`PoolError::Duplicate`] or [`PoolError::TooMany`]; nothing is changed then.
    pub fn replace(&self, definitions: impl IntoIterator<Item = Arc<B>>) -> Result<(), PoolError> {
        let now = self.now();
        let definitions: Vec<Arc<B>> = definitions.into_iter().collect();
        let mut seen: HashSet<BackendId, rapidhash::fast::RandomState> = HashSet::default();
        for d in &definitions {
            if !seen.insert(d.id().clone()) {
                return Err(PoolError::Duplicate { id: d.id().clone() });
            }
        }
        let w = self.write();
        self.install(w, now, definitions)
    }

    /// Takes a server out; the others stay as they are.
    ///
    /// Rooms that are bound to it are refused from now on ([`RouteError::Unknown`](crate::RouteError::Unknown)):
    /// [`Balancer::remove`](crate::Balancer::remove) lets go of them before.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn remove(&self, id: &BackendId) -> Result<(), PoolError> {
        let now = self.now();
        let w = self.write();
        let members = self.snapshot.load_full().members.clone();
        if members.by_id(id.as_str()).is_none() {
            return Err(PoolError::Unknown { id: id.clone() });
        }
        let others = members.iter().map(|m| m.backend.clone()).filter(|d| d.id() != id);
        self.install(w, now, others.collect())
    }

    /// Puts these definitions, of different ids, in the place of the ones that are there.
    fn install(
        &self,
        mut w: MutexGuard<'_, Writer<B, Q>>,
        now: Instant,
        definitions: Vec<Arc<B>>,
    ) -> Result<(), PoolError> {
        let old = self.snapshot.load_full();
        let tracked = self.options.load.is_some();
        let count = definitions.len();
        let mut list = Vec::with_capacity(definitions.len());
        let mut events = Vec::new();
        // Written to the board only when every server has its seat.
        let (mut weights, mut fresh) = (Vec::new(), Vec::new());
        for d in definitions {
            let id = d.id().clone();
            if let Some(m) = old.members.by_id(id.as_str()) {
                if Arc::ptr_eq(&m.backend, &d) {
                    list.push(m.clone());
                    continue;
                }
                if m.backend.weight() != d.weight() {
                    weights.push((m.slot(), d.weight()));
                }
                events.push(Event::Redefined { id });
                list.push(Arc::new(Member::new(d, m.seat.clone())));
                continue;
            }
            let seat = w.retired.get(&id).and_then(Weak::upgrade);
            let Some(seat) = seat.or_else(|| Seat::new(&self.board, now, tracked)) else {
                return Err(PoolError::TooMany { count });
            };
            weights.push((seat.slot, d.weight()));
            fresh.push(seat.slot);
            events.push(Event::Added { id });
            list.push(Arc::new(Member::new(d, seat)));
        }
        for (slot, weight) in weights {
            self.board.set_weight(slot, weight);
        }
        for slot in fresh {
            self.board.set_state(slot, Admin::Ready, Health::Unknown);
        }
        let members = Arc::new(Members::new(list));
        w.retired.retain(|_, seat| seat.strong_count() > 0);
        for m in old.members.iter() {
            let id = m.backend.id();
            if members.by_id(id.as_str()).is_none() {
                self.board.block(m.slot(), NO_NEW | NOTHING);
                w.retired.insert(id.clone(), Arc::downgrade(&m.seat));
                w.verdicts.remove(id);
                w.down_since.remove(id);
                events.push(Event::Removed { id: id.clone() });
            }
        }
        // Before the strategy looks: it is told of later changes only. Opening early is harmless, since older snapshots
        // do not have the new servers.
        for m in members.iter() {
            self.refresh_block(m);
        }
        let selector = w.strategy.prepare(&members, &[Change::Members]);
        let selector = selector.or_else(|| old.selector.clone());
        self.snapshot.store(Arc::new(Snapshot { members, selector }));
        drop(w);
        events.into_iter().for_each(|e| self.tell(e));
        Ok(())
    }
}
