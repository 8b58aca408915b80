//! The port of agent checks: one for the servers of all backends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use adapter_haproxy::control::{self, Control, ControlledServer};
use adapter_haproxy::{AgentReply, AgentSource, Order, PoolAgent};
use console::printable;

use super::part::Part;

/// The weight of a server from which on percents of it mean something.
const SCALABLE: u16 = 10;

/// How many names that are no servers are warned of.
const STRANGE: usize = 32;

/// Speaks for the servers of these backends.
///
/// A HAProxy that says its name (`agent-send "mm1 lb1\n"`) is told weights, and a drain until it is in force; what is
/// in force there, by whoever's order, is left alone. One that does not is told weights only, since nobody knows what is
/// ordered there. No weight is said that HAProxy would round to 0.
pub(super) struct Agents {
    speakers: Vec<Speaker>,
    /// Servers, by process, whose weight is too small: they were warned of.
    coarse: Mutex<BTreeSet<(String, String)>>,
    /// Names, and who asked about them, that are no servers: they were warned of.
    strange: Mutex<BTreeSet<(String, String)>>,
}

struct Speaker {
    backend: String,
    control: Control,
    agent: Arc<PoolAgent<ControlledServer>>,
}

impl Speaker {
    fn reply(&self, server: &str, asker: &str) -> Option<AgentReply> {
        let reply = self.agent.reply(server, asker)?;
        Some(match self.configured(server, asker) {
            Some(weight) => reply.with_some_weight(weight),
            None => reply,
        })
    }

    fn configured(&self, server: &str, asker: &str) -> Option<u16> {
        u16::try_from(self.control.configured_weight(asker, server)?).ok()
    }
}

impl Agents {
    /// Of these, as far as they have agents.
    pub(super) fn new(parts: &[Part]) -> Self {
        let speakers = parts.iter().filter_map(|part| {
            Some(Speaker { backend: part.name.clone(), control: part.control.clone(), agent: part.agent.clone()? })
        });
        Self { speakers: speakers.collect(), coarse: Mutex::default(), strange: Mutex::default() }
    }

    /// Says once of each server that its weight is too small.
    fn warn(&self, speaker: &Speaker, server: &str, asker: &str) {
        let Some(weight) = speaker.configured(server, asker).filter(|weight| (1..SCALABLE).contains(weight)) else {
            return;
        };
        let one = (format!("{}/{server}", speaker.backend), asker.to_owned());
        if self.coarse.lock().unwrap_or_else(PoisonError::into_inner).insert(one) {
            tracing::warn!(
                "server {}/{} has a weight of {weight} in {}, which an agent check changes in steps of {} %: multiply the \
                 weights of all servers of the backend by the same number, 100 in place of 1",
                printable(&speaker.backend),
                printable(server),
                printable(asker),
                100_u16.div_ceil(weight)
            );
        }
    }

    /// What is said of a server, if it is one.
    fn said(&self, server: &str, asker: &str) -> Option<AgentReply> {
        let (speaker, server) = self.of(server)?;
        let Some(in_force) = speaker.control.in_force(asker, server) else {
            return Some(speaker.reply(server, asker)?.with_admin(None));
        };
        self.warn(speaker, server, asker);
        // By whomever: what the controller has ordered it ends itself, at the runtime API.
        let in_force = in_force.map(|order| match order {
            control::Order::Maint => Order::Maint,
            _ => Order::Drain,
        });
        speaker.agent.set_operator(server, asker, in_force);
        speaker.reply(server, asker)
    }

    /// Says once of each name that it is no server's; at first nobody knows any.
    fn wonder(&self, name: &str, asker: &str) {
        if self.speakers.iter().any(|one| one.control.numbers().is_empty()) {
            return;
        }
        let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        if strange.len() < STRANGE && strange.insert((name.to_owned(), asker.to_owned())) {
            tracing::warn!(
                "{} asks about {:?}, which is no server here, or one of several backends: write agent-send \"SERVER {}\\n\", \
                 or \"BACKEND/SERVER {}\\n\"",
                printable(asker),
                printable(name),
                printable(asker),
                printable(asker)
            );
        }
    }

    /// Who speaks for `SERVER`, or for `BACKEND/SERVER`, which tells servers of one name apart.
    fn of<'n>(&self, name: &'n str) -> Option<(&Speaker, &'n str)> {
        match name.split_once('/') {
            Some((backend, server)) => Some((self.speakers.iter().find(|one| one.backend == backend)?, server)),
            None if self.speakers.len() == 1 => Some((self.speakers.first()?, name)),
            None => {
                let mut knowing = self.speakers.iter().filter(|one| one.agent.reply(name, "").is_some());
                let first = knowing.next()?;
                knowing.next().is_none().then_some((first, name))
            }
        }
    }
}

impl AgentSource for Agents {
    fn reply(&self, server: &str, asker: &str) -> Option<AgentReply> {
        let reply = self.said(server, asker);
        if reply.is_none() {
            self.wonder(server, asker);
        }
        reply
    }

    fn told(&self, server: &str, asker: &str, reply: &AgentReply) {
        if let Some((speaker, server)) = self.of(server) {
            speaker.agent.told(server, asker, reply);
        }
    }
}
