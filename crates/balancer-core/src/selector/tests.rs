//! What every strategy keeps, and what each one promises.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::locks;
use crate::{
    Ask, Backend, BackendId, ByRooms, Lease, Pool, PoolOptions, StickKey, Tag, Weight, by_name, strategy_names,
};

type Boxed = Box<dyn crate::Strategy<Server>>;

mod candidates;
mod least;
mod load;
mod ring;
mod rotation;

/// A server of the tests.
#[derive(Debug)]
pub(super) struct Server {
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

fn name(i: usize) -> String {
    format!("server-{i}")
}

fn id(i: usize) -> BackendId {
    name(i).into()
}

fn server(i: usize, sixteenths: u16) -> Arc<Server> {
    tagged(i, sixteenths, &[])
}

fn tagged(i: usize, sixteenths: u16, tags: &[&str]) -> Arc<Server> {
    let tags = tags.iter().map(|t| Tag::from(*t)).collect();
    Arc::new(Server { id: id(i), weight: Weight::from_sixteenths(sixteenths), tags })
}

/// Servers 0, 1, 2 and so on with these weights in sixteenths.
fn servers(weights: &[u16]) -> Vec<Arc<Server>> {
    weights.iter().enumerate().map(|(i, w)| server(i, *w)).collect()
}

fn pool(strategy: impl crate::Strategy<Server> + 'static, servers: Vec<Arc<Server>>) -> Pool<Server> {
    pool_with(Box::new(strategy), PoolOptions::default(), servers)
}

fn named(strategy: &str, servers: Vec<Arc<Server>>) -> Pool<Server> {
    pool_with(by_name(strategy).unwrap(), PoolOptions::default(), servers)
}

fn pool_with(strategy: Boxed, options: PoolOptions<Server>, servers: Vec<Arc<Server>>) -> Pool<Server> {
    let pool = Pool::new(strategy, options);
    pool.replace(servers).unwrap();
    pool
}

fn room(i: usize) -> StickKey {
    StickKey::new(format!("room-{i}")).unwrap()
}

/// Places room `i` with seed `i`.
fn place(pool: &Pool<Server>, i: usize) -> Option<Lease<Server>> {
    pool.place(&Ask::new(&room(i)), i as u64)
}

/// Where room `i` would go, taking nothing.
fn owner(pool: &Pool<Server>, i: usize) -> Option<usize> {
    place(pool, i).map(|lease| number(lease.backend()))
}

fn number(server: &Server) -> usize {
    server.id.as_str()["server-".len()..].parse().unwrap()
}

#[test]
fn no_pick_takes_a_lock() {
    let plain = PoolOptions::default;
    let loaded = || plain().load(ByRooms).cap(1_000_000, Duration::from_secs(1));
    for name in strategy_names() {
        for options in [plain(), loaded()] {
            let before = locks();
            let pool = pool_with(by_name(name).unwrap(), options, servers(&[16; 150]));
            let changed = locks();
            assert!(changed > before, "a change takes a lock, and is counted");
            for i in 0..200 {
                drop(place(&pool, i).unwrap());
                pool.choose(&Ask::new(&room(i)), i as u64, |_| ()).unwrap();
            }
            assert_eq!(locks(), changed, "{name}");
        }
    }
}
