//! Choosing one of the candidates: selectors, the strategies that prepare them, and what a pick is told.

use std::sync::Arc;

use tokio::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::board::{Expect, Slot};
use crate::filter::Filter;
use crate::hash::mix;
use crate::snapshot::{Candidates, Members};
use crate::stick::{StickKey, Token};

/// Makes a strategy of a selector without a state of its own.
macro_rules! plain {
    ($selector:ident, $name:literal) => {
        plain!($selector, $name, $crate::selector::Needs::NONE);
    };
    ($selector:ident, $name:literal, $needs:expr) => {
        impl<B: $crate::backend::Backend, Q: ?Sized> $crate::selector::Strategy<B, Q> for $selector {
            fn name(&self) -> &'static str {
                $name
            }

            fn needs(&self) -> $crate::selector::Needs {
                $needs
            }

            fn prepare(
                &mut self,
                _members: &$crate::snapshot::Members<B>,
                changes: &[$crate::selector::Change],
            ) -> Option<std::sync::Arc<dyn $crate::selector::Selector<B, Q>>> {
                let first = changes.contains(&$crate::selector::Change::Members);
                first.then(|| std::sync::Arc::new(*self) as std::sync::Arc<dyn $crate::selector::Selector<B, Q>>)
            }

            fn fork(&self) -> Box<dyn $crate::selector::Strategy<B, Q>> {
                Box::new(*self)
            }
        }
    };
}

mod first;
mod hash;
mod least;
mod least_loaded;
mod leastconn;
mod named;
mod p2c;
mod random;
mod rotate;
#[cfg(test)]
mod tests;

pub use first::First;
pub use hash::ConsistentHash;
pub use least_loaded::LeastLoaded;
pub use leastconn::LeastConn;
pub use named::{by_name, strategy_names};
pub use p2c::PowerOfTwo;
pub use random::Random;
pub use rotate::RoundRobin;

/// What is asked for: a server for this room.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ask<'a, Q: ?Sized = ()> {
    /// The canonical room key.
    pub key: &'a StickKey,
    /// What the adapter's own selectors want to know.
    pub query: &'a Q,
    /// Which servers may be chosen; all when absent.
    pub filter: Option<&'a Filter>,
    /// Servers to leave out, by id (at most [`MAX_EXCLUDED`](crate::MAX_EXCLUDED) are honoured).
    pub exclude: &'a [BackendId],
    /// The expected cost of the room, in the unit of the load model; the model's own size when absent. Its product with
    /// the number of processes is held at [`MAX_SIZE`](crate::MAX_SIZE).
    pub size: Option<u64>,
    /// Whoever asks waits no longer than until then: no claim is made afterwards.
    pub until: Option<Instant>,
    /// What a claim is known by; a number of its own when absent.
    pub token: Option<Token>,
}

impl<Q: ?Sized> Clone for Ask<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Ask<'_, Q> {}

impl<'a> Ask<'a, ()> {
    /// Asks for a server for this room.
    pub fn new(key: &'a StickKey) -> Self {
        Ask::with_query(key, &())
    }
}

impl<'a, Q: ?Sized> Ask<'a, Q> {
    /// Asks with a query for the adapter's own selector.
    pub fn with_query(key: &'a StickKey, query: &'a Q) -> Self {
        Self { key, query, filter: None, exclude: &[], size: None, until: None, token: None }
    }

    /// Only where this filter allows.
    #[must_use]
    pub fn filter(mut self, filter: &'a Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Not on these servers.
    #[must_use]
    pub fn exclude(mut self, ids: &'a [BackendId]) -> Self {
        self.exclude = ids;
        self
    }

    /// A room of this expected cost, held at [`MAX_SIZE`](crate::MAX_SIZE).
    #[must_use]
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// For somebody who waits no longer than until then: no claim is made afterwards, as nobody would hear of it. One that
    /// was made before may be won later; [`take_back`](crate::Balancer::take_back) is for that.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.until = Some(deadline);
        self
    }

    /// Claims under this token, never used before, by which a binding can be known later: also one whose claim was
    /// thought lost.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }
}

/// How a selector valued each candidate, and how it broke a tie. Filled only for an explained pick.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub(crate) scores: Vec<(Slot, u64)>,
    pub(crate) rule: &'static str,
    pub(crate) tie: Option<(usize, &'static str)>,
}

impl Trace {
    /// The rule in a few words, such as "least (units in flight + 1) / weight".
    pub fn rule(&mut self, rule: &'static str) {
        self.rule = rule;
    }

    /// A candidate's score; lower is better.
    pub fn score(&mut self, slot: Slot, score: u64) {
        self.scores.push((slot, score));
    }

    /// So many candidates were equal, and how one of them was chosen.
    pub fn tie(&mut self, among: usize, how: &'static str) {
        self.tie = Some((among, how));
    }
}

/// Time and chance of one pick. A selector reads no clock and owns no generator.
#[derive(Debug)]
pub struct Turn<'t> {
    /// Read from the clock when first asked for, if not given: most picks never ask.
    now: Option<Instant>,
    random: u64,
    pub(crate) expect: Expect,
    trace: Option<&'t mut Trace>,
    trial: bool,
}

impl<'t> Turn<'t> {
    /// A turn at this moment with this seed.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self { now: Some(now), ..Self::live(seed) }
    }

    /// A turn at the moment at which the time is first asked for.
    pub(crate) fn live(seed: u64) -> Self {
        Self { now: None, random: seed, expect: Expect::Any, trace: None, trial: false }
    }

    /// The same, filling a trace.
    pub fn traced(now: Instant, seed: u64, trace: &'t mut Trace) -> Self {
        Self { trace: Some(trace), ..Self::new(now, seed) }
    }

    /// The same, only to learn what would be chosen.
    #[must_use]
    pub fn trial(mut self) -> Self {
        self.trial = true;
        self
    }

    /// Whether nothing will come of this pick: a selector with a state of its own moves nothing then.
    pub fn is_trial(&self) -> bool {
        self.trial
    }

    /// Forgets what an earlier try of the same pick said; chance goes on.
    pub(crate) fn again(&mut self) {
        self.expect = Expect::Any;
        if let Some(trace) = self.trace() {
            *trace = Trace::default();
        }
    }

    /// The moment of the pick.
    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// The next random number.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// The trace, if this pick is explained.
    pub fn trace(&mut self) -> Option<&mut Trace> {
        self.trace.as_deref_mut()
    }

    /// States the rank that made the choice: if it has changed when the unit is taken, the pick is made again.
    ///
    /// So picks that run beside one another level the load exactly instead of choosing the same server twice.
    pub fn expect_rank(&mut self, rank: u64) {
        self.expect = Expect::Rank(rank);
    }

    /// States the units in flight that made the choice, like [`expect_rank`](Self::expect_rank).
    pub fn expect_units(&mut self, units: u32) {
        self.expect = Expect::Units(units);
    }
}

/// Chooses one candidate.
pub trait Selector<B: Backend, Q: ?Sized = ()>: Send + Sync {
    /// One of `among`, or `None` when it is empty. Never allocates or blocks on more than its own short lock.
    fn pick(&self, among: &Candidates<'_, B>, ask: &Ask<'_, Q>, turn: &mut Turn<'_>) -> Option<Slot>;
}

/// What changed in the pool since a strategy prepared last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Members or definitions.
    Members,
    /// The weight in force of one server.
    Weight(Slot),
    /// Whether one server takes new work.
    Eligible(Slot),
}

/// What a strategy wants kept at every change, beside what is always kept. Nobody else pays for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    pub(crate) shares: bool,
}

impl Needs {
    /// Nothing more.
    pub const NONE: Self = Self { shares: false };
    /// Units in flight for the weight as one short key per server, so that a scan reads little.
    pub(crate) const SHARES: Self = Self { shares: true };
}

/// Owns what a selector needs between changes, and prepares a new selector when something changed.
pub trait Strategy<B: Backend, Q: ?Sized = ()>: Send {
    /// The name, as in [`by_name`](crate::by_name).
    fn name(&self) -> &'static str;

    /// Whether a choice depends on the room key and the servers alone: then a room can be found again without its
    /// stick (see [`LostStore::Hash`](crate::LostStore::Hash)). Default `false`.
    fn by_key_alone(&self) -> bool {
        false
    }

    /// What is to be kept for it at every change. Asked once, when the pool is made. Default [`Needs::NONE`].
    fn needs(&self) -> Needs {
        Needs::NONE
    }

    /// Prepares a selector for these members, or keeps the last one (`None`). Called under the pool's writer lock, in
    /// order; the first call always has [`Change::Members`] and must prepare one.
    fn prepare(&mut self, members: &Members<B>, changes: &[Change]) -> Option<Arc<dyn Selector<B, Q>>>;

    /// A deep copy, for plans and explanations: picks on the copy move nothing here.
    fn fork(&self) -> Box<dyn Strategy<B, Q>>;
}

/// Makes a strategy of a selector that needs no preparation.
#[derive(Clone, Debug)]
pub struct Plain<S> {
    name: &'static str,
    selector: S,
}

impl<S> Plain<S> {
    /// Wraps a selector under this name.
    pub fn new(name: &'static str, selector: S) -> Self {
        Self { name, selector }
    }
}

impl<B: Backend, Q: ?Sized, S: Selector<B, Q> + Clone + 'static> Strategy<B, Q> for Plain<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, _members: &Members<B>, changes: &[Change]) -> Option<Arc<dyn Selector<B, Q>>> {
        changes.contains(&Change::Members).then(|| Arc::new(self.selector.clone()) as Arc<dyn Selector<B, Q>>)
    }

    fn fork(&self) -> Box<dyn Strategy<B, Q>> {
        Box::new(self.clone())
    }
}
