//! Asking one server how it is.

use async_trait::async_trait;

use crate::backend::Backend;
use crate::load::Report;

#[cfg(feature = "probes")]
mod http;
#[cfg(feature = "probes")]
mod tcp;

#[cfg(feature = "probes")]
pub use http::HttpProbe;
#[cfg(feature = "probes")]
pub use tcp::TcpProbe;

/// Why a probe did not pass, by what it tells about the way there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The server's machine answered, the service did not: connection refused or reset.
    #[error("refused: {0}")]
    Refused(String),
    /// The service answered, but not as it should: a bad status, another protocol.
    #[error("wrong answer: {0}")]
    Answer(String),
    /// Nobody answered: time-out, host or network unreachable.
    #[error("no answer: {0}")]
    Silent(String),
    /// The name does not resolve, so nobody was asked.
    #[error("name does not resolve: {0}")]
    Resolve(String),
}

impl ProbeError {
    /// Whether the other side answered at all, which proves that our own network works.
    pub fn answered(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Answer(_))
    }
}

/// Asks one server how it is. Chosen at run time, shared by all targets of a monitor.
///
/// A probe needs no time limit of its own: the monitor drops it at the deadline. Whatever it holds must stand being
/// dropped at any await.
#[async_trait]
pub trait HealthProbe<B: Backend>: Send + Sync {
    /// Asks this server now. The monitor sets [`Report::began`] itself.
    ///
    /// # Errors
    ///
    /// [`ProbeError`], by whether the other side answered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the probe; implementations leave nothing behind on this side.
    async fn probe(&self, target: &B) -> Result<Report, ProbeError>;
}

#[cfg(test)]
mod tests {
    use super::ProbeError;

    #[test]
    fn only_an_answer_proves_our_own_network() {
        assert!(ProbeError::Refused(String::new()).answered());
        assert!(ProbeError::Answer(String::new()).answered());
        assert!(!ProbeError::Silent(String::new()).answered());
        assert!(!ProbeError::Resolve(String::new()).answered());
    }
}
