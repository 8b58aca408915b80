//! How long a choice takes beside sorting all bridges: `cargo xtask bench jitsi`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adapter_jitsi::{
    BridgeReport, BridgeTable, BridgeView, Conference, ConferenceBook, FocusSettings, Participant, PlainStrategy,
};

const BRIDGES: u32 = 5_000;
const CONFERENCES: u32 = 100_000;
const ROUNDS: u32 = 20_000;

fn stats(n: u32, stress: f64) -> BridgeReport {
    let (stress, region, relay) = (stress.to_string(), format!("r{}", n % 10), n.to_string());
    let stats =
        [("stress_level", &*stress), ("drain", "false"), ("region", &*region), ("relay_id", &*relay), ("version", "1")];
    BridgeReport::from_stats(stats)
}

fn each(rounds: u32, mut f: impl FnMut(u32)) -> Duration {
    let begin = Instant::now();
    (0..rounds).for_each(&mut f);
    begin.elapsed() / rounds
}

/// As jicofo does it: sort all, then take the first that will do.
fn by_sorting(all: &[BridgeView], region: &str) -> usize {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| all[*a].corrected_stress.total_cmp(&all[*b].corrected_stress).then(a.cmp(b)));
    let fits = |n: &&usize| !all[**n].overloaded && all[**n].region.as_deref() == Some(region);
    order.iter().find(fits).copied().unwrap_or_default()
}

#[test]
#[ignore = "it measures, in release mode: cargo xtask bench jitsi"]
fn choices_beside_sorting() {
    let mut settings = FocusSettings::default();
    (settings.strategy, settings.octo) = (PlainStrategy::RegionBased.into(), true);
    let mut book = ConferenceBook::new(&settings);
    let mut table = BridgeTable::try_new(settings).unwrap();
    let mut now = Duration::ZERO;
    let mut seed = 1_u32;
    let mut chance = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(seed >> 8) / f64::from(1 << 24)
    };
    let reports: Vec<_> = (0..BRIDGES).map(|n| (format!("r/jvb{n:04}").into(), stats(n, chance() * 0.8))).collect();
    for (id, report) in &reports {
        table.update(id, report, now).unwrap();
    }
    let who: Vec<Participant> = (0..10).map(|n| Participant::of_region(format!("r{n}"))).collect();
    let join = each(CONFERENCES, |n| {
        now += Duration::from_millis(1);
        book.join(&mut table, &format!("room{n}"), &who[n as usize % 10], now).unwrap();
    });
    let fresh: Vec<Conference> = (0..10).map(|n| Conference::new().in_region(format!("r{n}"))).collect();
    let select = each(ROUNDS, |n| drop(black_box(table.select(&fresh[n as usize % 10], now))));
    let running: Vec<Conference> = (0..1000).map(|n| book.question(&format!("room{n}"), &who[n % 10], now)).collect();
    let second = each(ROUNDS, |n| drop(black_box(table.select(&running[n as usize % 1000], now))));
    let place = each(ROUNDS, |n| table.placed(reports[n as usize % 5000].0.as_str(), 1, now));
    let update = each(ROUNDS, |n| {
        let (id, report) = &reports[n as usize % 5000];
        table.update(id, report, now).unwrap();
    });
    let views = table.ranking(now);
    let mut shuffled = views.clone();
    shuffled.sort_by(|a, b| a.relay_id.cmp(&b.relay_id));
    let sort = each(200, |n| {
        black_box(by_sorting(&shuffled, &format!("r{}", n % 10)));
    });
    let ratio = sort.as_secs_f64() / select.as_secs_f64();
    println!("{BRIDGES} bridges, {} conferences:", book.len());
    println!("sorting {sort:?}, choosing {select:?} ({ratio:.0} times faster), in a running conference {second:?}");
    println!("choosing and counting {join:?}, counting {place:?}, taking in a report {update:?}");
}
