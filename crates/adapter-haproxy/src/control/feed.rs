//! Pools that have the servers as HAProxy has them: for balancers and agents beside a controller.

use std::sync::Arc;
use std::time::Duration;

use balancer_core::{Admin, BackendId, Health, Pool, Report, Weight};

use super::cycle::{Control, ControlledServer};
use super::judge::Verdict;
use super::state::State;
use super::status::Order;
use super::view::{Look, Standing};
use crate::runtime::ServerName;

/// So long after an answer HAProxy may write the room into its table.
const WRITTEN: Duration = Duration::from_millis(20);

/// What a pool is told of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fed {
    /// For whoever places rooms: the weight in force, and a drain wherever no new room may go. A server that is down keeps
    /// its rooms there: the controller alone moves them.
    Placing,
    /// For an agent that HAProxy asks: the configured weight, and a drain where it was ordered here. What HAProxy makes of
    /// the agent's answers never comes back to it.
    Ordered,
}

/// A server for a pool.
struct Figures {
    server: ControlledServer,
    weight: Weight,
    admin: Admin,
    health: Health,
    rooms: u64,
    sessions: u64,
}

impl Control {
    /// Keeps this pool as HAProxy has its servers, from each look at them on: who is there, their weights, drains and
    /// health, and how many rooms and sessions each has ([`Report`]: rooms, and sessions as users). While no HAProxy answers the pool stays as it
    /// is.
    #[must_use]
    pub fn with_pool(mut self, pool: Arc<Pool<ControlledServer>>, fed: Fed) -> Self {
        self.feeds.push((pool, fed));
        self
    }

    /// Tells the pools what was seen.
    pub(super) fn feed(&self) {
        // Rooms are known as of when the tables were read; what was placed later is not among them.
        let learned = self.inner.state().learned.and_then(|read| read.checked_sub(WRITTEN));
        for (pool, fed) in &self.feeds {
            let figures = self.inner.state().figures(*fed);
            if figures.is_empty() {
                continue;
            }
            let known = pool.members();
            let same = known.len() == figures.len()
                && known.iter().zip(&figures).all(|(member, figures)| **member.backend() == figures.server);
            if !same {
                // Names are unique in a look.
                let _ = pool.replace(figures.iter().map(|figures| Arc::new(figures.server.clone())));
            }
            for Figures { server, weight, admin, health, rooms, sessions } in figures {
                let id = server.id;
                // A server that left meanwhile needs none of it.
                let _ = pool.set_weight(&id, weight);
                let _ = pool.set_admin(&id, admin);
                let _ = pool.declare(&id, health, "as HAProxy sees it");
                if let Some(began) = learned {
                    let _ = pool.report(&id, Report::new(began).with_rooms(rooms).with_users(sessions));
                }
            }
        }
    }

    /// What is in force for a server in a process, whoever ordered it, as of the last look and what was ordered since;
    /// the outer `None` for a process or server that is not known.
    pub fn in_force(&self, process: &str, server: &str) -> Option<Option<Order>> {
        let state = self.inner.state();
        let look = state.processes.iter().find(|watched| watched.name == process)?.look.as_ref()?;
        let seen = look.servers.get(server)?;
        let name = ServerName::new(&self.inner.options.backend, server).ok()?;
        let (maint, drain) = look.ordered.get(&name).copied().unwrap_or_default();
        Some(if maint || seen.standing == Standing::Maint {
            Some(Order::Maint)
        } else {
            (drain || seen.draining).then_some(Order::Drain)
        })
    }

    /// The weight configured for a server in a process; for a process that is not known the least there is of it, 0 aside.
    /// `None` for a server that is not known.
    pub fn configured_weight(&self, process: &str, server: &str) -> Option<u32> {
        let state = self.inner.state();
        let weight = |look: &Look| look.servers.get(server).map(|seen| seen.initial_weight);
        match state.processes.iter().find(|watched| watched.name == process) {
            Some(watched) => watched.look.as_ref().and_then(weight),
            None => state.looks().filter_map(weight).min_by_key(|weight| (*weight == 0, *weight)),
        }
    }

    /// The servers there are, with the `id` each has in HAProxy.
    pub fn numbers(&self) -> Vec<(String, u32)> {
        let state = self.inner.state();
        let look = state.looks().next();
        look.into_iter().flat_map(|look| &look.servers).map(|(name, seen)| (name.to_string(), seen.id)).collect()
    }

    /// Says whether a server can have rooms, as of the last look: nobody has found it down or out. One that is not known
    /// can. It keeps no controller alive.
    pub fn serving(&self) -> impl Fn(&str) -> bool + Send + Sync + use<> {
        let inner = Arc::downgrade(&self.inner);
        move |server| {
            let Some(inner) = inner.upgrade() else { return true };
            let state = inner.state();
            let life = state.servers.get(server);
            life.is_none_or(|life| !life.dead && !matches!(life.verdict, Verdict::Down | Verdict::Out))
        }
    }
}

impl State {
    fn figures(&self, fed: Fed) -> Vec<Figures> {
        let counts = self.book.counts();
        let Some(look) = self.looks().next() else { return Vec::new() };
        let figures = look.servers.iter().filter_map(|(name, seen)| {
            let id = BackendId::new(name.clone());
            let weight = match fed {
                Fed::Placing => seen.weight,
                Fed::Ordered => seen.initial_weight,
            };
            let weight = Weight::new(u16::try_from(weight).unwrap_or(u16::MAX));
            let drains = match fed {
                Fed::Placing => !self.takes_rooms(name),
                // The rooms of one that goes into maintenance move first.
                Fed::Ordered => matches!(self.orders.get(name), Some(Order::Drain | Order::Maint)),
            };
            let down = matches!(self.servers.get(name).map(|life| life.verdict), Some(Verdict::Down | Verdict::Out));
            Some(Figures {
                server: ControlledServer { id, address: seen.address?, number: seen.id },
                weight,
                admin: if drains { Admin::Drain } else { Admin::Ready },
                health: if down { Health::Down } else { Health::Up },
                rooms: counts.get(&**name).copied().unwrap_or(0),
                sessions: self.sessions(name),
            })
        });
        figures.collect()
    }
}
