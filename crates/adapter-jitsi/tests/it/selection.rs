//! What holds for every choice, whatever bridges report and whatever happens to them.

use std::collections::HashSet;
use std::time::Duration;

use adapter_jitsi::{
    BridgeReport, BridgeTable, BridgeView, Conference, ConferenceBook, ConferenceBridge, Evacuation, Extras,
    FocusSettings, HealthOutcome, Moving, NoBridge, Participant, PlainStrategy, RedistributionSettings, Redistributor,
    RegionGroups, SelectionStrategy, moves,
};
use balancer_core::BackendId;
use proptest::prelude::*;

mod pool;

fn report(stats: &[(&str, &str)]) -> BridgeReport {
    BridgeReport::from_stats(stats.iter().copied())
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Something that happens to a bridge.
#[derive(Clone, Debug)]
enum Step {
    Report { bridge: u8, stress: String, drain: bool, graceful: bool, region: u8, version: u8, relay: bool },
    Remove(u8),
    Check(u8, bool),
    Placed(u8, u32),
    Missing(u8),
    Elapse(u64),
}

fn stress() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u32..12).prop_map(|n| format!("0.{n}")),
        1 => proptest::num::f64::ANY.prop_map(|n| n.to_string().replace("inf", "Infinity")),
        1 => Just("NaN".to_owned()),
        1 => Just("-0.5".to_owned()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let report = (
        0u8..8,
        stress(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.05),
        0u8..4,
        0u8..3,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(bridge, stress, drain, graceful, region, version, relay)| Step::Report {
            bridge,
            stress,
            drain,
            graceful,
            region,
            version,
            relay,
        });
    prop_oneof![
        6 => report,
        1 => (0u8..8).prop_map(Step::Remove),
        2 => (0u8..8, any::<bool>()).prop_map(|(b, passed)| Step::Check(b, passed)),
        3 => (0u8..8, 1u32..30).prop_map(|(b, n)| Step::Placed(b, n)),
        1 => (0u8..8).prop_map(Step::Missing),
        2 => (0u64..30_000).prop_map(Step::Elapse),
        1 => Just(Step::Elapse(60_000)),
    ]
}

fn jid(n: u8) -> BackendId {
    format!("room@muc/jvb{n}").into()
}

fn act(table: &mut BridgeTable, step: &Step, now: &mut Duration) {
    match step {
        Step::Report { bridge, stress, drain, graceful, region, version, relay } => {
            let (drain, graceful) = (drain.to_string(), graceful.to_string());
            let (region, version) = (format!("r{region}"), format!("v{version}"));
            let mut stats = vec![("stress_level", &**stress), ("drain", &*drain), ("graceful_shutdown", &*graceful)];
            stats.extend([("region", &*region), ("version", &*version)]);
            stats.extend(relay.then_some(("relay_id", "x")));
            table.update(&jid(*bridge), &report(&stats), *now).unwrap();
        }
        Step::Remove(n) => drop(table.remove(jid(*n).as_str(), *now)),
        Step::Check(n, true) => drop(table.checked(jid(*n).as_str(), HealthOutcome::Passed, *now)),
        Step::Check(n, false) => drop(table.checked(jid(*n).as_str(), HealthOutcome::TimedOut, *now)),
        Step::Placed(n, count) => table.placed(jid(*n).as_str(), *count, *now),
        Step::Missing(n) => table.missing(jid(*n).as_str(), *now),
        Step::Elapse(ms) => *now += Duration::from_millis(*ms),
    }
}

fn strategy() -> impl Strategy<Value = SelectionStrategy> {
    let plain = || {
        prop_oneof![
            Just(PlainStrategy::Single),
            Just(PlainStrategy::Split),
            Just(PlainStrategy::IntraRegion),
            Just(PlainStrategy::RegionBased),
        ]
    };
    prop_oneof![
        3 => plain().prop_map(SelectionStrategy::Plain),
        1 => (plain(), plain()).prop_map(|(participants, visitors)| SelectionStrategy::Visitor { participants, visitors }),
    ]
}

fn conference() -> impl Strategy<Value = Conference> {
    let used = (0u8..8, 0u32..90, prop::bool::weighted(0.2));
    (prop::collection::vec(used, 0..4), prop::option::of(0u8..5), prop::bool::weighted(0.2)).prop_map(
        |(bridges, region, visitor)| {
            let mut conference = Conference::new();
            for (n, participants, visitors) in bridges {
                conference = conference.on(ConferenceBridge::new(jid(n), participants).of_visitors(visitors));
            }
            if let Some(region) = region {
                conference = conference.in_region(format!("r{region}"));
            }
            if visitor { conference.for_visitor() } else { conference }
        },
    )
}

/// The candidates as they are described: all bridges sorted, then filter after filter.
fn described(table: &mut BridgeTable, conference: &Conference, now: Duration) -> Vec<BackendId> {
    let mut list: Vec<BridgeView> =
        table.ranking(now).into_iter().filter(|b| b.operational && !b.shutting_down).collect();
    let first = conference.bridges.iter().find_map(|used| table.view(used.id.as_str(), now));
    if let Some(version) = first.and_then(|first| first.full_version)
        && !table.settings().mixed_versions
    {
        list.retain(|b| b.full_version.as_ref() == Some(&version));
    }
    if list.iter().any(|b| !b.missing) {
        list.retain(|b| !b.missing);
    }
    if list.iter().any(|b| !b.drain) {
        list.retain(|b| !b.drain);
    }
    if list.iter().any(|b| !b.graceful_shutdown) {
        list.retain(|b| !b.graceful_shutdown);
    }
    list.into_iter().map(|b| b.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_kept_order_chooses_as_sorting_does(
        steps in prop::collection::vec(step(), 1..40),
        conferences in prop::collection::vec(conference(), 1..6),
        strategy in strategy(),
        octo: bool,
        mixed: bool,
    ) {
        let mut settings = FocusSettings::default();
        (settings.strategy, settings.octo, settings.mixed_versions) = (strategy, octo, mixed);
        settings.region_groups = RegionGroups::new([["r0", "r1"]]);
        settings.local_region = Some("r1".into());
        let mut table = BridgeTable::try_new(settings).unwrap();
        let mut now = Duration::ZERO;
        for step in &steps {
            act(&mut table, step, &mut now);
            for conference in &conferences {
                let sorted = described(&mut table, conference, now);
                let chosen = table.select(conference, now);
                if sorted.is_empty() {
                    prop_assert!(chosen.is_err());
                } else {
                    let plain = table.select_among(&sorted, conference, octo, now);
                    prop_assert_eq!(chosen, plain);
                }
            }
        }
    }

    #[test]
    fn nobody_new_goes_to_a_bridge_that_is_gone_or_out(
        steps in prop::collection::vec(step(), 1..60),
        strategy in strategy(),
        region in prop::option::of(0u8..5),
    ) {
        let mut settings = FocusSettings::default();
        settings.strategy = strategy;
        let mut table = BridgeTable::try_new(settings).unwrap();
        let mut now = Duration::ZERO;
        let mut ask = Conference::new();
        if let Some(region) = region {
            ask = ask.in_region(format!("r{region}"));
        }
        for step in &steps {
            act(&mut table, step, &mut now);
            let any = table.ranking(now).iter().any(|b| b.operational);
            match table.select(&ask, now) {
                Ok(choice) => {
                    let view = table.view(choice.bridge.as_str(), now).unwrap();
                    prop_assert!(view.known && view.operational && !view.shutting_down);
                }
                Err(_) => prop_assert!(!any),
            }
        }
    }

    #[test]
    fn a_conference_that_leaves_dead_bridges_is_never_put_on_one(
        steps in prop::collection::vec((step(), 0u8..6, prop::option::of(0u8..5), prop::bool::weighted(0.2)), 1..80),
        strategy in strategy(),
        octo: bool,
    ) {
        let mut settings = FocusSettings::default();
        (settings.strategy, settings.octo, settings.mixed_versions) = (strategy, octo, true);
        settings.extras.count_unseen = octo;
        let mut book = ConferenceBook::new(&settings);
        let mut table = BridgeTable::try_new(settings).unwrap();
        let mut now = Duration::ZERO;
        for (step, room, region, visitor) in &steps {
            act(&mut table, step, &mut now);
            if let Step::Remove(n) = step {
                book.evacuate(&mut table, jid(*n).as_str(), now);
            }
            let mut who = region.map_or_else(Participant::new, |region| Participant::of_region(format!("r{region}")));
            who.visitor = *visitor;
            if let Ok(choice) = book.join(&mut table, &format!("room{room}"), &who, now) {
                let view = table.view(choice.bridge.as_str(), now).unwrap();
                prop_assert!(view.known && view.operational, "{:?}", view);
            }
        }
    }

    #[test]
    fn any_stress_has_its_place(all in prop::collection::vec(any::<u64>(), 1..20)) {
        let mut table = BridgeTable::try_new(FocusSettings::default()).unwrap();
        for (n, bits) in (0u8..).zip(&all) {
            let stress = f64::from_bits(*bits).to_string().replace("inf", "Infinity");
            let stats = [("stress_level", &*stress), ("drain", "false")];
            table.update(&jid(n), &report(&stats), Duration::ZERO).unwrap();
        }
        let order: Vec<BackendId> = table.ranking(Duration::ZERO).into_iter().map(|b| b.id).collect();
        prop_assert_eq!(order.iter().collect::<HashSet<_>>().len(), all.len());
        for pair in order.windows(2) {
            let ordering = table.compare(pair[0].as_str(), pair[1].as_str(), Duration::ZERO).unwrap();
            prop_assert!(ordering.is_lt() || (ordering.is_eq() && pair[0] < pair[1]));
        }
        prop_assert_eq!(&table.select(&Conference::new(), Duration::ZERO).unwrap().bridge, &order[0]);
    }
}

fn table(settings: FocusSettings, bridges: &[(&str, &str, &str)]) -> BridgeTable {
    let mut table = BridgeTable::try_new(settings).unwrap();
    for (id, stress, region) in bridges {
        let stats = [("stress_level", *stress), ("drain", "false"), ("region", region), ("relay_id", id)];
        table.update(&(*id).into(), &report(&stats), Duration::ZERO).unwrap();
    }
    table
}

#[test]
fn a_bridge_that_leaves_sends_its_three_participants_elsewhere_at_once() {
    let settings = FocusSettings::default();
    let mut book = ConferenceBook::new(&settings);
    let mut table = table(settings, &[("r/a", "0.1", "eu"), ("r/b", "0.2", "eu")]);
    let who = Participant::of_region("eu");
    for _ in 0..3 {
        assert_eq!(book.join(&mut table, "algebra", &who, secs(1)).unwrap().bridge.as_str(), "r/a");
    }
    assert_eq!(table.remove("r/a", secs(2)), Some(true));
    let again = book.evacuate(&mut table, "r/a", secs(2));
    assert_eq!((again.len(), &*again[0].room, again[0].endpoints), (1, "algebra", 3));
    for _ in 0..again[0].endpoints {
        assert_eq!(book.join(&mut table, "algebra", &who, secs(2)).unwrap().bridge.as_str(), "r/b");
    }
    assert_eq!(book.on("r/b"), [adapter_jitsi::ConferenceOn::new("algebra", 3)]);
    // It comes again, and nobody moves back.
    table.update(&"r/a".into(), &report(&[("stress_level", "0"), ("drain", "false")]), secs(3)).unwrap();
    assert_eq!(book.join(&mut table, "algebra", &who, secs(3)).unwrap().bridge.as_str(), "r/b");
}

#[test]
fn the_first_participant_decides_for_all() {
    let settings = FocusSettings::default();
    let mut book = ConferenceBook::new(&settings);
    let mut table = table(settings, &[("r/us", "0.1", "us"), ("r/eu", "0.5", "eu")]);
    let first = book.join(&mut table, "room", &Participant::of_region("eu"), secs(1)).unwrap();
    let second = book.join(&mut table, "room", &Participant::of_region("us"), secs(2)).unwrap();
    assert_eq!((first.bridge.as_str(), second.bridge.as_str()), ("r/eu", "r/eu"));
    assert_eq!(first.reason.text(), "least stressed in the participant's region");
}

#[test]
fn the_cap_of_an_interval_sends_a_rush_to_a_second_bridge() {
    let mut settings = FocusSettings::default();
    (settings.strategy, settings.octo, settings.max_per_interval) = (PlainStrategy::RegionBased.into(), true, Some(30));
    let mut book = ConferenceBook::new(&settings);
    let mut table = table(settings, &[("r/a", "0", "eu"), ("r/b", "0", "eu")]);
    let who = Participant::of_region("eu");
    let on = |book: &mut ConferenceBook, table: &mut BridgeTable, now| {
        book.join(table, "lecture", &who, now).unwrap().bridge.to_string()
    };
    let first: Vec<String> = (0..60).map(|_| on(&mut book, &mut table, secs(10))).collect();
    assert_eq!(first.iter().filter(|id| *id == "r/a").count(), 30);
    // The minute is over, in buckets of a second.
    let after = on(&mut book, &mut table, secs(71));
    assert_eq!(after, "r/a");
}

#[test]
fn empty_conferences_are_spread_when_asked_for() {
    let counts = |spread: u32| {
        let mut settings = FocusSettings::default();
        settings.extras.empty_conference = spread;
        let mut book = ConferenceBook::new(&settings);
        let mut table = table(settings, &[("r/a", "0.10", "eu"), ("r/b", "0.11", "eu"), ("r/c", "0.12", "eu")]);
        for n in 0..30 {
            book.open(&mut table, &format!("room{n}"), &Participant::new(), secs(1)).unwrap();
        }
        ["r/a", "r/b", "r/c"].map(|id| book.on(id).len())
    };
    assert_eq!(counts(0), [30, 0, 0]);
    assert_eq!(counts(3), [10, 10, 10]);
}

#[test]
fn an_empty_conference_counts_until_somebody_comes() {
    let mut settings = FocusSettings::default();
    settings.extras.empty_conference = 5;
    let mut book = ConferenceBook::new(&settings);
    let mut table = table(settings, &[("r/a", "0", "eu")]);
    book.open(&mut table, "room", &Participant::new(), secs(1)).unwrap();
    book.open(&mut table, "room", &Participant::new(), secs(1)).unwrap();
    assert_eq!(table.view("r/a", secs(1)).unwrap().corrected_stress, 0.05);
    book.join(&mut table, "room", &Participant::new(), secs(1)).unwrap();
    assert_eq!(table.view("r/a", secs(1)).unwrap().corrected_stress, 0.01);
    book.left(&mut table, "room", "r/a", secs(40));
    assert_eq!((table.view("r/a", secs(40)).unwrap().endpoints, book.len()), (0, 0));
}

#[test]
fn figures_that_stand_still_are_seen() {
    let mut settings = FocusSettings::default();
    settings.extras.flat_after = Some(secs(120));
    let mut table = table(settings, &[("r/flat", "0.3", "eu"), ("r/idle", "0", "eu"), ("r/live", "0.3", "eu")]);
    for n in 1..=30 {
        let live = format!("0.3{n:02}");
        for (id, stress) in [("r/flat", "0.3"), ("r/idle", "0"), ("r/live", &*live)] {
            let stamp = format!("2026-03-01 10:00:{n}");
            let stats = [("stress_level", stress), ("drain", "false"), ("current_timestamp", &*stamp)];
            table.update(&id.into(), &report(&stats), secs(5 * n)).unwrap();
        }
    }
    let flat = |table: &mut BridgeTable, id: &str| table.view(id, secs(150)).unwrap().flat;
    assert_eq!(["r/flat", "r/idle", "r/live"].map(|id| flat(&mut table, id)), [true, false, false]);
    // An idle one that was given work and reports none of it.
    table.placed("r/idle", 10, secs(150));
    assert!(flat(&mut table, "r/idle"));
}

#[test]
fn checks_by_presence() {
    let mut table = table(FocusSettings::default(), &[("r/a", "0", "eu"), ("r/b", "0", "eu")]);
    table.update(&"r/b".into(), &report(&[("healthy", "false")]), secs(40)).unwrap();
    assert_eq!(table.check_presence("r/a", secs(45)), Some((HealthOutcome::Passed, None)));
    assert_eq!(table.check_presence("r/a", secs(46)), Some((HealthOutcome::TimedOut, None)));
    let failed = (HealthOutcome::Failed, Some(Evacuation::FailedCheck));
    assert_eq!(table.check_presence("r/b", secs(46)), Some(failed));
    assert_eq!(table.check_presence("r/c", secs(46)), None);
    assert!(table.select(&Conference::new(), secs(46)).is_err());
}

#[test]
fn load_is_moved_from_the_stressed() {
    let mut settings = FocusSettings::default();
    (settings.strategy, settings.octo) = (PlainStrategy::RegionBased.into(), true);
    let mut book = ConferenceBook::new(&settings);
    let mut table = table(settings, &[("r/hot", "0.95", "eu"), ("r/cool", "0.2", "eu")]);
    for n in 0..16 {
        let room = if n < 12 { "big" } else { "small" };
        book.joined(&mut table, room, &"r/hot".into(), false, secs(1)).unwrap();
    }
    let mut mover = Redistributor::try_new(RedistributionSettings::default()).unwrap();
    assert!(mover.run(&mut table, secs(60), |id| book.on(id.as_str())).is_empty());
    let done = mover.run(&mut table, secs(120), |id| book.on(id.as_str()));
    assert_eq!((done.len(), done[0].0.as_str(), &*done[0].1[0].room, done[0].1[0].endpoints), (1, "r/hot", "big", 10));
    // Left alone for a while.
    assert!(mover.run(&mut table, secs(180), |id| book.on(id.as_str())).is_empty());
    assert_eq!(mover.run(&mut table, secs(300), |id| book.on(id.as_str())).len(), 1);
    let all = moves(&book.on("r/hot"), Moving::All);
    assert_eq!(all.iter().map(|m| m.endpoints).collect::<Vec<_>>(), [12, 4]);
}

#[test]
fn a_failed_bridge_is_not_replaced_without_relays() {
    let settings = FocusSettings::default();
    let mut book = ConferenceBook::new(&settings);
    let mut table = table(settings, &[("r/a", "0.1", "eu"), ("r/b", "0.2", "eu")]);
    book.join(&mut table, "room", &Participant::new(), secs(1)).unwrap();
    table.checked("r/a", HealthOutcome::TimedOut, secs(2));
    // Handed over without it, the conference looks new: it would be divided.
    assert_eq!(book.join(&mut table, "room", &Participant::new(), secs(2)), Err(NoBridge::NeedsRelay));
    assert_eq!(book.evacuate(&mut table, "r/a", secs(3))[0].endpoints, 1);
    assert_eq!(book.join(&mut table, "room", &Participant::new(), secs(3)).unwrap().bridge.as_str(), "r/b");
}

#[test]
fn a_choice_allocates_nothing() {
    let mut settings = FocusSettings::default();
    (settings.strategy, settings.octo) = (PlainStrategy::RegionBased.into(), true);
    let names: Vec<String> = (0..200).map(|n| format!("r/jvb{n}")).collect();
    let rows: Vec<(&str, &str, &str)> = names.iter().map(|id| (id.as_str(), "0.1", "eu")).collect();
    let mut table = table(settings, &rows);
    let conference = Conference::new().in_region("eu").on(ConferenceBridge::new("r/jvb7", 3));
    let first = table.select(&conference, secs(1)).unwrap();
    let counted = allocation_counter::measure(|| {
        let again = table.select(&conference, secs(1));
        assert_eq!(again.as_ref(), Ok(&first));
        let other = table.select(&conference, secs(2));
        assert_eq!(other.as_ref(), Ok(&first));
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_end_of_time_is_no_end() {
    let mut table = table(FocusSettings::default(), &[("r/a", "0", "eu")]);
    table.placed("r/a", 1, Duration::MAX);
    table.checked("r/a", HealthOutcome::Failed, Duration::MAX);
    table.checked("r/a", HealthOutcome::Passed, Duration::MAX);
    assert_eq!(table.view("r/a", Duration::ZERO).unwrap().recent, 1);
}

#[test]
fn shutting_down_evacuates_once() {
    let mut table = table(FocusSettings::default(), &[("r/a", "0", "eu"), ("r/b", "0.5", "eu")]);
    let end = report(&[("shutting_down", "true")]);
    assert_eq!(table.update(&"r/a".into(), &end, secs(1)).unwrap().evacuate, Some(Evacuation::ShuttingDown));
    assert_eq!(table.update(&"r/a".into(), &end, secs(6)).unwrap().evacuate, None);
    assert_eq!(table.select(&Conference::new(), secs(6)).unwrap().bridge.as_str(), "r/b");
    assert_eq!(table.remove("r/a", secs(7)), Some(false));
    assert_eq!(table.counts(secs(7)).lost, 0);
    // It comes again as a new one.
    assert!(table.update(&"r/a".into(), &report(&[("drain", "false")]), secs(8)).unwrap().added);
    assert_eq!(table.select(&Conference::new(), secs(8)).unwrap().bridge.as_str(), "r/a");
}

#[test]
fn extras_are_off_by_default() {
    assert_eq!(FocusSettings::default().extras, Extras::default());
    assert!(!Extras::default().count_unseen);
}
