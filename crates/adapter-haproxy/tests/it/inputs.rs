//! Generated inputs through everything that reads what others wrote: no panic, and memory within bounds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adapter_haproxy::balance::{self, BackendSpec, Converters, Expression, Predictor, Sample, ServerSpec, Version};
use adapter_haproxy::{
    ConfigError, ConfigFile, Doctor, HaproxyVersion, Request, RoomRule, SourceRule, apply_edits, classify, explain_log,
    jitsi_client_room, jitsi_room_key, nginx_listeners, quote_word, room_from_state,
};

use crate::alone::is_alone;
use crate::dice::Dice;

mod make;
mod mangle;

use make::{CALLS, Corpus, LINES};
use mangle::{huge, mangled, noise};

/// How many, unless `HAPROXY_INPUTS` says otherwise.
const INPUTS: usize = 20_500;
/// Every so many of them are as long as is read at all.
const HUGE: usize = 4_001;
/// What all of it may add to the memory of the process, in KiB.
const MAX_GROWTH: u64 = 256 * 1024;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rules() -> Vec<RoomRule> {
    vec![
        RoomRule::Edumeet3,
        RoomRule::Edumeet4,
        RoomRule::Jitsi,
        RoomRule::Param("room".into()),
        RoomRule::Cookie("room".into()),
        RoomRule::Header("x-room".into()),
        RoomRule::Source(SourceRule::default().with_prefix(24, 48).with_forwarded("x-forwarded-for")),
    ]
}

fn classified(dice: &mut Dice, target: &[u8], rules: &[RoomRule]) {
    let [host, cookie, other] = [0; 3].map(|_| text(&noise(dice, 30)));
    let headers = [("host", &*host), ("cookie", &*cookie), ("x-room", &*other), ("x-forwarded-for", &*other)];
    let body = if dice.roll(3) == 0 { target } else { &[] };
    let method = dice.one(&["GET", "POST", "post", "", "OPTIONS"]);
    let request = Request::new(method, target).with_headers(&headers).with_body(body);
    for rule in rules {
        let seen = classify(rule, &request);
        let _ = (seen.key(), seen.stick_key());
        assert!(seen.room.is_none_or(|room| !room.is_empty() && room.len() <= 3 * (target.len() + 200)));
    }
}

fn decoded(dice: &mut Dice, bytes: &[u8], versions: &[Version]) {
    let _ = room_from_state(bytes);
    let raw = text(bytes);
    let _ = (jitsi_client_room(&raw), jitsi_room_key(&raw));
    if let Ok(quoted) = quote_word(&raw) {
        let file = ConfigFile::parse("q", format!("x {quoted}\n")).unwrap();
        assert_eq!(file.lines()[0].word(1), raw);
    }
    let chain: Vec<&str> = (0..dice.roll(5)).map(|_| dice.one(CALLS)).collect();
    let chain = if dice.roll(9) == 0 { raw } else { chain.join(",") };
    let sample = match dice.roll(5) {
        0 => Sample::Binary(bytes.to_vec()),
        1 => Sample::Integer(i64::MIN),
        2 => Sample::V6(std::net::Ipv6Addr::LOCALHOST),
        3 => Sample::Boolean(true),
        _ => Sample::Text(bytes.to_vec()),
    };
    let _ = chain.parse::<Version>();
    if let Ok(converters) = Converters::parse(&chain) {
        let _ = converters.apply(sample, versions[dice.roll(versions.len())]);
    }
    if let Ok(expression) = Expression::parse(&chain) {
        let _ = expression.value(&balance::Request::get(bytes), versions[dice.roll(versions.len())]);
    }
}

fn configured(bytes: &[u8]) {
    let Ok(file) = ConfigFile::parse("x.cfg", bytes) else { return };
    assert!(file.print() == bytes, "not printed as it was");
    let doctor = Doctor::new(HaproxyVersion::new(2, 6)).with_host_name("lb1");
    let found = doctor.check(std::slice::from_ref(&file));
    // What is added to a file of the largest size makes it too large.
    let fits = |error: ConfigError| assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    for fix in found.iter().filter_map(|finding| finding.fix.as_ref()) {
        apply_edits(bytes, &fix.edits).map_or_else(fits, drop);
    }
    doctor.cure(&file).map_or_else(fits, drop);
}

fn modelled(dice: &mut Dice, bytes: &[u8], versions: &[Version]) {
    let version = versions[dice.roll(versions.len())];
    let mut spec = BackendSpec::new(version);
    for _ in 0..1 + dice.roll(5) {
        let mut line = dice.one(LINES).to_owned();
        for _ in 0..dice.roll(4) {
            line += dice.one(CALLS);
            line += dice.one(&[" ", ",", "", " consistent ", " string ", " len 5 size 1k ", " { method GET } "]);
        }
        if dice.roll(9) == 0 {
            line += &text(bytes);
        }
        let _ = spec.line(&line);
    }
    for n in 0..dice.roll(4) {
        let weight = u16::try_from(dice.roll(300)).unwrap();
        spec.server(ServerSpec::new(format!("s{n}")).weight(weight).id(u32::try_from(dice.roll(9)).unwrap()));
    }
    if let Ok(mut predictor) = Predictor::new(spec) {
        let request = balance::Request::post(bytes, bytes).header("X", bytes).header("Cookie", bytes);
        let _ = predictor.explain(&request);
        let _ = predictor.route(&request);
    }
}

/// The most memory this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Says which input it was when a test ends by a panic.
struct Current {
    seed: u64,
    number: usize,
}

impl Drop for Current {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("input {} of seed {}", self.number, self.seed);
        }
    }
}

#[test]
fn nothing_panics_and_memory_is_bounded() {
    if !is_alone("inputs::nothing_panics_and_memory_is_bounded") {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let inputs = number("HAPROXY_INPUTS").unwrap_or(INPUTS);
    let seed = number("HAPROXY_SEED").and_then(|seed| u64::try_from(seed).ok()).unwrap_or(1);
    let corpus = Corpus::read();
    let rules = rules();
    let versions: Vec<Version> =
        ["2.4.0", "2.6.12", "2.8.25", "3.0.0", "3.5-dev5"].iter().map(|version| version.parse().unwrap()).collect();
    let (mut counts, mut slowest) = (BTreeMap::<&str, usize>::new(), (Duration::ZERO, 0));
    let (before, began) = (peak(), Instant::now());
    let mut current = Current { seed, number: 0 };
    for at in 0..inputs {
        current.number = at;
        // Each by itself, so that one can be tried again.
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64));
        for _ in 0..3 {
            dice.roll(2);
        }
        let is_huge = at % HUGE == HUGE - 1;
        let start = Instant::now();
        let kind = ["classify", "converters", "configurations", "backends", "logs"][at % 5];
        *counts.entry(kind).or_default() += 1;
        match kind {
            "configurations" => {
                let bytes = if is_huge { huge(&mut dice, 4 << 20) } else { mangled(&mut dice, &corpus.configs) };
                configured(&bytes);
            }
            "logs" => {
                let bytes = if is_huge { huge(&mut dice, 4 << 20) } else { mangled(&mut dice, &corpus.logs) };
                let log = text(&bytes);
                let _ = (explain_log(&log), nginx_listeners("n.conf", &log));
            }
            _ => {
                let bytes = match dice.roll(8) {
                    _ if is_huge => huge(&mut dice, 128 * 1024),
                    0 => noise(&mut dice, 200),
                    _ => mangled(&mut dice, &corpus.targets),
                };
                match kind {
                    "classify" => classified(&mut dice, &bytes, &rules),
                    "converters" => decoded(&mut dice, &bytes, &versions),
                    _ => modelled(&mut dice, &bytes, &versions),
                }
            }
        }
        slowest = slowest.max((start.elapsed(), at));
    }
    let grown = peak().saturating_sub(before);
    println!(
        "{inputs} inputs in {:.1} s {counts:?}; slowest {:?} (input {}); memory peaked {grown} KiB above the start: 0 panics",
        began.elapsed().as_secs_f64(),
        slowest.0,
        slowest.1
    );
    assert!(grown < MAX_GROWTH, "{grown} KiB more");
}
