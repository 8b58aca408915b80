//! A BigBlueButton server as the pool knows it.

use balancer_core::{Backend, BackendId, LoadModel, Report, Tag};

use crate::secret::Secret;
use crate::store::ServerRecord;

/// Loads are kept in thousandths, so that a multiplier such as 1.5 stays exact enough.
pub(crate) const MILLI: f64 = 1000.0;

/// One BigBlueButton server: where it is and how to sign for it.
#[derive(Clone, Debug, PartialEq)]
pub struct BbbServer {
    id: BackendId,
    url: String,
    secret: Secret,
    old_secret: Option<Secret>,
    tags: Vec<Tag>,
    multiplier: f64,
}

impl BbbServer {
    /// From what the store holds.
    pub fn new(record: &ServerRecord) -> Self {
        let url = record.url.trim_end_matches('/').to_owned();
        let tags = record.tag.iter().filter(|t| !t.is_empty()).map(|t| Tag::from(t.as_str())).collect();
        Self {
            id: record.id.clone(),
            url,
            secret: record.secret.clone(),
            old_secret: record.old_secret.clone(),
            tags,
            multiplier: record.multiplier(),
        }
    }

    /// The API's base URL without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its shared secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The secret it had before, until it answers to the new one.
    pub fn old_secret(&self) -> Option<&Secret> {
        self.old_secret.as_ref()
    }

    /// Its tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tags.first().map(Tag::as_str)
    }

    /// By what its load is multiplied; higher means fewer meetings.
    pub fn multiplier(&self) -> f64 {
        self.multiplier
    }
}

impl Backend for BbbServer {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

/// Load in thousandths of the formula's points: what the poller measured, and what a new meeting will count for.
#[derive(Clone, Copy, Debug)]
pub struct BbbLoad {
    /// Points a new meeting is expected to count for at the next poll, before the server's multiplier.
    pub new_meeting: f64,
}

/// Points to thousandths.
pub(crate) fn milli(points: f64) -> u64 {
    let scaled = points * MILLI;
    // Held well below the largest cost of the pool and 2^53, where the cast is exact; negative and undefined ones
    // count as nothing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = if scaled.is_finite() && scaled > 0.0 { scaled.min(1e14).round() as u64 } else { 0 };
    whole
}

impl LoadModel<BbbServer> for BbbLoad {
    fn cost(&self, _of: &BbbServer, report: &Report) -> u64 {
        report.cost.unwrap_or(0)
    }

    fn knows(&self, report: &Report) -> bool {
        report.cost.is_some()
    }

    fn size(&self, of: &BbbServer) -> u64 {
        milli(self.new_meeting * of.multiplier()).max(1)
    }

    fn unit(&self) -> &'static str {
        "points of the load formula"
    }

    fn per_unit(&self) -> u32 {
        1000
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_report_without_a_cost_says_nothing_of_the_load() {
        let load = BbbLoad { new_meeting: 1.0 };
        let report = Report::new(Instant::now());
        assert!(!load.knows(&report.clone().with_users(7)));
        assert!(load.knows(&report.with_cost(0)));
    }
}
