//! Hooks reach every server, also one that comes later, comes back or forgot them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter_bbb::testing::{FakeBbb, Meetings, Mode};
use adapter_bbb::{BbbOptions, ServerState};
use balancer_core::WallClock;

use crate::stage::{Answer, PATIENCE, Process, Stage, patient};

fn options() -> BbbOptions {
    let mut o = patient();
    o.callbacks.allow = "127.0.0.0/8".parse().unwrap();
    o
}

fn urls(fake: &FakeBbb) -> Vec<String> {
    fake.hooks().into_iter().map(|h| h.url).collect()
}

async fn create(process: &Process, url: &str, more: &str) -> Answer {
    process.call("hooks/create", &format!("callbackURL={url}{more}")).await
}

const A: &str = "http%3A%2F%2F127.0.0.1%2Fa";

async fn hooks_are_given_to_all(stage: &mut Stage) {
    let process = stage.process(options()).await;
    let answer = create(&process, A, "&meetingID=m+1&eventID=user-joined&getRaw=TRUE").await;
    assert!(answer.ok(), "{answer:?}");
    assert_eq!((answer.text("permanentHook"), answer.text("rawData")), ("false", "true"));
    let id = answer.text("hookID").to_owned();
    for fake in &stage.fakes {
        let hook = fake.hooks().remove(0);
        assert_eq!((hook.url.as_str(), hook.meeting.as_deref()), ("http://127.0.0.1/a", Some("m 1")));
        assert_eq!((hook.events.as_deref(), hook.raw), (Some("user-joined"), true));
    }
    // Again: the same one.
    let again = create(&process, A, "").await;
    assert_eq!((again.text("messageKey"), again.text("hookID")), ("duplicateWarning", id.as_str()));
    assert!(create(&process, "http%3A%2F%2F127.0.0.1%2Fb", "").await.ok());
    let list = process.call("hooks/list", "").await;
    assert!(list.body.contains("<callbackURL>http://127.0.0.1/a</callbackURL>"), "{list:?}");
    assert!(list.body.contains("<meetingID>m 1</meetingID>") && list.body.contains("http://127.0.0.1/b"), "{list:?}");
    let other = process.call("hooks/list", "meetingID=other").await;
    assert!(!other.body.contains("127.0.0.1/a") && other.body.contains("127.0.0.1/b"), "{other:?}");
    // A server that is added later.
    let n = stage.fakes.len();
    stage.add(n, None, None).await;
    process.poll().await;
    assert_eq!(urls(&stage.fakes[n]).len(), 2);
    // One that forgot them, as it does when a receiver fails too often; and one that has others' hooks.
    stage.fakes[0].forget_hooks();
    process.poll().await;
    assert_eq!(urls(&stage.fakes[0]), ["http://127.0.0.1/a", "http://127.0.0.1/b"]);
    // One that is away when a hook goes.
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    let gone = process.call("hooks/destroy", &format!("hookID={id}")).await;
    assert_eq!(gone.text("removed"), "true", "{gone:?}");
    assert_eq!(urls(&stage.fakes[n]), ["http://127.0.0.1/b"]);
    stage.fakes[0].revive(Meetings::Keep).await.unwrap();
    assert_eq!(urls(&stage.fakes[0]).len(), 2, "it still has what was removed meanwhile");
    process.poll().await;
    assert_eq!(urls(&stage.fakes[0]), ["http://127.0.0.1/b"]);
    assert_eq!(process.call("hooks/destroy", &format!("hookID={id}")).await.text("messageKey"), "destroyMissingHook");
    // Another process knows the same.
    let second = stage.process(options()).await;
    assert!(second.call("hooks/list", "").await.body.contains("127.0.0.1/b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_gets_every_hook() {
    hooks_are_given_to_all(&mut Stage::memory(2).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_gets_every_hook_with_redis() {
    let Some(mut stage) = Stage::redis(2).await else { return };
    hooks_are_given_to_all(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_online_gets_its_hooks_without_an_order() {
    let stage = Stage::memory(1).await;
    let mut o = options();
    o.poll_interval = std::time::Duration::from_secs(1);
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    let process = Process::start(o, stage.store.clone(), true).await;
    assert!(create(&process, A, "").await.ok(), "nobody has to be there");
    stage.fakes[0].ok().await.unwrap();
    stage.fakes[0].wait_for(|s| s.hooks().len() == 1, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_changed_hook_is_changed_everywhere_and_those_of_others_stay() {
    let stage = Stage::memory(1).await;
    let process = stage.process(options()).await;
    let id = create(&process, A, "").await.text("hookID").to_owned();
    // Somebody else's, registered at the server itself.
    let query = "callbackURL=http%3A%2F%2Fothers.example";
    let path = stage.fakes[0].signed_path("hooks/create", query);
    assert!(stage.fakes[0].perform(&path, b"").unwrap().contains("SUCCESS"));
    stage.state(0, ServerState::Cordoned).await;
    stage.fakes[0].set_mode_for(&["hooks/destroy"], Mode::failed("destroyHookError", "no"));
    assert!(process.call("hooks/destroy", &format!("hookID={id}")).await.ok());
    assert!(create(&process, A, "&getRaw=true").await.ok());
    stage.fakes[0].ok().await.unwrap();
    process.poll().await;
    let hooks = stage.fakes[0].hooks();
    assert_eq!(hooks.len(), 2, "{hooks:?}");
    assert!(hooks.iter().any(|h| h.url == "http://others.example"), "{hooks:?}");
    assert!(hooks.iter().any(|h| h.url == "http://127.0.0.1/a" && h.raw), "{hooks:?}");
}

#[tokio::test]
async fn a_hook_of_a_meeting_that_is_over_goes_by_itself() {
    let stage = Stage::memory(1).await;
    let mut o = options();
    let now = Arc::new(AtomicU64::new(1_800_000_000_000));
    let clock = now.clone();
    o.clock = WallClock::from_fn(move || clock.load(Ordering::Relaxed));
    let process = stage.process(o).await;
    assert!(process.create("runs").await.ok());
    for (n, meeting) in ["&meetingID=runs", "&meetingID=over", ""].iter().enumerate() {
        assert!(create(&process, &format!("{A}{n}"), meeting).await.ok());
    }
    process.poll().await;
    assert_eq!(urls(&stage.fakes[0]).len(), 3);
    now.fetch_add(2 * 86_400_000, Ordering::Relaxed);
    process.poll().await;
    assert_eq!(urls(&stage.fakes[0]), ["http://127.0.0.1/a0", "http://127.0.0.1/a2"]);
}

#[tokio::test]
async fn wrong_requests_are_told_so() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    for (call, query, key) in [
        ("hooks/create", "", "missingParamCallbackURL"),
        ("hooks/create", "callbackURL=+", "missingParamCallbackURL"),
        ("hooks/create", "callbackURL=ftp%3A%2F%2Fa.example", "createHookError"),
        // Private, and not allowed here.
        ("hooks/create", "callbackURL=http%3A%2F%2F127.0.0.1%2Fa", "createHookError"),
        ("hooks/create", "callbackURL=http%3A%2F%2F127.1%2Fa", "createHookError"),
        ("hooks/destroy", "", "missingParamHookID"),
        ("hooks/destroy", "hookID=x", "destroyMissingHook"),
        ("hooks/destroy", "hookID=99", "destroyMissingHook"),
    ] {
        assert_eq!(process.call(call, query).await.text("messageKey"), key, "{call} {query}");
    }
    let list = process.call("hooks/list", "").await;
    assert!(list.ok() && !list.body.contains("<hook>"), "{list:?}");
    assert_eq!(stage.fakes[0].count("hooks/create") + stage.fakes[0].count("hooks/list"), 0);
}

#[tokio::test]
async fn a_server_without_hooks_or_with_old_checksums_harms_nobody() {
    let stage = Stage::memory(2).await;
    let process = stage.process(options()).await;
    stage.fakes[0].set_mode_for(&["hooks/list"], Mode::Html502);
    assert!(create(&process, A, "").await.ok());
    assert_eq!((urls(&stage.fakes[0]).len(), urls(&stage.fakes[1]).len()), (0, 1));
    // One that refuses our checksum is asked with the oldest kind.
    stage.fakes[0].set_mode_for(&["hooks/list"], Mode::failed("checksumError", "no"));
    process.poll().await;
    let asked = stage.fakes[0].calls_of("hooks/list");
    let lengths: Vec<usize> = asked.iter().map(|r| r.param("checksum").unwrap().len()).collect();
    assert_eq!(lengths[lengths.len() - 2..], [64, 40]);
}
