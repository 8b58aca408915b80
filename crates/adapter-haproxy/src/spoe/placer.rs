//! Rooms of messages, placed by the core's balancer.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{
    Admin, Ask, Backend, BackendId, Balancer, Binding, Claim, Decision, Filter, Health, Outcome, RouteError, StickKey,
    Token, random,
};
use tokio::time::Instant;

use super::codec::Value;
use super::frame::{Action, Scope, set_text};
use super::io::{Answer, Answering, Asked, Query};
use super::reply::{Decimal, Reply};

mod counts;
mod explained;
mod options;
#[cfg(test)]
mod tests;
mod wish;

pub use counts::PlaceCounts;
use counts::Tally;
use explained::Explained;
pub use explained::Explanation;
pub use options::{ArgumentNames, PlacerOptions};
pub use wish::Wish;
use wish::{Home, Told};

/// Makes the query of a selector out of what HAProxy told.
type MakeQuery<Q> = dyn Fn(&Wish) -> Q + Send + Sync;

/// A server's number in HAProxy's configuration.
type ServerNumber<B> = dyn Fn(&B) -> Option<u32> + Send + Sync;

/// What came of one message.
struct Placed {
    server: Option<BackendId>,
    outcome: Outcome,
    refusal: Option<String>,
    decision: Option<Box<Decision>>,
    /// A claim of which nobody knows whether it went through.
    claim: Option<Token>,
}

impl Placed {
    fn on(server: BackendId, outcome: Outcome) -> Self {
        Self { server: Some(server), outcome, refusal: None, decision: None, claim: None }
    }

    fn nowhere(outcome: Outcome, refusal: impl Into<String>) -> Self {
        Self { server: None, outcome, refusal: Some(refusal.into()), decision: None, claim: None }
    }
}

/// Answers messages with the server that a [`Balancer`] has for their room: any strategy, any stick table.
///
/// A message tells the room, and, where it has them, the tags a server must have, the region it should be of, and who
/// asks. The answer sets `txn.PREFIX.server` to the id of a server, which is its name in HAProxy, and `txn.PREFIX.why`
/// to the number of an [`Explanation`]. Where there is nothing to say (no server takes the room, the stick table cannot
/// be asked, the message names no room) nothing is set: no opinion, and HAProxy goes on as its configuration has it. One
/// question leads to one claim at most: only its first message counts.
///
/// # Rooms that HAProxy placed meanwhile
///
/// While no agent answers, HAProxy places new rooms by itself, and everybody in them would be split off once an agent
/// places them anew. So the rendered messages tell two more things. `home` is the server that HAProxy's own stick table
/// has for the room: a room that the stick table here does not know is bound there, not placed. `at` is when HAProxy
/// asked: a question that is older than HAProxy's patience has been decided by HAProxy already, and is left alone; it
/// was read late by an agent that hung. A claim that was won too late for an answer is taken back. Both clocks must
/// agree within that patience, so run the agent on HAProxy's host or keep their clocks together.
///
/// Where `home` and the stick table disagree, the stick table wins, and a conflict is counted. But where one answer for a
/// new room is all that was ever said of it, and `home` is elsewhere, that answer was not heard (HAProxy had just cut
/// off an agent that it found down) or not followed (`option redispatch`); where there was no opinion at all, a claim
/// of ours went through that was thought lost. The first person is at `home`, so the room is bound there. Explanations are how
/// that is known; an agent that keeps none lets the stick table win.
///
/// ```
/// # use std::sync::Arc;
/// # use balancer_core::{Backend, BackendId, Balancer, BalancerOptions, LeastLoaded, MemoryStore, Pool, PoolOptions};
/// # use adapter_haproxy::spoe::{Placer, PlacerOptions};
/// struct Server { id: BackendId, number: u32 }
/// impl Backend for Server {
///     fn id(&self) -> &BackendId { &self.id }
/// }
/// let pool = Arc::new(Pool::new(Box::new(LeastLoaded), PoolOptions::default()));
/// let servers = [("mm1", 1), ("mm2", 2)].map(|(id, number)| Arc::new(Server { id: id.into(), number }));
/// pool.replace(servers)?;
/// let balancer = Arc::new(Balancer::new(pool, Arc::new(MemoryStore::default()), BalancerOptions::default()));
/// let placer = Placer::new(balancer, PlacerOptions::default()).with_server_numbers(|server: &Server| Some(server.number));
/// # let _ = placer;
/// # Ok::<(), balancer_core::PoolError>(())
/// ```
pub struct Placer<B: Backend, Q = ()> {
    balancer: Arc<Balancer<B, Q>>,
    query: Box<MakeQuery<Q>>,
    number: Option<Box<ServerNumber<B>>>,
    options: PlacerOptions,
    /// The variables, as the actions that set them begin.
    server: Vec<u8>,
    why: Vec<u8>,
    tally: Tally,
    explained: Mutex<Explained>,
}

impl<B: Backend, Q> fmt::Debug for Placer<B, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<B: Backend> Placer<B> {
    /// Places by this balancer.
    pub fn new(balancer: Arc<Balancer<B>>, options: PlacerOptions) -> Self {
        Self::with_query(balancer, options, |_| ())
    }
}

impl<B: Backend, Q: Send + Sync + 'static> Placer<B, Q> {
    /// Places by a balancer whose selector wants to know more; `query` makes it out of what HAProxy told.
    pub fn with_query(
        balancer: Arc<Balancer<B, Q>>,
        options: PlacerOptions,
        query: impl Fn(&Wish) -> Q + Send + Sync + 'static,
    ) -> Self {
        let (query, tally) = (Box::new(query), Tally::default());
        let [server, why] = [&options.server, &options.why].map(|name| set_text(Scope::Transaction, name));
        Self { balancer, query, number: None, options, server, why, tally, explained: Mutex::default() }
    }

    /// Knows servers by their `id` in HAProxy's configuration, as `home` tells it. Without, `home` is heeded only
    /// where it is a name.
    #[must_use]
    pub fn with_server_numbers(mut self, number: impl Fn(&B) -> Option<u32> + Send + Sync + 'static) -> Self {
        self.number = Some(Box::new(number));
        self
    }

    /// The balancer.
    pub fn balancer(&self) -> &Arc<Balancer<B, Q>> {
        &self.balancer
    }

    /// What it has done so far.
    pub fn counts(&self) -> PlaceCounts {
        self.tally.read()
    }

    /// Why a room was sent where it was, as long as it is remembered.
    pub fn explanation(&self, id: u64) -> Option<Explanation> {
        self.explained.lock().unwrap_or_else(PoisonError::into_inner).get(id)
    }

    fn unreadable<T>(&self) -> Option<T> {
        self.tally.unreadable.fetch_add(1, Relaxed);
        None
    }

    /// What the arguments of a message tell.
    fn told<'a>(&self, args: impl Iterator<Item = (&'a [u8], Value<&'a [u8]>)>) -> Option<Told<'a>> {
        Told::read(args, &self.options).or_else(|| self.unreadable())
    }

    /// What is told as what it asks for.
    fn wish(&self, told: &Told<'_>) -> Option<Wish> {
        Wish::new(told).or_else(|| self.unreadable())
    }

    /// Why a room was sent where it was, each time that is remembered, the latest last.
    pub fn explanations(&self, room: &StickKey) -> Vec<Explanation> {
        self.explained.lock().unwrap_or_else(PoisonError::into_inner).of(room)
    }

    /// Whether the stick table is asked before the balancer: reasons are the balancer's to give, unless HAProxy has the
    /// room already.
    fn asks_first(&self, home: Option<Home<'_>>) -> bool {
        home.is_some() || !self.options.decisions
    }

    /// Answers for a room that the stick table has at hand, on a server that takes it; whether it did.
    fn place_at_once(&self, told: &Told<'_>, reply: &mut Reply) -> bool {
        if !self.asks_first(told.home) || told.is_stale(&self.options) {
            return false;
        }
        let Some(bound) = self.balancer.find_now(told.room) else { return false };
        if self.is_elsewhere(&bound.backend, told.home) != Some(false) {
            return false;
        }
        self.tally.kept.fetch_add(1, Relaxed);
        reply.push_set(&self.server, bound.backend.as_str().as_bytes());
        if let Some(number) = self.remember(|explained, most| explained.push_known(most, told.room, bound.backend)) {
            reply.push_set(&self.why, Decimal::of(number).digits());
        }
        true
    }

    /// The number under which it is remembered, if anything is.
    fn remember(&self, push: impl FnOnce(&mut Explained, usize) -> u64) -> Option<u64> {
        let most = self.options.explanations;
        (most > 0).then(|| push(&mut self.explained.lock().unwrap_or_else(PoisonError::into_inner), most))
    }

    async fn place(&self, wish: &Wish, deadline: Instant) -> Placed {
        if self.asks_first(wish.home())
            && let Some(placed) = self.known(wish).await
        {
            return placed;
        }
        // Most rooms are known: what new ones need is not carried along for them.
        Box::pin(self.place_anew(wish, deadline)).await
    }

    async fn place_anew(&self, wish: &Wish, deadline: Instant) -> Placed {
        let filter = match wish.filter() {
            Ok(filter) => filter,
            Err(why) => {
                self.tally.unreadable.fetch_add(1, Relaxed);
                return Placed::nowhere(Outcome::Refused, why.to_string());
            }
        };
        let query = (self.query)(wish);
        self.route(wish, &query, filter.as_ref(), deadline).await
    }

    async fn route(&self, wish: &Wish, query: &Q, filter: Option<&Filter>, deadline: Instant) -> Placed {
        let mut ask = Ask::with_query(&wish.room, query);
        let token = Token(random());
        (ask.filter, ask.until, ask.token) = (filter, Some(deadline), Some(token));
        let is_late = || Instant::now() >= deadline || wish.is_stale(&self.options);
        let (routed, decision) = if is_late() {
            (Err(RouteError::Late), None)
        } else if self.options.decisions {
            let (routed, decision) = self.balancer.route_explained(&ask).await;
            (routed, Some(Box::new(decision)))
        } else {
            (self.balancer.route(&ask).await, None)
        };
        let mut placed = match routed {
            Ok(placement) => {
                let (outcome, binding) = (placement.outcome(), placement.binding().clone());
                if outcome == Outcome::New && is_late() {
                    // HAProxy waits no more and has placed the room elsewhere. Whoever comes next tells where.
                    drop(placement);
                    self.tally.taken_back.fetch_add(1, Relaxed);
                    let taken = self.balancer.take_back(&wish.room, &binding).await;
                    let placed = Placed::nowhere(Outcome::Refused, "placed too late for HAProxy; taken back");
                    return Placed { claim: taken.is_err().then_some(token), ..placed };
                }
                match outcome {
                    Outcome::New => &self.tally.placed,
                    Outcome::Moved => &self.tally.moved,
                    _ => &self.tally.kept,
                }
                .fetch_add(1, Relaxed);
                if matches!(outcome, Outcome::New | Outcome::Moved) {
                    placement.land();
                }
                Placed::on(binding.backend, outcome)
            }
            Err(error) => {
                self.tally.refused.fetch_add(1, Relaxed);
                let nobody = matches!(error, RouteError::NoCandidate);
                let lost = matches!(error, RouteError::Store(_)).then_some(token);
                let outcome = if nobody { Outcome::NoCandidate } else { Outcome::Refused };
                Placed { claim: lost, ..Placed::nowhere(outcome, error.to_string()) }
            }
        };
        placed.decision = decision;
        placed
    }

    /// What becomes of a room that the stick table here knows, or HAProxy's; `None` where it is placed as any other.
    async fn known(&self, wish: &Wish) -> Option<Placed> {
        // The balancer has its own rule for a stick table that cannot be asked.
        match (self.balancer.find(&wish.room).await.ok()?, wish.home()) {
            (Some(bound), home) => self.keep(wish, bound, home).await,
            (None, Some(home)) => Box::pin(self.adopt(wish, home)).await,
            (None, None) => None,
        }
    }

    /// Whether HAProxy has a room elsewhere than on this server; `None` where that takes nobody.
    fn is_elsewhere(&self, server: &BackendId, home: Option<Home<'_>>) -> Option<bool> {
        self.balancer.pool().serving(server, |server| home.is_some_and(|home| !self.is_home(server, home)))
    }

    /// A room stays on its server; `None` where that takes nobody.
    async fn keep(&self, wish: &Wish, bound: Binding, home: Option<Home<'_>>) -> Option<Placed> {
        if self.is_elsewhere(&bound.backend, home)? {
            if let Some(home) = home
                && self.was_not_heard(&wish.room, &bound)
                && let Some(placed) = Box::pin(self.follow(wish, &bound, home)).await
            {
                return Some(placed);
            }
            self.tally.conflicts.fetch_add(1, Relaxed);
        }
        self.tally.kept.fetch_add(1, Relaxed);
        Some(Placed::on(bound.backend, Outcome::Sticky))
    }

    /// Whether all that was ever said of a room is that it is new, and there; or nothing, and it is bound by a claim of
    /// ours that was thought lost.
    fn was_not_heard(&self, room: &StickKey, bound: &Binding) -> bool {
        match &*self.explanations(room) {
            [only] if only.outcome == Outcome::New => only.server.as_ref() == Some(&bound.backend),
            all => {
                let ours = all.iter().any(|said| said.claim == Some(bound.token));
                ours && all.iter().all(|said| said.server.is_none())
            }
        }
    }

    /// The server that HAProxy has a room on, if it may be there.
    fn server_at(&self, home: Home<'_>) -> Option<BackendId> {
        let pool = self.balancer.pool();
        let member = match home {
            Home::Name(name) => pool.member(name)?,
            Home::Number(_) => pool.members().into_iter().find(|member| self.is_home(member.backend(), home))?,
        };
        let may = member.admin() != Admin::Maint && member.health() != Health::Dead;
        may.then(|| member.backend().id().clone())
    }

    /// Binds a room where HAProxy has put it instead.
    async fn follow(&self, wish: &Wish, bound: &Binding, home: Home<'_>) -> Option<Placed> {
        let id = self.server_at(home)?;
        let bound = self.balancer.adopt(&wish.room, Some(bound), &id).await;
        matches!(bound, Ok(Claim::Won(_))).then(|| {
            self.tally.adopted.fetch_add(1, Relaxed);
            Placed::on(id, Outcome::Adopted)
        })
    }

    /// Binds a room where HAProxy has put it.
    async fn adopt(&self, wish: &Wish, home: Home<'_>) -> Option<Placed> {
        let id = self.server_at(home)?;
        match self.balancer.adopt(&wish.room, None, &id).await {
            Ok(Claim::Won(_)) => {
                self.tally.adopted.fetch_add(1, Relaxed);
                Some(Placed::on(id, Outcome::Adopted))
            }
            // A draining server keeps its rooms, by HAProxy's own table.
            Ok(Claim::Closed) => {
                self.tally.left_alone.fetch_add(1, Relaxed);
                Some(Placed::nowhere(Outcome::Refused, format!("HAProxy has it on {id}, which takes nothing new")))
            }
            Ok(Claim::Held(_)) | Err(_) => None,
        }
    }

    fn is_home(&self, server: &B, home: Home<'_>) -> bool {
        match home {
            Home::Name(name) => server.id().as_str() == name,
            Home::Number(number) => self.number.as_ref().and_then(|of| of(server)) == Some(number),
        }
    }

    /// What is said to a wish.
    async fn heed(self: Arc<Self>, wish: Wish, deadline: Instant) -> Reply {
        let placed = if wish.is_stale(&self.options) {
            self.tally.stale.fetch_add(1, Relaxed);
            Placed::nowhere(Outcome::Refused, "asked too long ago: HAProxy has decided meanwhile")
        } else {
            self.place(&wish, deadline).await
        };
        let mut reply = Reply::new();
        if let Some(server) = &placed.server {
            reply.push_set(&self.server, server.as_str().as_bytes());
        }
        let number = self.remember(|explained, most| explained.push(most, &wish.room, placed));
        if let Some(number) = number.filter(|_| !reply.is_empty()) {
            reply.push_set(&self.why, Decimal::of(number).digits());
        }
        reply
    }

    /// What the first message that asks for a server tells.
    fn told_first<'a>(&self, asked: &Asked<'a>) -> Option<Told<'a>> {
        let message = asked.messages.iter().find(|message| message.name() == self.options.message.as_bytes())?;
        self.told(message.args())
    }
}

#[async_trait]
impl<B: Backend, Q: Send + Sync + 'static> Answer for Placer<B, Q> {
    async fn answer(self: Arc<Self>, query: Query) -> Vec<Action> {
        let message = query.messages.iter().find(|message| message.name == self.options.message.as_bytes());
        let Some(message) = message else { return Vec::new() };
        let args = message.args.iter().map(|arg| (&*arg.name, arg.value.view()));
        let Some(told) = self.told(args) else { return Vec::new() };
        let mut reply = Reply::new();
        if self.place_at_once(&told, &mut reply) {
            return reply.to_actions();
        }
        match self.wish(&told) {
            Some(wish) => self.heed(wish, query.deadline).await.to_actions(),
            None => Vec::new(),
        }
    }

    fn answer_asked(self: Arc<Self>, asked: &Asked<'_>) -> Answering {
        match self.told_first(asked).and_then(|told| self.wish(&told)) {
            Some(wish) => Box::pin(self.heed(wish, asked.deadline)),
            None => Box::pin(std::future::ready(Reply::new())),
        }
    }

    fn answer_at_once(&self, asked: &Asked<'_>, reply: &mut Reply) -> bool {
        self.told_first(asked).is_none_or(|told| self.place_at_once(&told, reply))
    }
}

/// HAProxy's patience as rendered.
const PATIENCE: Duration = Duration::from_millis(50);
