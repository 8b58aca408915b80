//! The shared verdict is published for certain, whatever happened when it was found.

use std::sync::Arc;

use adapter_bbb::testing::Mode;
use adapter_bbb::{BbbClient, CallError, MeetingStore, PollRecord, Transport, Upload};
use async_trait::async_trait;
use bytes::Bytes;

use crate::stage::{Process, Stage, id, link, patient, until};

/// A network in which one server cannot be reached.
struct Partial {
    rest: BbbClient,
    cut: String,
}

#[async_trait]
impl Transport for Partial {
    async fn call(&self, url: &str, upload: Option<Upload>) -> Result<Bytes, CallError> {
        if url.starts_with(&self.cut) {
            return Err(CallError::Refused { host: "s0".into() });
        }
        self.rest.call(url, upload, false).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_one_process_of_two_reaches_stays_online() {
    let Some(stage) = Stage::redis(2).await else { return };
    let sees = Process::start(patient(), stage.store.clone(), true).await;
    let rest = BbbClient::new(patient().calls);
    let partial = Partial { rest, cut: stage.fakes[0].base() };
    let client = BbbClient::with_transport(patient().calls, Arc::new(partial));
    let blind = Process::start_with(patient(), stage.store.clone(), client, true).await;
    until("they know of each other", async || sees.processes().await == 2 && blind.processes().await == 2).await;
    sees.poll().await;
    for n in 0..4 {
        assert!(sees.create(&format!("m{n}")).await.ok());
    }
    for _ in 0..4 {
        blind.poll().await;
        assert!(online(&stage.store, 0).await);
    }
    for n in 0..4 {
        let id = format!("m{n}");
        let home = stage.having(&id);
        assert_eq!(stage.led_to(&blind.join(&id).await), home.first().copied());
    }
    assert!(blind.create("new").await.ok());
    assert_eq!(stage.having("new"), [1], "what it cannot reach gets nothing new from it");
    // Both agree. They poll by themselves too, now and then.
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    let failed = format!("{{backend=\"127.0.0.1:{}\",result=\"failed\"}} ", stage.fakes[0].port());
    let failed = async || {
        let page = sees.call_metrics().await;
        page.lines().find_map(|l| l.split_once(&failed)?.1.parse::<u32>().ok()).unwrap_or_default()
    };
    for process in [&sees, &blind, &sees] {
        let is_online = online(&stage.store, 0).await;
        assert!(is_online || failed().await >= 2, "the one that reached it does not doubt it yet");
        process.poll().await;
    }
    until("both agree", async || {
        sees.poll().await;
        !online(&stage.store, 0).await
    })
    .await;
    assert!(online(&stage.store, 1).await);
    // One of them reaches it again, and vouches for it.
    stage.fakes[0].ok().await.unwrap();
    until("it is reached again", async || {
        sees.poll().await;
        online(&stage.store, 0).await
    })
    .await;
    for _ in 0..3 {
        blind.poll().await;
        assert!(online(&stage.store, 0).await);
    }
}

async fn online(store: &Arc<dyn MeetingStore>, n: usize) -> bool {
    store.servers().await.unwrap().servers.iter().any(|r| r.id == id(n) && r.online)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_that_could_not_be_stored_is_stored_later() {
    let Some(stage) = Stage::redis(2).await else { return };
    let process = stage.process(patient()).await;
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
    let process = stage.process(patient()).await;
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
