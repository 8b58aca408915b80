//! What a focus is configured with.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::region::RegionGroups;

/// Buckets of the ramp-up window, in milliseconds.
pub(crate) const RAMPUP_BUCKET: u64 = 100;
/// Longest window or interval that is accepted.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How one bridge is chosen, without a difference between participants and visitors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlainStrategy {
    /// One bridge per conference, the least stressed one, in the first participant's region if there is one.
    #[default]
    Single,
    /// Every participant on another bridge. For tests.
    Split,
    /// Within one region.
    IntraRegion,
    /// Load first, then region.
    RegionBased,
}

/// How a bridge is chosen (`selection-strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectionStrategy {
    /// The same for everybody.
    Plain(PlainStrategy),
    /// Visitors and participants apart, each by a strategy of their own.
    Visitor {
        /// `participant-selection-strategy`.
        participants: PlainStrategy,
        /// `visitor-selection-strategy`.
        visitors: PlainStrategy,
    },
}

impl Default for SelectionStrategy {
    fn default() -> Self {
        Self::Plain(PlainStrategy::Single)
    }
}

impl From<PlainStrategy> for SelectionStrategy {
    fn from(plain: PlainStrategy) -> Self {
        Self::Plain(plain)
    }
}

impl FromStr for PlainStrategy {
    type Err = SettingsError;

    /// Reads jicofo's class name, whole or short: `RegionBasedBridgeSelectionStrategy` or `RegionBased`.
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let name = text.rsplit('.').next().unwrap_or(text);
        match name.strip_suffix("BridgeSelectionStrategy").unwrap_or(name) {
            "Single" => Ok(Self::Single),
            "Split" => Ok(Self::Split),
            "IntraRegion" => Ok(Self::IntraRegion),
            "RegionBased" => Ok(Self::RegionBased),
            _ => Err(SettingsError::Strategy { name: text.chars().take(128).collect() }),
        }
    }
}

/// Detection of bridges whose media does not flow (`ice-failure-detection`). Off by default.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct IceFailureDetection {
    /// Whether it is on. Default `false`.
    pub enabled: bool,
    /// The interval in which restart requests count. Default 2 min.
    pub interval: Duration,
    /// Fewer endpoints on a bridge than these prove nothing. Default 30.
    pub min_endpoints: u32,
    /// The share of the endpoints whose requests make a bridge suspect. Default 0.1.
    pub threshold: f64,
    /// How long a bridge stays suspect after the last sign. Default 10 min.
    pub timeout: Duration,
}

impl Default for IceFailureDetection {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: Duration::from_secs(120),
            min_endpoints: 30,
            threshold: 0.1,
            timeout: Duration::from_secs(600),
        }
    }
}

/// What a focus is configured with: the keys of `jicofo.bridge` that decide about bridges, and three things jicofo does
/// not have. With the defaults of those ([`Extras`]) every choice is jicofo's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FocusSettings {
    /// `selection-strategy`. Default `Single`.
    pub strategy: SelectionStrategy,
    /// `jicofo.octo.enabled`: a conference may use several bridges. Default `false`.
    pub octo: bool,
    /// `jicofo.octo.allow-mixed-versions`. Default `false`.
    pub mixed_versions: bool,
    /// `jicofo.local-region`. Default unset.
    pub local_region: Option<Arc<str>>,
    /// `region-groups`. Default none.
    pub region_groups: RegionGroups,
    /// `max-bridge-participants`: of one conference on one bridge. Default 80; `None` is jicofo's -1.
    pub max_participants: Option<u32>,
    /// `max-bridge-participants-per-interval`: added by one conference to one bridge. Default `None`, jicofo's -1.
    pub max_per_interval: Option<u32>,
    /// `max-bridge-participants-interval`. Default 1 min.
    pub participants_interval: Duration,
    /// `average-participant-stress`, until a bridge tells its own. Default 0.01.
    pub average_participant_stress: f64,
    /// `stress-threshold`: a bridge with at least this stress is overloaded. Default 0.8.
    pub stress_threshold: f64,
    /// `failure-reset-threshold`: how long a bridge stays out after a failure at the least. Default 1 min.
    pub failure_reset: Duration,
    /// `participant-rampup-interval`: how long a new endpoint counts beside the reported stress. A multiple of 100 ms.
    /// Default 20 s.
    pub rampup: Duration,
    /// `health-checks.presence-timeout`. Default 45 s.
    pub presence_timeout: Duration,
    /// `ice-failure-detection`. Default off.
    pub ice_failures: IceFailureDetection,
    /// What jicofo does not have. Default all off.
    pub extras: Extras,
}

impl Default for FocusSettings {
    fn default() -> Self {
        Self {
            strategy: SelectionStrategy::default(),
            octo: false,
            mixed_versions: false,
            local_region: None,
            region_groups: RegionGroups::default(),
            max_participants: Some(80),
            max_per_interval: None,
            participants_interval: Duration::from_secs(60),
            average_participant_stress: 0.01,
            stress_threshold: 0.8,
            failure_reset: Duration::from_secs(60),
            rampup: Duration::from_secs(20),
            presence_timeout: Duration::from_secs(45),
            ice_failures: IceFailureDetection::default(),
            extras: Extras::default(),
        }
    }
}

/// What this crate adds to jicofo's rules. Everything is off by default, and then every choice is jicofo's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extras {
    /// Counts an endpoint until the reported stress has changed well after it came, and not only for the ramp-up
    /// interval. So a burst is spread even while reports are late, or stand still. A bridge that reports no positive
    /// `average_participant_stress` is counted with the configured one.
    pub count_unseen: bool,
    /// How many endpoints to expect of a conference as long as it has none. So conferences opened in a row go to
    /// different bridges although nobody has come to them yet. 0 is off; 3 is a fair start.
    pub empty_conference: u32,
    /// Calls a bridge flat whose figures have stood still for so long although its presences arrive, and although it
    /// has load or was given some. Two bridges that share an account and a nickname look so. 2 min is a fair start.
    pub flat_after: Option<Duration>,
}

impl FocusSettings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value that cannot be used.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !self.rampup.as_nanos().is_multiple_of(u128::from(RAMPUP_BUCKET) * 1_000_000) {
            return Err(SettingsError::Rampup { interval: self.rampup });
        }
        for (name, interval) in [
            ("participant-rampup-interval", self.rampup),
            ("max-bridge-participants-interval", self.participants_interval),
            ("ice-failure-detection.interval", self.ice_failures.interval),
        ] {
            if interval > LONGEST {
                return Err(SettingsError::TooLong { name, interval });
            }
        }
        Ok(())
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The ramp-up window is counted in steps of 100 ms.
    #[error("participant-rampup-interval must be a multiple of 100 ms, not {interval:?}")]
    Rampup {
        /// What was set.
        interval: Duration,
    },
    /// What is counted must be forgotten within a day.
    #[error("{name} must be at most 24 h, not {interval:?}")]
    TooLong {
        /// The setting.
        name: &'static str,
        /// What was set.
        interval: Duration,
    },
    /// A strategy that jicofo does not bring, or a class of one's own.
    #[error("unknown selection strategy {name:?}: use Single, Split, IntraRegion, RegionBased or Visitor")]
    Strategy {
        /// What was set.
        name: String,
    },
}
