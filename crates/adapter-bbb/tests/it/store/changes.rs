//! What others notice of a change, and what goes by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter_bbb::{LocalStore, MeetingStore, ServerState};
use balancer_core::WallClock;

use super::{DAY, bind, order, record};
use crate::stage::{link, redis_store};
use real_servers::RedisServer;

async fn changes_are_noticed(store: &dyn MeetingStore) {
    for id in ["a", "b"] {
        assert!(store.add_server(&record(id)).await.unwrap());
    }
    store.update_server(&"a".into(), &order(ServerState::Enabled)).await.unwrap();
    let before = store.servers().await.unwrap().epoch;
    assert_eq!(store.look("m").await.unwrap().epoch, before, "a look changes nothing");
    // As many as before are enabled.
    store.update_server(&"a".into(), &order(ServerState::Disabled)).await.unwrap();
    store.update_server(&"b".into(), &order(ServerState::Enabled)).await.unwrap();
    let then = store.servers().await.unwrap().epoch;
    assert_ne!(then, before);
    assert_eq!(store.look("m").await.unwrap().epoch, then);
    // As many as before are known.
    assert!(store.remove_server(&"a".into()).await.unwrap());
    assert!(store.add_server(&record("c")).await.unwrap());
    assert_ne!(store.servers().await.unwrap().epoch, then);
}

#[tokio::test]
async fn a_change_that_keeps_the_numbers_is_noticed() {
    changes_are_noticed(&LocalStore::memory()).await;
    let Some(server) = RedisServer::start(&[]) else { return };
    let store = redis_store(&server);
    changes_are_noticed(&*store).await;
    // Nor does a flushed store come back to where it was.
    let before = store.servers().await.unwrap().epoch;
    link(&server).call(&["FLUSHALL"]).await.unwrap();
    changes_are_noticed(&*store).await;
    assert_ne!(store.servers().await.unwrap().epoch, before);
}

#[tokio::test]
async fn who_nobody_asks_for_any_more_goes_with_a_look_at_all() {
    let now = Arc::new(AtomicU64::new(1_800_000_000_000));
    let clock = now.clone();
    let store = LocalStore::memory().with_clock(WallClock::from_fn(move || clock.load(Ordering::Relaxed)));
    bind(&store, "old", "a", 0.0).await;
    now.fetch_add(u64::try_from(DAY.as_millis()).unwrap(), Ordering::Relaxed);
    assert_eq!(store.meetings(None).await.unwrap(), []);
    // Its number is free again: nothing is left of it.
    bind(&store, "new", "a", 0.0).await;
    assert_eq!(store.look("new").await.unwrap().meeting.unwrap().voice_bridge, "715622307");
}
