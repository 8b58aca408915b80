//! Places rooms on three servers, keeps them there, loses a server, and says why each room is where it is.
//!
//! Run it with `cargo run -p quickstart`. Nothing leaves the process.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use balancer_core::{
    Ask, Backend, BackendId, Balancer, BalancerOptions, ByUsers, Health, LeastLoaded, MemoryStore, Pool, PoolOptions,
    Report, StickKey,
};
use tokio::time::Instant;

struct Server(BackendId);

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Load is people; a new room counts for ten until the server reports what it really holds.
    let pool: Arc<Pool<Server>> =
        Arc::new(Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(ByUsers { room: 10 })));
    pool.replace(["eu-1", "eu-2", "eu-3"].map(|id| Arc::new(Server(id.into()))))?;
    for (id, users) in [("eu-1", 0), ("eu-2", 40), ("eu-3", 80)] {
        pool.report(&id.into(), Report::new(Instant::now()).with_users(users))?;
    }
    // Rooms may move as soon as their server is dead, for this example at once.
    let options = BalancerOptions::default().settle(std::time::Duration::ZERO);
    let balancer = Balancer::new(pool.clone(), Arc::new(MemoryStore::default()), options);

    println!("Twelve rooms fill the empty server first, before any new report:");
    let mut homes = BTreeMap::new();
    for n in 1..=12 {
        let room = StickKey::new(format!("room-{n}"))?;
        let placed = balancer.route(&Ask::new(&room)).await?;
        homes.insert(n, placed.backend().id().clone());
        placed.land();
    }
    for (n, server) in &homes {
        println!("  room-{n:<2} {server}");
    }

    println!("\nEverybody of a room meets on its server:");
    let room = StickKey::new("room-1")?;
    let again = balancer.route(&Ask::new(&room)).await?;
    println!("  room-1 again: {} ({})", again.backend().id(), again.outcome());
    drop(again);

    println!("\neu-1 dies; its rooms move once, and stay where they went when it returns:");
    pool.declare(&"eu-1".into(), Health::Dead, "the example says so")?;
    let moved = balancer.route(&Ask::new(&room)).await?;
    println!("  room-1: {} ({})", moved.backend().id(), moved.outcome());
    moved.land();
    pool.declare(&"eu-1".into(), Health::Up, "the example says so")?;
    let stays = balancer.route(&Ask::new(&room)).await?;
    println!("  room-1: {} ({})", stays.backend().id(), stays.outcome());
    drop(stays);

    println!("\nEvery decision can be explained:");
    let (routed, why) = balancer.route_explained(&Ask::new(&StickKey::new("room-99")?)).await;
    print!("{why}");
    routed?.land();
    Ok(())
}
