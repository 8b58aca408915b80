//! Leases to poll: one holder at a time, and nothing of a former one is stored.

use std::time::Duration;

use adapter_bbb::{Doubt, Fence, MeetingStore, PollRecord, RedisMeetings, ServerState};
use balancer_core::BackendId;

use super::{order, polled, record};
use crate::stage::{link, redis_store, until};
use real_servers::RedisServer;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

async fn take(store: &RedisMeetings, process: u64, ttl: Duration, force: bool) -> Option<Fence> {
    let servers: [BackendId; 1] = ["a".into()];
    store.take_leases(process, &servers, &[], ttl, force).await.unwrap()[0]
}

async fn give_back(store: &RedisMeetings, process: u64) {
    store.take_leases(process, &[], &["a".into()], LONG, false).await.unwrap();
}

/// A poll under this lease that measured so much.
async fn stored(store: &RedisMeetings, fence: Fence, load: f64) -> bool {
    let poll = PollRecord { fence: Some(fence), began_ms: 77, ..polled(load) };
    store.record_poll(&"a".into(), &poll).await.unwrap()
}

async fn load(store: &RedisMeetings) -> Option<f64> {
    store.servers().await.unwrap().servers[0].load
}

async fn stage() -> Option<(RedisServer, RedisMeetings)> {
    let server = RedisServer::start(&[])?;
    let store = RedisMeetings::new(link(&server), "scalelite");
    assert!(store.add_server(&record("a")).await.unwrap());
    assert!(store.update_server(&"a".into(), &order(ServerState::Enabled)).await.unwrap());
    for process in [1, 2] {
        store.announce(process, LONG).await.unwrap();
    }
    Some((server, store))
}

#[tokio::test]
async fn one_holds_a_lease_and_what_a_former_holder_found_is_refused() {
    let Some((_server, store)) = stage().await else { return };
    let first = take(&store, 1, LONG, false).await.unwrap();
    assert_eq!(take(&store, 1, LONG, false).await, Some(first), "kept");
    assert_eq!(take(&store, 2, LONG, false).await, None);
    assert!(stored(&store, first, 4.0).await);
    // An order to poll everything takes it, and gives it back.
    let second = take(&store, 2, LONG, true).await.unwrap();
    assert!(second.token > first.token);
    assert!(!stored(&store, first, 99.0).await && stored(&store, second, 5.0).await);
    assert_eq!(load(&store).await, Some(5.0));
    give_back(&store, 2).await;
    assert!(!stored(&store, second, 99.0).await);
    let third = take(&store, 1, LONG, false).await.unwrap();
    assert!(third.token > second.token && stored(&store, third, 6.0).await);
    // Only the holder gives it back.
    give_back(&store, 2).await;
    assert!(stored(&store, third, 7.0).await);
    // The others read what was found.
    let shared = store.servers().await.unwrap().polls["a"].clone();
    assert_eq!((shared.number, shared.began_ms, shared.load, shared.failed), (4, 77, 7.0, false));
    // Of a server that is gone there is no lease, and nothing is left.
    assert!(store.remove_server(&"a".into()).await.unwrap());
    assert!(!stored(&store, third, 8.0).await);
    assert_eq!(take(&store, 1, LONG, true).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_with_its_time_and_with_its_holder() {
    let Some((_server, store)) = stage().await else { return };
    let first = take(&store, 1, SHORT, false).await.unwrap();
    until("it ends", async || !stored(&store, first, 1.0).await).await;
    // The same process slept meanwhile: what it began before counts no more.
    let again = take(&store, 1, LONG, false).await.unwrap();
    assert!(again.token > first.token && !stored(&store, first, 1.0).await);
    // Its process is not heard of any more.
    store.announce(1, SHORT).await.unwrap();
    until("another one gets it", async || take(&store, 2, LONG, false).await.is_some()).await;
    assert!(!stored(&store, again, 1.0).await);
    // A process that stops says so.
    store.withdraw(2).await.unwrap();
    assert!(take(&store, 1, LONG, false).await.is_some());
    assert_eq!(store.announce(1, LONG).await.unwrap().len(), 1);
}

#[tokio::test]
async fn enough_doubts_take_the_lease() {
    let Some((_server, store)) = stage().await else { return };
    let holder = take(&store, 1, LONG, false).await.unwrap();
    assert_eq!(store.doubt(&"a".into(), 2, LONG).await.unwrap(), Doubt::Alone);
    assert_eq!(store.servers().await.unwrap().polls["a"].doubters, [2]);
    let Doubt::Agreed(Some(agreed)) = store.doubt(&"a".into(), 1, LONG).await.unwrap() else { panic!("they agree") };
    assert_eq!(agreed, holder, "kept by who had it");
    let Doubt::Agreed(Some(other)) = store.doubt(&"a".into(), 2, LONG).await.unwrap() else { panic!("they agree") };
    // Between that word and the verdict the first one slept: others have gone on.
    let offline = |fence| PollRecord { online: Some(false), fence: Some(fence), ..PollRecord::default() };
    assert!(stored(&store, other, 3.0).await);
    assert!(!store.record_poll(&"a".into(), &offline(holder)).await.unwrap());
    assert!(store.servers().await.unwrap().servers[0].online);
    assert!(store.record_poll(&"a".into(), &offline(other)).await.unwrap());
    assert!(!store.servers().await.unwrap().servers[0].online);
    assert!(store.servers().await.unwrap().polls["a"].failed);
    store.trust(&"a".into(), 2).await.unwrap();
    assert_eq!(store.servers().await.unwrap().polls["a"].doubters, [1]);
}

#[tokio::test]
async fn breakout_rooms_of_a_poll_are_found_by_all() {
    let Some((server, store)) = stage().await else { return };
    let fence = take(&store, 1, LONG, false).await;
    let poll = PollRecord { fence, breakouts: vec!["group 1".into()], ..polled(1.0) };
    assert!(store.record_poll(&"a".into(), &poll).await.unwrap());
    let other = redis_store(&server);
    assert_eq!(other.breakout("group 1").await.unwrap(), Some("a".into()));
    assert_eq!(other.breakout("group 2").await.unwrap(), None);
}
