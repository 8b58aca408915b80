//! Creates, ends and polls of one meeting never overtake each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_waits_for_an_end() {
    let Some(stage) = Stage::redis(3).await else { return };
    let (a, b) = (Arc::new(stage.process(patient()).await), stage.process(patient()).await);
    assert!(a.create("m").await.ok());
    let home = stage.having("m")[0];
    let mut held = stage.fakes[home].hold("end");
    let ending = {
        let a = a.clone();
        tokio::spawn(async move { a.call("end", "meetingID=m&password=mp").await })
    };
    held.arrived().await.unwrap();
    // While it ends it is not known, and a second end finds nothing.
    assert_eq!(b.join("m").await.text("messageKey"), "notFound");
    assert_eq!(b.call("end", "meetingID=m&password=mp").await.text("messageKey"), "notFound");
    let creating = b.create("m");
    tokio::pin!(creating);
    assert!(timeout(Duration::from_secs(2), &mut creating).await.is_err(), "the create must wait for the end");
    let made: u64 = stage.fakes.iter().map(|f| f.created_total()).sum();
    assert_eq!(made, 1);
    held.release();
    assert_eq!(ending.await.unwrap().text("messageKey"), "sentEndMeetingRequest");
    let answer = timeout(PATIENCE, creating).await.unwrap();
    assert!(answer.ok(), "{answer:?}");
    let now = stage.having("m");
    assert_eq!(now.len(), 1, "{now:?}");
    assert_eq!(stage.led_to(&a.join("m").await), Some(now[0]));
}

#[tokio::test]
async fn a_poll_never_undoes_a_create_under_way() {
    let stage = Stage::memory(2).await;
    let process = Arc::new(stage.process(patient()).await);
    let mut held = [stage.fakes[0].hold("create"), stage.fakes[1].hold("create")];
    let creating = {
        let process = process.clone();
        tokio::spawn(async move { process.create("m").await })
    };
    let [first, second] = &mut held;
    tokio::select! {
        r = first.arrived() => assert!(r.is_some()),
        r = second.arrived() => assert!(r.is_some()),
    }
    process.poll().await;
    process.poll().await;
    let home = process.home("m").await.expect("still bound");
    drop(held);
    let answer = creating.await.unwrap();
    assert!(answer.ok(), "{answer:?}");
    assert_eq!(stage.having("m"), [Stage::number(&home)]);
    assert_eq!(stage.led_to(&process.join("m").await), Some(Stage::number(&home)));
}

#[tokio::test]
async fn an_end_nobody_waits_for_is_finished_all_the_same() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let mut held = stage.fakes[0].hold("end");
    {
        let ending = process.call("end", "meetingID=m&password=mp");
        tokio::pin!(ending);
        tokio::select! {
            _ = &mut ending => panic!("it is held"),
            r = held.arrived() => assert!(r.is_some()),
        }
    }
    held.release();
    crate::stage::until("the meeting is forgotten", async || process.home("m").await.is_none()).await;
    assert!(process.create("m").await.ok());
    assert_eq!(stage.having("m"), [0]);
}

#[tokio::test]
async fn a_create_nobody_waits_for_is_finished_all_the_same() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    let mut held = stage.fakes[0].hold("create");
    {
        let creating = process.create("m");
        tokio::pin!(creating);
        tokio::select! {
            _ = &mut creating => panic!("it is held"),
            r = held.arrived() => assert!(r.is_some()),
        }
    }
    held.release();
    stage.fakes[0].wait_for(|s| s.meeting("m").is_some(), PATIENCE).await.unwrap();
    assert_eq!(stage.led_to(&process.join("m").await), Some(0));
    assert!(process.create("m").await.ok());
    assert_eq!(stage.fakes[0].created_total(), 1);
}
