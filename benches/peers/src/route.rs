//! A whole request: where does this room live, or where shall it.

use std::hint::black_box;
use std::sync::Arc;

use balancer_core::{
    Ask, Balancer, BalancerOptions, ByRooms, LeastLoaded, MemoryOptions, MemoryStore, Pool, PoolOptions, StickKey,
    by_name,
};

use crate::clock::{ROUNDS, median};
use crate::report::figure;
use crate::servers::{Server, spread};

const ROOMS: usize = 20_000;

async fn nanos(balancer: &Balancer<Server>, rooms: &[StickKey]) -> f64 {
    let began = std::time::Instant::now();
    for room in rooms {
        if let Ok(placed) = black_box(balancer.route(&Ask::new(room)).await) {
            placed.land();
        }
    }
    began.elapsed().as_nanos() as f64 / rooms.len() as f64
}

pub(crate) fn run(runtime: &tokio::runtime::Runtime) {
    println!("\nA whole route on a stick table in memory, the unit in flight taken and landed");
    for (name, count) in [("leastconn", 100), ("consistent-hash", 100), ("least-loaded", 100), ("leastconn", 1_000)] {
        let strategy = by_name(name).unwrap_or_else(|| Box::new(LeastLoaded));
        let pool = Pool::new(strategy, PoolOptions::default().load(ByRooms));
        pool.replace((0..count).map(|n| Server::new(n, 1))).expect("distinct ids");
        let store = MemoryStore::new(MemoryOptions::default());
        let balancer = Balancer::new(Arc::new(pool), Arc::new(store), BalancerOptions::default());
        let (mut fresh, mut hits) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let rooms: Vec<StickKey> = (0..ROOMS)
                .filter_map(|n| StickKey::new(format!("room-{:x}", spread((round * ROOMS + n) as u64))).ok())
                .collect();
            fresh.push(runtime.block_on(nanos(&balancer, &rooms)));
            hits.push(runtime.block_on(nanos(&balancer, &rooms)));
        }
        figure(&format!("{name}, {count} servers: a new room"), median(fresh), "ns");
        figure(&format!("{name}, {count} servers: a room that has its server"), median(hits), "ns");
    }
}
