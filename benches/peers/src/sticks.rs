//! The stick table in memory: looking up, and insert-if-absent that returns the winner.

use std::hint::black_box;
use std::time::{Duration, Instant};

use balancer_core::{BackendId, Binding, Claim, MemoryStore, StickKey, Token, Want};
use dashmap::DashMap;

use crate::clock::{Pair, ROUNDS, median, pair};
use crate::report::{line, title};
use crate::servers::{below, spread};

/// Entries in the table.
const ENTRIES: usize = 100_000;
/// New keys claimed in one round.
const CLAIMS: usize = 20_000;
const TTL: Duration = Duration::from_secs(8 * 3600);
const BACKENDS: usize = 100;

fn keys(from: usize, count: usize) -> Vec<StickKey> {
    (from..from + count).map(|n| StickKey::new(format!("room-{:016x}", spread(n as u64))).expect("short")).collect()
}

fn backends() -> Vec<BackendId> {
    (0..BACKENDS).map(|n| format!("server-{n}").into()).collect()
}

fn want(backends: &[BackendId], n: usize) -> Want {
    Want { backend: backends[n % BACKENDS].clone(), token: Token(n as u64) }
}

fn binding(backends: &[BackendId], n: usize) -> Binding {
    Binding { backend: backends[n % BACKENDS].clone(), token: Token(n as u64), stamp: n as u64 }
}

/// The three tables, each with the same entries.
struct Tables {
    ours: MemoryStore,
    dash: DashMap<StickKey, Binding>,
    moka: moka::sync::Cache<StickKey, Binding>,
}

impl Tables {
    fn filled(keys: &[StickKey], backends: &[BackendId]) -> Self {
        let ours = MemoryStore::default();
        let dash = DashMap::new();
        let moka = moka::sync::Cache::builder().max_capacity(1_000_000).time_to_live(TTL).build();
        for (n, key) in keys.iter().enumerate() {
            let _ = ours.claim_now(key, &want(backends, n), TTL);
            dash.insert(key.clone(), binding(backends, n));
            moka.insert(key.clone(), binding(backends, n));
        }
        moka.run_pending_tasks();
        Self { ours, dash, moka }
    }
}

fn each(keys: &[StickKey], call: impl Fn(usize, &StickKey)) -> f64 {
    let began = Instant::now();
    for (n, key) in keys.iter().enumerate() {
        call(n, key);
    }
    began.elapsed().as_nanos() as f64 / keys.len() as f64
}

pub(crate) fn run() {
    title(&format!("A stick table of {ENTRIES} entries in memory"));
    let (old, new, backends) = (keys(0, ENTRIES), keys(ENTRIES, CLAIMS), backends());
    let tables = Tables::filled(&old, &backends);
    let at = |n: usize| &old[below(n, ENTRIES)];
    let ours = |n: usize| drop(black_box(tables.ours.get_now(at(n), Some(TTL))));
    let dash = |n: usize| drop(black_box(tables.dash.get(at(n)).map(|b| b.value().clone())));
    let moka = |n: usize| drop(black_box(tables.moka.get(at(n))));
    let plain = |n: usize| drop(black_box(tables.ours.get_now(at(n), None)));
    line("get / bare dashmap's get", pair(400_000, plain, dash), 1.0);
    line("get that extends / bare dashmap's get", pair(400_000, ours, dash), 1.0);
    line("get that extends / moka's get", pair(400_000, ours, moka), 7.0);

    let mut rounds = Vec::new();
    // Claimed around the same size, where no table has to grow.
    for _ in 0..ROUNDS {
        let t = Tables::filled(&old[CLAIMS / 2..], &backends);
        let ours = each(&new, |n, key| {
            let claim = t.ours.claim_now(key, &want(&backends, n), TTL);
            assert!(matches!(claim, Ok(Claim::Won(_))));
        });
        let dash = each(&new, |n, key| {
            let found = t.dash.entry(key.clone()).or_insert_with(|| binding(&backends, n));
            black_box(found.value().clone());
        });
        let moka = each(&new, |n, key| {
            let found = t.moka.entry_by_ref(key).or_insert_with(|| binding(&backends, n));
            black_box(found.into_value());
        });
        rounds.push((ours, dash, moka));
    }
    let ours = median(rounds.iter().map(|r| r.0).collect());
    line("claim / bare dashmap's entry", Pair { ours, peer: median(rounds.iter().map(|r| r.1).collect()) }, 1.0);
    line("claim / moka's entry", Pair { ours, peer: median(rounds.iter().map(|r| r.2).collect()) }, 4.0);
}
