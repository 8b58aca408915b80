//! Places conference rooms on servers and keeps them there.
mod backend;
mod balancer;
mod board;
mod decision;
mod event;
mod filter;
mod hash;
mod lease;
mod load;
mod monitor;
mod pool;
mod probe;
mod seat;
mod selector;
mod snapshot;
mod state;
mod stick;

pub use backend::{Backend, BackendId, Tag, Weight};
pub use balancer::random;
pub use balancer::{Balancer, BalancerOptions, Claimer, LostStore, Placed, Placement, RouteError};
pub use board::Slot;
pub use decision::{Decision, Excluded, MAX_ROWS, Outcome, Row};
pub use event::Event;
pub use filter::{Clause, Filter, FilterError, MAX_RUNG_TAGS};
pub use hash::{SimpleRing, stable_hash};
pub use lease::Lease;
pub use load::{ByRooms, ByUsers, LoadModel, MAX_COST, Report};
pub use monitor::{Effect as ProbeEffect, Monitor, MonitorOptions, ProbeOutcome, ProbeWatch};
pub use pool::{Frozen, Pool, PoolError, PoolOptions, ServerView};
pub use probe::{HealthProbe, ProbeError};
#[cfg(feature = "probes")]
pub use probe::{HttpProbe, TcpProbe};
pub use selector::{
    Ask, Change, ConsistentHash, First, LeastConn, LeastLoaded, Plain, PowerOfTwo, Random, RoundRobin, Selector,
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
