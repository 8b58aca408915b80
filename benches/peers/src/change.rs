//! A change of the membership: one server joins a thousand.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use async_trait::async_trait;
use balancer_core::ConsistentHash;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::Consistent;
use pingora_load_balancing::{Backend as PingoraBackend, Backends, LoadBalancer};

use crate::clock::{Pair, ROUNDS, median};
use crate::report::{line, title};
use crate::servers::{Server, address, pool};

/// Another server with every question.
struct Growing(std::sync::atomic::AtomicUsize);

#[async_trait]
impl ServiceDiscovery for Growing {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<PingoraBackend>, HashMap<u64, bool>)> {
        let count = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let all: BTreeSet<PingoraBackend> = (0..count).filter_map(|n| PingoraBackend::new(&address(n)).ok()).collect();
        Ok((all, HashMap::new()))
    }
}

pub(crate) fn run(runtime: &tokio::runtime::Runtime) {
    const COUNT: usize = 1_000;
    title(&format!("One more server beside {COUNT}, 160 points each"));
    let mine = pool(COUNT, Box::new(ConsistentHash::new().points(160)));
    let mut servers: Vec<_> = mine.members().iter().map(|m| m.backend().clone()).collect();
    let peer: LoadBalancer<Consistent> = LoadBalancer::from_backends(Backends::new(Box::new(Growing(COUNT.into()))));
    runtime.block_on(peer.update()).expect("discovery never fails");
    let mut rounds = Vec::new();
    for n in 0..ROUNDS {
        servers.push(Server::new(COUNT + n, 1));
        let began = Instant::now();
        mine.replace(servers.iter().cloned()).expect("distinct ids");
        let ours = began.elapsed().as_nanos() as f64;
        let began = Instant::now();
        runtime.block_on(peer.update()).expect("discovery never fails");
        rounds.push((ours, began.elapsed().as_nanos() as f64));
    }
    let side = |of: fn(&(f64, f64)) -> f64| median(rounds.iter().map(of).collect());
    line("add one server / pingora's update", Pair { ours: side(|r| r.0), peer: side(|r| r.1) }, 5.0);
}
