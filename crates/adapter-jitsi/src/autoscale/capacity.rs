//! Advice of our own: what will be needed when a new bridge is up, and whom its end disturbs least.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use balancer_core::BackendId;

use crate::bridge::BridgeView;

/// How many figures of the past are kept at most.
pub const MAX_SAMPLES: usize = 128;
/// The most one bridge's stress counts.
const MAX_STRESS: f64 = 10.0;
/// Into how many parts the window is cut.
const PARTS: usize = 6;

/// When to advise what.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CapacitySettings {
    /// Never fewer bridges. Default 1.
    pub min: u32,
    /// Never more bridges. Default 100.
    pub max: u32,
    /// Bridges beyond what the load needs, so that one may die. Default 1.
    pub spare: u32,
    /// The mean stress to plan for. Default 0.6: well below the 0.8 where a focus calls a bridge overloaded.
    pub target: f64,
    /// The mean stress that must not be exceeded after bridges were taken away. Default 0.45; never above `target`.
    pub low: f64,
    /// The most endpoints of one bridge; 0 for no limit. Default 0.
    pub endpoints: u32,
    /// How long a new bridge takes until it carries load. Default 5 minutes.
    pub start: Duration,
    /// How far back the growth is measured. Default 10 minutes.
    pub window: Duration,
    /// How long there must have been too many before one is taken away. Default 15 minutes.
    pub hold: Duration,
    /// How many are taken away at once. Default 1.
    pub down_by: u32,
    /// Keep the last bridge of every region. Default true.
    pub keep_regions: bool,
}

impl Default for CapacitySettings {
    fn default() -> Self {
        Self {
            min: 1,
            max: 100,
            spare: 1,
            target: 0.6,
            low: 0.45,
            endpoints: 0,
            start: Duration::from_secs(300),
            window: Duration::from_secs(600),
            hold: Duration::from_secs(900),
            down_by: 1,
            keep_regions: true,
        }
    }
}

/// One bridge as far as capacity is concerned.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CapacityBridge {
    /// Its occupant JID.
    pub id: BackendId,
    /// Its stress, corrected for those who just came.
    pub stress: f64,
    /// Its endpoints.
    pub endpoints: u32,
    /// Its region.
    pub region: Option<Arc<str>>,
    /// Whether it is at the threshold where a focus avoids it.
    pub overloaded: bool,
    /// Whether it may be chosen at all.
    pub operational: bool,
    /// Whether it drains; that can be undone.
    pub draining: bool,
    /// Whether it ends; that cannot be undone.
    pub ending: bool,
    /// Not to be taken away.
    pub protected: bool,
}

impl CapacityBridge {
    /// A bridge that runs, with that stress and that many endpoints.
    pub fn new(id: impl Into<BackendId>, stress: f64, endpoints: u32) -> Self {
        Self {
            id: id.into(),
            stress,
            endpoints,
            region: None,
            overloaded: stress >= 0.8,
            operational: true,
            draining: false,
            ending: false,
            protected: false,
        }
    }

    const fn usable(&self) -> bool {
        self.operational && !self.draining && !self.ending
    }

    fn load(&self) -> f64 {
        if self.stress.is_nan() { 0.0 } else { self.stress.clamp(0.0, MAX_STRESS) }
    }
}

impl From<&BridgeView> for CapacityBridge {
    fn from(view: &BridgeView) -> Self {
        Self {
            region: view.region.clone(),
            overloaded: view.overloaded,
            operational: view.operational && view.known,
            draining: view.drain,
            ending: view.graceful_shutdown || view.shutting_down,
            ..Self::new(view.id.clone(), view.corrected_stress, view.endpoints)
        }
    }
}

/// Why the advice is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdviceReason {
    /// As it should be.
    Enough,
    /// The load is too much for these bridges.
    Load,
    /// It is enough now, and will not be when a new bridge could be up.
    Growth,
    /// Fewer than the least number.
    Minimum,
    /// More are needed, and there may be no more.
    Limit,
    /// There are too many, but not for long enough.
    Waiting,
    /// There have been too many for long enough.
    Surplus,
    /// There are too many, and every one is protected or the last of its region.
    NoVictim,
}

impl AdviceReason {
    /// A name that stays.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Enough => "enough",
            Self::Load => "load",
            Self::Growth => "growth",
            Self::Minimum => "minimum",
            Self::Limit => "limit",
            Self::Waiting => "waiting",
            Self::Surplus => "surplus",
            Self::NoVictim => "no-victim",
        }
    }

    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Enough => "as many bridges as the load needs",
            Self::Load => "the load is too much for the bridges there are",
            Self::Growth => "the load will be too much by the time a new bridge is up",
            Self::Minimum => "fewer bridges than the least number",
            Self::Limit => "more bridges are needed than there may be",
            Self::Waiting => "more bridges than needed, but not for long enough",
            Self::Surplus => "more bridges than needed for long enough",
            Self::NoVictim => "more bridges than needed, but each is protected or the last of its region",
        }
    }
}

/// How one region stands: the mean over all hides one hot bridge among idle ones.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RegionCapacity {
    /// The region; `None` for bridges without one.
    pub region: Option<Arc<str>>,
    /// Bridges that may be chosen.
    pub usable: u32,
    /// Those of them that are not overloaded: what users there feel.
    pub open: u32,
}

/// What to do. Carrying it out is up to the caller; the same state gives the same advice again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CapacityAdvice {
    /// How many bridges to start.
    pub add: u32,
    /// Draining bridges to take back first; they are not in `add`.
    pub undrain: Vec<BackendId>,
    /// Bridges to drain, the one whose end disturbs least first.
    pub drain: Vec<BackendId>,
    /// Bridges that drain or end and are empty: stopping them disturbs nobody.
    pub stop: Vec<BackendId>,
    /// How many are needed, spare ones included.
    pub needed: u32,
    /// How many may be chosen or are starting.
    pub usable: u32,
    /// The mean stress now, over those that may be chosen.
    pub mean: f64,
    /// All stress expected when a bridge started now is up.
    pub predicted: f64,
    /// The regions, by name.
    pub regions: Vec<RegionCapacity>,
    /// Why.
    pub reason: AdviceReason,
}

/// Says how many bridges to start or to end. Looks ahead by the time a bridge takes to start, takes away only what was
/// too much for a while and would not be missed at once, and takes the emptiest.
///
/// ```
/// use std::time::Duration;
/// use adapter_jitsi::{CapacityAdvisor, CapacityBridge, CapacitySettings};
///
/// let mut advisor = CapacityAdvisor::new(CapacitySettings::default());
/// let bridges = [CapacityBridge::new("jvb1", 0.7, 70), CapacityBridge::new("jvb2", 0.6, 60)];
/// let advice = advisor.advise(&bridges, 0, Duration::ZERO);
/// assert_eq!((advice.needed, advice.add), (4, 2)); // three for the load, and one that may die
/// ```
#[derive(Clone, Debug)]
pub struct CapacityAdvisor {
    settings: CapacitySettings,
    samples: VecDeque<(Duration, f64)>,
    surplus: Option<(Duration, u32)>,
}

impl CapacityAdvisor {
    /// Begins without a past.
    pub const fn new(settings: CapacitySettings) -> Self {
        Self { settings, samples: VecDeque::new(), surplus: None }
    }

    /// The settings.
    pub const fn settings(&self) -> &CapacitySettings {
        &self.settings
    }

    /// Advice for these bridges; `starting` more have been started and are not there yet. Call it every few seconds,
    /// with a clock that does not go back.
    pub fn advise(&mut self, bridges: &[CapacityBridge], starting: u32, now: Duration) -> CapacityAdvice {
        // Also what drains or failed carries load that will have to go somewhere.
        let total: f64 = bridges.iter().map(CapacityBridge::load).sum();
        let endpoints: u64 = bridges.iter().map(|bridge| u64::from(bridge.endpoints)).sum();
        self.sample(now, total);
        let predicted = total + self.growth(now);
        let ready = bridges.iter().filter(|bridge| bridge.usable());
        let there = u32::try_from(ready.clone().count()).unwrap_or(u32::MAX);
        let usable = there.saturating_add(starting);
        let mean = if there == 0 { 0.0 } else { ready.map(CapacityBridge::load).sum::<f64>() / f64::from(there) };

        let target = sound(self.settings.target, 0.6);
        let low = sound(self.settings.low, 0.45).min(target);
        let now_needed = self.needed(total, endpoints, target);
        let needed = self.needed(predicted.max(total), endpoints, target);
        let enough = self.needed(predicted.max(total), endpoints, low);
        let (min, max) = (self.settings.min.min(self.settings.max), self.settings.max);
        let stop = |bridge: &&CapacityBridge| (bridge.draining || bridge.ending) && bridge.endpoints == 0;
        let mut advice = CapacityAdvice {
            add: 0,
            undrain: Vec::new(),
            drain: Vec::new(),
            stop: bridges.iter().filter(stop).map(|bridge| bridge.id.clone()).collect(),
            needed: needed.clamp(min, max),
            usable,
            mean,
            predicted,
            regions: regions(bridges),
            reason: AdviceReason::Enough,
        };
        if advice.needed > usable {
            self.surplus = None;
            self.more(bridges, &mut advice, now_needed);
        } else if usable > enough.clamp(min, max) {
            // A bridge that came or went changes what is too much: wait again.
            let since = match self.surplus {
                Some((since, count)) if count == usable => since,
                _ => now,
            };
            self.surplus = Some((since, usable));
            advice.reason = AdviceReason::Waiting;
            if now.saturating_sub(since) >= self.settings.hold && starting == 0 {
                self.fewer(bridges, &mut advice, usable - enough.clamp(min, max));
            }
        } else {
            self.surplus = None;
            if needed > max {
                advice.reason = AdviceReason::Limit;
            }
        }
        advice
    }

    fn more(&self, bridges: &[CapacityBridge], advice: &mut CapacityAdvice, now_needed: u32) {
        let missing = advice.needed - advice.usable;
        let mut back: Vec<&CapacityBridge> =
            bridges.iter().filter(|bridge| bridge.operational && bridge.draining && !bridge.ending).collect();
        // The one that carries most is the one that is furthest from being empty.
        back.sort_by(|a, b| b.endpoints.cmp(&a.endpoints).then_with(|| a.id.cmp(&b.id)));
        back.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
        advice.undrain = back.into_iter().map(|bridge| bridge.id.clone()).collect();
        advice.stop.retain(|id| !advice.undrain.contains(id));
        advice.add = missing.saturating_sub(u32::try_from(advice.undrain.len()).unwrap_or(u32::MAX));
        advice.reason = if now_needed > self.settings.max {
            AdviceReason::Limit
        } else if advice.usable < self.settings.min {
            AdviceReason::Minimum
        } else if now_needed > advice.usable {
            AdviceReason::Load
        } else {
            AdviceReason::Growth
        };
    }

    fn fewer(&self, bridges: &[CapacityBridge], advice: &mut CapacityAdvice, surplus: u32) {
        let count = usize::try_from(surplus.min(self.settings.down_by.max(1))).unwrap_or(0);
        let mut left: BTreeMap<Option<&str>, u32> = BTreeMap::new();
        for bridge in bridges.iter().filter(|bridge| bridge.usable()) {
            *left.entry(bridge.region.as_deref()).or_default() += 1;
        }
        let mut all: Vec<&CapacityBridge> =
            bridges.iter().filter(|bridge| bridge.usable() && !bridge.protected).collect();
        all.sort_by(|a, b| {
            let stress = a.load().total_cmp(&b.load());
            a.endpoints.cmp(&b.endpoints).then(stress).then_with(|| a.id.cmp(&b.id))
        });
        for bridge in all {
            if advice.drain.len() == count {
                break;
            }
            let Some(left) = left.get_mut(&bridge.region.as_deref()) else { continue };
            if *left > 1 || !self.settings.keep_regions {
                *left = left.saturating_sub(1);
                advice.drain.push(bridge.id.clone());
            }
        }
        advice.reason = if advice.drain.is_empty() { AdviceReason::NoVictim } else { AdviceReason::Surplus };
    }

    /// How many bridges carry that load at that mean, and the spare ones.
    fn needed(&self, total: f64, endpoints: u64, mean: f64) -> u32 {
        // A hair less, lest what is exact be rounded up.
        let by_stress = (total / mean - 1e-9).ceil().clamp(0.0, f64::from(u32::MAX));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just above")]
        let by_stress = by_stress as u32;
        let by_endpoints = match u64::from(self.settings.endpoints) {
            0 => 0,
            most => u32::try_from(endpoints.div_ceil(most)).unwrap_or(u32::MAX),
        };
        by_stress.max(by_endpoints).saturating_add(self.settings.spare)
    }

    fn sample(&mut self, now: Duration, total: f64) {
        let step = self.settings.window / u32::try_from(MAX_SAMPLES).unwrap_or(1);
        match self.samples.back_mut() {
            Some((at, known)) if now < at.saturating_add(step) => *known = known.max(total),
            _ => self.samples.push_back((now, total)),
        }
        let window = self.settings.window;
        while self.samples.front().is_some_and(|(at, _)| now.saturating_sub(*at) > window)
            || self.samples.len() > MAX_SAMPLES
        {
            self.samples.pop_front();
        }
    }

    /// What will have been added when a new bridge is up; never less than nothing. The window is cut into six parts and
    /// the median of the five slopes between them counts: noise and a single step are no growth.
    fn growth(&self, now: Duration) -> f64 {
        let width = self.settings.window.as_secs_f64() / 6.0;
        let mut parts = [(0.0_f64, 0.0_f64, 0.0_f64); PARTS];
        for (at, total) in &self.samples {
            let age = now.saturating_sub(*at).as_secs_f64();
            // Newest first. The last part also holds what is exactly as old as the window.
            let mut end = 0.0;
            let part = parts.iter_mut().find(|_| {
                end += width;
                age <= end * (1.0 + 1e-9)
            });
            let Some((count, x, y)) = part else { continue };
            (*count, *x, *y) = (*count + 1.0, *x - age, *y + total);
        }
        if parts.iter().any(|(count, ..)| *count == 0.0) {
            return 0.0;
        }
        let means = parts.map(|(count, x, y)| (x / count, y / count));
        let mut slopes = [0.0; PARTS - 1];
        for (slope, pair) in slopes.iter_mut().zip(means.windows(2)) {
            let apart = pair[0].0 - pair[1].0;
            *slope = if apart > 0.0 { (pair[0].1 - pair[1].1) / apart } else { 0.0 };
        }
        slopes.sort_by(f64::total_cmp);
        let added = slopes[(PARTS - 1) / 2].max(0.0) * self.settings.start.as_secs_f64();
        if added.is_finite() { added } else { 0.0 }
    }
}

/// A mean stress that can be divided by.
fn sound(value: f64, default: f64) -> f64 {
    if value.is_finite() && value > 0.0 { value.max(0.01) } else { default }
}

fn regions(bridges: &[CapacityBridge]) -> Vec<RegionCapacity> {
    let mut all: BTreeMap<Option<Arc<str>>, (u32, u32)> = BTreeMap::new();
    for bridge in bridges {
        let (usable, open) = all.entry(bridge.region.clone()).or_default();
        *usable += u32::from(bridge.usable());
        *open += u32::from(bridge.usable() && !bridge.overloaded);
    }
    all.into_iter().map(|(region, (usable, open))| RegionCapacity { region, usable, open }).collect()
}
