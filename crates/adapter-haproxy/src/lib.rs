//! HAProxy: where it will send a room before it does, what its configuration says, and what is wrong with it.

mod balance;

pub use balance::{
    Affinity, BackendSpec, Balance, ChangeError, Converters, Expression, HashFunction, HashKey, HashType, KeyRule,
    Outcome, Prediction, Predictor, Request, RingBase, Sample, ServerSpec, ServerState, SpecError, Ticket, Version,
    VersionError,
};
