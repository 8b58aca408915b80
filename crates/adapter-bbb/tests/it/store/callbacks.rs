//! Hooks, callback addresses and waiting deliveries, on each store.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::{
    CallbackStore, CallbackUrls, Delivery, DeliveryKind, Hook, HookAdded, LocalStore, MAX_HOOKS, MeetingStore,
};
use tokio::time::Instant;

use super::{DAY, Folder};
use crate::stage::{PATIENCE, keys, link, redis_store};
use real_servers::RedisServer;

fn hook(url: &str) -> Hook {
    Hook::new(url)
}

fn added(answer: HookAdded) -> Hook {
    match answer {
        HookAdded::New(hook) => hook,
        other => panic!("{other:?}"),
    }
}

async fn hooks_are_kept(store: &dyn CallbackStore) {
    assert_eq!(store.hooks().await.unwrap(), Default::default());
    let mut wanted = hook("https://a.example/x?y=\"z\"&ä");
    (wanted.meeting, wanted.events, wanted.raw) = (Some("m 1".into()), Some("user-joined".into()), true);
    let first = added(store.add_hook(&wanted).await.unwrap());
    let second = added(store.add_hook(&hook("https://b.example")).await.unwrap());
    assert!(first.id > 0 && second.id > first.id);
    assert_eq!(store.add_hook(&hook(&wanted.url)).await.unwrap(), HookAdded::Known(first.clone()));
    assert_eq!(store.hooks().await.unwrap().hooks, [first.clone(), second.clone()]);
    assert_eq!(store.remove_hook(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.remove_hook(first.id).await.unwrap(), None);
    let book = store.hooks().await.unwrap();
    assert_eq!((book.hooks, book.removed), (vec![second], vec![first.url.clone()]));
    // There again: servers need not forget it, and its number is a new one.
    let again = added(store.add_hook(&wanted).await.unwrap());
    assert!(again.id > first.id);
    assert_eq!(store.hooks().await.unwrap().removed, [""; 0]);
    for n in 2..MAX_HOOKS {
        added(store.add_hook(&hook(&format!("https://{n}.example"))).await.unwrap());
    }
    assert_eq!(store.add_hook(&hook("https://full.example")).await.unwrap(), HookAdded::Full);
}

async fn urls_are_kept(store: &dyn CallbackStore) {
    assert_eq!(store.urls("m").await.unwrap(), CallbackUrls::default());
    let mut urls = CallbackUrls::default();
    urls.analytics = Some("https://a.example".into());
    store.keep_urls("m", &urls, DAY).await.unwrap();
    let mut more = CallbackUrls::default();
    more.recording_ready = Some("https://r.example".into());
    store.keep_urls("m", &more, DAY).await.unwrap();
    urls.recording_ready = more.recording_ready;
    assert_eq!(store.urls("m").await.unwrap(), urls);
    store.keep_urls("short", &urls, Duration::from_millis(1)).await.unwrap();
    crate::stage::until("they are forgotten", async || store.urls("short").await.unwrap() == CallbackUrls::default())
        .await;
}

async fn deliveries_are_taken_once(store: &dyn CallbackStore) {
    for n in 0..3 {
        let d = Delivery::new(DeliveryKind::Analytics, format!("https://{n}.example"), "{\"n\":1}", 5);
        assert!(store.enqueue(&d, 3).await.unwrap());
    }
    let over = Delivery::new(DeliveryKind::RecordingReady, "https://over.example", "{}", 5);
    assert!(!store.enqueue(&over, 3).await.unwrap(), "the queue is full");
    let mut taken = store.take_due(2, DAY).await.unwrap();
    assert_eq!(taken.iter().map(|d| d.url.as_str()).collect::<Vec<_>>(), ["https://0.example", "https://1.example"]);
    let third = store.take_due(9, Duration::from_millis(1)).await.unwrap();
    assert_eq!(third.len(), 1, "nobody else gets what is taken");
    // Its taker was killed: somebody else gets it.
    crate::stage::until("it is due again", async || !store.take_due(9, DAY).await.unwrap().is_empty()).await;
    taken[0].attempts = 4;
    store.postpone(&taken[0], Duration::ZERO).await.unwrap();
    assert_eq!(store.take_due(9, DAY).await.unwrap(), [taken[0].clone()]);
    assert_eq!(store.queued().await.unwrap(), 3);
    store.drop_delivery(taken[0].id).await.unwrap();
    store.postpone(&taken[0], Duration::ZERO).await.unwrap();
    assert_eq!((store.queued().await.unwrap(), store.take_due(9, DAY).await.unwrap()), (2, vec![]));
}

#[tokio::test]
async fn in_memory() {
    let store = LocalStore::memory();
    hooks_are_kept(&store).await;
    urls_are_kept(&store).await;
    deliveries_are_taken_once(&store).await;
}

#[tokio::test]
async fn on_redis() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let store = redis_store(&server);
    hooks_are_kept(&*store).await;
    urls_are_kept(&*store).await;
    deliveries_are_taken_once(&*store).await;
    // Scalelite's keys are left alone.
    let keys = keys(&link(&server)).await;
    assert!(keys.iter().all(|k| k.starts_with("scalelite:balancer:")), "{keys:?}");
}

async fn open(path: &std::path::Path) -> Arc<LocalStore> {
    let until = Instant::now() + PATIENCE;
    loop {
        // The last writer closes the file by itself.
        match LocalStore::open(path).await {
            Ok(store) => return store,
            Err(e) => assert!(Instant::now() < until, "{e}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_a_file_is_there_after_reopening() {
    let folder = Folder::new();
    let path = folder.0.join("data.redb");
    let store = open(&path).await;
    let gone = added(store.add_hook(&hook("https://gone.example")).await.unwrap());
    let kept = added(store.add_hook(&hook("https://kept.example")).await.unwrap());
    store.remove_hook(gone.id).await.unwrap();
    let mut urls = CallbackUrls::default();
    urls.analytics = Some("https://a.example".into());
    store.keep_urls("m", &urls, DAY).await.unwrap();
    for n in 0..2 {
        let d = Delivery::new(DeliveryKind::RecordingReady, format!("https://{n}.example"), "{}", 5);
        assert!(store.enqueue(&d, 9).await.unwrap());
    }
    let mut taken = store.take_due(9, DAY).await.unwrap();
    store.drop_delivery(taken[0].id).await.unwrap();
    taken[1].attempts = 3;
    store.postpone(&taken[1], DAY).await.unwrap();
    drop(store);

    let store = open(&path).await;
    let book = store.hooks().await.unwrap();
    assert_eq!((book.hooks, book.removed), (vec![kept], vec![gone.url]));
    assert_eq!(store.urls("m").await.unwrap(), urls);
    assert_eq!(store.take_due(9, DAY).await.unwrap(), [taken[1].clone()], "due at once after a restart");
    assert!(added(store.add_hook(&hook("https://new.example")).await.unwrap()).id > taken[1].id);
    store.check().await.unwrap();
}
