//! The shared verdict is published for certain, whatever happened when it was found.

use std::sync::Arc;

use adapter_bbb::testing::Mode;
use adapter_bbb::{MeetingStore, PollRecord};

use crate::stage::{Stage, id, link, options};

async fn online(store: &Arc<dyn MeetingStore>, n: usize) -> bool {
    store.servers().await.unwrap().servers.iter().any(|r| r.id == id(n) && r.online)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_that_could_not_be_stored_is_stored_later() {
    let Some(stage) = Stage::redis(2).await else { return };
    let process = stage.process(options()).await;
    let link = link(stage.redis.as_ref().unwrap());
    // Reads go on, every write is refused.
    link.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    for _ in 0..3 {
        process.poll().await;
    }
    assert!(online(&stage.store, 0).await, "nothing can be stored");
    link.call(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await.unwrap();
    process.poll().await;
    assert!(!online(&stage.store, 0).await && online(&stage.store, 1).await);
}

#[tokio::test]
async fn a_verdict_of_a_process_that_is_gone_does_not_stay() {
    let stage = Stage::memory(2).await;
    let process = stage.process(options()).await;
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    process.poll().await;
    process.poll().await;
    assert!(!online(&stage.store, 0).await);
    // Another process reached it, said so, and was killed; then nobody reaches it.
    let vouched = PollRecord { online: Some(true), ..PollRecord::default() };
    stage.store.record_poll(&id(0), &vouched).await.unwrap();
    process.poll().await;
    assert!(!online(&stage.store, 0).await);
}
