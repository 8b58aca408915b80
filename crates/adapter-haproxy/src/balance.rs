//! Exact placement: the server that a given release of HAProxy would choose.
//!
//! `key` makes a key of a request, `hash` a number of a key; `chash`, `map`, `roundrobin`, `leastconn` and `first` are
//! the algorithms, each a machine with the state HAProxy keeps. `engine` puts one of them over a set of servers. Two
//! things drive it: the `predictor`, which keeps connections, queues and sticks itself, and the `strategy`, which takes
//! all that from a pool.

mod algorithm;
mod cells;
mod chash;
mod connections;
mod engine;
mod error;
mod farm;
mod first;
mod hash;
mod key;
mod leastconn;
mod map;
mod notes;
mod persist;
mod prediction;
mod predictor;
mod ring;
mod roundrobin;
mod server;
mod spec;
mod stick;
mod strategy;
#[cfg(test)]
mod vectors;
mod version;
mod words;

pub use algorithm::{Balance, HashType};
pub use chash::Affinity;
pub use error::{ChangeError, SpecError};
pub use hash::HashFunction;
pub use key::{Converters, Expression, KeyRule, Request, Sample};
pub use prediction::{Outcome, Prediction};
pub use predictor::{Predictor, Ticket};
pub use server::{HashKey, ServerSpec, ServerState};
pub use spec::BackendSpec;
pub use strategy::{Asking, HaproxyServer, HaproxyStrategy, ServerLine};
pub use version::{RingBase, Version, VersionError};
