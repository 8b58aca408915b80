//! Probes every member of a pool, each on its own schedule, within a budget.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::backend::{Backend, BackendId};
use crate::hash::mix;
use crate::pool::Pool;
use crate::probe::{HealthProbe, ProbeError};
use crate::snapshot::Member;

mod network;
mod options;
mod record;

pub use options::{Effect, MonitorOptions, ProbeOutcome, ProbeWatch};
use record::{Filed, Record, Settled, Sighting, Target};

/// Probes every member of a pool and applies what it learns: figures by [`Pool::report`], passes and failures by
/// [`Pool::observe`] with their reason in words.
///
/// # Schedule
///
/// Each target has its own: probed at once when it joins, then after the interval its verdict asks for
/// ([`HealthRules`](crate::HealthRules)), counted from the start of the last probe, longer or shorter by the jitter. A
/// probe ends at its deadline. A slow target delays nobody: it only holds one place of the budget, and targets that
/// were silent last time share seven eighths of the places.
///
/// A target that another process probes ([`MonitorOptions::share`]) waits until it is ours, and is probed at once then,
/// unless it has just answered an order to poll.
///
/// A target whose definition changes is probed at once, at the earliest a sixteenth of the interval `inter` after its
/// last probe began. A probe that is under way is left to end and counts: a list of servers that is read anew more
/// often than a probe lasts keeps nobody from a verdict. Only a server that leaves the pool takes its probe with it.
///
/// # Our own network
///
/// A failure is *answered* (refused, reset, a wrong answer) or *silent* (no answer, no name). A pass or an answered
/// failure counts at once. A silent failure of a server that is not down yet is held until one of these:
///
/// 1. Another target answers a probe after the silence was established: our network works, and the silence counts as
///    one failure. If no other probe is under way, a target that answered last time is probed at once as a witness.
/// 2. The newest probe of every target is silent, of two targets at least, one of which is up or suspect: our own
///    network is suspected ([`Event::OwnNetwork`](crate::Event::OwnNetwork), told once). Neither this silence nor any other held one counts.
///    Figures age meanwhile.
/// 3. The same target is probed again by [`poll_now`](Self::poll_now), or the longest interval and a time-out pass:
///    the silence is dropped.
///
/// The first answer ends the suspicion; silences of probes that began before that answer do not count. With a single
/// target, or none up or suspect, there is nothing to compare with or to protect: silences count at once. An outage of
/// ours that is shorter than an interval counts as one failed probe of those it hit; `fall` is there for that.
pub struct Monitor<B: Backend, Q: ?Sized = ()> {
    inner: Arc<Inner<B, Q>>,
}

impl<B: Backend, Q: ?Sized> std::fmt::Debug for Monitor<B, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl<B: Backend, Q: ?Sized> Clone for Monitor<B, Q> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<B: Backend, Q: ?Sized> {
    pool: Arc<Pool<B, Q>>,
    probe: Arc<dyn HealthProbe<B>>,
    options: MonitorOptions<B>,
    record: Record<B, Q>,
    budget: Semaphore,
    silent_budget: Semaphore,
    random: AtomicU64,
}

/// A target's task within `run`.
struct Follower<B> {
    target: Target<B>,
    /// Another allocation is another definition, or a server that left and came again.
    member: Weak<Member<B>>,
    redefined: Arc<Notify>,
    task: AbortHandle,
}

impl<B: Backend, Q: ?Sized + 'static> Monitor<B, Q> {
    /// A monitor of this pool. Nothing is probed before [`run`](Self::run) or [`poll_now`](Self::poll_now). Figures are
    /// too old from now on after three intervals `inter`, unless the pool was told another age
    /// ([`PoolOptions::stale_after`](crate::PoolOptions::stale_after)).
    pub fn new(pool: Arc<Pool<B, Q>>, probe: Arc<dyn HealthProbe<B>>, options: MonitorOptions<B>) -> Self {
        pool.probed_every(options.interval());
        let inner = Inner {
            record: Record::new(pool.clone(), options.rules, options.share.clone()),
            budget: Semaphore::new(options.concurrency),
            silent_budget: Semaphore::new(options.silent_share()),
            random: AtomicU64::new(options.seed),
            pool,
            probe,
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Probes until `shutdown` completes. Members that are added, removed or redefined are followed. Probes in flight
    /// are dropped at the end, their results with them. Run it once at a time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the probes as `shutdown` does.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let inner = &self.inner;
        let mut events = inner.pool.subscribe();
        let mut tasks = JoinSet::new();
        let mut followed = HashMap::new();
        let mut tick = interval(inner.options.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        inner.follow_members(&mut followed, &mut tasks);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = tick.tick() => inner.pool.tick(Instant::now()),
                event = events.recv() => match event {
                    // What piled up is dealt with in one go: members are compared, events are only the call to do so.
                    Ok(_) => while events.try_recv().is_ok() {},
                    Err(RecvError::Lagged(_)) => {}
                    // The pool outlives its monitor.
                    Err(RecvError::Closed) => events = inner.pool.subscribe(),
                },
            }
            inner.follow_members(&mut followed, &mut tasks);
            inner.record.review(Instant::now());
            while tasks.try_join_next().is_some() {}
        }
        tasks.shutdown().await;
    }

    /// Probes every member at once within the budget, applies all results and shows them to the watch. Complete when
    /// it returns, in the order of the members. Works beside [`run`](Self::run), whose schedule goes on.
    ///
    /// One answer within the round proves our own network for all of it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the probes in flight; results that arrived before stay applied.
    pub async fn poll_now(&self) -> Vec<ProbeOutcome<B>> {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (place, m) in self.inner.pool.members().into_iter().enumerate() {
            let inner = self.inner.clone();
            tasks.spawn(async move {
                let (seen, filed) = inner.probe_once(Target::of(&m)).await;
                (place, seen, filed)
            });
        }
        let mut filed = Vec::with_capacity(tasks.len());
        while let Some(done) = tasks.join_next().await {
            filed.extend(done);
        }
        self.inner.record.close_round(began);
        let mut tasks = JoinSet::new();
        for (place, seen, filed) in filed {
            let inner = self.inner.clone();
            tasks.spawn(async move { (place, inner.conclude(seen, filed).await) });
        }
        let mut outcomes = Vec::with_capacity(tasks.len());
        while let Some(done) = tasks.join_next().await {
            outcomes.extend(done);
        }
        outcomes.sort_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

impl<B: Backend, Q: ?Sized + 'static> Inner<B, Q> {
    /// Starts a task for every member without one, ends those of former members, tells the others of new definitions.
    fn follow_members(self: &Arc<Self>, followed: &mut HashMap<BackendId, Follower<B>>, tasks: &mut JoinSet<()>) {
        let members = self.pool.members();
        let mut before = std::mem::take(followed);
        for m in &members {
            let id = m.backend().id().clone();
            let member = Arc::downgrade(m);
            if let Some(mut f) = before.remove(&id) {
                if f.target.is(m) && !f.task.is_finished() {
                    if !f.member.ptr_eq(&member) {
                        f.member = member;
                        f.redefined.notify_one();
                    }
                    followed.insert(id, f);
                    continue;
                }
                f.task.abort();
            }
            let (target, redefined) = (Target::of(m), Arc::new(Notify::new()));
            self.record.start(&target);
            let task = tasks.spawn(self.clone().follow(target.clone(), redefined.clone()));
            followed.insert(id, Follower { target, member, redefined, task });
        }
        before.values().for_each(|f| f.task.abort());
    }

    /// Probes one target for as long as it is a member, whatever becomes of its definition.
    async fn follow(self: Arc<Self>, mut target: Target<B>, redefined: Arc<Notify>) {
        // When it answered an order to poll while it was not ours.
        let (mut answered, mut mine) = (None, true);
        while let Some(newest) = self.record.newest(&target) {
            target = newest;
            let was_mine = std::mem::replace(&mut mine, self.options.is_mine(&target.backend));
            if !(mine && was_mine) {
                answered = self.record.rest(&target).or(answered);
            }
            if !mine {
                sleep(self.options.tick).await;
                continue;
            }
            let began = match answered.take() {
                Some(began) => began,
                None => {
                    let (seen, filed) = self.probe_once(target.clone()).await;
                    self.conclude(seen, filed).await.began
                }
            };
            let Some(verdict) = self.pool.verdict(target.id()) else { return };
            let pause = self.options.jittered(verdict.interval(&self.options.rules), self.random());
            let due = (began + pause).max(Instant::now());
            let wake = self.record.set_due(&target, Some(due));
            tokio::select! {
                () = sleep_until(due) => {}
                () = wake.notified() => {}
                () = self.until_redefined(&target, &redefined, began) => {}
            }
            self.record.set_due(&target, None);
        }
    }

    /// Waits until a target has another definition than this and may be probed again, the last probe having begun then.
    async fn until_redefined(&self, target: &Target<B>, redefined: &Notify, began: Instant) {
        // Told also of what the probe has already met.
        while self.record.newest(target).is_some_and(|newest| newest.same_definition(target)) {
            redefined.notified().await;
        }
        sleep_until(began + self.options.shortest_pause()).await;
    }

    async fn probe_once(&self, target: Target<B>) -> (Sighting<B>, Filed) {
        // The semaphores are never closed; without a permit the probe runs all the same.
        let silent = if self.record.silent(target.id()) { self.silent_budget.acquire().await.ok() } else { None };
        let permit = self.budget.acquire().await;
        let began = Instant::now();
        let limit = self.options.deadline();
        let result = match timeout(limit, guarded(self.probe.probe(&target.backend))).await {
            Ok(Some(Ok(mut report))) => {
                report.began = began;
                Ok(report)
            }
            Ok(Some(Err(e))) => Err(e),
            Ok(None) => Err(ProbeError::Silent("the probe itself broke off (panic)".to_owned())),
            Err(_) => Err(ProbeError::Silent(format!("the probe took longer than {limit:?}"))),
        };
        drop((silent, permit));
        let seen = Sighting { target, began, ended: Instant::now(), result };
        let filed = self.record.file(&seen);
        (seen, filed)
    }

    /// Waits until a result is dealt with, and shows it.
    async fn conclude(&self, seen: Sighting<B>, filed: Filed) -> ProbeOutcome<B> {
        let Settled { effect, before, health } = match filed {
            Filed::Settled(settled) => settled,
            Filed::Held(told) => match timeout(self.longest_hold(), told).await {
                Ok(Ok(settled)) => settled,
                _ => self.record.give_up(&seen.target, seen.began),
            },
        };
        let took = seen.ended.saturating_duration_since(seen.began);
        let Sighting { target, began, result, .. } = seen;
        let outcome = ProbeOutcome { backend: target.backend, began, took, result, effect, before, health };
        if let Some(watch) = &self.options.watch
            && guarded(watch.seen(&outcome)).await.is_none()
        {
            tracing::error!(server = %outcome.id(), "the watch of the probes broke off (panic)");
        }
        outcome
    }

    fn longest_hold(&self) -> Duration {
        let rules = &self.options.rules;
        let longest = rules.inter.max(rules.downinter.unwrap_or_default());
        self.options.jittered(longest, u64::MAX).saturating_add(self.options.deadline())
    }

    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        mix(self.random.fetch_add(STEP, Relaxed).wrapping_add(STEP))
    }
}

/// Runs an adapter's future; `None` when it panicked.
async fn guarded<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
