//! The port of agent checks: one for the servers of all backends.

use std::sync::Arc;

use adapter_haproxy::control::{self, Control, ControlledServer};
use adapter_haproxy::{AgentReply, AgentSource, Order, PoolAgent};

use super::part::Part;

/// Speaks for the servers of these backends.
///
/// A HAProxy that says its name (`agent-send "mm1 lb1\n"`) is told weights, and a drain until it is in force; what is
/// in force there, by whoever's order, is left alone. One that does not is told weights only, since nobody knows what is ordered there.
pub(super) struct Agents(Vec<Speaker>);

struct Speaker {
    backend: String,
    control: Control,
    agent: Arc<PoolAgent<ControlledServer>>,
}

impl Agents {
    /// Of these, as far as they have agents.
    pub(super) fn new(parts: &[Part]) -> Self {
        let speakers = parts.iter().filter_map(|part| {
            Some(Speaker { backend: part.name.clone(), control: part.control.clone(), agent: part.agent.clone()? })
        });
        Self(speakers.collect())
    }

    /// Who speaks for `SERVER`, or for `BACKEND/SERVER`, which tells servers of one name apart.
    fn of<'n>(&self, name: &'n str) -> Option<(&Speaker, &'n str)> {
        match name.split_once('/') {
            Some((backend, server)) => Some((self.0.iter().find(|one| one.backend == backend)?, server)),
            None if self.0.len() == 1 => Some((self.0.first()?, name)),
            None => {
                let mut knowing = self.0.iter().filter(|one| one.agent.reply(name, "").is_some());
                let first = knowing.next()?;
                knowing.next().is_none().then_some((first, name))
            }
        }
    }
}

impl AgentSource for Agents {
    fn reply(&self, server: &str, asker: &str) -> Option<AgentReply> {
        let (speaker, server) = self.of(server)?;
        let Some(in_force) = speaker.control.in_force(asker, server) else {
            return Some(speaker.agent.reply(server, asker)?.with_admin(None));
        };
        // By whomever: what the controller has ordered it ends itself, at the runtime API.
        let in_force = in_force.map(|order| match order {
            control::Order::Maint => Order::Maint,
            _ => Order::Drain,
        });
        speaker.agent.set_operator(server, asker, in_force);
        speaker.agent.reply(server, asker)
    }

    fn told(&self, server: &str, asker: &str, reply: &AgentReply) {
        if let Some((speaker, server)) = self.of(server) {
            speaker.agent.told(server, asker, reply);
        }
    }
}
