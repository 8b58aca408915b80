//! What every stick store must do, as one suite to run against any of them.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use balancer_core::conformance::{Clock, run};
//! use balancer_core::MemoryStore;
//!
//! run(async || MemoryStore::default(), &Clock::Real).await;
//! # });
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use super::{Binding, Claim, MAX_KEY_LEN, StickKey, StickStore, Token, Want};
use crate::backend::BackendId;

/// A time to live that no case outlives.
const LONG: Duration = Duration::from_secs(3600);
/// A time to live that a case waits for.
const SHORT: Duration = Duration::from_secs(1);
/// How often a case is begun anew when a busy machine has let that pass too early.
const ROUNDS: usize = 20;
/// How long a real clock may lag behind.
const PATIENCE: Duration = Duration::from_secs(20);

type Passing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How time passes for the store under test.
#[non_exhaustive]
pub enum Clock {
    /// By itself: the suite uses short times to live and asks until they are over.
    Real,
    /// When the suite says so.
    Moved(Box<dyn Fn(Duration) -> Passing + Send + Sync>),
}

impl Clock {
    /// A clock that `advance` moves on, such as `tokio::time::advance` under paused time.
    pub fn moved<F, Fut>(advance: F) -> Self
    where
        F: Fn(Duration) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::Moved(Box::new(move |by| Box::pin(advance(by))))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "Real",
            Self::Moved(_) => "Moved",
        })
    }
}

/// Runs every case, each on a fresh, empty store from `make`.
///
/// # Panics
///
/// When the store breaks a rule; the message begins with the name of the case.
///
/// # Cancel safety
///
/// What the cases stored so far stays stored.
pub async fn run<F, Fut, S>(make: F, clock: &Clock)
where
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
    S: StickStore,
{
    macro_rules! cases {
        ($($case:ident),* $(,)?) => {$(
            $case(&Subject { case: stringify!($case), store: Arc::new(make().await), clock }).await;
        )*};
    }
    cases!(
        one_winner_among_many,
        a_repeated_claim_meets_its_own_token,
        a_binding_expires,
        a_hit_extends,
        renewing_needs_the_same_binding,
        releasing_needs_the_same_binding,
        rebinding_moves_what_was_seen,
        rebinding_an_expired_binding_wins,
        nothing_is_won_after_a_close,
        closing_leaves_what_is_held,
        stamps_grow,
        keys_and_ids_of_every_kind,
        listing_and_counting_are_exact,
    );
}

struct Subject<'a, S> {
    case: &'static str,
    store: Arc<S>,
    clock: &'a Clock,
}

fn key(text: &str) -> StickKey {
    StickKey::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

impl<S: StickStore> Subject<'_, S> {
    fn check(&self, truth: bool, rule: &str) {
        assert!(truth, "{}: {rule}", self.case);
    }

    fn same<T: PartialEq + fmt::Debug>(&self, found: &T, expected: &T, rule: &str) {
        assert!(found == expected, "{}: {rule}: {found:?} instead of {expected:?}", self.case);
    }

    fn done<T, E: fmt::Display>(&self, result: Result<T, E>) -> T {
        result.unwrap_or_else(|error| panic!("{}: {error}", self.case))
    }

    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Option<Binding> {
        self.done(self.store.get(key, extend).await)
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Claim {
        self.done(self.store.claim(key, want, ttl).await)
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want) -> Claim {
        self.done(self.store.rebind(key, seen, want, LONG).await)
    }

    async fn win(&self, name: &str, backend: &str, token: u64, ttl: Duration) -> Binding {
        match self.claim(&key(name), &want(backend, token), ttl).await {
            Claim::Won(binding) => binding,
            other => panic!("{}: a claim of a free room must win: {other:?}", self.case),
        }
    }

    async fn count(&self, backend: &str) -> u64 {
        self.done(self.store.count(&BackendId::from(backend)).await)
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> bool {
        self.done(self.store.release(key, seen).await)
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> bool {
        self.done(self.store.renew(key, seen, ttl).await)
    }

    async fn confirm(&self, key: &StickKey, seen: &Binding) -> bool {
        self.done(self.store.confirm(key, seen).await)
    }

    async fn close(&self, backend: &str, closed: bool) {
        self.done(self.store.close(&BackendId::from(backend), closed).await);
    }

    /// Lets [`SHORT`] pass: what was stored before with that time to live is over afterwards.
    async fn let_pass(&self) {
        let witness = key("witness of the clock");
        self.win("witness of the clock", "clock", 1, SHORT).await;
        match self.clock {
            Clock::Moved(advance) => advance(SHORT).await,
            Clock::Real => {
                let deadline = Instant::now() + PATIENCE;
                while self.get(&witness, None).await.is_some() {
                    self.check(Instant::now() < deadline, "a binding must expire");
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        self.same(&self.get(&witness, None).await, &None, "an expired binding must not be read");
    }
}

async fn one_winner_among_many<S: StickStore>(on: &Subject<'_, S>) {
    for round in 0..8 {
        let room = key(&format!("room {round}"));
        let mut tasks = JoinSet::new();
        for token in 0..32 {
            let (store, room) = (Arc::clone(&on.store), room.clone());
            tasks.spawn(async move { store.claim(&room, &want(&format!("server-{token}"), token), LONG).await });
        }
        let answers = tasks.join_all().await;
        let mut winners = Vec::new();
        let mut told = Vec::new();
        for answer in answers {
            match on.done(answer) {
                Claim::Won(binding) => winners.push(binding),
                Claim::Held(binding) => told.push(binding),
                Claim::Closed => on.check(false, "nothing is closed"),
            }
        }
        on.same(&winners.len(), &1, "one claim of many must win");
        on.check(told.iter().all(|binding| *binding == winners[0]), "the others must be told of the winner");
        on.same(&on.get(&room, None).await.as_ref(), &winners.first(), "the winner is what is stored");
    }
}

async fn a_repeated_claim_meets_its_own_token<S: StickStore>(on: &Subject<'_, S>) {
    let won = on.win("room", "one", 7, LONG).await;
    on.same(&won.token, &Token(7), "the winner's token is stored");
    let again = on.claim(&key("room"), &want("one", 7), LONG).await;
    on.same(&again, &Claim::Held(won.clone()), "a repeated claim is told what it won");
    let other = on.claim(&key("room"), &want("two", 8), LONG).await;
    on.same(&other, &Claim::Held(won.clone()), "another claim is told of the winner");

    let moved = on.rebind(&key("room"), &won, &want("two", 9)).await;
    let Claim::Won(now) = moved else { panic!("{}: a rebind of what is stored must win: {moved:?}", on.case) };
    let again = on.rebind(&key("room"), &won, &want("two", 9)).await;
    on.same(&again, &Claim::Held(now), "a repeated rebind is told what it won");
}

async fn a_binding_expires<S: StickStore>(on: &Subject<'_, S>) {
    let old = on.win("room", "one", 1, SHORT).await;
    on.let_pass().await;
    let room = key("room");
    on.same(&on.get(&room, Some(LONG)).await, &None, "an expired binding cannot be extended");
    on.check(!on.renew(&room, &old, LONG).await, "an expired binding cannot be renewed");
    on.check(!on.release(&room, &old).await, "an expired binding cannot be released");
    on.same(&on.count("one").await, &0, "an expired binding is not counted");
    let page = on.done(on.store.list(&"one".into(), None).await);
    on.check(page.entries.is_empty(), "an expired binding is not listed");
    let new = on.win("room", "two", 2, LONG).await;
    on.check(new.stamp > old.stamp, "a later binding has a larger stamp");
    on.same(&on.count("one").await, &0, "the old server no longer has the room");
    on.same(&on.count("two").await, &1, "the new server has the room");
}

async fn a_hit_extends<S: StickStore>(on: &Subject<'_, S>) {
    let mut met = None;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let extended = on.win("extended", "one", 1, SHORT).await;
        let renewed = on.win("renewed", "one", 2, SHORT).await;
        let found = on.get(&key("extended"), Some(LONG)).await;
        let lives = on.renew(&key("renewed"), &renewed, LONG).await;
        if began.elapsed() < SHORT || (found.is_some() && lives) {
            on.same(&found.as_ref(), &Some(&extended), "a hit is read");
            on.check(lives, "what is stored can be renewed");
            met = Some((extended, renewed));
            break;
        }
        // One is over, the other may be: both are free for the next round.
        on.release(&key("extended"), &extended).await;
        on.release(&key("renewed"), &renewed).await;
    }
    let Some((extended, renewed)) = met else { panic!("{}: the store is too slow to be tested", on.case) };
    let long = on.win("long", "one", 3, LONG).await;
    on.win("looked at", "one", 4, SHORT).await;
    on.same(&on.get(&key("long"), Some(SHORT)).await.as_ref(), &Some(&long), "a hit is read");
    on.get(&key("looked at"), None).await;
    on.let_pass().await;
    on.same(&on.get(&key("extended"), None).await, &Some(extended), "a hit with extend lives on");
    on.same(&on.get(&key("renewed"), None).await, &Some(renewed), "what was renewed lives on");
    on.same(&on.get(&key("long"), None).await, &Some(long), "an extension never shortens");
    on.same(&on.get(&key("looked at"), None).await, &None, "a hit without extend does not live on");
    on.same(&on.count("one").await, &3, "what lives on is counted");
}

async fn renewing_needs_the_same_binding<S: StickStore>(on: &Subject<'_, S>) {
    let room = key("room");
    let won = on.win("room", "one", 1, LONG).await;
    let strangers = [
        Binding { backend: "two".into(), ..won.clone() },
        Binding { token: Token(2), ..won.clone() },
        Binding { stamp: won.stamp + 1, ..won.clone() },
    ];
    for stranger in &strangers {
        on.check(!on.renew(&room, stranger, LONG).await, "another binding must not be renewed");
        on.check(!on.confirm(&room, stranger).await, "another binding must not be confirmed");
    }
    on.check(!on.renew(&key("none"), &won, LONG).await, "nothing stored, nothing renewed");
    on.check(!on.confirm(&key("none"), &won).await, "nothing stored, nothing confirmed");
    on.check(on.confirm(&room, &won).await, "what is stored can be confirmed");
    on.check(on.renew(&room, &won, SHORT).await, "a binding may be renewed for a shorter time");
    on.let_pass().await;
    on.same(&on.get(&room, None).await, &None, "a renewal sets the time to live");
}

async fn releasing_needs_the_same_binding<S: StickStore>(on: &Subject<'_, S>) {
    let room = key("room");
    let first = on.win("room", "one", 1, LONG).await;
    on.check(on.release(&room, &first).await, "what is stored is released");
    on.check(!on.release(&room, &first).await, "nothing is released twice");
    on.same(&on.get(&room, None).await, &None, "what was released is gone");
    let second = on.win("room", "one", 1, LONG).await;
    on.check(!on.release(&room, &first).await, "a late release must not remove a newer session");
    on.same(&on.get(&room, None).await.as_ref(), &Some(&second), "the newer session stays");
    on.check(matches!(on.rebind(&room, &second, &want("two", 2)).await, Claim::Won(_)), "a rebind wins");
    on.check(!on.release(&room, &second).await, "a release after a rebind must be refused");
    on.same(&(on.count("one").await, on.count("two").await), &(0, 1), "the room is counted where it is");
}

async fn rebinding_moves_what_was_seen<S: StickStore>(on: &Subject<'_, S>) {
    let room = key("room");
    let first = on.win("room", "one", 1, LONG).await;
    let moved = on.rebind(&room, &first, &want("two", 2)).await;
    let Claim::Won(second) = moved else { panic!("{}: a rebind of what is stored must win: {moved:?}", on.case) };
    on.check(second.stamp > first.stamp, "a rebind has a larger stamp");
    let late = on.rebind(&room, &first, &want("three", 3)).await;
    on.same(&late, &Claim::Held(second.clone()), "a rebind of something else is refused");
    on.close("three", true).await;
    on.same(&on.rebind(&room, &second, &want("three", 4)).await, &Claim::Closed, "a closed server takes no rebind");
    on.same(&on.get(&room, None).await, &Some(second), "a refused rebind changes nothing");
    on.check(matches!(on.rebind(&key("none"), &first, &want("two", 5)).await, Claim::Won(_)), "nothing stored: won");
    on.same(&on.rebind(&key("none 2"), &first, &want("three", 6)).await, &Claim::Closed, "nothing stored, but closed");
}

async fn rebinding_an_expired_binding_wins<S: StickStore>(on: &Subject<'_, S>) {
    let old = on.win("room", "one", 1, SHORT).await;
    on.let_pass().await;
    let moved = on.rebind(&key("room"), &old, &want("two", 2)).await;
    let Claim::Won(new) = moved else { panic!("{}: nothing is stored any more: {moved:?}", on.case) };
    on.check(new.stamp > old.stamp, "a rebind has a larger stamp");
    on.same(&on.get(&key("room"), None).await, &Some(new), "the rebind is stored");
}

async fn nothing_is_won_after_a_close<S: StickStore>(on: &Subject<'_, S>) {
    let closed = Arc::new(AtomicBool::new(false));
    let claimed = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (store, closed, claimed) = (Arc::clone(&on.store), Arc::clone(&closed), Arc::clone(&claimed));
        tasks.spawn(async move {
            let mut late = 0;
            let mut seen: Option<Binding> = None;
            for round in 0.. {
                let after = closed.load(Ordering::SeqCst);
                let room = key(&format!("room {task} {round}"));
                let wanted = want("closing", task);
                let answer = match &seen {
                    Some(seen) if round % 2 == 1 => store.rebind(&room, seen, &wanted, LONG).await,
                    _ => store.claim(&room, &wanted, LONG).await,
                };
                match answer.map_err(|error| error.to_string())? {
                    Claim::Won(_) if after => return Err("a claim was won after a close had returned".to_owned()),
                    Claim::Won(binding) => seen = Some(binding),
                    Claim::Held(_) | Claim::Closed => {}
                }
                claimed.fetch_add(1, Ordering::SeqCst);
                late += usize::from(after);
                if late == 10 {
                    break;
                }
                yield_now().await;
            }
            Ok(())
        });
    }
    while claimed.load(Ordering::SeqCst) < 64 {
        yield_now().await;
    }
    on.close("closing", true).await;
    closed.store(true, Ordering::SeqCst);
    let at_close = on.count("closing").await;
    for end in tasks.join_all().await {
        on.done(end);
    }
    on.same(&on.count("closing").await, &at_close, "the count must not grow after a close");
    on.close("closing", false).await;
    on.win("room after", "closing", 1, LONG).await;
}

async fn closing_leaves_what_is_held<S: StickStore>(on: &Subject<'_, S>) {
    let held = on.win("room", "one", 1, LONG).await;
    on.close("one", true).await;
    on.close("one", true).await;
    let room = key("room");
    on.same(&on.get(&room, Some(LONG)).await.as_ref(), &Some(&held), "a close leaves what is stored");
    on.same(&on.claim(&room, &want("one", 2), LONG).await, &Claim::Held(held.clone()), "held comes before closed");
    on.check(on.renew(&room, &held, LONG).await, "a close leaves renewals");
    on.same(&on.claim(&key("new"), &want("one", 3), LONG).await, &Claim::Closed, "a new room is refused");
    on.win("new", "two", 4, LONG).await;
    on.check(on.release(&room, &held).await, "a close leaves releases");
    on.same(&on.claim(&room, &want("one", 5), LONG).await, &Claim::Closed, "a released room is refused");
    on.close("one", false).await;
    on.win("room", "one", 6, LONG).await;
}

async fn stamps_grow<S: StickStore>(on: &Subject<'_, S>) {
    let room = key("room");
    let mut last = 0;
    for token in 0..50 {
        let won = on.win("room", "one", token, LONG).await;
        on.check(won.stamp > last, "stamps of one room must grow");
        last = won.stamp;
        on.check(on.release(&room, &won).await, "what is stored is released");
    }
    on.check(last > 1_000_000_000_000, "stamps are at least the clock in milliseconds since 1970");
}

async fn keys_and_ids_of_every_kind<S: StickStore>(on: &Subject<'_, S>) {
    let longest = "x".repeat(MAX_KEY_LEN);
    let wide = "会".repeat(MAX_KEY_LEN / 3);
    let names = ["x", &longest, &wide, "Äöü \u{1F600}", "a:b", "{tag}", "a b\tc\n", "\0", "*?[", "\"'\\", "1:one:x"];
    let ids = ["one", "1:one", "one:x", "sérvér {1}", "a b", "\n", "%s", "3:"];
    for (at, name) in names.into_iter().enumerate() {
        let id = ids[at % ids.len()];
        let won = on.win(name, id, u64::MAX, LONG).await;
        on.same(&won.backend.as_str(), &id, "the server's id comes back as it was");
        on.same(&won.token, &Token(u64::MAX), "the token comes back as it was");
        on.same(&on.get(&key(name), None).await, &Some(won), "every key is found again");
    }
    for id in ids {
        let expected: BTreeSet<_> =
            names.iter().enumerate().filter(|(at, _)| ids[at % ids.len()] == id).map(|(_, name)| key(name)).collect();
        let page = on.done(on.store.list(&id.into(), None).await);
        let listed: BTreeSet<_> = on.rest(id, page).await.into_iter().map(|(key, _)| key).collect();
        on.same(&listed, &expected, "every key is listed under its server");
        on.same(&on.count(id).await, &(expected.len() as u64), "every key is counted under its server");
    }
}

impl<S: StickStore> Subject<'_, S> {
    /// A page's entries and all that follow.
    async fn rest(&self, backend: &str, mut page: super::StickPage) -> Vec<(StickKey, Binding)> {
        let mut all = page.entries;
        for _ in 0..10_000 {
            let Some(next) = page.next else { return all };
            page = self.done(self.store.list(&backend.into(), Some(&next)).await);
            all.append(&mut page.entries);
        }
        panic!("{}: a listing must end", self.case)
    }
}

async fn listing_and_counting_are_exact<S: StickStore>(on: &Subject<'_, S>) {
    let mut tasks = JoinSet::new();
    for number in 0..1500_u64 {
        let store = Arc::clone(&on.store);
        tasks.spawn(async move {
            let backend = if number % 3 == 0 { "many" } else { "more" };
            store.claim(&key(&format!("room {number}")), &want(backend, number), LONG).await
        });
    }
    for answer in tasks.join_all().await {
        on.check(matches!(on.done(answer), Claim::Won(_)), "a claim of a free room must win");
    }
    for (backend, expected) in [("many", 500), ("more", 1000), ("none", 0)] {
        on.same(&on.count(backend).await, &expected, "the count is exact");
        let first = on.done(on.store.list(&backend.into(), None).await);
        let all = on.rest(backend, first).await;
        on.same(&(all.len() as u64), &expected, "the pages hold every entry once");
        let keys: BTreeSet<_> = all.iter().map(|(key, _)| key.clone()).collect();
        on.same(&keys.len(), &all.len(), "no entry is listed twice");
        on.check(all.iter().all(|(_, binding)| binding.backend.as_str() == backend), "entries are of that server");
        if let Some((room, binding)) = all.first() {
            on.same(&on.get(room, None).await.as_ref(), &Some(binding), "what is listed is what is stored");
        }
    }
    on.check(on.store.list(&"many".into(), Some("no position")).await.is_err(), "a foreign position is an error");
}
