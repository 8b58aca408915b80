//! How full a shard is.

use balancer_core::{Backend, LoadModel, Report};

use super::Shard;

/// What a shard's load is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardUnit {
    /// Participants, as the focus counts them.
    #[default]
    Participants,
    /// Rooms, as the focus counts them.
    Rooms,
}

/// Load is participants or rooms for the weight: a shard of weight 200 bears twice as much as one of weight 100. What
/// share of a shard's bridges is overloaded, when its focus tells, counts on top as that share of a thousand units, so
/// that a shard with room to spare comes before one whose bridges are at their end.
#[derive(Clone, Copy, Debug)]
pub struct ShardLoad {
    /// What is counted.
    pub unit: ShardUnit,
    /// Participants expected in a new room. Default 5.
    pub room: u32,
}

impl Default for ShardLoad {
    fn default() -> Self {
        Self { unit: ShardUnit::default(), room: 5 }
    }
}

/// Thousandths of a unit at weight 100.
const SCALE: u64 = 1000;
/// What a shard counts more when all its bridges are overloaded, in units.
const OVERLOADED: f64 = 1000.0;
/// The fact with the share of overloaded bridges, from 0 to 1.
pub(super) const SHARE: &str = "overloaded_ratio";

impl ShardLoad {
    fn scaled(units: u64, of: &Shard) -> u64 {
        // A shard of weight 0 takes nothing, whatever its load.
        let sixteenths = u64::from(of.weight().sixteenths()).max(1);
        units.saturating_mul(SCALE * 1600) / sixteenths
    }
}

impl LoadModel<Shard> for ShardLoad {
    fn cost(&self, of: &Shard, report: &Report) -> u64 {
        let units = match self.unit {
            ShardUnit::Participants => report.users,
            ShardUnit::Rooms => report.rooms,
        };
        let share = report.facts.iter().find(|(name, _)| &**name == SHARE).map_or(0.0, |(_, share)| *share);
        // A share is between 0 and 1, so the product fits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let extra = (share.clamp(0.0, 1.0) * OVERLOADED) as u64;
        Self::scaled(units.unwrap_or(0), of).saturating_add(extra * SCALE)
    }

    fn knows(&self, report: &Report) -> bool {
        match self.unit {
            ShardUnit::Participants => report.users.is_some(),
            ShardUnit::Rooms => report.rooms.is_some(),
        }
    }

    fn size(&self, of: &Shard) -> u64 {
        let units = match self.unit {
            ShardUnit::Participants => u64::from(self.room.max(1)),
            ShardUnit::Rooms => 1,
        };
        Self::scaled(units, of)
    }

    fn unit(&self) -> &'static str {
        match self.unit {
            ShardUnit::Participants => "participants at weight 100",
            ShardUnit::Rooms => "rooms at weight 100",
        }
    }

    fn per_unit(&self) -> u32 {
        1000
    }
}
