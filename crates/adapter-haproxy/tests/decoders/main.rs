//! Every decoder reads mangled recordings and noise, for as long as it shall take: no panic, no promise broken, and no
//! more memory than the bytes warrant. The same functions are targets of a fuzzer in `fuzz/`.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::time::{Duration, Instant};

use adapter_haproxy::testing::decoders::{Outcome, TARGETS};

#[path = "../it/dice.rs"]
#[expect(dead_code, reason = "not everything is rolled here")]
mod dice;
#[path = "../it/inputs/mangle.rs"]
mod mangle;
mod seeds;

use dice::Dice;
use seeds::Seeds;

/// How long each decoder is tried, unless `HAPROXY_DECODER_MS` says otherwise.
const MILLISECONDS: u64 = 700;
/// So many inputs are tried however long that takes: more than there are recordings of most.
const LEAST: u64 = 200;
/// What reading may take at once: so many bytes for each byte read, and so many more. An entry of a map or a record of a
/// line is some hundred bytes for very few read.
const BYTES_PER_BYTE: u64 = 512;
const BYTES_MORE: u64 = 2 << 20;
/// The most bytes of an input.
const MAX_INPUT: usize = 64 * 1024;

/// Says which input it was when a test ends by a panic.
struct Current<'a> {
    name: &'a str,
    seed: u64,
    number: u64,
    input: Vec<u8>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed, number, input } = self;
            let path = std::env::temp_dir().join(format!("{name}-{seed}-{number}.input"));
            let kept = std::fs::write(&path, &*input).map_or_else(|e| e.to_string(), |()| path.display().to_string());
            println!("{name}: input {number} of seed {seed}, {} bytes: {kept}", input.len());
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn mangled_recordings() {
    let time = Duration::from_millis(number("HAPROXY_DECODER_MS").unwrap_or(MILLISECONDS));
    let seed = number("HAPROXY_SEED").unwrap_or(1);
    let seeds = Seeds::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut all = 0;
    for (name, target) in TARGETS {
        let of = seeds.of(name);
        let mut current = Current { name, seed, number: 0, input: Vec::new() };
        let (mut read, mut refused, mut most) = (0_u64, 0_u64, 0_u64);
        // Recordings as they are come first: most of them are read.
        let mut plain = of.iter();
        let began = Instant::now();
        while began.elapsed() < time || current.number < LEAST {
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(current.number));
            for _ in 0..3 {
                dice.roll(2);
            }
            let mut input = match plain.next() {
                Some(seed) => seed.clone(),
                None if dice.roll(10) == 0 => mangle::noise(&mut dice, 300),
                None if dice.roll(5000) == 0 => mangle::huge(&mut dice, MAX_INPUT),
                None => mangle::mangled(&mut dice, of),
            };
            input.truncate(MAX_INPUT);
            current.input = input;
            let mut outcome = Outcome::Refused;
            let counted = allocation_counter::measure(|| outcome = target(&current.input));
            let limit = BYTES_PER_BYTE * current.input.len() as u64 + BYTES_MORE;
            assert!(counted.bytes_max <= limit, "{name}: {} bytes of memory, {limit} are allowed", counted.bytes_max);
            most = most.max(counted.bytes_max);
            *(if outcome == Outcome::Read { &mut read } else { &mut refused }) += 1;
            current.number += 1;
        }
        assert!(read > 0, "{name}: nothing was read, so nothing was tried");
        println!(
            "{name}: {} inputs of {} recordings, {read} read, {refused} refused, {} KiB of memory at most: 0 panics",
            current.number,
            of.len(),
            most / 1024
        );
        all += current.number;
    }
    println!("{all} inputs of seed {seed} for {} decoders: 0 panics", TARGETS.len());
}

/// Every target of the fuzzer is one of ours, and the other way round.
#[test]
fn targets_of_the_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let named = manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let mut named: Vec<&str> = named.filter(|name| *name != "fuzz").collect();
    let mut ours: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    ours.sort_unstable();
    assert_eq!(named, ours);
    for name in ours {
        let text = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("decoders::{name}(")), "{name}: {text}");
    }
}

/// `HAPROXY_CORPUS=FOLDER`: what a fuzzer begins with.
#[test]
#[ignore = "writes files: cargo xtask soak fuzz"]
fn write_corpus() {
    let folder = std::env::var_os("HAPROXY_CORPUS").expect("HAPROXY_CORPUS names a folder");
    let seeds = Seeds::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    for (name, _) in TARGETS {
        let folder = Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.of(name).iter().enumerate() {
            std::fs::write(folder.join(number.to_string()), &seed[..seed.len().min(MAX_INPUT)]).unwrap();
        }
    }
}
