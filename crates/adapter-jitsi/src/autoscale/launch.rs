//! What jitsi-autoscaler does about a number.

use super::GroupKind;

/// One instance as the launcher sees it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ScalingInstance {
    /// Its id.
    pub id: String,
    /// Started, and nothing heard of it so far.
    pub starting: bool,
    /// Not to be ended.
    pub protected: bool,
    /// Participants on it (a bridge).
    pub participants: u32,
    /// Its stress.
    pub stress: f64,
    /// Whether it works (a recorder).
    pub busy: bool,
    /// Whether it no longer takes work (a recorder).
    pub expired: bool,
}

impl ScalingInstance {
    /// An instance that runs and is empty.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

/// What to start or end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaunchAdvice {
    /// How many to start.
    pub launch: u32,
    /// Which to end, by draining them.
    pub end: Vec<String>,
    /// More instances than expected say nothing: nothing is started until somebody has looked.
    pub throttled: bool,
}

/// Carries a number out as jitsi-autoscaler's launcher does. `untracked` are instances that were started and have not
/// reported yet; with `min(max + 1, 40)` of them or more, nothing is started.
pub fn launches(
    kind: GroupKind,
    (min, desired, max): (u32, u32, u32),
    tracked: &[ScalingInstance],
    untracked: u32,
) -> LaunchAdvice {
    let count = u32::try_from(tracked.len()).unwrap_or(u32::MAX);
    let (there, wanted) = (count.saturating_add(untracked), desired.min(max));
    if there < wanted {
        let throttled = untracked >= max.saturating_add(1).min(40);
        return LaunchAdvice { launch: if throttled { 0 } else { wanted - there }, end: Vec::new(), throttled };
    }
    if count <= desired || count <= min {
        return LaunchAdvice::default();
    }
    let mut all: Vec<&ScalingInstance> = tracked.iter().filter(|one| !one.protected).collect();
    let class = |one: &ScalingInstance| match kind {
        _ if one.starting => 0,
        GroupKind::Availability => 1 + u32::from(one.expired || one.busy) + u32::from(one.busy),
        GroupKind::Stress => 1,
    };
    all.sort_by(|a, b| {
        let load = a.participants.cmp(&b.participants).then(a.stress.total_cmp(&b.stress));
        class(a).cmp(&class(b)).then(load).then(a.id.cmp(&b.id))
    });
    let surplus = usize::try_from(count - min.max(desired)).unwrap_or(0);
    let end = all.into_iter().take(surplus).map(|one| one.id.clone()).collect();
    LaunchAdvice { launch: 0, end, throttled: false }
}
