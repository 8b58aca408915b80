//! How many bridges there should be: as jitsi-autoscaler decides, and by advice of our own.

use std::collections::BTreeMap;
use std::time::Duration;

mod capacity;
mod launch;
#[cfg(test)]
mod tests;

pub use capacity::{
    AdviceReason, CapacityAdvice, CapacityAdvisor, CapacityBridge, CapacitySettings, MAX_SAMPLES, RegionCapacity,
};
pub use launch::{LaunchAdvice, ScalingInstance, launches};

/// How many periods are looked at, at most.
pub const MAX_PERIODS: u32 = 1_000;

/// What the figures of a group mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupKind {
    /// How loaded an instance is: the mean counts, and much of it asks for more (bridges).
    Stress,
    /// Whether an instance is free: the sum counts, and little of it asks for more (recorders).
    Availability,
}

impl GroupKind {
    /// Reads the `type` of a group; `None` for one that is not known.
    pub fn read(text: &str) -> Option<Self> {
        Some(match text {
            "JVB" | "jigasi" | "nomad" | "whisper" | "stress" => Self::Stress,
            "jibri" | "sip-jibri" | "availability" => Self::Availability,
            _ => return None,
        })
    }
}

/// A group's settings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScalingSettings {
    /// What the figures mean.
    pub kind: GroupKind,
    /// Whether anything is decided at all.
    pub enabled: bool,
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// How many are wanted now.
    pub desired: u32,
    /// How many more at once.
    pub up_by: u32,
    /// How many fewer at once.
    pub down_by: u32,
    /// The figure that asks for more.
    pub up_at: f64,
    /// The figure that allows fewer.
    pub down_at: f64,
    /// The length of a period. Zero is read as 1 ms.
    pub period: Duration,
    /// In how many periods the figure must ask for more.
    pub up_periods: u32,
    /// In how many periods the figure must allow fewer.
    pub down_periods: u32,
}

impl Default for ScalingSettings {
    /// Bridges: 1 to 4, one at a time, more from 0.7 in 2 minutes, fewer below 0.3 in 4 minutes.
    fn default() -> Self {
        Self {
            kind: GroupKind::Stress,
            enabled: true,
            min: 1,
            max: 4,
            desired: 1,
            up_by: 1,
            down_by: 1,
            up_at: 0.7,
            down_at: 0.3,
            period: Duration::from_secs(60),
            up_periods: 2,
            down_periods: 4,
        }
    }
}

/// How a group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupState {
    /// Instances there are.
    pub count: u32,
    /// Whether the grace period of the last decision runs.
    pub grace: bool,
    /// Whether a schedule forbids fewer.
    pub keep: bool,
}

impl GroupState {
    /// That many instances, nothing that holds a decision up.
    pub const fn of(count: u32) -> Self {
        Self { count, grace: false, keep: false }
    }
}

/// One figure of one instance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScalingMetric {
    /// The instance.
    pub instance: String,
    /// When, on the clock of the call.
    pub at: Duration,
    /// Its stress, or 1 for free and 0 for busy.
    pub value: f64,
}

impl ScalingMetric {
    /// A figure.
    pub fn new(instance: impl Into<String>, at: Duration, value: f64) -> Self {
        Self { instance: instance.into(), at, value }
    }
}

/// Why a decision is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScalingReason {
    /// Scaling is off.
    Disabled,
    /// The last decision has its grace period.
    Grace,
    /// No instance is there.
    Empty,
    /// The last decision is still being carried out.
    Unsettled,
    /// More are needed.
    Up,
    /// Fewer will do.
    Down,
    /// Fewer would do, and a schedule forbids it.
    Kept,
    /// As it should be.
    Steady,
}

impl ScalingReason {
    /// A name that stays.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Grace => "grace",
            Self::Empty => "empty",
            Self::Unsettled => "unsettled",
            Self::Up => "up",
            Self::Down => "down",
            Self::Kept => "kept",
            Self::Steady => "steady",
        }
    }

    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Disabled => "scaling is off",
            Self::Grace => "the last decision has its grace period",
            Self::Empty => "no bridge is there, and nothing is decided without one",
            Self::Unsettled => "the last decision is still being carried out",
            Self::Up => "the mean stress asks for more, or there are fewer than the least number",
            Self::Down => "the mean stress allows fewer",
            Self::Kept => "the mean stress allows fewer, and a schedule forbids it",
            Self::Steady => "the mean stress is between the thresholds, or has not been beyond one for long enough",
        }
    }
}

/// One decision of jitsi-autoscaler.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scaling {
    /// Whether the group was looked at.
    pub processed: bool,
    /// How many are wanted from now on.
    pub desired: u32,
    /// Whether a grace period begins, even if the number stays because of its limits.
    pub grace_started: bool,
    /// The figure of each period, newest first; `None` where it was not needed.
    pub periods: Option<Vec<f64>>,
    /// Why.
    pub reason: ScalingReason,
}

/// Decides as jitsi-autoscaler does. Figures of instances that are starting, ending or without a stress must not be
/// given, as it does not store them. A period without any figure counts as 0.
///
/// ```
/// use std::time::Duration;
/// use adapter_jitsi::{GroupState, ScalingMetric, ScalingReason, ScalingSettings, autoscale};
///
/// let settings = ScalingSettings::default();
/// let now = Duration::from_secs(600);
/// let metrics = [30, 90].map(|ago| ScalingMetric::new("jvb1", now - Duration::from_secs(ago), 0.8));
/// let scaling = autoscale(&settings, GroupState::of(1), &metrics, now);
/// assert_eq!((scaling.desired, scaling.reason), (2, ScalingReason::Up));
/// ```
pub fn autoscale(settings: &ScalingSettings, state: GroupState, metrics: &[ScalingMetric], now: Duration) -> Scaling {
    let stay = |processed, periods, reason| Scaling {
        processed,
        desired: settings.desired,
        grace_started: false,
        periods,
        reason,
    };
    if !settings.enabled {
        return stay(false, None, ScalingReason::Disabled);
    }
    if state.grace {
        return stay(false, None, ScalingReason::Grace);
    }
    if state.count == 0 {
        return stay(false, None, ScalingReason::Empty);
    }
    if state.count != settings.desired {
        return stay(true, None, ScalingReason::Unsettled);
    }
    let periods = figures(settings, metrics, now);
    let count = state.count;
    let wants = |more: bool, figure: f64| match (settings.kind, more) {
        (GroupKind::Stress, true) => figure >= settings.up_at,
        (GroupKind::Stress, false) => figure < settings.down_at,
        (GroupKind::Availability, true) => figure < settings.up_at,
        (GroupKind::Availability, false) => figure > settings.down_at,
    };
    let up = |figure: f64| (count < settings.max && wants(true, figure)) || count < settings.min;
    let down = |figure: f64| count > settings.min && wants(false, figure);
    let last = |n: u32| periods.iter().take(usize::try_from(n.min(MAX_PERIODS)).unwrap_or(usize::MAX));
    if last(settings.up_periods).all(|figure| up(*figure)) {
        let desired = settings.desired.saturating_add(settings.up_by).min(settings.max);
        let reason = ScalingReason::Up;
        return Scaling { processed: true, desired, grace_started: true, periods: Some(periods), reason };
    }
    if last(settings.down_periods).all(|figure| down(*figure)) {
        if state.keep {
            return stay(true, Some(periods), ScalingReason::Kept);
        }
        let desired = settings.desired.saturating_sub(settings.down_by).max(settings.min);
        let reason = ScalingReason::Down;
        return Scaling { processed: true, desired, grace_started: true, periods: Some(periods), reason };
    }
    stay(true, Some(periods), ScalingReason::Steady)
}

/// What one instance said in one period.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    sum: f64,
    count: f64,
    newest: Option<(Duration, f64)>,
}

fn figures(settings: &ScalingSettings, metrics: &[ScalingMetric], now: Duration) -> Vec<f64> {
    let n = usize::try_from(settings.up_periods.max(settings.down_periods).min(MAX_PERIODS)).unwrap_or(0);
    let length = settings.period.as_millis().max(1);
    let mut told: Vec<BTreeMap<&str, Told>> = vec![BTreeMap::new(); n];
    for metric in metrics {
        // What comes from the future belongs to no period.
        let Some(age) = now.checked_sub(metric.at) else { continue };
        let period = usize::try_from(age.as_millis() / length).unwrap_or(usize::MAX);
        let Some(period) = told.get_mut(period) else { continue };
        let one = period.entry(&metric.instance).or_default();
        one.sum += metric.value;
        one.count += 1.0;
        if one.newest.is_none_or(|(at, _)| metric.at >= at) {
            one.newest = Some((metric.at, metric.value));
        }
    }
    let figure = |period: usize| {
        let (mut sum, mut count) = (0.0, 0.0);
        let mut add = |mean: f64| {
            sum += mean;
            count += 1.0;
        };
        for one in told[period].values() {
            add(one.sum / one.count);
        }
        // Who is silent for one period is taken to be as it was, unless it is gone in the next one too.
        let missing = told.get(period + 1).into_iter().flatten();
        for (instance, before) in missing.filter(|(instance, _)| !told[period].contains_key(*instance)) {
            if period == 0 || told[period - 1].contains_key(instance) {
                add(before.newest.map_or(0.0, |(_, value)| value));
            }
        }
        match settings.kind {
            GroupKind::Stress if count > 0.0 => sum / count,
            _ => sum,
        }
    };
    (0..n).map(figure).collect()
}
