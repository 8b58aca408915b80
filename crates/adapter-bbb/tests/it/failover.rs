//! A store that loses a claim while a server makes the meeting.

use std::sync::Arc;

use adapter_bbb::MeetingStore;
use balancer_core::{RedisLink, RedisOptions, StickErrorKind, StickKey, StickStore};

use crate::stage::{ANSWER, Process, Stage, link, patient, redis_store, until};
use real_servers::RedisServer;

/// Lets the store forget a binding and everybody connect anew, as a failover does.
async fn lose(stage: &Stage, id: &str) {
    let server = stage.redis.as_ref().unwrap();
    let (key, other) = (StickKey::new(id).unwrap(), redis_store(server));
    let binding = other.get(&key, None).await.unwrap().unwrap();
    assert!(stage.store.confirm(&key, &binding).await.unwrap());
    let before = stage.store.generation();
    assert!(other.release(&key, &binding).await.unwrap());
    assert!(!stage.store.confirm(&key, &binding).await.unwrap());
    link(server).call(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    until("the loss of contact shows", async || stage.store.generation() != before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_lost_during_a_create_splits_nothing() {
    let Some(stage) = Stage::redis(2).await else { return };
    stage.burden(1, 50);
    let first = Arc::new(stage.process(patient()).await);
    // Nobody else wants it: it is claimed again where it was made.
    let mut held = stage.fakes[0].hold("create");
    let making = tokio::spawn({
        let first = first.clone();
        async move { first.create("alone").await }
    });
    held.arrived().await.unwrap();
    lose(&stage, "alone").await;
    held.release();
    let answer = making.await.unwrap();
    assert!(answer.ok(), "{answer:?}");
    assert_eq!((first.home("alone").await.as_deref(), stage.having("alone")), (Some("s0"), vec![0]));

    // Another process takes it elsewhere meanwhile: the first server gives it up, and both lead to the other.
    let mut held = stage.fakes[0].hold("create");
    let making = tokio::spawn({
        let first = first.clone();
        async move { first.create("taken").await }
    });
    held.arrived().await.unwrap();
    lose(&stage, "taken").await;
    stage.burden(0, 500);
    let second = Process::start(patient(), redis_store(stage.redis.as_ref().unwrap()), false).await;
    second.poll().await;
    assert!(second.create("taken").await.ok());
    assert_eq!(second.home("taken").await.as_deref(), Some("s1"));
    held.release();
    let answer = making.await.unwrap();
    assert!(answer.ok(), "{answer:?}");
    assert_eq!((first.home("taken").await.as_deref(), stage.having("taken")), (Some("s1"), vec![1]));
}

#[tokio::test]
async fn a_cluster_is_refused_by_its_settings() {
    let Some(server) = RedisServer::start(&["--cluster-enabled", "yes"]) else { return };
    link(&server).call(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await.unwrap();
    let options = RedisOptions::cluster([("127.0.0.1", server.port())]);
    let cluster = RedisLink::new(options.connect_timeout(ANSWER).response_timeout(ANSWER)).unwrap();
    cluster.ping().await.unwrap();
    let store = adapter_bbb::RedisMeetings::new(cluster, "scalelite");
    let probed = store.probe().await.unwrap_err();
    assert_eq!(probed.kind(), StickErrorKind::Refused);
    assert!(probed.to_string().contains("redis+sentinel://"), "{probed}");
    // Nor does it work where nobody asked first.
    let used = store.servers().await.unwrap_err();
    assert_eq!(used.kind(), StickErrorKind::Refused, "{used}");
}
