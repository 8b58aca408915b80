//! Orders at run time: states and weights.

use std::sync::Arc;

use super::{Aim, Predictor, Ticket};
use crate::balance::error::ChangeError;
use crate::balance::farm::Group;
use crate::balance::notes::Notes;
use crate::balance::server::ServerState;

impl Predictor {
    fn find(&self, server: &str) -> Result<usize, ChangeError> {
        let found = self.names.iter().position(|name| &**name == server);
        found.ok_or_else(|| ChangeError::NoServer { name: server.to_owned() })
    }

    /// The state of a server; `None` for an unknown name.
    pub fn state(&self, server: &str) -> Option<ServerState> {
        self.find(server).ok().and_then(|i| self.states.get(i).copied())
    }

    /// `set server <name> state`. The answer names the waiting requests that got a server by that. Those that are
    /// refused by it, because nobody is left to wait for, are closed.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoServer`].
    pub fn set_state(&mut self, server: &str, state: ServerState) -> Result<Vec<(Ticket, Arc<str>)>, ChangeError> {
        let i = self.find(server)?;
        let Some(now) = self.states.get_mut(i) else { return Ok(Vec::new()) };
        let before = std::mem::replace(now, state);
        self.engine.set_running(i, state == ServerState::Ready, &self.connections);
        if state == ServerState::Ready {
            // Only leaving maintenance makes a server look for those who wait.
            return Ok(if before == ServerState::Maint { self.grab(i) } else { Vec::new() });
        }
        let mut out = Vec::new();
        let leaves = before != state && (state == ServerState::Maint || before == ServerState::Ready);
        if leaves && self.spec.redispatch && !self.spec.persist {
            // Those who waited here are balanced anew.
            for who in self.connections.drain(i) {
                let stick = self.open.remove(&who.ticket).and_then(|o| o.stick);
                let aim = self.aim(who.key, None, &mut Notes::off());
                let served = match aim {
                    Aim::Chosen(to) if !self.connections.must_wait(to) => self.name(to),
                    _ => None,
                };
                self.admit(who.ticket, who.key, aim, stick, &mut Notes::off());
                if !self.open.contains_key(&who.ticket) {
                    self.connections.leave();
                }
                out.extend(served.map(|name| (Ticket(who.ticket), name)));
            }
        }
        if leaves && self.rules.version.empties_queue() && self.engine.farm.group() == Group::Nobody {
            while let Some(who) = self.connections.next_of_backend() {
                self.open.remove(&who.ticket);
                self.connections.leave();
            }
        }
        Ok(out)
    }

    /// `set weight`: a number from 0 to 256, or a percentage of the configured weight. Those who wait go on waiting.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing has changed then.
    pub fn set_weight(&mut self, server: &str, weight: &str) -> Result<(), ChangeError> {
        let i = self.find(server)?;
        let configured = self.spec.servers.get(i).map_or(0, |s| s.weight);
        let bad = || ChangeError::Weight { text: weight.chars().take(32).collect() };
        let number = |digits: &str| {
            let fits = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            if fits { digits.parse::<u32>().map_err(|_| bad()) } else { Err(bad()) }
        };
        let new = match weight.strip_suffix('%') {
            Some(percent) => (u32::from(configured) * number(percent)?.min(25_600) / 100).min(256),
            None => number(weight).and_then(|n| if n <= 256 { Ok(n) } else { Err(bad()) })?,
        };
        if self.rules.refuses_weights() && new != 0 && new != u32::from(configured) {
            return Err(ChangeError::Static { configured });
        }
        self.engine.set_weight(i, new * 16, &self.connections);
        Ok(())
    }
}
