//! Both advisors, fed with the same looks at the bridges.

use std::collections::VecDeque;
use std::time::Duration;

use adapter_jitsi::{
    AdviceReason, BridgeView, CapacityAdvice, CapacityAdvisor, CapacityBridge, CapacitySettings, GroupKind, GroupState,
    Scaling, ScalingInstance, ScalingMetric, ScalingReason, ScalingSettings, autoscale, launches,
};

use crate::cli::{By, Numbers};
use crate::pool::Figures;
use crate::show::nick;

/// The most figures of the past that are kept for jitsi-autoscaler's rules.
const MAX_METRICS: usize = 1 << 20;

/// The first look is so late on the clock of jitsi-autoscaler's rules, since they look back.
const ORIGIN: Duration = Duration::from_secs(1000 * 86_400);

/// One bridge at one look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// The stress as it says.
    pub(super) stress: f64,
    /// The rest.
    pub(super) bridge: CapacityBridge,
}

impl Sample {
    /// A bridge of the pool. What does not say how many are on it is not taken for empty.
    pub(super) fn of(view: &BridgeView, figures: &Figures) -> Self {
        let mut bridge = CapacityBridge::from(view);
        bridge.endpoints = endpoints(figures.endpoints);
        Self { stress: view.stress, bridge }
    }
}

/// How many are on a bridge; not nobody where that is not known.
pub(super) fn endpoints(told: Option<u64>) -> u32 {
    told.map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// What to do, in numbers and nicks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Bridges to start.
    pub(super) add: u32,
    /// Draining ones to take back.
    pub(super) undrain: Vec<String>,
    /// Ones to drain.
    pub(super) drain: Vec<String>,
    /// Ones to stop, which are empty.
    pub(super) stop: Vec<String>,
}

impl Steps {
    /// The first that applies.
    pub(super) fn action(&self) -> &'static str {
        if !self.undrain.is_empty() {
            "undrain"
        } else if self.add > 0 {
            "add"
        } else if !self.drain.is_empty() {
            "drain"
        } else if !self.stop.is_empty() {
            "stop"
        } else {
            "none"
        }
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        let mut note = |what: &str, who: &[String]| {
            if !who.is_empty() {
                parts.push(format!("{what} {}", who.join(" ")));
            }
        };
        note("undrain", &self.undrain);
        if self.add > 0 {
            note("add", &[self.add.to_string()]);
        }
        note("drain", &self.drain);
        note("stop", &self.stop);
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }
}

/// What one advisor says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Who.
    pub(super) by: By,
    /// What to do.
    pub(super) steps: Steps,
    /// Why, as a name that stays.
    pub(super) code: &'static str,
    /// Why, in words.
    pub(super) because: &'static str,
    /// How many there should be.
    pub(super) needed: u32,
    /// How many there are, those that are starting included.
    pub(super) usable: u32,
    /// The mean stress it goes by.
    pub(super) mean: f64,
    /// All stress expected when a bridge that is started now is up.
    pub(super) predicted: f64,
}

/// What both say of one look.
#[derive(Clone, Debug)]
pub(super) struct Advice {
    /// Ours, with the regions.
    pub(super) ours: Said,
    /// That of jitsi-autoscaler's rules.
    pub(super) autoscaler: Said,
    /// Region, bridges that may be chosen, those of them that are not overloaded.
    pub(super) regions: Vec<(Option<String>, u32, u32)>,
}

impl Advice {
    /// Whose.
    pub(super) fn by(&self, by: By) -> &Said {
        match by {
            By::Ours => &self.ours,
            By::Autoscaler => &self.autoscaler,
        }
    }

    /// Whether somebody says something else than before.
    pub(super) fn differs(&self, before: &Self) -> bool {
        let key = |said: &Said| (said.steps.clone(), said.code);
        key(&self.ours) != key(&before.ours) || key(&self.autoscaler) != key(&before.autoscaler)
    }
}

/// The advisors.
pub(super) struct Mind {
    ours: CapacityAdvisor,
    scaling: ScalingSettings,
    metrics: VecDeque<ScalingMetric>,
    grace: Duration,
    grace_until: Option<Duration>,
    looked: Option<Duration>,
    /// Since when the bridges are heard without a gap.
    since: Duration,
    /// There is one look only: it stands for the past too.
    single: bool,
    settled: bool,
    protect: Vec<String>,
}

impl Mind {
    /// Without a past. A `single` look is taken as if it had been like that before.
    pub(super) fn new(numbers: &Numbers, single: bool) -> Self {
        let seconds = Duration::from_secs;
        let mut ours = CapacitySettings::default();
        (ours.min, ours.max, ours.spare) = (numbers.min, numbers.max, numbers.spare);
        (ours.target, ours.low, ours.endpoints) = (numbers.target, numbers.low, numbers.endpoints);
        (ours.start, ours.window, ours.hold) = (seconds(numbers.start), seconds(numbers.window), seconds(numbers.hold));
        (ours.down_by, ours.keep_regions) = (numbers.down_by, !numbers.empty_regions);
        let mut scaling = ScalingSettings::default();
        (scaling.min, scaling.max) = (numbers.min, numbers.max);
        (scaling.up_by, scaling.down_by) = (numbers.up_by, numbers.down_by);
        (scaling.up_at, scaling.down_at) = (numbers.up_at, numbers.down_at);
        (scaling.up_periods, scaling.down_periods) = (numbers.up_periods, numbers.down_periods);
        scaling.period = seconds(numbers.period);
        Self {
            ours: CapacityAdvisor::new(ours),
            scaling,
            metrics: VecDeque::new(),
            grace: seconds(numbers.grace),
            grace_until: None,
            looked: None,
            since: Duration::ZERO,
            single,
            settled: false,
            protect: numbers.protect.clone(),
        }
    }

    /// How long there must have been too many before one is taken away.
    pub(super) fn hold(&self) -> Duration {
        self.ours.settings().hold
    }

    /// What both say of these bridges, of which so many more are starting, on a clock that does not go back.
    pub(super) fn look(&mut self, samples: &[Sample], starting: u32, now: Duration) -> Advice {
        let bridges: Vec<CapacityBridge> = samples
            .iter()
            .map(|sample| {
                let mut bridge = sample.bridge.clone();
                bridge.protected = self.protect.iter().any(|name| name == nick(bridge.id.as_str()));
                bridge
            })
            .collect();
        let advice = self.ours.advise(&bridges, starting, now);
        let autoscaler = self.scale(samples, &bridges, starting, now);
        let region =
            |one: &adapter_jitsi::RegionCapacity| (one.region.as_deref().map(str::to_owned), one.usable, one.open);
        Advice { regions: advice.regions.iter().map(region).collect(), ours: ours(&advice), autoscaler }
    }

    /// What ours would say if it stayed like that for as long as there must have been too many.
    pub(super) fn later(&self, samples: &[Sample], starting: u32, now: Duration) -> Option<Said> {
        let later = self.with_past_of_ours().look(samples, starting, now.saturating_add(self.hold())).ours;
        (later.steps != Steps::default()).then_some(later)
    }

    fn with_past_of_ours(&self) -> Self {
        Self {
            ours: self.ours.clone(),
            scaling: self.scaling.clone(),
            metrics: VecDeque::new(),
            grace: self.grace,
            grace_until: None,
            looked: None,
            since: Duration::ZERO,
            single: self.single,
            settled: false,
            protect: self.protect.clone(),
        }
    }

    fn scale(&mut self, samples: &[Sample], bridges: &[CapacityBridge], starting: u32, now: Duration) -> Said {
        let now = now.saturating_add(ORIGIN);
        self.remember(samples, now);
        let there: Vec<&CapacityBridge> = bridges.iter().filter(|bridge| !bridge.ending).collect();
        let count = u32::try_from(there.len()).unwrap_or(u32::MAX);
        if !std::mem::replace(&mut self.settled, true) {
            self.scaling.desired =
                count.saturating_add(starting).clamp(self.scaling.min.min(self.scaling.max), self.scaling.max);
        }
        let mut state = GroupState::of(count);
        state.grace = self.grace_until.is_some_and(|until| now < until);
        let metrics: &[ScalingMetric] = self.metrics.make_contiguous();
        let mut scaling: Scaling = autoscale(&self.scaling, state, metrics, now);
        let needs = match scaling.reason {
            ScalingReason::Up => self.scaling.up_periods,
            ScalingReason::Down => self.scaling.down_periods,
            _ => 0,
        };
        let heard = now.saturating_sub(self.since);
        let early = !self.single && heard < self.scaling.period.saturating_mul(needs.saturating_sub(1));
        if early {
            (scaling.desired, scaling.grace_started) = (self.scaling.desired, false);
        }
        self.scaling.desired = scaling.desired;
        if scaling.grace_started {
            self.grace_until = Some(now.saturating_add(self.grace));
        }
        let instance = |bridge: &&CapacityBridge| {
            let mut one = ScalingInstance::new(nick(bridge.id.as_str()));
            (one.participants, one.stress, one.protected) = (bridge.endpoints, bridge.stress, bridge.protected);
            one
        };
        let tracked: Vec<ScalingInstance> = there.iter().map(instance).collect();
        let range = (self.scaling.min, scaling.desired, self.scaling.max);
        let carried = launches(GroupKind::Stress, range, &tracked, starting);
        let steps = Steps { add: carried.launch, drain: carried.end, ..Steps::default() };
        let sum: f64 = samples.iter().filter(|one| counts(one)).map(|one| one.stress).sum();
        let counted = samples.iter().filter(|one| counts(one)).count();
        let mean = if counted == 0 { 0.0 } else { sum / counted as f64 };
        let (code, because) = match early {
            true => ("early", "the mean stress is beyond a threshold, but not for long enough"),
            false => (scaling.reason.code(), scaling.reason.text()),
        };
        let usable = count.saturating_add(starting);
        Said { by: By::Autoscaler, steps, code, because, needed: scaling.desired, usable, mean, predicted: sum }
    }

    /// Keeps the figures. Periods before the first look, or before a gap of two of them, are taken to have been like the
    /// first one after: what is not known must not look like no stress. Nothing is decided by them unless there is one look
    /// only.
    fn remember(&mut self, samples: &[Sample], now: Duration) {
        let period = self.scaling.period;
        let periods = self.scaling.up_periods.max(self.scaling.down_periods);
        let unknown = self.looked.is_none_or(|looked| now.saturating_sub(looked) >= period.saturating_mul(2));
        self.looked = Some(now);
        if unknown {
            self.metrics.clear();
            self.since = now;
        }
        let mut put = |at: Duration| {
            for one in samples.iter().filter(|one| counts(one)) {
                self.metrics.push_back(ScalingMetric::new(one.bridge.id.as_str(), at, one.stress));
            }
        };
        if unknown {
            for back in (1..periods).rev() {
                now.checked_sub(period.saturating_mul(back)).into_iter().for_each(&mut put);
            }
        }
        put(now);
        let oldest = now.saturating_sub(period.saturating_mul(periods.saturating_add(1)));
        while self.metrics.front().is_some_and(|metric| metric.at < oldest) || self.metrics.len() > MAX_METRICS {
            self.metrics.pop_front();
        }
    }
}

/// Whether jitsi-autoscaler would keep its figure.
fn counts(one: &Sample) -> bool {
    one.stress.is_finite() && !one.bridge.ending
}

fn ours(advice: &CapacityAdvice) -> Said {
    let nicks = |ids: &[balancer_core::BackendId]| ids.iter().map(|id| nick(id.as_str()).to_owned()).collect();
    let steps = Steps {
        add: advice.add,
        undrain: nicks(&advice.undrain),
        drain: nicks(&advice.drain),
        stop: nicks(&advice.stop),
    };
    // The reason is of the number of bridges. Where that may stay, it says nothing of what is stopped.
    let because = match (steps.action(), advice.reason) {
        ("stop", AdviceReason::Enough | AdviceReason::Waiting) => {
            "it has drained and is empty, and nothing else is to be done yet"
        }
        (_, reason) => reason.text(),
    };
    Said {
        by: By::Ours,
        steps,
        code: advice.reason.code(),
        because,
        needed: advice.needed,
        usable: advice.usable,
        mean: advice.mean,
        predicted: advice.predicted,
    }
}

/// Whether there are too many, and it only has to last.
pub(super) fn is_waiting(said: &Said) -> bool {
    said.code == AdviceReason::Waiting.code()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn numbers(args: &[&str]) -> Numbers {
        let cli = Cli::try_parse_from([&["jitsi-picker", "advise"], args].concat()).unwrap();
        let Command::Advise(args) = cli.command else { panic!("not advise") };
        args.numbers
    }

    fn pool(stress: f64) -> Vec<Sample> {
        let bridge = |nick: &str| Sample { stress, bridge: CapacityBridge::new(format!("r/{nick}"), stress, 9) };
        ["a", "b", "c"].map(bridge).to_vec()
    }

    #[test]
    fn what_was_not_heard_is_no_lack_of_stress() {
        let mut mind = Mind::new(&numbers(&[]), false);
        let mut look = |second: u64, stress: f64| mind.look(&pool(stress), 0, Duration::from_secs(second)).autoscaler;
        for second in (0..600).step_by(30) {
            assert_eq!(look(second, 0.5).code, "steady");
        }
        // Ten minutes without a connection: after that four periods must be seen before one is taken away.
        for second in (1200..1380).step_by(30) {
            let said = look(second, 0.1);
            assert_eq!((said.code, said.steps.action()), ("early", "none"), "{second}");
        }
        let said = look(1380, 0.1);
        assert_eq!((said.code, said.steps.drain.len()), ("down", 1));
        // And nothing more while the grace period of that runs.
        assert_eq!(look(1410, 0.1).code, "grace");
    }

    #[test]
    fn one_look_stands_for_the_past() {
        let mut mind = Mind::new(&numbers(&["--protect", "a", "--hold", "60"]), true);
        let (busy, calm) = (pool(0.9), pool(0.05));
        assert_eq!(mind.look(&busy, 0, Duration::ZERO).autoscaler.steps.add, 1);
        let mut mind = Mind::new(&numbers(&["--protect", "a", "--hold", "60"]), true);
        let advice = mind.look(&calm, 0, Duration::ZERO);
        assert_eq!(advice.autoscaler.steps.drain, ["b"], "the first that is not protected");
        assert!(is_waiting(&advice.ours) && advice.ours.steps.action() == "none");
        let later = mind.later(&calm, 0, Duration::ZERO).unwrap();
        assert_eq!((later.steps.text().as_str(), later.code), ("drain b", "surplus"));
        let mut drained = calm.clone();
        (drained[2].bridge.draining, drained[2].bridge.endpoints) = (true, 0);
        let advice = mind.look(&drained, 0, Duration::ZERO).ours;
        assert_eq!((advice.steps.text().as_str(), advice.code), ("stop c", "enough"));
        assert!(advice.because.contains("drained and is empty"), "{}", advice.because);
        let odd = mind.look(&pool(f64::NAN), 0, Duration::from_secs(1));
        assert_eq!((odd.autoscaler.mean, odd.ours.mean), (0.0, 0.0), "what is no number counts for nothing");
    }
}
