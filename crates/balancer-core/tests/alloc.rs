//! Placing a room allocates nothing, whatever the strategy.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use balancer_core::{
    Ask, Backend, BackendId, ByRooms, ConsistentHash, Filter, Pool, PoolOptions, StickKey, Strategy, Tag, Weight,
    by_name, strategy_names,
};

struct Server {
    id: BackendId,
    weight: Weight,
    tags: Vec<Tag>,
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn weight(&self) -> Weight {
        self.weight
    }

    fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

fn server(i: u16) -> Arc<Server> {
    let tags = [vec![], vec![Tag::from("eu")], vec![Tag::from("eu"), Tag::from("large")]];
    Arc::new(Server {
        id: format!("server-{i}").into(),
        weight: Weight::from_sixteenths(8 + i % 40),
        tags: tags[usize::from(i) % 3].clone(),
    })
}

/// Allocations while a thousand rooms are placed and given up.
fn count(strategy: Box<dyn Strategy<Server>>, options: PoolOptions<Server>) -> u64 {
    let pool = Pool::new(strategy, options);
    pool.replace((0..150).map(server)).unwrap();
    let keys: Vec<StickKey> = (0..200).map(|i| StickKey::new(format!("room-{i}")).unwrap()).collect();
    let filters = [Filter::required("eu"), Filter::preferred("large"), Filter::preferred("nowhere")];
    let exclude: Vec<BackendId> = (0..5u16).map(|i| format!("server-{i}").into()).collect();
    let round = || {
        for (seed, key) in (0u64..).zip(&keys) {
            let plain = Ask::new(key).exclude(&exclude);
            drop(pool.place(&plain, seed).unwrap());
            pool.choose(&plain, seed, |_| ()).unwrap();
            for filter in &filters {
                drop(pool.place(&plain.filter(filter), seed).unwrap());
            }
            drop(pool.place(&plain.filter(&filters[0]).size(3), seed).unwrap());
        }
    };
    // The first round sets up what the thread itself needs.
    round();
    allocation_counter::measure(round).count_total
}

#[test]
fn counting_works() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn placing_allocates_nothing() {
    for name in strategy_names() {
        assert_eq!(count(by_name(name).unwrap(), PoolOptions::default()), 0, "{name}");
        let options = PoolOptions::default().load(ByRooms).cap(1_000_000, Duration::from_secs(1));
        assert_eq!(count(by_name(name).unwrap(), options), 0, "{name} with load and cap");
    }
    let bounded = ConsistentHash::new().points(40).bounded(1.25);
    assert_eq!(count(Box::new(bounded), PoolOptions::default()), 0, "bounded");
}
