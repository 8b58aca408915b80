//! The balancer: look up the stick, otherwise pick, take and claim; one room on one server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::decision::{Decision, Outcome};
use crate::hash::stable_hash;
use crate::lease::Lease;
use crate::pool::{Pool, PoolError};
use crate::selector::Ask;
use crate::snapshot::{MAX_EXCLUDED, Member};
use crate::state::{Admin, Health};
use crate::stick::{Binding, Claim, StickError, StickErrorKind, StickKey, StickStore, Token, Want};

mod chance;
mod elsewhere;
mod error;
mod options;
mod recent;
mod service;
#[cfg(test)]
mod tests;

pub use chance::random;
#[cfg(feature = "testing")]
pub use chance::reseed;
pub use error::RouteError;
pub use options::{BalancerOptions, LostStore};
use recent::Recent;

/// A room on its server, with one unit in flight to it.
#[must_use = "dropping a placement gives its unit back"]
pub struct Placement<B: Backend> {
    lease: Lease<B>,
    binding: Binding,
    outcome: Outcome,
}

impl<B: Backend> fmt::Debug for Placement<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement")
            .field("lease", &self.lease)
            .field("binding", &self.binding)
            .field("outcome", &self.outcome)
            .finish()
    }
}

impl<B: Backend> Placement<B> {
    /// The server.
    pub fn backend(&self) -> &Arc<B> {
        self.lease.backend()
    }

    /// What the stick table holds for the room.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// How the room came there.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The room has arrived at the server.
    pub fn land(self) {
        self.lease.land();
    }

    /// The unit in flight alone.
    pub fn into_lease(self) -> Lease<B> {
        self.lease
    }
}

/// Writes a claim to the stick table. A store does it by itself ([`StickStore`]); an adapter that stores more beside
/// the binding in the same step brings its own.
#[async_trait]
pub trait Claimer: Send + Sync {
    /// Stores `want` where nothing is stored or, with `over`, where exactly that is.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn claim(
        &self,
        key: &StickKey,
        over: Option<&Binding>,
        want: &Want,
        ttl: Duration,
    ) -> Result<Claim, StickError>;
}

struct ByStore<'a>(&'a dyn StickStore);

#[async_trait]
impl Claimer for ByStore<'_> {
    async fn claim(
        &self,
        key: &StickKey,
        over: Option<&Binding>,
        want: &Want,
        ttl: Duration,
    ) -> Result<Claim, StickError> {
        match over {
            None => self.0.claim(key, want, ttl).await,
            Some(seen) => self.0.rebind(key, seen, want, ttl).await,
        }
    }
}

/// What one attempt to place a room came to.
pub enum Placed<B: Backend> {
    /// It is bound to the server we picked.
    Here(Placement<B>),
    /// Somebody else bound it first.
    Elsewhere(Binding),
}

impl<B: Backend> fmt::Debug for Placed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(p) => f.debug_tuple("Here").field(p).finish(),
            Self::Elsewhere(b) => f.debug_tuple("Elsewhere").field(b).finish(),
        }
    }
}

/// Whether it is later than that.
fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// The stamp of a binding that was made without the store.
const UNSTORED: u64 = 0;

/// Places rooms on the servers of a pool and keeps them there by a stick table.
pub struct Balancer<B: Backend, Q: ?Sized = ()> {
    pool: Arc<Pool<B, Q>>,
    store: Arc<dyn StickStore>,
    options: BalancerOptions,
    recent: Recent,
    /// How far the store's clock is ahead of ours, in milliseconds, by the stamp of our last claim.
    ahead: AtomicI64,
}

impl<B: Backend, Q: ?Sized> fmt::Debug for Balancer<B, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<B: Backend, Q: ?Sized + Sync + 'static> Balancer<B, Q> {
    /// A balancer over this pool and this stick table.
    pub fn new(pool: Arc<Pool<B, Q>>, store: Arc<dyn StickStore>, options: BalancerOptions) -> Self {
        let remembered = match options.lost_store {
            LostStore::Refuse => 0,
            LostStore::LastKnown(n) | LostStore::Hash(n) => n,
        };
        let recent = Recent::new(remembered, options.ttl);
        Self { pool, store, options, recent, ahead: AtomicI64::new(0) }
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool<B, Q>> {
        &self.pool
    }

    /// The stick table.
    pub fn store(&self) -> &Arc<dyn StickStore> {
        &self.store
    }

    /// Where a room lives now, if anywhere; a hit is kept for another time to live.
    ///
    /// A room that was placed without the store ([`LostStore::Hash`]) is stored now if nothing is, provided that its
    /// server still takes participants.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the stick table cannot be asked and the room was not seen lately.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing, except that the hit may have been extended, or stored.
    pub async fn find(&self, key: &StickKey) -> Result<Option<Binding>, StickError> {
        if let Some(b) = self.find_now(key.as_str()) {
            return Ok(Some(b));
        }
        match self.store.get(key, Some(self.options.ttl)).await {
            Ok(Some(b)) => {
                self.recent.put(key, &b);
                Ok(Some(b))
            }
            Ok(None) => match self.recent.get(key) {
                // Seldom, and much to carry along for every room that is found.
                Some(b) if b.stamp == UNSTORED => Box::pin(self.store_late(key, b)).await,
                _ => {
                    self.recent.forget(key);
                    Ok(None)
                }
            },
            // A store that refuses, its disk full perhaps, keeps nobody of a known room out.
            Err(e) if matches!(e.kind(), StickErrorKind::Lost | StickErrorKind::Refused) => {
                match self.recent.get(key) {
                    Some(b) => Ok(Some(b)),
                    None => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// Where the room of this key lives, if the stick table has it [at hand](StickStore::at_hand); a hit is kept for
    /// another time to live. `None` says nothing: [`find`](Self::find) it.
    pub fn find_now(&self, key: &str) -> Option<Binding> {
        self.store.at_hand(key, Some(self.options.ttl))
    }

    /// Forgets which rooms were stored on this server, as known for the time when the stick table cannot be asked: another
    /// process may have moved them. Each is known again once it was asked for.
    pub fn forget_known(&self, id: &BackendId) {
        self.recent.forget_on(id);
    }

    /// Stores what was bound without the store, before the room could be placed anew and elsewhere.
    async fn store_late(&self, key: &StickKey, b: Binding) -> Result<Option<Binding>, StickError> {
        let holds = |m: Arc<Member<B>>| m.admin() != Admin::Maint && m.health() != Health::Dead;
        if !self.pool.member(b.backend.as_str()).is_some_and(holds) {
            self.recent.forget(key);
            return Ok(None);
        }
        let want = Want { backend: b.backend.clone(), token: Token(random()) };
        match self.claim(&ByStore(&*self.store), key, None, &want).await {
            Ok(Claim::Won(stored) | Claim::Held(stored)) => {
                self.recent.put(key, &stored);
                Ok(Some(stored))
            }
            // A server that drains keeps its rooms, though nothing can be bound to it.
            Ok(Claim::Closed) => Ok(Some(b)),
            Err(e) if matches!(e.kind(), StickErrorKind::Lost | StickErrorKind::Refused | StickErrorKind::Full) => {
                Ok(Some(b))
            }
            Err(e) => Err(e),
        }
    }

    /// Picks a server and binds the room to it: where nothing is bound, or where exactly `over` is.
    ///
    /// # Errors
    ///
    /// [`RouteError::NoCandidate`] or [`RouteError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the unit back. A claim already sent may stay; the next request for the room meets it.
    pub async fn place(&self, ask: &Ask<'_, Q>, over: Option<&Binding>) -> Result<Placed<B>, RouteError> {
        self.place_inner(ask, over, &ByStore(&*self.store), None).await
    }

    /// [`place`](Self::place) with another way of writing the claim, and with its reasons if they are wanted.
    ///
    /// # Errors
    ///
    /// As [`place`](Self::place).
    ///
    /// # Cancel safety
    ///
    /// As [`place`](Self::place).
    pub async fn place_by(
        &self,
        ask: &Ask<'_, Q>,
        over: Option<&Binding>,
        claimer: &dyn Claimer,
        explain: Option<&mut Option<Decision>>,
    ) -> Result<Placed<B>, RouteError> {
        self.place_inner(ask, over, claimer, explain).await
    }

    async fn place_inner(
        &self,
        asked: &Ask<'_, Q>,
        over: Option<&Binding>,
        claimer: &dyn Claimer,
        mut explain: Option<&mut Option<Decision>>,
    ) -> Result<Placed<B>, RouteError> {
        let mut closed: Vec<BackendId> = Vec::new();
        let token = asked.token.unwrap_or_else(|| Token(random()));
        // Comes round again only for a server that is closed: these are left out, as many as a pick can leave out.
        for _ in 0..=MAX_EXCLUDED {
            let mut ask = *asked;
            if !closed.is_empty() {
                ask.exclude = &closed;
            }
            let lease = match explain.as_deref_mut() {
                None => self.pool.place(&ask, random()),
                Some(slot) => {
                    let (lease, decision) = self.pool.place_explained(&ask, random());
                    *slot = Some(decision);
                    lease
                }
            };
            let lease = lease.ok_or(RouteError::NoCandidate)?;
            if is_over(asked.until) {
                return Err(RouteError::Late);
            }
            let want = Want { backend: lease.backend().id().clone(), token };
            match self.claim(claimer, asked.key, over, &want).await? {
                Claim::Held(b) if b.token != token => {
                    self.recent.put(ask.key, &b);
                    return Ok(Placed::Elsewhere(b));
                }
                // Held under our own token: an earlier attempt, whose answer was lost, had won.
                Claim::Won(b) | Claim::Held(b) => {
                    if b.backend != want.backend {
                        return Ok(Placed::Elsewhere(b));
                    }
                    self.recent.put(ask.key, &b);
                    let outcome = if over.is_some() { Outcome::Moved } else { Outcome::New };
                    self.log(ask.key, &b.backend, outcome);
                    return Ok(Placed::Here(Placement { lease, binding: b, outcome }));
                }
                Claim::Closed => {
                    if closed.is_empty() {
                        closed.extend_from_slice(asked.exclude);
                    }
                    closed.push(want.backend);
                }
            }
        }
        Err(RouteError::NoCandidate)
    }

    /// Claims or rebinds; an answer that was lost is asked for once more under the same token.
    async fn claim(
        &self,
        claimer: &dyn Claimer,
        key: &StickKey,
        over: Option<&Binding>,
        want: &Want,
    ) -> Result<Claim, StickError> {
        let mut first = true;
        loop {
            match claimer.claim(key, over, want, self.options.ttl).await {
                Ok(Claim::Won(b)) => {
                    let ahead = i128::from(b.stamp) - i128::from((self.options.wall_ms)());
                    self.ahead.store(i64::try_from(ahead).unwrap_or(0), Relaxed);
                    return Ok(Claim::Won(b));
                }
                Err(e) if first && e.kind() == StickErrorKind::Lost => first = false,
                other => return other,
            }
        }
    }

    /// A server for the room: the one it lives on, or, if it lives nowhere usable, a new one for everybody.
    ///
    /// A room moves only when its server is dead or in maintenance, once and for all processes; it is not moved back
    /// when the old server returns.
    ///
    /// # Errors
    ///
    /// [`RouteError`].
    ///
    /// # Cancel safety
    ///
    /// As [`place`](Self::place).
    pub async fn route(&self, ask: &Ask<'_, Q>) -> Result<Placement<B>, RouteError> {
        self.route_inner(ask, None).await
    }

    /// [`route`](Self::route) with its reasons.
    ///
    /// # Cancel safety
    ///
    /// As [`place`](Self::place).
    pub async fn route_explained(&self, ask: &Ask<'_, Q>) -> (Result<Placement<B>, RouteError>, Decision) {
        let mut decision = None;
        let routed = self.route_inner(ask, Some(&mut decision)).await;
        let mut decision =
            decision.unwrap_or_else(|| self.pool.freeze(tokio::time::Instant::now()).decide(ask, random()));
        match &routed {
            Ok(p) => {
                if matches!(p.outcome, Outcome::Sticky | Outcome::Adopted) {
                    let alone = decision.backend.as_ref().map_or("nobody".to_owned(), ToString::to_string);
                    decision.note(format!("by the selector alone: {alone}"));
                }
                decision.backend = Some(p.binding.backend.clone());
                decision.outcome = p.outcome;
            }
            Err(e) => {
                decision.backend = None;
                decision.outcome = match e {
                    RouteError::NoCandidate => Outcome::NoCandidate,
                    _ => Outcome::Refused,
                };
                decision.note(e.to_string());
            }
        }
        (routed, decision)
    }

    async fn route_inner(
        &self,
        ask: &Ask<'_, Q>,
        mut explain: Option<&mut Option<Decision>>,
    ) -> Result<Placement<B>, RouteError> {
        let mut seen = match self.find(ask.key).await {
            Ok(seen) => seen,
            Err(e) => return self.place_without_store(ask, e),
        };
        let mut met = Outcome::Sticky;
        for _ in 0..self.options.attempts {
            let over = match seen {
                Some(b) => match self.pool.lease(&b.backend, 0) {
                    Ok(lease) => {
                        self.log(ask.key, &b.backend, met);
                        return Ok(Placement { lease, binding: b, outcome: met });
                    }
                    Err(PoolError::Blocked { id, admin, health }) => {
                        if self.is_young(&b) {
                            return Err(RouteError::Pinned { id, admin, health });
                        }
                        Some(b)
                    }
                    Err(_) => return Err(RouteError::Unknown { id: b.backend }),
                },
                None => None,
            };
            let by = ByStore(&*self.store);
            match self.place_inner(ask, over.as_ref(), &by, explain.as_deref_mut()).await {
                Err(RouteError::Store(e)) if over.is_some_and(|b| b.stamp == UNSTORED) => {
                    return self.place_without_store(ask, e);
                }
                Err(e) => return Err(e),
                Ok(Placed::Here(p)) => return Ok(p),
                Ok(Placed::Elsewhere(b)) => {
                    met = Outcome::Adopted;
                    seen = Some(b);
                }
            }
        }
        Err(RouteError::Contended { attempts: self.options.attempts })
    }

    fn place_without_store(&self, ask: &Ask<'_, Q>, lost: StickError) -> Result<Placement<B>, RouteError> {
        let may = matches!(self.options.lost_store, LostStore::Hash(_)) && self.pool.by_key_alone();
        if !may || lost.kind() != StickErrorKind::Lost {
            return Err(lost.into());
        }
        if is_over(ask.until) {
            return Err(RouteError::Late);
        }
        let lease = self.pool.place(ask, random()).ok_or(RouteError::NoCandidate)?;
        let binding = Binding { backend: lease.backend().id().clone(), token: Token(0), stamp: UNSTORED };
        // Where states change before the store is back, the hash may name another server, but the room is here.
        self.recent.put(ask.key, &binding);
        Ok(Placement { lease, binding, outcome: Outcome::New })
    }

    /// Whether a binding is too young to be moved. Its age runs on the store's clock, whose difference from ours is
    /// known from the last claim that was won here.
    pub fn is_young(&self, b: &Binding) -> bool {
        let now = (self.options.wall_ms)().saturating_add_signed(self.ahead.load(Relaxed));
        let age = now.saturating_sub(b.stamp);
        u128::from(age) < self.options.settle.as_millis()
    }

    fn log(&self, key: &StickKey, backend: &BackendId, outcome: Outcome) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let room_hash = stable_hash(key.as_str().as_bytes());
            let candidates = self.pool.open_count();
            tracing::debug!(room_hash, %backend, reason = %outcome, candidates, "room placed");
        }
    }
}
