//! A burst of joins while reports stand still: 92 participants in 31 s.

use std::time::Duration;

use adapter_jitsi::{BridgeReport, BridgeTable, Conference, FocusSettings};

const JOINS: u64 = 92;
const BURST_MS: u64 = 31_000;

fn at(join: u64) -> u64 {
    join * BURST_MS / JOINS
}

/// How bridges report in the burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reports {
    /// Every 5 s, always the same.
    Frozen,
    /// Once before it, and never again.
    Stale,
}

/// The choices for rooms of one participant each, with these stresses reported.
fn burst(frozen: &[f64], average: &str, reports: Reports, unseen: bool) -> Vec<usize> {
    let mut settings = FocusSettings::default();
    settings.extras.count_unseen = unseen;
    let mut table = BridgeTable::try_new(settings).unwrap();
    let mut chosen = Vec::new();
    let mut told = None;
    for join in 0..JOINS {
        let now = Duration::from_millis(at(join));
        if told.is_none() || (reports == Reports::Frozen && told != Some(now.as_secs() / 5)) {
            told = Some(now.as_secs() / 5);
            for (n, stress) in frozen.iter().enumerate() {
                let stress = stress.to_string();
                let stats = [("stress_level", &*stress), ("drain", "false"), ("average_participant_stress", average)];
                table.update(&format!("r/jvb{n}").into(), &BridgeReport::from_stats(stats), now).unwrap();
            }
        }
        let bridge = table.select(&Conference::new(), now).unwrap().bridge;
        table.placed(bridge.as_str(), 1, now);
        chosen.push(bridge.as_str().trim_start_matches("r/jvb").parse().unwrap());
    }
    chosen
}

/// What jicofo does, by sorting.
fn jicofo(frozen: &[f64], average: f64) -> Vec<usize> {
    let mut placed: Vec<(u64, usize)> = Vec::new();
    for join in 0..JOINS {
        let bucket = at(join) / 100;
        let corrected = |n: usize| {
            let recent = placed.iter().filter(|(b, on)| *on == n && bucket.saturating_sub(200) <= *b).count();
            frozen[n] + recent as f64 * average
        };
        let mut order: Vec<usize> = (0..frozen.len()).collect();
        order.sort_by(|a, b| corrected(*a).total_cmp(&corrected(*b)).then(a.cmp(b)));
        placed.push((bucket, order[0]));
    }
    placed.into_iter().map(|(_, on)| on).collect()
}

fn largest_to_mean(chosen: &[usize], bridges: usize) -> f64 {
    let largest = (0..bridges).map(|n| chosen.iter().filter(|on| **on == n).count()).max().unwrap();
    largest as f64 * bridges as f64 / chosen.len() as f64
}

/// Frozen figures, and what a participant is said to add.
const SCENES: &[(&[f64], &str)] = &[
    (&[0.0, 0.0, 0.0, 0.0], "0.01"),
    (&[0.10, 0.16, 0.16, 0.16], "0.01"),
    (&[0.30, 0.33, 0.35, 0.36], "0.01"),
    (&[0.2, 0.2, 0.2], "0"),
    (&[0.2, 0.2], "NaN"),
    (&[0.05, 0.05, 0.06, 0.05, 0.07, 0.05], "0.01"),
];

const REPORTS: [Reports; 2] = [Reports::Frozen, Reports::Stale];

#[test]
fn off_it_is_what_jicofo_does() {
    let mut checked = 0;
    for (frozen, average) in SCENES.iter().filter(|(_, average)| *average != "NaN") {
        let want = jicofo(frozen, average.parse().unwrap());
        for reports in REPORTS {
            assert_eq!(burst(frozen, average, reports, false), want, "{frozen:?} {reports:?}");
            checked += want.len();
        }
    }
    println!("{checked} choices are jicofo's");
}

#[test]
fn on_nobody_gets_much_more_than_his_share() {
    let mut helped = false;
    for ((frozen, average), reports) in SCENES.iter().flat_map(|scene| REPORTS.map(|reports| (scene, reports))) {
        let share = |unseen| largest_to_mean(&burst(frozen, average, reports, unseen), frozen.len());
        let [off, on] = [false, true].map(share);
        println!("{frozen:?} at {average}, {reports:?}: largest {off:.2} of the mean, with the option {on:.2}");
        assert!(on <= 1.3, "{frozen:?}: {on}");
        helped |= off > 1.3;
    }
    assert!(helped, "no scene in which jicofo itself is uneven");
}
