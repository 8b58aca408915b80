//! What each operation costs as servers and rooms grow: a table, and a plot.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use balancer_core::{
    Ask, ConsistentHash, LeastConn, MemoryOptions, MemoryStore, PowerOfTwo, RoundRobin, StickKey, Strategy, Token, Want,
};

use crate::clock::{ROUNDS, alone, median};
use crate::plot::{Curve, svg};
use crate::servers::{ROOMS, Server, below, pool, rooms, spread};

const BACKENDS: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const TABLE: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const TTL: Duration = Duration::from_secs(8 * 3600);

type Make = fn() -> Box<dyn Strategy<Server>>;

fn strategies() -> [(&'static str, Make); 4] {
    [
        ("consistent-hash", || Box::new(ConsistentHash::new())),
        ("roundrobin", || Box::new(RoundRobin::new())),
        ("p2c", || Box::new(PowerOfTwo)),
        ("leastconn", || Box::new(LeastConn)),
    ]
}

fn row(what: &str, sizes: &[usize], costs: &[f64]) {
    print!("{what:<44}");
    for (_, cost) in sizes.iter().zip(costs) {
        match *cost {
            c if c >= 1e6 => print!(" {:>9.1} ms", c / 1e6),
            c if c >= 1e4 => print!(" {:>9.1} µs", c / 1e3),
            c => print!(" {c:>9.1} ns"),
        }
    }
    println!();
}

fn head(what: &str, sizes: &[usize]) {
    print!("\n{what:<44}");
    for size in sizes {
        print!(" {size:>12}");
    }
    println!();
}

/// A pick, and the joining of one server, at every size.
fn backends(curves: &mut Vec<Curve>) {
    let rooms = rooms();
    let mut changes = Vec::new();
    head("Servers", &BACKENDS);
    for (name, make) in strategies() {
        let (mut picks, mut joins) = (Vec::new(), Vec::new());
        for count in BACKENDS {
            let pool = pool(count, make());
            let calls = if name == "leastconn" { (30_000_000 / count).clamp(200, 200_000) } else { 200_000 };
            picks.push(alone(calls, |n| {
                black_box(pool.choose(&Ask::new(&rooms[n % ROOMS]), spread(n as u64), |server| server.port));
            }));
            let mut servers: Vec<_> = pool.members().iter().map(|m| m.backend().clone()).collect();
            let mut times = Vec::new();
            for n in 0..ROUNDS {
                servers.push(Server::new(count + n, 1));
                let began = Instant::now();
                pool.replace(servers.iter().cloned()).expect("distinct ids");
                times.push(began.elapsed().as_nanos() as f64);
            }
            joins.push(median(times));
        }
        row(&format!("pick, {name}"), &BACKENDS, &picks);
        curves.push(Curve::new(&format!("pick, {name}"), &BACKENDS, &picks));
        changes.push((name, joins));
    }
    for (name, joins) in changes {
        row(&format!("one server joins, {name}"), &BACKENDS, &joins);
        curves.push(Curve::new(&format!("one server joins, {name}"), &BACKENDS, &joins));
    }
}

fn room(n: usize) -> StickKey {
    StickKey::new(format!("room-{n:x}")).expect("short")
}

/// A look-up and a claim, at every size of the stick table.
fn table(most: usize, curves: &mut Vec<Curve>) {
    let sizes: Vec<usize> = TABLE.into_iter().filter(|size| *size <= most).collect();
    head("Rooms", &sizes);
    let store = MemoryStore::new(MemoryOptions::default().capacity(2 * most));
    let want = Want { backend: "server-1".into(), token: Token(1) };
    let (mut gets, mut claims) = (Vec::new(), Vec::new());
    let mut filled = 0;
    for size in &sizes {
        for n in filled..*size {
            let _ = store.claim_now(&room(n), &want, TTL);
        }
        let some: Vec<StickKey> = (0..ROOMS).map(|n| room(below(n, *size))).collect();
        gets.push(alone(200_000, |n| drop(black_box(store.get_now(&some[n % ROOMS], Some(TTL))))));
        let mut times = Vec::new();
        filled = *size;
        for _ in 0..ROUNDS {
            let fresh: Vec<StickKey> = (filled..filled + size / 50).map(room).collect();
            filled += fresh.len();
            let began = Instant::now();
            for key in &fresh {
                let _ = black_box(store.claim_now(key, &want, TTL));
            }
            times.push(began.elapsed().as_nanos() as f64 / fresh.len() as f64);
        }
        claims.push(median(times));
    }
    row("get that extends", &sizes, &gets);
    row("claim", &sizes, &claims);
    curves.push(Curve::new("get that extends", &sizes, &gets));
    curves.push(Curve::new("claim", &sizes, &claims));
}

/// Prints the table and writes the plot.
pub(crate) fn run(most_rooms: usize, to: &Path) {
    let mut curves = Vec::new();
    backends(&mut curves);
    table(most_rooms, &mut curves);
    match std::fs::write(to, svg(&curves)) {
        Ok(()) => println!("\nplot written to {}", to.display()),
        Err(why) => println!("\nplot not written to {}: {why}", to.display()),
    }
}
