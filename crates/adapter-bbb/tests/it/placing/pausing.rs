//! A process that is paused in the middle of a create, for longer than others wait, and what it finds when it wakes up.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::testing::{FakeState, Held, Mode};
use adapter_bbb::{LocalStore, PollRecord, ServerState};
use balancer_core::WallClock;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::stage::{Answer, PATIENCE, Process, Stage, hasty, id, patient};

/// Two servers, the first preferred, and two processes, the first of which waits as long as it takes.
async fn two() -> (Stage, Arc<Process>, Process) {
    let stage = Stage::memory(2).await;
    stage.burden(1, 100);
    let (a, b) = (Arc::new(stage.process(patient()).await), stage.process(patient()).await);
    (stage, a, b)
}

/// A create by the first process, inside the server.
async fn paused(a: &Arc<Process>, mut held: Held) -> (JoinHandle<Answer>, Held) {
    let a = a.clone();
    let creating = tokio::spawn(async move { a.create("m").await });
    timeout(PATIENCE, held.arrived()).await.unwrap().unwrap();
    (creating, held)
}

/// What some process found and published.
async fn verdict(stage: &Stage, server: usize, online: bool) {
    let poll = PollRecord { online: Some(online), ..PollRecord::default() };
    stage.store.record_poll(&id(server), &poll).await.unwrap();
}

/// Everybody is led to one server, the only one that has the meeting, and the answer told of that one.
async fn all_meet_on(stage: &Stage, processes: [&Process; 2], home: usize, told: &Answer) {
    assert!(told.ok(), "{told:?}");
    assert_eq!(stage.having("m"), [home]);
    let created = stage.fakes[home].meeting("m").unwrap().create_time;
    assert_eq!(told.text("createTime"), created.to_string(), "of another meeting");
    for process in processes {
        assert_eq!(process.home("m").await, Some(format!("s{home}")));
        assert_eq!(stage.led_to(&process.join("m").await), Some(home));
        assert_eq!(process.create("m").await.text("createTime"), created.to_string());
    }
    assert_eq!(stage.having("m"), [home]);
}

/// The meeting moves while its create sleeps.
async fn moved(stage: &Stage, b: &Process) {
    verdict(stage, 0, false).await;
    assert!(b.create("m").await.ok());
    assert_eq!(b.home("m").await.as_deref(), Some("s1"));
    verdict(stage, 0, true).await;
}

#[tokio::test]
async fn between_the_claim_and_the_create() {
    let (stage, a, b) = two().await;
    let (creating, held) = paused(&a, stage.fakes[0].hold("create")).await;
    moved(&stage, &b).await;
    held.release();
    let told = timeout(PATIENCE, creating).await.unwrap().unwrap();
    all_meet_on(&stage, [&a, &b], 1, &told).await;
}

#[tokio::test]
async fn between_the_create_and_its_answer() {
    let (stage, a, b) = two().await;
    let (creating, held) = paused(&a, stage.fakes[0].hold_answer("create")).await;
    moved(&stage, &b).await;
    held.release();
    let told = timeout(PATIENCE, creating).await.unwrap().unwrap();
    all_meet_on(&stage, [&a, &b], 1, &told).await;
}

#[tokio::test]
async fn a_repeat_is_answered_by_the_new_home() {
    let (stage, a, b) = two().await;
    assert!(a.create("m").await.ok());
    let (creating, held) = paused(&a, stage.fakes[0].hold("create")).await;
    moved(&stage, &b).await;
    held.release();
    let told = timeout(PATIENCE, creating).await.unwrap().unwrap();
    // Whoever was on the old server is still there: nobody ends a meeting that may have people in it.
    assert_eq!(stage.having("m"), [0, 1]);
    let created = stage.fakes[1].meeting("m").unwrap().create_time;
    assert_eq!(told.text("createTime"), created.to_string());
    assert_eq!(stage.led_to(&a.join("m").await), Some(1));
}

#[tokio::test]
async fn an_end_that_overtook_it_forgets_nothing() {
    let (stage, a, b) = two().await;
    let (creating, held) = paused(&a, stage.fakes[0].hold("create")).await;
    // It did not begin yet, so there is nothing to end; the binding is gone.
    assert_eq!(b.call("end", "meetingID=m&password=mp").await.text("messageKey"), "notFound");
    assert_eq!(b.home("m").await, None);
    held.release();
    let told = timeout(PATIENCE, creating).await.unwrap().unwrap();
    all_meet_on(&stage, [&a, &b], 0, &told).await;
}

#[tokio::test]
async fn its_server_was_removed() {
    let (stage, a, b) = two().await;
    let (creating, held) = paused(&a, stage.fakes[0].hold("create")).await;
    let answer = b.post("removeServer", r#"{"id":"s0","force":true}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    held.release();
    let told = timeout(PATIENCE, creating).await.unwrap().unwrap();
    all_meet_on(&stage, [&a, &b], 1, &told).await;
}

#[tokio::test]
async fn a_create_that_fails_in_the_end_cleans_up_too() {
    let (stage, ..) = two().await;
    let b = stage.process(hasty()).await;
    // The first server makes the meeting and says nothing of it; the second one refuses.
    stage.fakes[0].set_late("create", Duration::from_secs(600));
    stage.fakes[0].set_mode_for(&["getMeetingInfo"], Mode::Hang);
    stage.fakes[1].set_mode_for(&["create"], Mode::failed("tooBusy", "come back later"));
    let answer = b.create("m").await;
    assert!(!answer.ok(), "{answer:?}");
    stage.fakes[0].wait_for(|s| s.created_total() > 0 && s.meeting("m").is_none(), PATIENCE).await.unwrap();
}

/// A create is on its way to a server that an order empties; another process is asked for the same meeting, and waits
/// for what may be on its way.
#[tokio::test]
async fn its_server_was_cordoned() {
    // What was just bound stays so, however long this takes.
    let now = WallClock::system().now_ms();
    let clock = WallClock::from_fn(move || now);
    let stage = Stage::on(Arc::new(LocalStore::memory().with_clock(clock.clone())), 2).await;
    stage.burden(1, 100);
    let with = || {
        let mut o = patient();
        o.clock = clock.clone();
        o
    };
    let (a, b) = (Arc::new(stage.process(with()).await), stage.process(with()).await);
    let (creating, held) = paused(&a, stage.fakes[0].hold("create")).await;
    stage.state(0, ServerState::Cordoned).await;
    let [mut first, mut second] = [(); 2].map(|()| stage.fakes[0].hold("getMeetingInfo"));
    let (other, told) = tokio::join!(b.create("m"), async {
        timeout(PATIENCE, first.arrived()).await.unwrap().unwrap();
        // The other one finds nothing there yet.
        first.release();
        timeout(PATIENCE, second.arrived()).await.unwrap().unwrap();
        held.release();
        let told = timeout(PATIENCE, creating).await.unwrap().unwrap();
        second.release();
        told
    });
    assert!(other.ok(), "{other:?}");
    all_meet_on(&stage, [&a, &b], 0, &told).await;
}

#[tokio::test]
async fn its_server_was_disabled() {
    let (stage, a, b) = two().await;
    let (creating, held) = paused(&a, stage.fakes[0].hold("create")).await;
    stage.state(0, ServerState::Disabled).await;
    let (other, _) = tokio::join!(b.create("m"), async {
        // It may have looked there before, or not: what arrives in the end is ended either way.
        let ended = |s: &FakeState| s.count("end") > 0;
        let _ = stage.fakes[0].wait_for(ended, Duration::from_millis(200)).await;
        held.release();
        timeout(PATIENCE, creating).await.unwrap().unwrap()
    });
    assert!(other.ok(), "{other:?}");
    let told = b.create("m").await;
    all_meet_on(&stage, [&a, &b], 1, &told).await;
}
