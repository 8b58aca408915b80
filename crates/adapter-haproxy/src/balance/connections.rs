//! Connections and queues of a backend.

use std::collections::VecDeque;

use super::farm::Load;
use super::key::Key;
use super::server::ServerSpec;

/// A request that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) ticket: u64,
    pub(crate) key: Key,
}

/// Who is served and who waits.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    served: Vec<u32>,
    /// Requests that a server has besides.
    uncounted: Vec<u32>,
    /// Least and greatest limit, and places in the queue.
    limits: Vec<(u32, u32, u32)>,
    fullconn: u32,
    total: u32,
    /// Requests on the backend, waiting ones included.
    present: u32,
    queues: Vec<VecDeque<Waiting>>,
    backend: VecDeque<Waiting>,
}

impl Connections {
    pub(crate) fn new(servers: &[ServerSpec], fullconn: u32) -> Self {
        let limits = |s: &ServerSpec| {
            let min = if s.minconn == 0 { s.maxconn } else { s.minconn };
            (min, s.maxconn.max(s.minconn), s.maxqueue)
        };
        Self {
            served: vec![0; servers.len()],
            uncounted: vec![0; servers.len()],
            limits: servers.iter().map(limits).collect(),
            fullconn,
            total: 0,
            present: 0,
            queues: vec![VecDeque::new(); servers.len()],
            backend: VecDeque::new(),
        }
    }

    /// A request has come.
    pub(crate) fn arrive(&mut self) {
        self.present = self.present.saturating_add(1);
    }

    /// A request has gone.
    pub(crate) fn leave(&mut self) {
        self.present = self.present.saturating_sub(1);
    }

    /// A server takes a request.
    pub(crate) fn take(&mut self, i: usize) {
        if let Some(n) = self.served.get_mut(i) {
            *n += 1;
            self.total += 1;
        }
    }

    /// A server is done with one.
    pub(crate) fn release(&mut self, i: usize) {
        if let Some(n) = self.served.get_mut(i).filter(|n| **n > 0) {
            *n -= 1;
            self.total -= 1;
        }
    }

    /// A server takes a request without counting it.
    pub(crate) fn take_uncounted(&mut self, i: usize) {
        if let Some(n) = self.uncounted.get_mut(i) {
            *n += 1;
        }
    }

    /// A server is done with one of those.
    pub(crate) fn release_uncounted(&mut self, i: usize) {
        if let Some(n) = self.uncounted.get_mut(i) {
            *n = n.saturating_sub(1);
        }
    }

    /// Whether a server that is done with a request looks for those who wait: below its limit with all it has. One
    /// without a limit never does.
    pub(crate) fn looks_for_more(&self, i: usize) -> bool {
        let all = self.served(i) + self.uncounted.get(i).copied().unwrap_or(0);
        self.limit(i).is_some_and(|limit| all < limit)
    }

    /// A request waits, for this server or for any.
    pub(crate) fn wait(&mut self, server: Option<usize>, who: Waiting) {
        match server.and_then(|i| self.queues.get_mut(i)) {
            Some(queue) => queue.push_back(who),
            None => self.backend.push_back(who),
        }
    }

    /// A request waits no more.
    pub(crate) fn give_up(&mut self, ticket: u64) {
        for queue in self.queues.iter_mut().chain([&mut self.backend]) {
            queue.retain(|w| w.ticket != ticket);
        }
    }

    /// Who is next for a server with a free slot: of its own queue or, if it may, of the backend's; the earlier one.
    pub(crate) fn next(&mut self, i: usize, may_help: bool) -> Option<Waiting> {
        if self.limit(i).is_some_and(|limit| self.served(i) >= limit) {
            return None;
        }
        let own = self.queues.get(i).and_then(|q| q.front()).map(|w| w.ticket);
        let any = self.backend.front().map(|w| w.ticket).filter(|_| may_help);
        match (own, any) {
            (None, Some(_)) => self.backend.pop_front(),
            (Some(own), Some(any)) if any < own => self.backend.pop_front(),
            _ => self.queues.get_mut(i)?.pop_front(),
        }
    }

    /// Who is next of those who wait for any server.
    pub(crate) fn next_of_backend(&mut self) -> Option<Waiting> {
        self.backend.pop_front()
    }

    /// All who wait for a server.
    pub(crate) fn drain(&mut self, i: usize) -> Vec<Waiting> {
        self.queues.get_mut(i).map(std::mem::take).into_iter().flatten().collect()
    }

    /// Whether somebody waits for any server.
    pub(crate) fn backend_waits(&self) -> bool {
        !self.backend.is_empty()
    }

    /// Whether a request for this server must wait.
    pub(crate) fn must_wait(&self, i: usize) -> bool {
        self.is_full(i)
    }

    /// Whether nobody more may wait for this server.
    pub(crate) fn queue_is_full(&self, i: usize) -> bool {
        let max = self.max_queue(i);
        max > 0 && self.queued(i) >= max
    }
}

impl Load for Connections {
    fn served(&self, i: usize) -> u32 {
        self.served.get(i).copied().unwrap_or(0)
    }

    fn queued(&self, i: usize) -> u32 {
        self.queues.get(i).map_or(0, |q| u32::try_from(q.len()).unwrap_or(u32::MAX))
    }

    fn limit(&self, i: usize) -> Option<u32> {
        let (min, max, _) = self.limits.get(i).copied().filter(|(_, max, _)| *max > 0)?;
        let share = u64::from(self.present) * u64::from(max) / u64::from(self.fullconn.max(1));
        Some(if min == max || self.present >= self.fullconn.max(1) {
            max
        } else {
            u32::try_from(share).unwrap_or(u32::MAX).max(min)
        })
    }

    fn max_queue(&self, i: usize) -> u32 {
        self.limits.get(i).map_or(0, |l| l.2)
    }

    fn total(&self) -> u32 {
        self.total
    }
}
