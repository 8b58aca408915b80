//! The core's pool as an agent of its servers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balancer_core::{Admin, Backend, BackendId, Health, Pool};
use tokio::time::Instant;

#[cfg(test)]
mod tests;

use super::io::AgentSource;
use super::{AgentHealth, AgentOrders, AgentReply, Order, ReadyRule};

/// The most pairs of HAProxy and server whose orders are remembered.
const MAX_ORDERS: usize = 1 << 16;

/// The most connections of a server.
type Limit<B> = dyn Fn(&B) -> Option<u32> + Send + Sync;

/// The weight of a server in HAProxy's configuration.
type Configured<B> = dyn Fn(&B) -> Option<u16> + Send + Sync;

/// How a pool speaks of its servers.
pub struct PoolAgentOptions<B> {
    rule: ReadyRule,
    room: u64,
    least_percent: u16,
    health: bool,
    fresh: Duration,
    limit: Option<Box<Limit<B>>>,
    configured: Option<Box<Configured<B>>>,
}

impl<B> fmt::Debug for PoolAgentOptions<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, room, least_percent, health, fresh, .. } = self;
        let mut shown = f.debug_struct("PoolAgentOptions");
        shown.field("rule", rule).field("room", room).field("least_percent", least_percent);
        shown.field("health", health).field("fresh", fresh).finish_non_exhaustive()
    }
}

/// The operator's orders stay; a load of 10 counts as nearly none; no weight below 1 %; health is HAProxy's own matter.
impl<B> Default for PoolAgentOptions<B> {
    fn default() -> Self {
        let (rule, fresh) = (ReadyRule::KeepOperator, Duration::from_millis(100));
        Self { rule, room: 10, least_percent: 1, health: false, fresh, limit: None, configured: None }
    }
}

impl<B> PoolAgentOptions<B> {
    /// What `ready` may lift; default what the agent itself ordered.
    #[must_use]
    pub fn with_ready_rule(mut self, rule: ReadyRule) -> Self {
        self.rule = rule;
        self
    }

    /// The load that makes no difference, in the pool's unit, at least 1; default 10. The weight is 100 % × (least + it) /
    /// (own + it), loads being divided by weights: with the least at 0, a server that carries as much as this has half
    /// its weight.
    #[must_use]
    pub fn with_slack(mut self, load: u64) -> Self {
        self.room = load.max(1);
        self
    }

    /// The smallest weight of a server that takes work, in percent, from 1 to 100; default 1. It is a percentage of the
    /// configured weight: with less than 100 configured HAProxy may still round to 0, which ends new work. So give servers a
    /// weight of 100, or tell it here ([`with_configured`](Self::with_configured)).
    #[must_use]
    pub fn with_least_percent(mut self, percent: u16) -> Self {
        self.least_percent = percent.clamp(1, 100);
        self
    }

    /// The weight of a server in HAProxy's configuration, where that is known: no percentage is said that rounds to 0
    /// ([`AgentReply::with_some_weight`]). Small weights are coarse: one of 1 has nothing between 100 % and none, one of 4
    /// has steps of 25 %.
    #[must_use]
    pub fn with_configured(mut self, weight: impl Fn(&B) -> Option<u16> + Send + Sync + 'static) -> Self {
        self.configured = Some(Box::new(weight));
        self
    }

    /// Whether a server that is down here is told to be down; default no. Leave it so where the pool learns health from
    /// this very HAProxy: each would wait for the other to say up.
    #[must_use]
    pub fn with_health(mut self, health: bool) -> Self {
        self.health = health;
        self
    }

    /// How old figures may be; default 100 ms. All servers are looked at once in this time, however often it is asked.
    #[must_use]
    pub fn with_fresh(mut self, fresh: Duration) -> Self {
        self.fresh = fresh;
        self
    }

    /// The most connections of a server (`maxconn`); 0 is no limit, and with `None` HAProxy's own stays.
    #[must_use]
    pub fn with_limit(mut self, limit: impl Fn(&B) -> Option<u32> + Send + Sync + 'static) -> Self {
        self.limit = Some(Box::new(limit));
        self
    }
}

/// What is known of a server.
#[derive(Clone, Copy, Debug)]
struct Figures {
    admin: Admin,
    health: Health,
    percent: u16,
    limit: Option<u32>,
    configured: Option<u16>,
}

#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    servers: HashMap<BackendId, Figures>,
}

/// Speaks for the servers of a pool: weight by load, drain and maintenance as ordered there, the most connections.
///
/// `ready` is said once, when an order that this agent gave is lifted. What the operator ordered at HAProxy itself is
/// left alone as long as the agent has no order of its own in force there; where it has, tell it
/// ([`set_operator`](Self::set_operator)), since HAProxy keeps no account of who ordered what.
pub struct PoolAgent<B: Backend, Q: ?Sized = ()> {
    pool: Arc<Pool<B, Q>>,
    options: PoolAgentOptions<B>,
    seen: Mutex<Seen>,
    orders: Mutex<HashMap<(String, String), AgentOrders>>,
}

impl<B: Backend, Q: ?Sized> fmt::Debug for PoolAgent<B, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolAgent").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<B: Backend, Q: ?Sized + 'static> PoolAgent<B, Q> {
    /// Speaks for this pool.
    pub fn new(pool: Arc<Pool<B, Q>>, options: PoolAgentOptions<B>) -> Self {
        Self { pool, options, seen: Mutex::default(), orders: Mutex::default() }
    }

    /// The operator ordered this of a server at a HAProxy, or lifted it. Name the HAProxy as it names itself, or by its
    /// address.
    pub fn set_operator(&self, server: &str, asker: &str, order: Option<Order>) {
        self.with_orders(server, asker, |orders| orders.set_operator(order));
    }

    fn with_orders<T>(&self, server: &str, asker: &str, then: impl FnOnce(&mut AgentOrders) -> T) -> T {
        let nothing = AgentOrders::new(self.options.rule);
        let mut all = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (asker.to_owned(), server.to_owned());
        let mut orders = all.get(&key).copied().unwrap_or(nothing);
        let told = then(&mut orders);
        if orders == nothing {
            // Askers choose their names: who is under no order takes no place.
            all.remove(&key);
        } else if all.len() < MAX_ORDERS || all.contains_key(&key) {
            all.insert(key, orders);
        }
        // Else it is not remembered: its orders are given, and lifted by somebody else.
        told
    }

    fn figures(&self, server: &str) -> Option<Figures> {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.is_none_or(|at| now.saturating_duration_since(at) >= self.options.fresh) {
            seen.servers = self.look(now);
            seen.at = Some(now);
        }
        seen.servers.get(server).copied()
    }

    fn look(&self, now: Instant) -> HashMap<BackendId, Figures> {
        let view = self.pool.view(now);
        let load = |expected: u64, sixteenths: u16| u128::from(expected) * 256 / u128::from(sixteenths.max(1));
        let open = view.iter().filter(|server| server.open);
        let least = open.map(|server| load(server.expected, server.weight.sixteenths())).min().unwrap_or(0);
        // The slack is of a server of weight 1.
        let slack = u128::from(self.options.room) * 16;
        let figures = view.iter().map(|server| {
            let own = load(server.expected, server.weight.sixteenths());
            let percent = (100 * (least + slack) / (own + slack)).min(100);
            let percent = u16::try_from(percent).unwrap_or(100).max(self.options.least_percent);
            let figures = Figures {
                admin: server.admin,
                health: server.health,
                percent: if server.weight.is_zero() { 0 } else { percent },
                limit: self.options.limit.as_ref().and_then(|limit| limit(&server.backend)),
                configured: self.options.configured.as_ref().and_then(|weight| weight(&server.backend)),
            };
            (server.backend.id().clone(), figures)
        });
        figures.collect()
    }
}

impl<B: Backend, Q: ?Sized + Send + Sync + 'static> AgentSource for PoolAgent<B, Q> {
    fn reply(&self, server: &str, asker: &str) -> Option<AgentReply> {
        let figures = self.figures(server)?;
        let wanted = match figures.admin {
            Admin::Ready => None,
            Admin::Drain => Some(Order::Drain),
            Admin::Maint => Some(Order::Maint),
        };
        let word = self.with_orders(server, asker, |orders| orders.word(wanted));
        let mut reply = AgentReply::new().with_admin(word).with_percent(figures.percent);
        reply = match figures.health {
            Health::Down | Health::Dead if self.options.health => {
                reply.with_health(AgentHealth::Down).with_reason(&figures.health.to_string())
            }
            _ => reply.with_health(AgentHealth::Up),
        };
        if let Some(configured) = figures.configured {
            reply = reply.with_some_weight(configured);
        }
        Some(match figures.limit {
            Some(limit) => reply.with_limit(limit),
            None => reply,
        })
    }

    fn told(&self, server: &str, asker: &str, reply: &AgentReply) {
        self.with_orders(server, asker, |orders| orders.sent(reply.admin()));
    }
}
