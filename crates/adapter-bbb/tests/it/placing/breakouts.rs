//! Breakout rooms live beside their meeting.

use adapter_bbb::ServerState;
use adapter_bbb::testing::{MeetingSpec, Mode};

use crate::stage::{Answer, Process, Stage, patient};

async fn breakout(process: &Process, id: &str, parent: &str) -> Answer {
    process.call("create", &format!("meetingID={id}&isBreakout=true&parentMeetingID={parent}&sequence=1")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breakout_room_goes_to_the_server_of_its_meeting() {
    let stage = Stage::memory(3).await;
    let process = stage.process(patient()).await;
    for n in 0..3 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    for n in 0..3 {
        let home = stage.having(&format!("m{n}"));
        // However busy that one is.
        stage.burden(home[0], 500);
        process.poll().await;
        for room in 0..4 {
            let answer = breakout(&process, &format!("m{n}-{room}"), &format!("m{n}")).await;
            assert!(answer.ok(), "{answer:?}");
            assert_eq!(stage.having(&format!("m{n}-{room}")), home);
        }
        assert_eq!(stage.led_to(&process.join(&format!("m{n}-0")).await), Some(home[0]));
        assert_eq!(
            breakout(&process, &format!("m{n}-0"), &format!("m{n}")).await.text("messageKey"),
            "duplicateWarning"
        );
    }
    // On a server that takes nothing new, too.
    let home = stage.having("m0")[0];
    stage.state(home, ServerState::Cordoned).await;
    assert!(breakout(&process, "late", "m0").await.ok());
    assert_eq!(stage.having("late"), [home]);
    // Rooms end with `end` like any other.
    assert!(process.call("end", "meetingID=late&password=x").await.ok());
    assert!(stage.having("late").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breakout_room_without_its_meeting_is_refused_and_bound_nowhere() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    assert_eq!(breakout(&process, "b", "none").await.text("messageKey"), "notFound");
    assert!(process.create("m").await.ok());
    let home = stage.having("m")[0];
    stage.fakes[home].set_mode_for(&["create"], Mode::failed("tooBusy", "no"));
    assert_eq!(breakout(&process, "b", "m").await.text("messageKey"), "tooBusy");
    assert_eq!(process.home("b").await, None);
    stage.fakes[home].stop().await;
    assert!(!breakout(&process, "b", "m").await.ok());
    assert!(stage.having("b").is_empty(), "nowhere else");
}

#[tokio::test]
async fn a_breakout_room_that_a_server_made_by_itself_can_be_asked_for() {
    let stage = Stage::memory(2).await;
    stage.fakes[1].put_meeting(MeetingSpec::new("inside").people(2, 0, 0).breakout());
    let process = stage.process(patient()).await;
    let info = process.call("getMeetingInfo", "meetingID=inside").await;
    assert_eq!((info.text("isBreakout"), info.text("participantCount")), ("true", "2"));
    assert_eq!(process.call("getMeetingInfo", "meetingID=other").await.text("messageKey"), "notFound");
}
