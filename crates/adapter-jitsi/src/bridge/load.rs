//! Stress as the load of a server, for the strategies of the core.

use balancer_core::{LoadModel, Report};

use super::Bridge;

/// Millionths of stress in one unit.
const PER_UNIT: u32 = 1_000_000;

/// Load is the reported stress, in millionths (see [`BridgeReport::to_report`](crate::BridgeReport::to_report)); a new
/// conference is expected to bring so many endpoints. For the core's `LeastLoaded`; the exact rules of jicofo are those
/// of [`BridgeStrategy`](crate::BridgeStrategy).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StressLoad {
    /// Endpoints expected in a new conference. Default 3.
    pub endpoints: u32,
    /// Stress that one of them brings. Default 0.01.
    pub average_participant_stress: f64,
    /// Whether two participants talk to one another without the bridge, so that a conference of two is no load. Default
    /// `true`.
    pub p2p: bool,
}

impl Default for StressLoad {
    fn default() -> Self {
        Self { endpoints: 3, average_participant_stress: 0.01, p2p: true }
    }
}

impl StressLoad {
    /// The stress that a conference of so many participants adds to its bridge.
    pub fn stress_of(&self, participants: u32) -> f64 {
        if self.p2p && participants <= 2 { 0.0 } else { f64::from(participants) * self.average_participant_stress }
    }
}

impl LoadModel<Bridge> for StressLoad {
    fn cost(&self, _of: &Bridge, report: &Report) -> u64 {
        report.cost.unwrap_or(0)
    }

    fn knows(&self, report: &Report) -> bool {
        report.cost.is_some()
    }

    fn size(&self, _of: &Bridge) -> u64 {
        // Saturating; what is not a number becomes 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let size = (self.stress_of(self.endpoints) * f64::from(PER_UNIT)) as u64;
        size
    }

    fn unit(&self) -> &'static str {
        "stress"
    }

    fn per_unit(&self) -> u32 {
        PER_UNIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_participants_do_without_the_bridge() {
        let mut model = StressLoad::default();
        assert_eq!((model.stress_of(2), model.stress_of(3)), (0.0, 0.03));
        model.p2p = false;
        assert_eq!(model.stress_of(2), 0.02);
        assert_eq!(model.size(&Bridge::new("room/jvb1", None)), 30_000);
    }
}
