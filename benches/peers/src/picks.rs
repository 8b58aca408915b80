//! Choosing a server, through the public call: ring, rotation, two choices, fewest units in flight.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use balancer_core::{Ask, Backend, ConsistentHash, LeastConn, Pool, PowerOfTwo, RoundRobin, StickKey};
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{Consistent, RoundRobin as PingoraRoundRobin};

use crate::clock::{Call, alone, pair, pair_on};
use crate::report::{figure, line, title};
use crate::servers::{ROOMS, Server, address, pool, rooms, spread};
use crate::tower_p2c::Tower;

/// How many times faster we mean to be, at 1,000 and 10,000 servers.
struct Aims {
    ring: f64,
    rotation: f64,
    two: f64,
    least: f64,
}

/// One comparison on one thread and on two, where half of the aim is asked for, and the cost of a lease beside.
fn compare(what: &str, count: usize, calls: usize, aim: f64, mine: &Pool<Server>, rooms: &[StickKey], peer: Call<'_>) {
    let ours = |n: usize| {
        let ask = Ask::new(&rooms[n % ROOMS]);
        black_box(mine.choose(&ask, spread(n as u64), |server| server.port));
    };
    line(&format!("{what}, {count} servers"), pair(calls, ours, peer), aim);
    line(&format!("{what}, {count} servers, two threads"), pair_on(2, calls / 2, &ours, peer), aim / 2.0);
    let lease = alone(calls, |n| drop(black_box(mine.place(&Ask::new(&rooms[n % ROOMS]), spread(n as u64)))));
    figure(&format!("{what}, {count} servers, with a lease taken and given back"), lease, "ns");
}

fn addresses(count: usize) -> impl Iterator<Item = SocketAddr> {
    (0..count).filter_map(|n| address(n).parse().ok())
}

fn ring(count: usize, aim: f64, rooms: &[StickKey]) {
    let mine = pool(count, Box::new(ConsistentHash::new().points(160)));
    let peer = LoadBalancer::<Consistent>::try_from_iter(addresses(count)).expect("addresses");
    let select = |n: usize| {
        black_box(peer.select(rooms[n % ROOMS].as_str().as_bytes(), 8));
    };
    compare("ring of 160 points each / pingora Consistent", count, 400_000, aim, &mine, rooms, &select);
    let bare = pingora_ketama::Continuum::new(
        &addresses(count).map(|a| pingora_ketama::Bucket::new(a, 1)).collect::<Vec<_>>(),
    );
    let node = alone(400_000, |n| {
        black_box(bare.node(rooms[n % ROOMS].as_str().as_bytes()));
    });
    figure("  of which pingora-ketama's bare ring", node, "ns");
    let mut simple = hashring::HashRing::new();
    simple.batch_add((0..count * 160).collect());
    let node = alone(400_000, |n| {
        black_box(simple.get(&rooms[n % ROOMS].as_str()));
    });
    figure("  hashring with as many points", node, "ns");
}

fn rotation(count: usize, aim: f64, rooms: &[StickKey]) {
    let mine = pool(count, Box::new(RoundRobin::new()));
    let peer = LoadBalancer::<PingoraRoundRobin>::try_from_iter(addresses(count)).expect("addresses");
    let select = |n: usize| {
        black_box(peer.select(rooms[n % ROOMS].as_str().as_bytes(), 8));
    };
    compare("round robin / pingora RoundRobin", count, 400_000, aim, &mine, rooms, &select);
}

fn two_choices(count: usize, aim: f64, rooms: &[StickKey]) {
    let mine = pool(count, Box::new(PowerOfTwo));
    let peer = Tower::new(count);
    let select = |_: usize| peer.call();
    compare("two choices / tower p2c", count, 400_000, aim, &mine, rooms, &select);
}

/// A server as most programs keep one: behind a pointer, with its counter.
struct Pointed {
    _name: String,
    weight: u32,
    units: AtomicU32,
    open: AtomicBool,
    port: u64,
}

fn least(count: usize, aim: f64, rooms: &[StickKey]) {
    let mine = pool(count, Box::new(LeastConn));
    let mut held = Vec::new();
    let mut peer = Vec::new();
    for (n, m) in mine.members().iter().enumerate() {
        let units = spread(n as u64) % 50 + 1;
        held.extend((0..units).filter_map(|_| mine.lease(m.backend().id(), 0).ok()));
        let units = AtomicU32::new(u32::try_from(units).unwrap_or(0));
        peer.push(Arc::new(Pointed {
            _name: address(n),
            weight: 16,
            units,
            open: AtomicBool::new(true),
            port: n as u64,
        }));
    }
    // Servers come and go: their places in memory are in no order.
    peer.sort_by_key(|s| spread(s.port));
    // The same contract: closed ones are passed over, exact fractions, ties by chance.
    let scan = |n: usize| {
        let mut best: Option<&Arc<Pointed>> = None;
        let (mut units, mut weight, mut ties) = (u64::MAX, 1, 0);
        for s in peer.iter().filter(|s| s.open.load(Relaxed)) {
            let (u, w) = (u64::from(s.units.load(Relaxed)), u64::from(s.weight));
            let (mine, least) = (u * weight, units * w);
            if best.is_none() || mine < least {
                (best, units, weight, ties) = (Some(s), u, w, 1);
            } else if mine == least {
                ties += 1;
                if spread(n as u64 ^ s.port).is_multiple_of(ties) {
                    best = Some(s);
                }
            }
        }
        black_box(best.map(|s| s.port));
    };
    compare("fewest units / scan by pointer", count, 20_000_000 / count, aim, &mine, rooms, &scan);
}

/// Which comparisons.
pub(crate) struct Wanted {
    pub(crate) ring: bool,
    pub(crate) rotation: bool,
    pub(crate) two: bool,
    pub(crate) least: bool,
}

pub(crate) fn run(wanted: &Wanted) {
    if !(wanted.ring || wanted.rotation || wanted.two || wanted.least) {
        return;
    }
    let rooms = rooms();
    for (count, aims) in [
        (1_000, Aims { ring: 8.0, rotation: 6.0, two: 5.0, least: 4.0 }),
        (10_000, Aims { ring: 10.0, rotation: 6.0, two: 5.0, least: 5.0 }),
    ] {
        title(&format!("Choosing among {count} servers"));
        if wanted.ring {
            ring(count, aims.ring, &rooms);
        }
        if wanted.rotation {
            rotation(count, aims.rotation, &rooms);
        }
        if wanted.two {
            two_choices(count, aims.two, &rooms);
        }
        if wanted.least {
            least(count, aims.least, &rooms);
        }
    }
}
