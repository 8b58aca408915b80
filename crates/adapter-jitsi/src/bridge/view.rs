//! Bridges shown: as jicofo's `/debug` has them, and what is wrong with them.

use std::sync::Arc;

use balancer_core::BackendId;

/// One bridge at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BridgeView {
    /// Its occupant JID.
    pub id: BackendId,
    /// The reported stress.
    pub stress: f64,
    /// The stress it is chosen by.
    pub corrected_stress: f64,
    /// What one more endpoint adds to that, for the ramp-up interval.
    pub average_participant_stress: f64,
    /// Whether its corrected stress is at the threshold.
    pub overloaded: bool,
    /// Whether it may be used.
    pub operational: bool,
    /// Whether it wants no new work while others are there.
    pub drain: bool,
    /// Whether it ends when it is empty.
    pub graceful_shutdown: bool,
    /// Whether it is about to end.
    pub shutting_down: bool,
    /// What it said of its health.
    pub healthy: bool,
    /// Its version, without the release.
    pub version: Option<Arc<str>>,
    /// Its release.
    pub release: Option<Arc<str>>,
    /// What versions are compared by: `version-release`.
    pub full_version: Option<Arc<str>>,
    /// Its region.
    pub region: Option<Arc<str>>,
    /// Its relay id: without one no conference can use it beside another bridge.
    pub relay_id: Option<Arc<str>>,
    /// Endpoints this focus has there.
    pub endpoints: u32,
    /// Endpoints that count beside the reported stress.
    pub recent: u64,
    /// Restarts that endpoints asked for in the interval of the detection.
    pub endpoint_restart_requests: u64,
    /// Whether too many endpoints asked for restarts.
    pub failing_ice: bool,
    /// How old its last report is, in milliseconds; `None` before the first one.
    pub age_ms: Option<u64>,
    /// Whether its figures stand still (see [`Extras::flat_after`](crate::Extras::flat_after)).
    pub flat: bool,
    /// Whether it is still in the brewery.
    pub known: bool,
    /// Whether it was missing when we came back to the brewery, and has not come back itself.
    pub missing: bool,
    /// What an operator should know.
    pub warnings: Vec<BridgeWarning>,
}

/// Something that makes a bridge less useful than it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BridgeWarning {
    /// Conferences may use several bridges, but it has no relay id.
    NoRelayId,
    /// It never said whether it drains: jicofo takes that for draining.
    DrainUnknown,
    /// Its figures stand still. Has another bridge the same account and nickname?
    Flat,
    /// Its stress is negative or not a number.
    OddStress,
    /// Its last report is too old.
    Silent,
    /// It has no region although regions are configured.
    NoRegion,
}

impl std::fmt::Display for BridgeWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoRelayId => "no relay id: it cannot share a conference with another bridge; enable relays on it",
            Self::DrainUnknown => "it never said whether it drains, which counts as draining; update it",
            Self::Flat => "its figures stand still: look for a second bridge with the same account and nickname",
            Self::OddStress => "its stress is negative or not a number",
            Self::Silent => "its last report is too old",
            Self::NoRegion => "it has no region although regions are configured",
        })
    }
}

/// Bridges counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeCounts {
    /// In the brewery.
    pub known: usize,
    /// Operational and not in graceful shutdown.
    pub operational: usize,
    /// Overloaded.
    pub overloaded: usize,
    /// In graceful shutdown or about to end.
    pub in_shutdown: usize,
    /// Different full versions among them.
    pub versions: usize,
    /// Gone without having said so, ever.
    pub lost: u64,
}
