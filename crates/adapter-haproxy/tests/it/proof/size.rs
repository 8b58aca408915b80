//! A thousand servers and a hundred thousand pinned rooms: how long, and how much memory.

use std::path::Path;
use std::time::{Duration, Instant};

use adapter_haproxy::reconcile::{ApplyOptions, Commands, Plan, Wanted, WantedServer, plan};
use adapter_haproxy::render::ServerLine;
use adapter_haproxy::runtime::{AdminState, Client, MapEntry};

use crate::reconcile::farm::Farm;
use crate::runtime::live::binaries;

const SERVERS: u32 = 1000;
const PINS: u32 = 100_000;

/// MiB of memory a process has, now and at most.
fn memory(pid: u32) -> (u64, u64) {
    let told = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |field: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn large(farm: &Farm) -> Wanted {
    let mut wanted = farm.wanted(&[1], &[]);
    for n in 2..=SERVERS {
        let line = ServerLine::new(n, format!("mm{n}"), "127.0.0.1", farm.ports[0]);
        wanted.backends[0].servers.push(WantedServer::new(line));
    }
    let pins = &mut wanted.pins[0];
    pins.entries.extend((0..PINS).map(|n| (format!("room{n}"), format!("mm{}", n % SERVERS + 1))));
    wanted
}

async fn planned(client: &Client, wanted: &Wanted) -> Commands {
    // What we have drained ourselves is ours to end.
    let held = ["rooms/mm9".parse().unwrap()];
    let running = client.running(wanted).await.unwrap().with_held(held);
    match plan(wanted, &running).unwrap() {
        Plan::Commands(commands) => commands,
        other => panic!("{other}"),
    }
}

/// Plans and applies; how many steps.
async fn reconcile(client: &Client, wanted: &Wanted) -> usize {
    let commands = planned(client, wanted).await;
    client.apply(&commands, ApplyOptions::default()).await.unwrap_or_else(|e| panic!("{e}")).steps
}

#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    async fn take<T>(&mut self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let out = work.await;
        self.0.push(began.elapsed());
        out
    }

    fn told(mut self) -> String {
        self.0.sort();
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        format!("{:.1} ms (at most {:.1})", ms(&self.0[self.0.len() / 2]), ms(&self.0[self.0.len() - 1]))
    }
}

async fn run(binary: &Path, rounds: usize) {
    let farm = Farm::start(binary, 1, 1);
    let client = farm.client();
    let pid = client.process().await.unwrap().pid;
    let (ours, theirs) = (memory(std::process::id()).0, memory(pid).0);
    let wanted = large(&farm);
    let began = Instant::now();
    let steps = reconcile(&client, &wanted).await;
    let first = began.elapsed();
    assert!(planned(&client, &wanted).await.is_empty());
    let full = memory(pid).0;

    // A server is drained and its hundred rooms are pinned to others.
    let mut drained = wanted.clone().with_state("mm9", AdminState::Drain);
    let others = drained.pins[0].entries.values_mut().filter(|server| **server == "mm9");
    others.zip(10..).for_each(|(server, n)| *server = format!("mm{n}"));
    let (map, entries) = (wanted.pins[0].file.as_str(), &wanted.pins[0].entries);
    let entries: Vec<MapEntry> = entries.iter().map(|(k, v)| MapEntry::new(k, v).unwrap()).collect();
    let [mut maps, mut nothing, mut order, mut drain] = <[Times; 4]>::default();
    for _ in 0..rounds {
        let replaced = maps.take(client.replace_map(map, &entries)).await.unwrap();
        assert_eq!(replaced.entries, u64::from(PINS));
        assert_eq!(nothing.take(reconcile(&client, &wanted)).await, 0);
        assert_eq!(order.take(reconcile(&client, &wanted.clone().with_state("mm9", AdminState::Drain))).await, 1);
        assert_eq!(drain.take(reconcile(&client, &drained)).await, 100);
        assert_eq!(reconcile(&client, &wanted).await, 101);
    }
    let (now, most) = memory(pid);
    println!(
        "{}: {SERVERS} servers and {PINS} pins. From one server and no pin: {steps} steps planned and applied in \
         {first:.2?}. Medians of {rounds}: whole map replaced {}; a reconcile with nothing to do {}; a server drained \
         {}, its 100 rooms pinned to others {}. HAProxy {theirs} MiB before, {full} with all, {now} at the end, {most} \
         at most; we {ours} MiB before, {} at most",
        farm.version,
        maps.told(),
        nothing.told(),
        order.told(),
        drain.told(),
        memory(std::process::id()).1,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_servers_and_a_hundred_thousand_pins() {
    for binary in binaries() {
        run(&binary, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, optimised and alone: cargo xtask bench haproxy-control"]
async fn many_servers_and_pins() {
    for binary in binaries() {
        run(&binary, 7).await;
    }
}
