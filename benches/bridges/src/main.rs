//! Choices among many bridges beside sorting them all, presences taken in, and memory.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use adapter_jitsi::{
    BridgeTable, Conference, ConferenceBook, FocusSettings, Participant, PlainStrategy, Presence, read_presence,
};

const HELP: &str = "\
usage: bridges [--bridges N] [--conferences N]

Measures choices among 5,000 bridges, with 100,000 conferences, unless told otherwise.";

const ROOM: &str = "jvbbrewery@internal.auth.meet.example";
const REGIONS: usize = 10;
const ROUNDS: usize = 7;
/// How much faster than sorting all bridges a choice must be.
const PROMISE: f64 = 20.0;

struct Wanted {
    bridges: usize,
    conferences: usize,
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { bridges: 5_000, conferences: 100_000 };
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value\n\n{HELP}"))?;
        let number = value.parse().ok().filter(|n| *n > 0);
        let number = number.ok_or_else(|| format!("{arg} takes a whole number above 0, not {value:?}"))?;
        match arg.as_str() {
            "--bridges" => wanted.bridges = number,
            "--conferences" => wanted.conferences = number,
            _ => return Err(format!("no option is called {arg}\n\n{HELP}")),
        }
    }
    Ok(wanted)
}

/// The same numbers in every run.
struct Chance(u64);

impl Chance {
    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn region(n: usize) -> String {
    format!("region-{}", n % REGIONS)
}

/// What a bridge publishes, with all that a real one has in it.
fn stanza(n: usize, stress: f64) -> String {
    let mut text = format!(
        "<presence xmlns='jabber:client' from='{ROOM}/jvb-{n:05}' to='focus@auth.meet.example/focus'>\
         <stats xmlns='http://jitsi.org/protocol/colibri'>"
    );
    let mut stat = |name: &str, value: &str| text.push_str(&format!("<stat name='{name}' value='{value}'/>"));
    stat("stress_level", &format!("{stress:.4}"));
    stat("average_participant_stress", "0.001");
    stat("region", &region(n));
    stat("relay_id", &format!("jvb-{n:05}"));
    stat("version", "2.3.310-g58f0f2a4e");
    for name in ["graceful_shutdown", "shutting_down", "drain"] {
        stat(name, "false");
    }
    for name in ["healthy", "colibri2"] {
        stat(name, "true");
    }
    for name in ["conferences", "endpoints", "local_endpoints", "octo_endpoints", "visitors", "largest_conference"] {
        stat(name, "17");
    }
    for name in ["bit_rate_download", "bit_rate_upload", "packet_rate_download", "packet_rate_upload", "threads"] {
        stat(name, "14623");
    }
    stat("current_timestamp", "2026-03-01 10:10:10.001");
    text + "</stats></presence>"
}

/// The resident set, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Nanoseconds of one call, over so many.
fn each(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let begin = Instant::now();
    (0..calls).for_each(&mut call);
    begin.elapsed().as_secs_f64() * 1e9 / calls as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn line(what: &str, value: f64, unit: &str) {
    println!("{what:<58} {value:>12.0} {unit}");
}

fn settings() -> FocusSettings {
    let mut settings = FocusSettings::default();
    (settings.strategy, settings.octo) = (PlainStrategy::RegionBased.into(), true);
    settings
}

fn run(wanted: &Wanted) -> Result<f64, String> {
    let mut chance = Chance(7);
    let mut now = Duration::from_secs(1);
    let count = wanted.bridges;
    let take = |table: &mut BridgeTable, text: &str, now| match read_presence(text.as_bytes(), ROOM) {
        Ok(presence) => table.apply(&presence, now).map(drop).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    println!("{count} bridges in {REGIONS} regions, {} conferences, strategy RegionBased\n", wanted.conferences);

    let begin = resident();
    let mut table = BridgeTable::try_new(settings()).map_err(|e| e.to_string())?;
    for n in 0..count {
        take(&mut table, &stanza(n, chance.next() * 0.7), now)?;
    }
    let filled = resident();
    let people: Vec<Participant> = (0..REGIONS).map(|n| Participant::of_region(region(n))).collect();
    let mut book = ConferenceBook::new(table.settings());
    let mut failed = None;
    let joining = each(wanted.conferences, |n| {
        now += Duration::from_millis(1);
        if let Err(e) = book.join(&mut table, &format!("conference-{n:08}"), &people[n % REGIONS], now) {
            failed = Some(e.to_string());
        }
    });
    if let Some(why) = failed {
        return Err(format!("there is no bridge: {why}"));
    }
    let held = resident();

    let fresh: Vec<Conference> = (0..REGIONS).map(|n| Conference::new().in_region(region(n))).collect();
    let asked = wanted.conferences.min(1000);
    let running: Vec<Conference> =
        (0..asked).map(|n| book.question(&format!("conference-{n:08}"), &people[n % REGIONS], now)).collect();
    let stanzas: Vec<String> = (0..count).map(|n| stanza(n, chance.next() * 0.7)).collect();
    let presences: Vec<Presence> =
        stanzas.iter().filter_map(|text| read_presence(text.as_bytes(), ROOM).ok()).collect();
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        // As they come: in no order of stress.
        let mut views = table.ranking(now);
        views.sort_by(|a, b| a.id.cmp(&b.id));
        let keys: Vec<(u64, u32)> =
            (0..).zip(&views).map(|(n, view)| (view.corrected_stress.max(0.0).to_bits(), n)).collect();
        times[0].push(each(100, |n| {
            let mut order = keys.clone();
            order.sort_unstable();
            let name = region(n);
            let fits = |(_, at): &&(u64, u32)| {
                views.get(*at as usize).is_some_and(|view| !view.overloaded && view.region.as_deref() == Some(&*name))
            };
            black_box(order.iter().find(fits));
        }));
        times[1].push(each(20_000, |n| drop(black_box(table.select(&fresh[n % REGIONS], now)))));
        times[2].push(each(20_000, |n| drop(black_box(table.select(&running[n % asked], now)))));
        times[3].push(each(count, |n| drop(black_box(take(&mut table, &stanzas[n], now)))));
        now += Duration::from_secs(1);
        for n in 0..count {
            take(&mut table, &stanza(n, chance.next() * 0.7), now)?;
        }
        times[4].push(each(presences.len(), |n| drop(black_box(table.apply(&presences[n], now)))));
    }
    let [sorting, select, second, presence, update] = times.map(median);
    line("sorting all bridges", sorting, "ns");
    line("a choice, new conference", select, "ns");
    line("a choice, running conference", second, "ns");
    line("joining: question, choice, both books", joining, "ns");
    line("a presence, read and taken in", presence, "ns");
    line("presences read and taken in", 1e9 / presence, "per second");
    line("presences taken in that were read before", 1e9 / update, "per second");
    line("memory of a bridge", (filled - begin.min(filled)) as f64 * 1024.0 / count as f64, "bytes");
    line("memory of a conference", (held - filled.min(held)) as f64 * 1024.0 / wanted.conferences as f64, "bytes");
    let ratio = sorting / select;
    println!("\na choice is {ratio:.0} times as fast as sorting, {:.0} times in a running conference", sorting / second);
    Ok(ratio.min(sorting / second))
}

fn main() -> ExitCode {
    let measured = read(std::env::args().skip(1)).and_then(|wanted| Ok((run(&wanted)?, wanted.bridges)));
    let why = match measured {
        // Few bridges are sorted in no time.
        Ok((ratio, bridges)) if ratio >= PROMISE || bridges < 5_000 => return ExitCode::SUCCESS,
        Ok((ratio, _)) => format!("{ratio:.1} times as fast as sorting: {PROMISE} is promised"),
        Err(why) => why,
    };
    eprintln!("bridges: {why}");
    ExitCode::FAILURE
}
