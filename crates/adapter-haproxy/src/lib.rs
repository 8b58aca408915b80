//! HAProxy: where it will send a room before it does, what its configuration says, and what is wrong with it.

mod balance;

pub use balance::{
    Affinity, Asking, BackendSpec, Balance, ChangeError, Converters, Expression, HaproxyServer, HaproxyStrategy,
    HashFunction, HashKey, HashType, KeyRule, Outcome, Prediction, Predictor, Request, RingBase, Sample, ServerLine,
    ServerSpec, ServerState, SpecError, Ticket, Version, VersionError,
};
