//! Resident memory for each million entries of a stick table. Each table is filled in a process of its own.

use std::process::Command;
use std::time::Duration;

use balancer_core::{BackendId, Binding, MemoryOptions, MemoryStore, StickKey, Token, Want};

use crate::servers::spread;

const ENTRIES: usize = 1_000_000;
const TTL: Duration = Duration::from_secs(8 * 3600);
const TABLES: [&str; 3] = ["ours", "dashmap", "moka"];

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Fills one table in this process and prints what it takes, in MiB.
pub(crate) fn fill(table: &str) {
    let backends: Vec<BackendId> = (0..100).map(|n| format!("server-{n}").into()).collect();
    let entry = |n: usize| {
        let key = StickKey::new(format!("room-{:016x}", spread(n as u64))).expect("short");
        (key, Binding { backend: backends[n % 100].clone(), token: Token(n as u64), stamp: n as u64 })
    };
    let before = resident();
    let ours = MemoryStore::new(MemoryOptions::default().capacity(2 * ENTRIES));
    let dash = dashmap::DashMap::new();
    let moka = moka::sync::Cache::builder().max_capacity(2_000_000).time_to_live(TTL).build();
    for n in 0..ENTRIES {
        let (key, binding) = entry(n);
        match table {
            "ours" => {
                let want = Want { backend: binding.backend, token: binding.token };
                let _ = ours.claim_now(&key, &want, TTL);
            }
            "dashmap" => drop(dash.insert(key, binding)),
            _ => moka.insert(key, binding),
        }
    }
    moka.run_pending_tasks();
    println!("{}", (resident() - before) / 1024);
}

pub(crate) fn run() {
    println!("\nResident memory of a million entries (keys of 21 bytes, one allocation each, included)");
    for table in TABLES {
        let told = std::env::current_exe().ok().and_then(|exe| Command::new(exe).args(["--fill", table]).output().ok());
        let told = told.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
        println!("{table:<58} {:>10} MiB", told.trim());
    }
}
