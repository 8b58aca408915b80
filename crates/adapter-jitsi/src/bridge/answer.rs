//! What checks and requests tell of a bridge.

use balancer_core::{ProbeError, Report};

/// Why every conference leaves a bridge. Endpoints are invited again and choose anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evacuation {
    /// It left the brewery.
    Removed,
    /// It said that it is ill.
    FailedCheck,
    /// It is about to end.
    ShuttingDown,
}

/// The outcome of one health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthOutcome {
    /// It is well.
    Passed,
    /// It says that it is ill: it is out, and every conference leaves it.
    Failed,
    /// It says nothing: it is out, and what runs there stays.
    TimedOut,
}

impl HealthOutcome {
    /// The outcome of a health check by request that was answered with this error condition: `None` changes nothing.
    pub fn of_error(condition: &str) -> Option<Self> {
        matches!(condition, "internal-server-error" | "service-unavailable").then_some(Self::Failed)
    }

    /// The outcome of a probe, such as the one over HTTP: a wrong answer is a bridge that says it is ill, no answer is a
    /// time-out. `None` when nobody was asked, because the name does not resolve.
    pub fn of_probe(probed: &Result<Report, ProbeError>) -> Option<Self> {
        match probed {
            Ok(_) => Some(Self::Passed),
            Err(ProbeError::Answer(_)) => Some(Self::Failed),
            Err(ProbeError::Resolve(_)) => None,
            Err(_) => Some(Self::TimedOut),
        }
    }
}

/// How a bridge answered a request for a conference, other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColibriAnswer<'a> {
    /// Nothing came in time.
    TimedOut,
    /// Something else than an answer to the request.
    WrongType,
    /// An error.
    Error {
        /// Its condition.
        condition: &'a str,
        /// The reason the bridge gives beside it.
        reason: Option<&'a str>,
        /// Whether the bridge itself says so and not the room it was to be found in.
        by_bridge: bool,
    },
}

/// What follows of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerEffect {
    /// The bridge counts as failed.
    pub failed: bool,
    /// The bridge counts as in graceful shutdown.
    pub graceful: bool,
    /// This conference leaves the bridge; its endpoints there are invited again.
    pub dropped: bool,
}

impl ColibriAnswer<'_> {
    /// What follows.
    pub fn effect(&self) -> AnswerEffect {
        let (failed, graceful, dropped) = match *self {
            Self::TimedOut => (true, false, true),
            Self::WrongType => (true, false, false),
            Self::Error { condition, reason, by_bridge } => match (condition, reason) {
                ("bad-request", _) => (false, false, false),
                ("item-not-found", Some("conference-not-found")) => (false, false, true),
                ("item-not-found", _) if !by_bridge => (false, false, false),
                ("conflict", _) => (false, false, true),
                ("service-unavailable", Some("graceful-shutdown")) => (false, true, true),
                _ => (true, false, true),
            },
        };
        AnswerEffect { failed, graceful, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_of_each_answer() {
        let error = |condition, reason, by_bridge| ColibriAnswer::Error { condition, reason, by_bridge };
        for (answer, failed, graceful, dropped) in [
            (ColibriAnswer::TimedOut, true, false, true),
            (ColibriAnswer::WrongType, true, false, false),
            (error("bad-request", None, true), false, false, false),
            (error("item-not-found", Some("conference-not-found"), true), false, false, true),
            (error("item-not-found", None, false), false, false, false),
            (error("item-not-found", None, true), true, false, true),
            (error("conflict", None, true), false, false, true),
            (error("service-unavailable", Some("graceful-shutdown"), true), false, true, true),
            (error("service-unavailable", None, true), true, false, true),
            (error("internal-server-error", None, true), true, false, true),
        ] {
            assert_eq!(answer.effect(), AnswerEffect { failed, graceful, dropped }, "{answer:?}");
        }
        assert_eq!(HealthOutcome::of_error("service-unavailable"), Some(HealthOutcome::Failed));
        assert_eq!(HealthOutcome::of_error("item-not-found"), None);
    }
}
