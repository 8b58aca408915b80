//! The conformance suite of stick stores, on each store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapter_bbb::{LocalStore, RedisMeetings};
use async_trait::async_trait;
use balancer_core::conformance::{Clock, run};
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};

use super::Folder;
use crate::stage::link;
use real_servers::RedisServer;

/// A store that others hold too.
struct Held(Arc<LocalStore>);

#[async_trait]
impl StickStore for Held {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.0.get(key, extend).await
    }
    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.0.claim(key, want, ttl).await
    }
    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.0.rebind(key, seen, want, ttl).await
    }
    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.0.renew(key, seen, ttl).await
    }
    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.0.release(key, seen).await
    }
    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.0.close(backend, closed).await
    }
    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.0.list(backend, from).await
    }
    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.0.count(backend).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_conforms() {
    run(async || LocalStore::memory(), &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_a_file_conforms() {
    let folder = Folder::new();
    let number = AtomicUsize::new(0);
    let make = async || {
        let name = format!("{}.redb", number.fetch_add(1, Ordering::Relaxed));
        Held(LocalStore::open(folder.0.join(name)).await.unwrap())
    };
    run(make, &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_on_redis_conforms() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let number = AtomicUsize::new(0);
    let make = async || RedisMeetings::new(link(&server), &format!("suite-{}", number.fetch_add(1, Ordering::Relaxed)));
    run(make, &Clock::Real).await;
}
