//! The servers and rooms that every comparison uses.

use std::sync::Arc;

use balancer_core::{Backend, BackendId, Pool, PoolOptions, StickKey, Strategy, Weight};

/// One server as an embedder might define it.
#[derive(Debug)]
pub(crate) struct Server {
    id: BackendId,
    weight: Weight,
    pub(crate) port: u64,
}

impl Server {
    pub(crate) fn new(n: usize, weight: u16) -> Arc<Self> {
        Arc::new(Self { id: address(n).into(), weight: Weight::new(weight), port: n as u64 })
    }
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn weight(&self) -> Weight {
        self.weight
    }
}

/// A made-up address, so that peers that want one get the same names.
pub(crate) fn address(n: usize) -> String {
    format!("10.{}.{}.{}:80", n >> 16 & 255, n >> 8 & 255, n & 255)
}

pub(crate) fn pool(count: usize, strategy: Box<dyn Strategy<Server>>) -> Pool<Server> {
    let pool = Pool::new(strategy, PoolOptions::default());
    pool.replace((0..count).map(|n| Server::new(n, 1))).expect("distinct ids");
    pool
}

/// Room keys whose number is a power of two.
pub(crate) const ROOMS: usize = 1 << 10;

pub(crate) fn rooms() -> Vec<StickKey> {
    (0..ROOMS).map(|n| StickKey::new(format!("room-{:x}", spread(n as u64))).expect("short keys")).collect()
}

/// A number in no order, the same every time.
pub(crate) fn spread(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number below `most`, in no order, the same every time.
pub(crate) fn below(n: usize, most: usize) -> usize {
    usize::try_from(spread(n as u64) % most.max(1) as u64).unwrap_or(0)
}
