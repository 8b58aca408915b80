//! What a picker remembers of rooms while the stick table cannot be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use adapter_jitsi::{Shard, ShardOptions, Shards};
use async_trait::async_trait;
use balancer_core::{
    Admin, BackendId, Binding, Claim, HealthRules, MemoryOptions, MemoryStore, StickError, StickKey, StickPage,
    StickStore, Want,
};
use tokio::time::advance;

/// A way to a table, which can be cut.
struct Way {
    table: Arc<MemoryStore>,
    cut: AtomicBool,
}

impl Way {
    fn open(&self) -> Result<&MemoryStore, StickError> {
        let lost = || StickError::Lost { target: "test".to_owned(), why: "it is cut".to_owned(), source: None };
        if self.cut.load(SeqCst) { Err(lost()) } else { Ok(&self.table) }
    }
}

#[async_trait]
impl StickStore for Way {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.open()?.get(key, extend).await
    }
    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.open()?.claim(key, want, ttl).await
    }
    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.open()?.rebind(key, seen, want, ttl).await
    }
    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.open()?.renew(key, seen, ttl).await
    }
    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.open()?.release(key, seen).await
    }
    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.open()?.close(backend, closed).await
    }
    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.open()?.list(backend, from).await
    }
    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.open()?.count(backend).await
    }
}

fn picker(table: &Arc<MemoryStore>) -> (Shards, Arc<Way>) {
    let way = Arc::new(Way { table: Arc::clone(table), cut: AtomicBool::new(false) });
    let shards = ["a", "b"].map(|id| Shard::try_new(id).unwrap());
    let mut options = ShardOptions::default();
    options.settle = Duration::ZERO;
    (Shards::try_new(shards, Arc::clone(&way) as _, options).unwrap(), way)
}

fn probed(shards: &Shards, id: &BackendId, passed: bool) {
    for _ in 0..3 {
        shards.pool().observe(id, passed, &HealthRules::default(), "as told").unwrap();
    }
}

/// A room that both pickers know on one shard, and the other shard.
async fn known(one: &Shards, two: &Shards) -> (StickKey, BackendId, BackendId) {
    for shards in [one, two] {
        ["a", "b"].iter().for_each(|id| probed(shards, &(*id).into(), true));
        shards.sync().await.unwrap();
    }
    let room = Shards::room("algebra").unwrap();
    let home = one.place(&room, None).await.unwrap().binding.unwrap().backend;
    assert_eq!(two.place(&room, None).await.unwrap().binding.unwrap().backend, home);
    let other = if home.as_str() == "a" { "b" } else { "a" };
    (room, home, other.into())
}

#[tokio::test(start_paused = true)]
async fn a_room_that_another_picker_moved_is_not_told_from_memory() {
    // The second one finds the shard dead as well, or merely down until it is up again.
    for waits in [true, false] {
        let table = Arc::new(MemoryStore::new(MemoryOptions::new().tokio_clock()));
        let ((one, _), (two, way)) = (picker(&table), picker(&table));
        let (room, home, other) = known(&one, &two).await;
        probed(&one, &home, false);
        one.sync().await.unwrap();
        advance(Duration::from_secs(20)).await;
        probed(&two, &home, false);
        two.sync().await.unwrap();
        advance(Duration::from_secs(26)).await;
        one.sync().await.unwrap();
        assert_eq!(one.place(&room, None).await.unwrap().binding.unwrap().backend, other, "it has moved");
        advance(Duration::from_secs(if waits { 20 } else { 1 })).await;
        two.sync().await.unwrap();
        for shards in [&one, &two] {
            probed(shards, &home, true);
            shards.sync().await.unwrap();
        }
        way.cut.store(true, SeqCst);
        let told = two.place(&room, None).await;
        assert_eq!(told.as_ref().map_err(|e| e.code()).err(), Some("store"), "waits {waits}: {told:?}");
        way.cut.store(false, SeqCst);
        assert_eq!(two.place(&room, None).await.unwrap().binding.unwrap().backend, other);
        way.cut.store(true, SeqCst);
        assert_eq!(two.place(&room, None).await.unwrap().binding.unwrap().backend, other, "known again");
    }
}

#[tokio::test(start_paused = true)]
async fn rooms_of_a_shard_that_stays_up_are_told_without_the_table() {
    let table = Arc::new(MemoryStore::new(MemoryOptions::new().tokio_clock()));
    let ((one, _), (two, way)) = (picker(&table), picker(&table));
    let (room, home, _) = known(&one, &two).await;
    way.cut.store(true, SeqCst);
    assert!(two.sync().await.is_err());
    assert_eq!(two.place(&room, None).await.unwrap().binding.unwrap().backend, home);
    // An order that it has heard of counts without the table as well.
    way.cut.store(false, SeqCst);
    one.order(&home, Admin::Maint).await.unwrap();
    two.sync().await.unwrap();
    one.order(&home, Admin::Ready).await.unwrap();
    way.cut.store(true, SeqCst);
    assert!(two.sync().await.is_err());
    assert_ne!(two.place(&room, None).await.unwrap().binding.unwrap().backend, home);
}
