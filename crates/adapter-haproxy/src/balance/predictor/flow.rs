//! Slots and queues: who is let in, served, and released.

use std::sync::Arc;

use super::{Aim, Open, Predictor, Ticket};
use crate::balance::connections::Waiting;
use crate::balance::error::ChangeError;
use crate::balance::farm::{Group, Load};
use crate::balance::key::Key;
use crate::balance::notes::Notes;
use crate::balance::prediction::Outcome;

impl Predictor {
    /// Gives a request a slot or a place in a queue.
    pub(super) fn admit(
        &mut self,
        ticket: u64,
        key: Key,
        aim: Aim,
        stick: Option<Vec<u8>>,
        notes: &mut Notes,
    ) -> Outcome {
        let mut aim = aim;
        if let Aim::Direct(i) = aim
            && self.connections.must_wait(i)
            && self.connections.queue_is_full(i)
            && self.spec.redispatch
        {
            notes.say_of(i, || "has a full queue, so the request is balanced anew".into());
            aim = self.aim(key, Some(i), notes);
        }
        let (server, outcome) = match aim {
            Aim::Direct(i) | Aim::Chosen(i) if self.connections.must_wait(i) => {
                if self.connections.queue_is_full(i) {
                    notes.say_of(i, || "has a full queue".into());
                    return Outcome::Unavailable;
                }
                notes.say_of(i, || "is at its limit: the request waits there".into());
                self.connections.wait(Some(i), Waiting { ticket, key });
                (None, Outcome::Queued(self.name(i)))
            }
            Aim::Direct(i) | Aim::Chosen(i) => {
                let Some(name) = self.name(i) else { return Outcome::Unavailable };
                (Some(i), Outcome::Server(name))
            }
            Aim::Anybody => {
                notes.say(|| "all servers are full: the request waits for any".into());
                self.connections.wait(None, Waiting { ticket, key });
                (None, Outcome::Queued(None))
            }
            Aim::Nobody => {
                notes.say(|| "no server is usable".into());
                return Outcome::Unavailable;
            }
        };
        self.open.insert(ticket, Open { server: None, counts: false, stick });
        if let Some(i) = server {
            self.serve(ticket, i);
        }
        outcome
    }

    /// A server takes an open request.
    pub(super) fn serve(&mut self, ticket: u64, i: usize) {
        self.connections.take(i);
        self.engine.touched(i, &self.connections);
        if let Some(open) = self.open.get_mut(&ticket) {
            (open.server, open.counts) = (Some(i), true);
        }
    }

    /// A server back from maintenance takes those who wait for any server. Earlier releases of HAProxy do not count them
    /// among its connections, so it will take more than its limit.
    pub(super) fn grab(&mut self, i: usize) -> Vec<(Ticket, Arc<str>)> {
        if self.rules.version.counts_grabbed() {
            let limited = self.connections.limit(i).is_some();
            return if limited { self.dequeue(i) } else { Vec::new() };
        }
        let mut out = Vec::new();
        if !self.may_help(i) {
            return out;
        }
        let free = self.connections.limit(i).map(|limit| limit.saturating_sub(self.connections.served(i)) as usize);
        while free.is_none_or(|free| out.len() < free)
            && let Some(who) = self.connections.next_of_backend()
        {
            if let Some(open) = self.open.get_mut(&who.ticket) {
                open.server = Some(i);
                self.connections.take_uncounted(i);
            }
            out.extend(self.name(i).map(|name| (Ticket(who.ticket), name)));
        }
        out
    }

    /// Whether a server may take those who wait for any.
    fn may_help(&self, i: usize) -> bool {
        match self.engine.farm.group() {
            Group::Active => self.engine.farm.usable(false).any(|(u, _)| u == i),
            Group::Backups => self.engine.farm.usable(true).any(|(u, _)| u == i),
            Group::First(only) => only == i,
            Group::Nobody => false,
        }
    }

    /// The server of an open request has begun its answer, which makes the stick table learn; the connection stays, as
    /// with WebSocket. [`close`](Self::close) implies it.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoTicket`].
    pub fn answer(&mut self, ticket: Ticket) -> Result<(), ChangeError> {
        let open = self.open.get_mut(&ticket.0).ok_or(ChangeError::NoTicket { ticket: ticket.0 })?;
        let Some(i) = open.server else { return Ok(()) };
        let sticks = self.spec.servers.get(i).is_some_and(|s| !s.non_stick);
        if let (Some(key), Some(table), true) = (open.stick.take(), &mut self.table, sticks) {
            table.store(key, i, self.now);
        }
        Ok(())
    }

    /// Ends an open request, served or waiting. The answer names the waiting ones that got a server by that.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoTicket`].
    pub fn close(&mut self, ticket: Ticket) -> Result<Vec<(Ticket, Arc<str>)>, ChangeError> {
        if !self.open.contains_key(&ticket.0) {
            return Err(ChangeError::NoTicket { ticket: ticket.0 });
        }
        Ok(self.finish(ticket))
    }

    pub(super) fn finish(&mut self, ticket: Ticket) -> Vec<(Ticket, Arc<str>)> {
        // One that is not open has nothing to be remembered.
        let _ = self.answer(ticket);
        let Some(open) = self.open.remove(&ticket.0) else { return Vec::new() };
        self.connections.leave();
        match open.server {
            Some(i) => {
                if open.counts {
                    self.connections.release(i);
                } else {
                    self.connections.release_uncounted(i);
                }
                self.engine.touched(i, &self.connections);
                if self.connections.looks_for_more(i) { self.dequeue(i) } else { Vec::new() }
            }
            None => {
                self.connections.give_up(ticket.0);
                Vec::new()
            }
        }
    }

    /// Gives a server's free slots to those who wait.
    pub(super) fn dequeue(&mut self, i: usize) -> Vec<(Ticket, Arc<str>)> {
        let mut out = Vec::new();
        let may_help = self.may_help(i);
        while let Some(who) = self.connections.next(i, may_help) {
            self.serve(who.ticket, i);
            out.extend(self.name(i).map(|name| (Ticket(who.ticket), name)));
        }
        out
    }
}
