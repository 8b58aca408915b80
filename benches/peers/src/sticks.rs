//! The stick table in memory: looking up, and insert-if-absent that returns the winner.

use std::hint::black_box;
use std::time::{Duration, Instant};

use balancer_core::{BackendId, Binding, MemoryStore, StickKey, Token, Want};
use dashmap::DashMap;
use moka::sync::Cache;

use crate::clock::{Pair, ROUNDS, median, pair};
use crate::report::{figure, line, title};
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

fn binding(want: &Want, n: usize) -> Binding {
    Binding { backend: want.backend.clone(), token: want.token, stamp: n as u64 }
}

/// What each table is asked for one new room.
fn claim(table: &MemoryStore, key: &StickKey, want: &Want) {
    black_box(table.claim_now(key, want, TTL)).expect("room");
}

fn dash_entry(table: &DashMap<StickKey, Binding>, n: usize, key: &StickKey, want: &Want) {
    let found = table.entry(key.clone()).or_insert_with(|| binding(want, n));
    black_box(found.value().clone());
}

/// What an embedder would write to let entries of a dashmap expire.
fn dash_expiring(table: &DashMap<StickKey, (Binding, Instant)>, n: usize, key: &StickKey, want: &Want) {
    let now = Instant::now();
    let mut found = table.entry(key.clone()).or_insert_with(|| (binding(want, n), now + TTL));
    if found.1 <= now {
        *found = (binding(want, n), now + TTL);
    }
    black_box(found.0.clone());
}

fn moka_entry(table: &Cache<StickKey, Binding>, n: usize, key: &StickKey, want: &Want) {
    let found = table.entry_by_ref(key).or_insert_with(|| binding(want, n));
    black_box(found.into_value());
}

fn moka() -> Cache<StickKey, Binding> {
    Cache::builder().max_capacity(1_000_000).time_to_live(TTL).build()
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
    let wants: Vec<Want> = (0..ENTRIES).map(|n| want(&backends, n)).collect();
    let (ours, dash, other) = (MemoryStore::default(), DashMap::new(), moka());
    for (n, key) in old.iter().enumerate() {
        claim(&ours, key, &wants[n]);
        dash_entry(&dash, n, key, &wants[n]);
        moka_entry(&other, n, key, &wants[n]);
    }
    other.run_pending_tasks();
    let at = |n: usize| &old[below(n, ENTRIES)];
    let extend = |n: usize| drop(black_box(ours.get_now(at(n), Some(TTL))));
    let plain = |n: usize| drop(black_box(ours.get_now(at(n), None)));
    let dash = |n: usize| drop(black_box(dash.get(at(n)).map(|b| b.value().clone())));
    let other = |n: usize| drop(black_box(other.get(at(n))));
    line("get / bare dashmap's get", pair(400_000, plain, dash), 1.0);
    line("get that extends / bare dashmap's get", pair(400_000, extend, dash), 1.0);
    line("get that extends / moka's get", pair(400_000, extend, other), 7.0);

    // Claimed around the same size, where no table has to grow. Each table lives alone, so that none finds its memory
    // displaced by another.
    let (mut ours, mut dash, mut expiring, mut other) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(round(&old, &new, &MemoryStore::default(), |t, n, key| claim(t, key, &wants[n])));
        dash.push(round(&old, &new, &DashMap::new(), |t, n, key| dash_entry(t, n, key, &wants[n])));
        expiring.push(round(&old, &new, &DashMap::new(), |t, n, key| dash_expiring(t, n, key, &wants[n])));
        other.push(round(&old, &new, &moka(), |t, n, key| moka_entry(t, n, key, &wants[n])));
    }
    let ours = median(ours);
    line("claim with expiry / bare dashmap's entry with expiry", Pair { ours, peer: median(expiring) }, 1.0);
    figure("  dashmap's entry that never expires", median(dash), "ns");
    line("claim / moka's entry", Pair { ours, peer: median(other) }, 4.0);
}

/// Nanoseconds per new room, after the table was filled with the old ones.
fn round<T>(old: &[StickKey], new: &[StickKey], table: &T, claim: impl Fn(&T, usize, &StickKey)) -> f64 {
    old[CLAIMS / 2..].iter().enumerate().for_each(|(n, key)| claim(table, n, key));
    each(new, |n, key| claim(table, n, key))
}
