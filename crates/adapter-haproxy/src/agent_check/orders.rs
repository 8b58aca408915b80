//! Who ordered what, and which word leaves the operator's order alone.

use super::AgentAdmin;

/// An order that holds until it is lifted; the later one is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Keep what is stuck, take nothing new.
    Drain,
    /// Take nothing.
    Maint,
}

/// What `ready` may lift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadyRule {
    /// Only what the agent itself ordered.
    #[default]
    KeepOperator,
    /// Whatever was ordered, as HAProxy does it.
    LiftAll,
}

/// The orders in force for one server at one HAProxy, by who gave them.
///
/// HAProxy keeps one order per server and forgets who gave it: `ready` of an agent lifts an operator's maintenance
/// within one interval, and so does `drain`. Tell this what the operator ordered, and speak the [word](Self::word) it
/// gives.
///
/// ```
/// use adapter_haproxy::{AgentAdmin, AgentOrders, Order, ReadyRule};
///
/// let mut orders = AgentOrders::new(ReadyRule::KeepOperator);
/// assert_eq!(orders.word(Some(Order::Drain)), Some(AgentAdmin::Drain));
/// orders.sent(Some(AgentAdmin::Drain));
/// assert_eq!(orders.word(None), Some(AgentAdmin::Ready)); // its own drain is over
/// orders.set_operator(Some(Order::Maint));
/// assert_eq!(orders.word(None), None); // silence, until the operator is done
/// assert_eq!(orders.word(Some(Order::Drain)), None); // `drain` would end the maintenance
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentOrders {
    agent: Option<Order>,
    operator: Option<Order>,
    rule: ReadyRule,
}

impl AgentOrders {
    /// Nothing ordered.
    pub fn new(rule: ReadyRule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// The operator orders this, or lifts it.
    pub fn set_operator(&mut self, order: Option<Order>) {
        self.operator = order;
    }

    /// What the operator ordered.
    pub fn operator(&self) -> Option<Order> {
        self.operator
    }

    /// What the agent ordered and has not lifted.
    pub fn agent(&self) -> Option<Order> {
        self.agent
    }

    /// What holds for the server: the stronger of the two.
    pub fn in_force(&self) -> Option<Order> {
        self.agent.max(self.operator)
    }

    /// The word an agent should say that wants this, `None` being an ordinary server. `None` says nothing: what is in
    /// force is the operator's, or as wanted.
    pub fn word(&self, wanted: Option<Order>) -> Option<AgentAdmin> {
        let kept = match self.rule {
            ReadyRule::KeepOperator => self.operator,
            ReadyRule::LiftAll => None,
        };
        match wanted.max(kept) {
            // The agent never ordered anything: there is nothing of its own to lift.
            None if self.agent.is_none() && self.rule == ReadyRule::KeepOperator => None,
            None => Some(AgentAdmin::Ready),
            // The operator's maintenance has taken the place of whatever was there.
            Some(Order::Maint) if kept == Some(Order::Maint) => None,
            Some(Order::Maint) => Some(AgentAdmin::Maint),
            // The operator's drain is in force unless the agent's maintenance took its place.
            Some(Order::Drain) if kept == Some(Order::Drain) && self.agent != Some(Order::Maint) => None,
            Some(Order::Drain) => Some(AgentAdmin::Drain),
        }
    }

    /// Notes that a line with this word has gone out whole.
    pub fn sent(&mut self, word: Option<AgentAdmin>) {
        self.hear(word);
    }

    /// Takes a word from an agent: for whoever reads agents in HAProxy's place.
    pub fn hear(&mut self, word: Option<AgentAdmin>) {
        let order = match word {
            None => return,
            Some(AgentAdmin::Ready) => None,
            Some(AgentAdmin::Drain) => Some(Order::Drain),
            Some(AgentAdmin::Maint) => Some(Order::Maint),
        };
        self.agent = order;
        if self.rule == ReadyRule::LiftAll && order != Some(Order::Maint) {
            self.operator = None;
        }
    }
}
