//! Places video-conference rooms on servers and keeps them there.
//!
//! Rooms, not requests: everybody of one room must meet on one server, always. A load balancer spreads requests and
//! knows nothing of rooms; a conference system knows its rooms and little of other servers. This crate is the decision
//! between them: which server a room lives on, who may change that, what happens when a server drains or dies, and why.
//! It knows no protocol; adapters bring HAProxy, BigBlueButton or Jitsi.
//!
//! ```
//! use std::sync::Arc;
//! use balancer_core::{
//!     Ask, Backend, BackendId, Balancer, BalancerOptions, LeastConn, MemoryStore, Pool, PoolOptions, StickKey,
//! };
//!
//! struct Server(BackendId);
//! impl Backend for Server {
//!     fn id(&self) -> &BackendId { &self.0 }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Arc::new(Pool::new(Box::new(LeastConn), PoolOptions::default()));
//! pool.replace(["eu-1", "eu-2", "eu-3"].map(|id| Arc::new(Server(id.into()))))?;
//! let balancer = Balancer::new(pool, Arc::new(MemoryStore::default()), BalancerOptions::default());
//!
//! let room = StickKey::new("algebra")?;
//! let first = balancer.route(&Ask::new(&room)).await?;
//! let home = first.backend().id().clone();
//! first.land(); // the room has arrived
//! let second = balancer.route(&Ask::new(&room)).await?;
//! assert_eq!(second.backend().id(), &home); // everybody meets there
//! let (_, why) = balancer.route_explained(&Ask::new(&room)).await;
//! println!("{why}");
//! # Ok(())
//! # }
//! ```
//!
//! # What there is
//!
//! | Part | Names |
//! | --- | --- |
//! | Servers | [`Backend`], [`BackendId`], [`Weight`], [`Tag`], [`Filter`] |
//! | The pool | [`Pool`], [`PoolOptions`], [`Lease`], [`ServerView`], [`Frozen`], [`Event`] |
//! | States | [`Admin`] (ordered), [`Health`] (measured), [`HealthRules`], [`Verdict`] |
//! | Load | [`Report`], [`LoadModel`], [`ByUsers`], [`ByRooms`] |
//! | Choosing | [`Selector`], [`Strategy`], [`by_name`], [`LeastConn`], [`LeastLoaded`], [`ConsistentHash`], [`PowerOfTwo`], [`RoundRobin`], [`Random`], [`First`] |
//! | Sticks | [`StickStore`], [`MemoryStore`], `FileStore`, `RedisStore`, [`Binding`], [`Claim`] |
//! | Probes | [`HealthProbe`], [`Monitor`], `TcpProbe`, `HttpProbe` |
//! | Decisions | [`Balancer`], [`Placement`], [`Decision`], [`RouteError`] |
//! | Plans | [`Pool::plan`], [`Step`], [`Room`], [`Plan`], [`Pool::fork`] |
//!
//! # Features
//!
//! All are off by default, and none changes what another does.
//!
//! | Feature | Adds |
//! | --- | --- |
//! | `probes` | `TcpProbe` and `HttpProbe` |
//! | `file` | `FileStore`: sticks in one file that survives a kill |
//! | `redis` | `RedisStore`: sticks on a Redis server that several processes share |
//! | `redis-tls` | TLS to that server: `rediss://` |
//! | `redis-sentinel` | the master that sentinels name: `redis+sentinel://` |
//! | `redis-cluster` | a Redis Cluster: `redis+cluster://` |
//! | `testing` | `conformance`: the suite every stick store must pass |
//!
//! # What is promised
//!
//! - A room has one server. Insert-if-absent is one step at the store; the loser of a race adopts the winner's choice.
//! - A room moves only when its server is dead or in maintenance, once for everybody, and never back while in use.
//! - Every placement counts at once, until a report whose measuring began after it landed covers it.
//! - Admin state, health and weight are three values; none overwrites another. Weight 0 is legal.
//! - A pick neither allocates nor locks (round robin and hashing included).

//! # How far one machine goes
//!
//! Measured on two cores of an AMD EPYC by `cargo xtask bench growth`, which prints the whole table and draws it. A pick
//! costs 18 ns by rotation and 25 to 36 ns by hash from 10 to 100,000 servers; two choices cost 30 to 115 ns; the fewest
//! units in flight are a scan, 0.24 µs at 1,000 servers and 17 µs at 100,000. A room is found in the stick table in 25 to
//! 65 ns and claimed in 0.1 to 0.6 µs from 1,000 to ten million rooms, which take 136 MiB a million. So a process ends
//! neither at picks nor at rooms, but at changes: one more server costs 0.1 to 0.7 ms at 1,000 and 20 to 95 ms at
//! 100,000, since every member is published anew. Beyond 10,000 servers divide them among pools (a region each) before
//! anything else.
//!
//! Several processes share one Redis: a claim is one round trip, 80 µs on loopback and at most 1.1 times the bare
//! command, so one connection carries some 10,000 claims a second. Where one Redis ends, by memory or by commands, the
//! same keys spread over a Redis Cluster without a change (256 shards, each in one slot). Polls end later: 500 servers in
//! ten rounds, one in ten of them hanging, were never more than 11 s old at an interval of 10 s; above that, divide the
//! probes among processes with [`SimpleRing`].

mod backend;
mod balancer;
mod board;
mod decision;
mod event;
mod filter;
mod finding;
mod hash;
mod lease;
mod load;
mod monitor;
mod plan;
mod pool;
mod probe;
mod seat;
mod selector;
mod snapshot;
mod state;
mod stick;
mod sync;

pub use backend::{Backend, BackendId, Tag, Weight};
pub use balancer::random;
#[cfg(feature = "testing")]
pub use balancer::reseed;
pub use balancer::{Balancer, BalancerOptions, Claimer, LostStore, Placed, Placement, RouteError};
pub use board::Slot;
pub use decision::{Decision, Excluded, MAX_ROWS, Outcome, Row};
pub use event::Event;
pub use filter::{Clause, Filter, FilterError, MAX_RUNG_TAGS};
pub use finding::{Level, RuleInfo};
pub use hash::{SimpleRing, stable_hash};
pub use lease::Lease;
pub use load::{ByRooms, ByUsers, LoadModel, MAX_COST, MAX_SIZE, Report};
pub use monitor::{Effect as ProbeEffect, Monitor, MonitorOptions, ProbeOutcome, ProbeWatch};
pub use plan::{Fate, Plan, PlanError, PlanOptions, PlannedRoom, PlannedServer, Room, Step, Totals, Why};
pub use pool::{Frozen, Pool, PoolError, PoolOptions, ServerView};
pub use probe::{HealthProbe, ProbeError};
#[cfg(feature = "probes")]
pub use probe::{HttpProbe, TcpProbe};
pub use selector::{
    Ask, Change, ConsistentHash, First, LeastConn, LeastLoaded, Needs, Plain, PowerOfTwo, Random, RoundRobin, Selector,
    Strategy, Trace, Turn, by_name, strategy_names,
};
pub use snapshot::{Candidates, MAX_EXCLUDED, Member, Members};
pub use state::{Admin, Health, HealthRules, Verdict};
#[cfg(feature = "testing")]
pub use stick::conformance;
pub use stick::{
    Binding, Claim, MAX_KEY_LEN, MemoryOptions, MemoryStore, StickError, StickErrorKind, StickKey, StickPage,
    StickStore, Token, WallClock, Want,
};
#[cfg(feature = "file")]
pub use stick::{FileOptions, FileStore, FileTable, TableChange};
#[cfg(feature = "redis")]
pub use stick::{RedisLink, RedisOptions, RedisReply, RedisScript, RedisStore};
