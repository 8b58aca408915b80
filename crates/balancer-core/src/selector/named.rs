//! Strategies by their names in a configuration.

use super::{ConsistentHash, First, LeastConn, LeastLoaded, PowerOfTwo, Random, RoundRobin, Strategy};
use crate::backend::Backend;

/// The names that [`by_name`] knows.
pub fn strategy_names() -> &'static [&'static str] {
    &["leastconn", "least-loaded", "consistent-hash", "p2c", "roundrobin", "random", "first"]
}

/// The strategy of this name with its defaults, for every kind of server and query; `None` for an unknown name. The
/// names are those of [`strategy_names`].
pub fn by_name<B: Backend, Q: ?Sized + 'static>(name: &str) -> Option<Box<dyn Strategy<B, Q>>> {
    Some(match name {
        "leastconn" => Box::new(LeastConn),
        "least-loaded" => Box::new(LeastLoaded),
        "consistent-hash" => Box::new(ConsistentHash::new()),
        "p2c" => Box::new(PowerOfTwo),
        "roundrobin" => Box::new(RoundRobin::new()),
        "random" => Box::new(Random),
        "first" => Box::new(First),
        _ => return None,
    })
}
