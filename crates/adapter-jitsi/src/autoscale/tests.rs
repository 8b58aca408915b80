use proptest::prelude::*;

use super::*;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn pool(stresses: &[f64]) -> Vec<CapacityBridge> {
    let one = |(i, stress): (usize, &f64)| {
        let mut bridge = CapacityBridge::new(format!("jvb{i}"), *stress, 1);
        bridge.endpoints += u32::from(*stress > 0.025);
        bridge
    };
    stresses.iter().enumerate().map(one).collect()
}

#[test]
fn growth_is_foreseen() {
    let mut advisor = CapacityAdvisor::new(CapacitySettings::default());
    let mut first = None;
    for minute in 0..60_u64 {
        // All load grows by 0.1 a minute, spread over four bridges.
        let total = 0.4 + 0.1 * minute as f64;
        let advice = advisor.advise(&pool(&[total / 4.0; 4]), 0, secs(60 * minute));
        if advice.add > 0 && first.is_none() {
            first = Some((minute, advice.reason));
        }
        assert!(advice.drain.is_empty());
    }
    // Four with one to spare carry 1.8, reached after minute 14: the start takes five minutes.
    let (minute, reason) = first.unwrap();
    assert_eq!(reason, AdviceReason::Growth);
    assert!((8..=10).contains(&minute), "{minute}");
}

#[test]
fn a_step_up_and_down_does_not_flap() {
    let mut advisor = CapacityAdvisor::new(CapacitySettings::default());
    let (mut bridges, mut starting, mut changes): (u32, Vec<u64>, _) = (2, Vec::new(), Vec::new());
    for tick in 0..2000_u64 {
        let now = tick * 10;
        let load = if (2_000..8_000).contains(&now) { 2.0 } else { 0.4 };
        // Noise of a tenth, the same every time.
        let load = load * (1.0 + 0.1 * (((tick * 7919) % 21) as f64 - 10.0) / 10.0);
        let up = starting.iter().filter(|at| now >= **at + 300).count();
        starting.drain(..up);
        bridges += u32::try_from(up).unwrap();
        let each = load / f64::from(bridges);
        let pool = pool(&vec![each; bridges as usize]);
        let advice = advisor.advise(&pool, u32::try_from(starting.len()).unwrap(), secs(now));
        for _ in 0..advice.add {
            starting.push(now);
        }
        bridges -= u32::try_from(advice.drain.len()).unwrap();
        if advice.add > 0 || !advice.drain.is_empty() {
            changes.push((now, i64::from(advice.add) - i64::try_from(advice.drain.len()).unwrap()));
        }
    }
    let ups: Vec<_> = changes.iter().filter(|(_, by)| *by > 0).collect();
    let downs: Vec<_> = changes.iter().filter(|(_, by)| *by < 0).collect();
    assert!(ups.iter().all(|(at, _)| (2_000..3_000).contains(at)), "{changes:?}");
    assert!(downs.iter().all(|(at, _)| *at >= 8_900 || *at < 2_000), "{changes:?}");
    assert!(changes.len() <= 14, "{changes:?}");
    assert!((2..=3).contains(&bridges), "{bridges}: {changes:?}");
}

#[test]
fn the_emptiest_goes_and_the_last_of_a_region_stays() {
    let mut advisor = CapacityAdvisor::new(CapacitySettings::default());
    let mut bridges = pool(&[0.1, 0.02, 0.03, 0.0]);
    for (bridge, region) in bridges.iter_mut().zip(["eu", "eu", "eu", "us"]) {
        bridge.region = Some(region.into());
    }
    bridges[2].protected = true;
    assert_eq!(advisor.advise(&bridges, 0, secs(0)).reason, AdviceReason::Waiting);
    let advice = advisor.advise(&bridges, 0, secs(900));
    assert_eq!((advice.reason, advice.drain), (AdviceReason::Surplus, vec!["jvb1".into()]));
    assert_eq!(advice.regions.iter().map(|r| (r.usable, r.open)).collect::<Vec<_>>(), [(3, 3), (1, 1)]);

    // It drains, becomes empty, may be stopped; or is taken back when the load comes.
    bridges[1].draining = true;
    assert!(advisor.advise(&bridges, 0, secs(901)).stop.is_empty());
    bridges[1].endpoints = 0;
    assert_eq!(advisor.advise(&bridges, 0, secs(902)).stop, ["jvb1".into()]);
    bridges[0].stress = 1.6;
    let advice = advisor.advise(&bridges, 0, secs(903));
    assert_eq!((advice.add, advice.undrain.len(), advice.stop.len()), (0, 1, 0), "{advice:?}");
}

#[test]
fn endpoints_limits_and_nobody() {
    let settings = CapacitySettings { endpoints: 50, min: 2, max: 3, ..CapacitySettings::default() };
    let mut advisor = CapacityAdvisor::new(settings);
    let advice = advisor.advise(&[], 0, secs(0));
    assert_eq!((advice.add, advice.reason), (2, AdviceReason::Minimum));
    assert_eq!(advisor.advise(&[], 2, secs(1)).add, 0);
    let advice = advisor.advise(&[CapacityBridge::new("a", 0.1, 151)], 0, secs(2));
    assert_eq!((advice.add, advice.reason), (2, AdviceReason::Limit));
}

#[test]
fn launching_and_ending() {
    let mut all: Vec<ScalingInstance> = ["a", "b", "c", "d"].map(ScalingInstance::new).into();
    (all[0].participants, all[1].participants, all[3].participants) = (3, 9, 1);
    (all[2].starting, all[3].protected) = (true, true);
    let limits = |desired| (1, desired, 10);
    assert_eq!(launches(GroupKind::Stress, limits(6), &all, 1).launch, 1);
    assert!(launches(GroupKind::Stress, limits(40), &all[..0], 11).launch == 0);
    assert!(launches(GroupKind::Stress, (1, 40, 50), &all[..1], 40 - 2).launch == 1);
    assert_eq!(launches(GroupKind::Stress, limits(2), &all, 0).end, ["c", "a"]);
    assert_eq!(launches(GroupKind::Stress, limits(0), &all, 0).end, ["c", "a", "b"]);
    (all[0].busy, all[1].expired) = (true, true);
    assert_eq!(launches(GroupKind::Availability, limits(1), &all, 0).end, ["c", "b", "a"]);
}

proptest! {
    #[test]
    fn no_figures_panic(
        values in prop::collection::vec((any::<f64>(), any::<u32>(), any::<[bool; 5]>()), 0..12),
        numbers in any::<[u32; 6]>(),
        limits in any::<[f64; 2]>(),
        times in any::<[u64; 4]>(),
    ) {
        let mut bridges = Vec::new();
        for (i, (stress, endpoints, flags)) in values.iter().enumerate() {
            let mut bridge = CapacityBridge::new(format!("b{i}"), *stress, *endpoints);
            [bridge.overloaded, bridge.operational, bridge.draining, bridge.ending, bridge.protected] = *flags;
            bridges.push(bridge);
        }
        let settings = CapacitySettings {
            min: numbers[0], max: numbers[1], spare: numbers[2], endpoints: numbers[3], down_by: numbers[4],
            target: limits[0], low: limits[1],
            start: Duration::from_millis(times[0]), window: Duration::from_millis(times[1]),
            hold: Duration::from_millis(times[2]), keep_regions: times[3] % 2 == 0,
        };
        let mut advisor = CapacityAdvisor::new(settings);
        for time in times {
            let advice = advisor.advise(&bridges, numbers[5], Duration::from_millis(time));
            prop_assert!(advice.add == 0 || advice.drain.is_empty());
            prop_assert!(advice.needed <= numbers[1]);
        }
        let metrics: Vec<_> = values.iter().map(|(value, at, _)| {
            ScalingMetric::new("i", Duration::from_millis(u64::from(*at)), *value)
        }).collect();
        let settings = ScalingSettings {
            min: numbers[0], max: numbers[1], desired: numbers[2], up_by: numbers[3], down_by: numbers[4],
            up_periods: numbers[5], period: Duration::from_millis(times[0]), up_at: limits[0], ..Default::default()
        };
        let _ = autoscale(&settings, GroupState::of(numbers[2]), &metrics, Duration::from_millis(times[1]));
        let _ = launches(GroupKind::Stress, (numbers[0], numbers[1], numbers[2]), &[], numbers[3]);
    }

    /// What is taken away is not asked for again at once.
    #[test]
    fn shrinking_never_asks_for_more(stresses in prop::collection::vec(0.0_f64..1.2, 1..20)) {
        let mut advisor = CapacityAdvisor::new(CapacitySettings::default());
        let mut bridges = pool(&stresses);
        let mut now = 0;
        for _ in 0..60 {
            now += 300;
            let advice = advisor.advise(&bridges, 0, secs(now));
            let Some(victim) = advice.drain.first() else { continue };
            let (at, load) = bridges.iter().enumerate().find(|(_, b)| b.id == *victim).map(|(i, b)| (i, b.stress)).unwrap();
            bridges.remove(at);
            let share = load / bridges.len() as f64;
            bridges.iter_mut().for_each(|bridge| bridge.stress += share);
            now += 10;
            prop_assert_eq!(advisor.advise(&bridges, 0, secs(now)).add, 0);
        }
    }
}
