//! What HAProxy would do with a request, and why.

use std::fmt;
use std::sync::Arc;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It goes to this server.
    Server(Arc<str>),
    /// It waits: for this server, or for any.
    Queued(Option<Arc<str>>),
    /// 503: no server is usable, or the queue is full.
    Unavailable,
    /// 400: HAProxy refuses the request itself.
    BadRequest,
}

/// An outcome with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prediction {
    /// What happens.
    pub outcome: Outcome,
    /// Whether chance decides: then `outcome` is one of several possible ones.
    pub by_chance: bool,
    /// Why, step by step. Empty unless asked for.
    pub why: Vec<String>,
}

impl Prediction {
    /// The server, if it goes to one at once.
    pub fn server(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Server(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => f.write_str(name),
            Self::Queued(Some(name)) => write!(f, "waits for {name}"),
            Self::Queued(None) => f.write_str("waits for any server"),
            Self::Unavailable => f.write_str("no server (503)"),
            Self::BadRequest => f.write_str("refused (400)"),
        }
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome.fmt(f)?;
        if self.by_chance {
            f.write_str(" (one of several, by chance)")?;
        }
        self.why.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
