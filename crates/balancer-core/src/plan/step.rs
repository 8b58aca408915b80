//! One change of a pool, and how it is carried out.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::backend::{Backend, BackendId, Weight};
use crate::load::Report;
use crate::pool::{Pool, PoolError};
use crate::state::{Admin, Health};

/// One change of the membership or of a server's state.
#[non_exhaustive]
pub enum Step<B> {
    /// A new server, at the end of the order.
    Add(Arc<B>),
    /// Another definition of a server that is there: new tags, a new address, a new weight.
    Define(Arc<B>),
    /// This server is gone.
    Remove(BackendId),
    /// These servers come first, in this order; the others follow in theirs.
    Reorder(Vec<BackendId>),
    /// Another weight in force.
    Weight(BackendId, Weight),
    /// It keeps its rooms and takes no new ones.
    Drain(BackendId),
    /// It takes nothing; its sticks break.
    Maint(BackendId),
    /// It takes new rooms.
    Ready(BackendId),
    /// As if this had been measured: [`Health::Dead`] asks what its end would do.
    Health(BackendId, Health),
    /// As if this had been reported.
    Report(BackendId, Report),
}

impl<B: Backend> fmt::Debug for Step<B> {
    /// Of a definition its id alone: adapters keep secrets there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(d) => f.debug_tuple("Add").field(d.id()).finish(),
            Self::Define(d) => f.debug_tuple("Define").field(d.id()).finish(),
            Self::Remove(id) => f.debug_tuple("Remove").field(id).finish(),
            Self::Reorder(ids) => f.debug_tuple("Reorder").field(ids).finish(),
            Self::Weight(id, weight) => f.debug_tuple("Weight").field(id).field(weight).finish(),
            Self::Drain(id) => f.debug_tuple("Drain").field(id).finish(),
            Self::Maint(id) => f.debug_tuple("Maint").field(id).finish(),
            Self::Ready(id) => f.debug_tuple("Ready").field(id).finish(),
            Self::Health(id, health) => f.debug_tuple("Health").field(id).field(health).finish(),
            Self::Report(id, report) => f.debug_tuple("Report").field(id).field(report).finish(),
        }
    }
}

impl<B> Clone for Step<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Add(d) => Self::Add(d.clone()),
            Self::Define(d) => Self::Define(d.clone()),
            Self::Remove(id) => Self::Remove(id.clone()),
            Self::Reorder(ids) => Self::Reorder(ids.clone()),
            Self::Weight(id, weight) => Self::Weight(id.clone(), *weight),
            Self::Drain(id) => Self::Drain(id.clone()),
            Self::Maint(id) => Self::Maint(id.clone()),
            Self::Ready(id) => Self::Ready(id.clone()),
            Self::Health(id, health) => Self::Health(id.clone(), *health),
            Self::Report(id, report) => Self::Report(id.clone(), report.clone()),
        }
    }
}

impl<B: Backend> Step<B> {
    /// Carries the step out on this pool: what a plan does to its fork. On a live pool nobody else may change the
    /// membership meanwhile, and stick tables are not told: drain there with
    /// [`Balancer::drain`](crate::Balancer::drain).
    ///
    /// # Errors
    ///
    /// [`PoolError`]; nothing is changed then.
    pub fn apply<Q: ?Sized + 'static>(&self, pool: &Pool<B, Q>) -> Result<(), PoolError> {
        let definitions = || pool.members().into_iter().map(|m| m.backend().clone());
        let known = |id: &BackendId| match pool.member(id.as_str()) {
            Some(_) => Ok(()),
            None => Err(PoolError::Unknown { id: id.clone() }),
        };
        match self {
            Self::Add(new) => pool.replace(definitions().chain([new.clone()])),
            Self::Define(new) => {
                known(new.id())?;
                pool.replace(definitions().map(|d| if d.id() == new.id() { new.clone() } else { d }))
            }
            Self::Remove(id) => {
                known(id)?;
                pool.replace(definitions().filter(|d| d.id() != id))
            }
            Self::Reorder(ids) => {
                let mut first = Vec::with_capacity(ids.len());
                let mut named = HashSet::new();
                for id in ids {
                    let m = pool.member(id.as_str()).ok_or_else(|| PoolError::Unknown { id: id.clone() })?;
                    if !named.insert(id) {
                        return Err(PoolError::Duplicate { id: id.clone() });
                    }
                    first.push(m.backend().clone());
                }
                pool.replace(first.into_iter().chain(definitions().filter(|d| !named.contains(d.id()))))
            }
            Self::Weight(id, weight) => pool.set_weight(id, *weight),
            Self::Drain(id) => pool.set_admin(id, Admin::Drain).map(|_| ()),
            Self::Maint(id) => pool.set_admin(id, Admin::Maint).map(|_| ()),
            Self::Ready(id) => pool.set_admin(id, Admin::Ready).map(|_| ()),
            Self::Health(id, health) => pool.declare(id, *health, "by a plan").map(|_| ()),
            Self::Report(id, report) => pool.report(id, report.clone()).map(|_| ()),
        }
    }
}
