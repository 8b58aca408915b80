//! This process's share of the polls: the leases it holds, and what others found.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use balancer_core::{BackendId, Health, Report, StickError};
use tokio::time::{Duration, Instant};

use super::share::{Beat, Duty, Members};
use super::{Cluster, PROCESS_TTL, lock};
use crate::server::milli;
use crate::store::{Fence, Peer, Registry, ServerRecord, SharedPoll};

/// How far the clock of stamps may be off between the beginning of a poll and its reading. A poll that seemed younger
/// than it is would pass for one that has seen what was placed meanwhile.
const UNSURE: Duration = Duration::from_millis(50);

/// What this process has to do, and holds.
#[derive(Debug)]
pub(super) struct Share {
    members: Members,
    duties: HashMap<BackendId, Duty>,
    fences: HashMap<BackendId, Fence>,
    /// The lease that the last poll of each server began under.
    begun: HashMap<BackendId, Option<Fence>>,
    /// The number of the last poll that was seen of each server.
    seen: HashMap<BackendId, u64>,
}

/// An order to poll everything is under way.
pub(super) struct PollingAll<'a>(&'a AtomicU32);

impl<'a> PollingAll<'a> {
    pub(super) fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for PollingAll<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Share {
    pub(super) fn new(me: u64) -> Self {
        let members = Members::of(me, &[], Duration::ZERO);
        Self { members, duties: HashMap::new(), fences: HashMap::new(), begun: HashMap::new(), seen: HashMap::new() }
    }
}

impl Cluster {
    pub(super) fn beat(&self) -> Beat {
        Beat::of(self.options.poll_interval)
    }

    /// Whether the schedule of this process polls a server.
    pub(super) fn polls(&self, id: &BackendId) -> bool {
        if !self.store.is_shared() {
            return true;
        }
        let share = lock(&self.share);
        match share.duties.get(id) {
            Some(Duty::Poll) => share.fences.contains_key(id),
            Some(Duty::Opinion) => true,
            Some(Duty::None) | None => false,
        }
    }

    /// Whether a server is this process's own.
    pub(super) fn owns(&self, id: &BackendId) -> bool {
        !self.store.is_shared() || lock(&self.share).duties.get(id) == Some(&Duty::Poll)
    }

    /// Whether it is for this process to look for leftovers in the store.
    pub(super) fn is_tidy_duty(&self) -> bool {
        lock(&self.share).members.duty("leftovers", &SharedPoll::default(), true, false) == Duty::Poll
    }

    /// How many servers the schedule of this process polls.
    pub(crate) fn poll_share(&self) -> usize {
        self.records().iter().filter(|r| self.polls(&r.id)).count()
    }

    /// A poll begins: what it finds counts under the lease of now.
    pub(super) fn begin_poll(&self, id: &BackendId) -> Option<Fence> {
        let mut share = lock(&self.share);
        let fence = share.fences.get(id).copied();
        share.begun.insert(id.clone(), fence);
        fence
    }

    /// The lease under which the last poll began.
    pub(super) fn begun(&self, id: &BackendId) -> Option<Fence> {
        lock(&self.share).begun.get(id).copied().flatten()
    }

    /// Speaks up, hears who else is live, reads the servers, and sees to the leases. `false` when another process still
    /// holds one that is this one's by now.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; what this process had to do stays.
    pub(super) async fn take_share(&self) -> Result<bool, StickError> {
        let peers: Vec<Peer> = self.store.announce(self.process, PROCESS_TTL).await?;
        let count = u32::try_from(peers.len()).unwrap_or(u32::MAX).max(1);
        self.processes.store(count, Relaxed);
        self.pool.set_processes(count);
        lock(&self.share).members = Members::of(self.process, &peers, self.beat().silence);
        self.sync().await?;
        if self.store.is_shared() { self.see_to_leases().await } else { Ok(true) }
    }

    async fn see_to_leases(&self) -> Result<bool, StickError> {
        let (wanted, release) = {
            let share = lock(&self.share);
            let of = |duty: Duty| share.duties.iter().filter(move |(_, d)| **d == duty).map(|(id, _)| id.clone());
            let wanted: Vec<BackendId> = of(Duty::Poll).collect();
            let kept = |id: &&BackendId| share.duties.get(*id) != Some(&Duty::Poll);
            (wanted, share.fences.keys().filter(kept).cloned().collect::<Vec<_>>())
        };
        // What poll_now holds is given back by itself.
        let release = if self.polling_now.load(Relaxed) > 0 { Vec::new() } else { release };
        let fences = self.store.take_leases(self.process, &wanted, &release, self.beat().silence, false).await?;
        let all = fences.iter().all(Option::is_some);
        {
            let mut share = lock(&self.share);
            for id in &release {
                share.fences.remove(id);
            }
            for (id, fence) in wanted.into_iter().zip(fences) {
                match fence {
                    Some(fence) => share.fences.insert(id, fence),
                    None => share.fences.remove(&id),
                };
            }
        }
        if self.polling_now.load(Relaxed) == 0 {
            // What others poll from here on tells nothing any more.
            lock(&self.lists).retain(|id, _| self.polls(id));
        }
        Ok(all)
    }

    /// Takes the leases of all servers, whoever holds them: an operator wants every server polled now.
    pub(super) async fn take_all_leases(&self) -> Result<(), StickError> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let all: Vec<BackendId> = self.records().into_iter().map(|r| r.id).collect();
        // A hung server takes as long as a probe may.
        let ttl = self.options.call_time() * 3 + Duration::from_secs(5);
        let fences = self.store.take_leases(self.process, &all, &[], ttl, true).await?;
        let mut share = lock(&self.share);
        share.fences.extend(all.into_iter().zip(fences).filter_map(|(id, fence)| Some((id, fence?))));
        Ok(())
    }

    /// Gives back what is not this process's own.
    pub(super) async fn give_leases_back(&self) {
        if !self.store.is_shared() || self.polling_now.load(Relaxed) > 0 {
            return;
        }
        let release: Vec<BackendId> = {
            let mut share = lock(&self.share);
            let foreign = |id: &&BackendId| share.duties.get(*id) != Some(&Duty::Poll) || !self.is_running();
            let release: Vec<BackendId> = share.fences.keys().filter(foreign).cloned().collect();
            share.fences.retain(|id, _| !release.contains(id));
            release
        };
        // What cannot be given back ends by itself.
        let _ = self.store.take_leases(self.process, &[], &release, Duration::ZERO, false).await;
    }

    /// Gives a lease back that was taken over for a verdict alone: whoever polls the server needs it to publish that it
    /// answers again.
    pub(super) async fn give_verdicts_lease_back(&self, id: &BackendId) {
        let kept = {
            let share = lock(&self.share);
            share.fences.contains_key(id) || share.duties.get(id) == Some(&Duty::Poll)
        };
        if self.store.is_shared() && !kept {
            // What cannot be given back ends by itself.
            let release = std::slice::from_ref(id);
            let _ = self.store.take_leases(self.process, &[], release, Duration::ZERO, false).await;
        }
    }

    /// Works out what this process has to do, and takes in what others found.
    pub(super) fn follow_polls(&self, registry: &Registry) {
        if !self.store.is_shared() {
            return;
        }
        let none = SharedPoll::default();
        let mut wanting = false;
        let mut fresh = Vec::new();
        {
            let failing: Vec<BackendId> = lock(&self.failing).keys().cloned().collect();
            let mut share = lock(&self.share);
            let share = &mut *share;
            share.duties.clear();
            for r in &registry.servers {
                let poll = registry.polls.get(&r.id).unwrap_or(&none);
                let fails_here = failing.contains(&r.id);
                let duty = share.members.duty(r.id.as_str(), poll, r.online, fails_here);
                wanting |= duty == Duty::Poll && !share.fences.contains_key(&r.id);
                share.duties.insert(r.id.clone(), duty);
                let last = share.seen.insert(r.id.clone(), poll.number).unwrap_or_default();
                if poll.number > 0 && last != poll.number {
                    fresh.push((r, poll, duty, fails_here));
                }
            }
            let known = &share.duties;
            share.fences.retain(|id, _| known.contains_key(id));
            share.begun.retain(|id, _| known.contains_key(id));
            share.seen.retain(|id, _| known.contains_key(id));
        }
        for (record, poll, duty, fails_here) in fresh {
            self.take_in(record, poll, duty == Duty::None && !fails_here);
        }
        if wanting {
            self.leases_due.notify_one();
        }
    }

    /// A poll of somebody else, or our own, which is known already.
    fn take_in(&self, record: &ServerRecord, poll: &SharedPoll, foreign: bool) {
        let age = Duration::from_millis(self.store_ms().saturating_sub(poll.began_ms)) + UNSURE;
        let now = Instant::now();
        let began = now.checked_sub(age).unwrap_or(now);
        // The pool drops what is older than what it has.
        let _ = self.pool.report(&record.id, Report::new(began).with_cost(milli(poll.load)));
        if foreign && record.online {
            // Whoever polled it has bound what its first list showed.
            lock(&self.settled).insert(record.id.clone());
        }
        let up = self.pool.verdict(&record.id).is_some_and(|v| v.health == Health::Up);
        if foreign && record.online && !up {
            let _ = self.pool.declare(&record.id, Health::Up, "answers to the process that polls it");
        }
    }

    /// Lets the others know at once that this process stops.
    pub(super) async fn withdraw(&self) {
        if self.store.is_shared() {
            // What cannot be said is noticed soon.
            let _ = self.store.withdraw(self.process).await;
        }
    }
}
