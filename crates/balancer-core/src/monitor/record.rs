//! The latest result of every target, the silences not judged yet, and their application to the pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::event::Event;
use crate::load::Report;
use crate::pool::Pool;
use crate::probe::ProbeError;
use crate::seat::Seat;
use crate::snapshot::Member;
use crate::state::{Health, HealthRules};

use super::network::{Belief, Ruling, Scene, Standing, judge};
use super::options::{Effect, Share};

/// The longest text kept as the reason of a change.
const MAX_WHY: usize = 300;

/// What became of a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) effect: Effect,
    pub(super) before: Health,
    pub(super) health: Health,
}

/// A filed result: dealt with, or to be told later.
pub(super) enum Filed {
    Settled(Settled),
    Held(oneshot::Receiver<Settled>),
}

/// A server for as long as it stays in the pool, and the definition it is probed by.
pub(super) struct Target<B> {
    pub(super) backend: Arc<B>,
    /// Held weakly, lest a probe keep the counters of a server that left.
    seat: Weak<Seat>,
}

impl<B> Clone for Target<B> {
    fn clone(&self) -> Self {
        Self { backend: self.backend.clone(), seat: self.seat.clone() }
    }
}

impl<B: Backend> Target<B> {
    pub(super) fn of(member: &Member<B>) -> Self {
        Self { backend: member.backend().clone(), seat: Arc::downgrade(&member.seat) }
    }

    pub(super) fn id(&self) -> &BackendId {
        self.backend.id()
    }

    /// Whether this member is the same server, by this definition or another.
    pub(super) fn is(&self, member: &Member<B>) -> bool {
        self.seat.as_ptr() == Arc::as_ptr(&member.seat)
    }

    pub(super) fn same_definition(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }
}

/// When a probe ran and how it ended.
pub(super) struct Sighting<B> {
    pub(super) target: Target<B>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) result: Result<Report, ProbeError>,
}

#[derive(Clone, Copy)]
struct Latest {
    began: Instant,
    ended: Instant,
    answered: bool,
}

struct Held {
    began: Instant,
    why: String,
    tell: oneshot::Sender<Settled>,
}

struct Entry<B> {
    target: Target<B>,
    latest: Option<Latest>,
    held: Option<Held>,
    /// When the schedule wakes next; `None` while it is at work, or not running.
    due: Option<Instant>,
    wake: Arc<Notify>,
}

impl<B> Entry<B> {
    fn new(target: Target<B>) -> Self {
        Self { target, latest: None, held: None, due: None, wake: Arc::new(Notify::new()) }
    }

    fn silent(&self) -> bool {
        self.latest.is_some_and(|l| !l.answered)
    }
}

struct Book<B> {
    entries: HashMap<BackendId, Entry<B>>,
    belief: Belief,
}

/// The book of one monitor. Its lock is always taken before the pool's, never across an await.
pub(super) struct Record<B: Backend, Q: ?Sized> {
    pool: Arc<Pool<B, Q>>,
    rules: HealthRules,
    share: Option<Arc<Share<B>>>,
    book: Mutex<Book<B>>,
}

impl<B: Backend, Q: ?Sized + 'static> Record<B, Q> {
    pub(super) fn new(pool: Arc<Pool<B, Q>>, rules: HealthRules, share: Option<Arc<Share<B>>>) -> Self {
        let book = Mutex::new(Book { entries: HashMap::new(), belief: Belief::default() });
        Self { pool, rules, share, book }
    }

    fn lock(&self) -> MutexGuard<'_, Book<B>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the newest probe of this target got no answer.
    pub(super) fn silent(&self, id: &BackendId) -> bool {
        self.lock().entries.get(id).is_some_and(Entry::silent)
    }

    /// Begins to follow a target: nothing is known of it yet.
    pub(super) fn start(&self, target: &Target<B>) {
        self.lock().entries.insert(target.id().clone(), Entry::new(target.clone()));
    }

    /// Another process probes this target: what we knew of it gets old. When it answered us last, if that was since the
    /// last call.
    pub(super) fn rest(&self, target: &Target<B>) -> Option<Instant> {
        let mut book = self.lock();
        let entry = book.entry(target);
        entry.due = None;
        entry.latest.take().filter(|latest| latest.answered).map(|latest| latest.began)
    }

    fn is_mine(&self, member: &Member<B>) -> bool {
        self.share.as_ref().is_none_or(|mine| mine(member.backend()))
    }

    /// The same server by the definition that it has now; `None` when it is gone.
    pub(super) fn newest(&self, target: &Target<B>) -> Option<Target<B>> {
        self.current(target).map(|m| Target::of(&m))
    }

    /// Notes when a target is probed next; the answer is what wakes it before.
    pub(super) fn set_due(&self, target: &Target<B>, due: Option<Instant>) -> Arc<Notify> {
        let mut book = self.lock();
        let entry = book.entry(target);
        entry.due = due;
        entry.wake.clone()
    }

    /// Files a result: applies it, holds it back or drops it.
    pub(super) fn file(&self, seen: &Sighting<B>) -> Filed {
        let id = seen.target.id();
        let mut book = self.lock();
        let Some(member) = self.current(&seen.target) else { return Filed::Settled(gone()) };
        let unchanged = |effect| Settled { effect, before: member.health(), health: member.health() };
        let answered = seen.result.as_ref().map_or_else(ProbeError::answered, |_| true);
        let entry = book.entry(&seen.target);
        if entry.latest.is_some_and(|l| l.began > seen.began) {
            return Filed::Settled(unchanged(Effect::Superseded));
        }
        entry.latest = Some(Latest { began: seen.began, ended: seen.ended, answered });
        if let Some(old) = entry.held.take() {
            let _ = old.tell.send(unchanged(Effect::Superseded));
        }
        let error = match &seen.result {
            Ok(report) => {
                self.heard(&mut book, seen.ended);
                // Figures first: a server that comes up does so with its load known.
                let _ = self.pool.report(id, report.clone());
                return Filed::Settled(self.apply(&member, true, "probe passed"));
            }
            Err(e) if answered => {
                self.heard(&mut book, seen.ended);
                return Filed::Settled(self.apply(&member, false, &e.to_string()));
            }
            Err(e) => e,
        };
        let down = matches!(member.health(), Health::Down | Health::Dead);
        let scene = self.scene(&book);
        match judge(seen.began, down, scene, book.belief) {
            Ruling::Apply => Filed::Settled(self.apply(&member, false, &error.to_string())),
            Ruling::Discard => Filed::Settled(unchanged(Effect::Held)),
            Ruling::Suspect => {
                self.suspect(&mut book, scene);
                Filed::Settled(unchanged(Effect::Held))
            }
            Ruling::Hold => {
                let (tell, told) = oneshot::channel();
                self.call_witness(&book, id, seen.ended);
                book.entry(&seen.target).held = Some(Held { began: seen.began, why: error.to_string(), tell });
                Filed::Held(told)
            }
        }
    }

    /// Somebody answered: our own network works, so that held silences are the servers' own.
    fn heard(&self, book: &mut Book<B>, at: Instant) {
        if book.belief.suspected {
            self.trust_again(book, at);
        } else {
            self.settle(book, true, |_, _| true);
        }
    }

    fn suspect(&self, book: &mut Book<B>, scene: Scene) {
        book.belief.suspected = true;
        self.pool.tell(Event::OwnNetwork { suspected: true, silent: scene.silent });
        self.settle(book, false, |_, _| true);
    }

    fn trust_again(&self, book: &mut Book<B>, at: Instant) {
        book.belief = Belief { suspected: false, recovered: Some(at) };
        let silent = self.scene(book).silent;
        self.pool.tell(Event::OwnNetwork { suspected: false, silent });
        self.settle(book, false, |_, _| true);
    }

    /// Looks at everything again after members changed or time passed.
    pub(super) fn review(&self, now: Instant) {
        let mut book = self.lock();
        let scene = self.scene(&book);
        if book.entries.len() > self.pool.members().len() {
            book.entries.retain(|id, _| self.pool.member(id.as_str()).is_some());
        }
        if !scene.comparable() {
            if book.belief.suspected {
                self.trust_again(&mut book, now);
            }
            self.settle(&mut book, true, |_, _| true);
        } else if !book.belief.suspected && scene.all_silent() {
            self.suspect(&mut book, scene);
        }
    }

    /// Ends a round in which every member was probed: one answer in it proves the network for all of it.
    pub(super) fn close_round(&self, began: Instant) {
        let mut book = self.lock();
        let answered = |e: &Entry<B>| e.latest.is_some_and(|l| l.answered && l.ended >= began);
        let proven = book.entries.values().any(|e| answered(e) && self.current(&e.target).is_some());
        self.settle(&mut book, proven, |_, held| held.began >= began);
    }

    /// Nobody confirmed or cleared this silence in time: it is dropped.
    pub(super) fn give_up(&self, target: &Target<B>, began: Instant) -> Settled {
        self.settle(&mut self.lock(), false, |id, held| id == target.id() && held.began == began);
        match self.current(target) {
            Some(m) => Settled { effect: Effect::Held, before: m.health(), health: m.health() },
            None => gone(),
        }
    }

    /// Applies or drops the held silences that `which` names.
    fn settle(&self, book: &mut Book<B>, apply: bool, which: impl Fn(&BackendId, &Held) -> bool) {
        for (id, entry) in &mut book.entries {
            let Some(held) = entry.held.take_if(|h| which(id, h)) else { continue };
            let settled = match self.current(&entry.target) {
                None => gone(),
                Some(m) if apply => self.apply(&m, false, &held.why),
                Some(m) => Settled { effect: Effect::Held, before: m.health(), health: m.health() },
            };
            // Who asked may be gone.
            let _ = held.tell.send(settled);
        }
    }

    fn apply(&self, member: &Member<B>, passed: bool, why: &str) -> Settled {
        let before = member.health();
        let why: String = why.chars().take(MAX_WHY).collect();
        match self.pool.observe(member.backend().id(), passed, &self.rules, &why) {
            Ok(verdict) => Settled { effect: Effect::Applied, before, health: verdict.health },
            Err(_) => gone(),
        }
    }

    /// The member, if it has not left meanwhile.
    fn current(&self, target: &Target<B>) -> Option<Arc<Member<B>>> {
        self.pool.member(target.id().as_str()).filter(|m| target.is(m))
    }

    fn scene(&self, book: &Book<B>) -> Scene {
        Scene::of(self.pool.members().iter().filter(|m| self.is_mine(m)).map(|m| Standing {
            working: matches!(m.health(), Health::Up | Health::Suspect),
            silent: book.of(m).is_some_and(Entry::silent),
        }))
    }

    /// A silence needs a witness soon: with nobody else at work, the next target that answered last time is probed now.
    fn call_witness(&self, book: &Book<B>, except: &BackendId, now: Instant) {
        let mut next: Option<(Instant, &Arc<Notify>)> = None;
        for m in self.pool.members().into_iter().filter(|m| self.is_mine(m)) {
            let Some(entry) = book.of(&m) else { return };
            if m.backend().id() == except || entry.silent() {
                continue;
            }
            let Some(due) = entry.due else { return };
            if next.is_none_or(|(t, _)| due < t) {
                next = Some((due, &entry.wake));
            }
        }
        let soon = now + self.rules.inter.min(Duration::from_secs(60)) / 16;
        if let Some((due, wake)) = next
            && due > soon
        {
            wake.notify_one();
        }
    }
}

impl<B: Backend> Book<B> {
    /// The entry of this server; one that left and came again starts afresh.
    fn entry(&mut self, target: &Target<B>) -> &mut Entry<B> {
        let entry = self.entries.entry(target.id().clone()).or_insert_with(|| Entry::new(target.clone()));
        if !entry.target.seat.ptr_eq(&target.seat) {
            *entry = Entry::new(target.clone());
        }
        entry
    }

    fn of(&self, member: &Member<B>) -> Option<&Entry<B>> {
        self.entries.get(member.backend().id()).filter(|e| e.target.is(member))
    }
}

fn gone() -> Settled {
    Settled { effect: Effect::Gone, before: Health::Unknown, health: Health::Unknown }
}
