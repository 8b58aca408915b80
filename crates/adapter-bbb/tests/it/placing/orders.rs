//! What operators order: cordon, disable, panic, remove.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::ServerState;
use adapter_bbb::testing::{MeetingSpec, Mode};
use tokio::time::{Instant, timeout};

use crate::stage::{PATIENCE, Stage, patient};

/// Long before a call is given up.
const SOON: Duration = Duration::from_secs(15);

/// Meetings `runs`, `empty` and `over` on the first server, the last of which has ended there; then the order.
async fn ordered(state: ServerState) -> (Stage, crate::stage::Process) {
    let stage = Stage::memory(2).await;
    stage.burden(1, 1_000);
    let process = stage.process(patient()).await;
    for id in ["runs", "empty", "over"] {
        assert!(process.create(id).await.ok());
        assert_eq!(stage.having(id), [0]);
    }
    stage.fakes[0].set_people("runs", 5, 1, 0);
    assert!(stage.fakes[0].remove_meeting("over"));
    stage.state(0, state).await;
    (stage, process)
}

#[tokio::test]
async fn a_cordoned_server_keeps_what_it_has_and_gets_nothing_new() {
    let (stage, process) = ordered(ServerState::Cordoned).await;
    for id in ["runs", "empty", "over", "new"] {
        let answer = process.create(id).await;
        assert!(answer.ok(), "{id}: {answer:?}");
    }
    assert_eq!((stage.having("runs"), stage.having("empty")), (vec![0], vec![0]));
    assert_eq!((stage.having("over"), stage.having("new")), (vec![1], vec![1]));
    assert_eq!(stage.led_to(&process.join("empty").await), Some(0));
    assert_eq!(stage.led_to(&process.join("over").await), Some(1));
    // Empty at last, it is disabled by a poll.
    for id in ["runs", "empty"] {
        stage.fakes[0].remove_meeting(id);
    }
    process.poll().await;
    process.poll().await;
    let info = process.call("getServerInfo", "id=s0").await;
    assert!(info.body.contains(r#""state":"disabled""#), "{info:?}");
}

#[tokio::test]
async fn a_meeting_of_a_disabled_server_ends_there_and_begins_anew() {
    let (stage, process) = ordered(ServerState::Disabled).await;
    assert_eq!(process.join("runs").await.text("messageKey"), "serverUnavailable");
    assert!(process.create("runs").await.ok());
    assert_eq!(stage.having("runs"), [1]);
    assert!(stage.fakes[0].inspect(|s| s.ended().iter().any(|id| id == "runs")));
    assert_eq!(stage.led_to(&process.join("runs").await), Some(1));
    assert!(process.create("over").await.ok());
    assert_eq!(stage.having("over"), [1]);
}

#[tokio::test]
async fn panic_of_a_hung_server_returns_at_once() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    for n in 0..10 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    stage.fakes[0].set_mode(Mode::Hang).await.unwrap();
    let mine: Vec<String> = stage.fakes[0].meetings().into_iter().map(|m| m.id).collect();
    assert_eq!(mine.len(), 5);
    let began = Instant::now();
    let answer = process.post("panicServer", r#"{"id":"s0"}"#).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("Server id=s0 has been disabled"), "{answer:?}");
    for id in &mine {
        assert_eq!(process.join(id).await.text("messageKey"), "notFound");
    }
    assert!(process.create(&mine[0]).await.ok());
    assert!(stage.fakes[1].meeting(&mine[0]).is_some());
}

#[tokio::test]
async fn panic_ends_every_meeting_and_keeps_the_state_when_told() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    for n in 0..40 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(process.post("panicServer", r#"{"id":"s0","keep_state":true}"#).await.status, 200);
    stage.fakes[0].wait_for(|s| s.meetings().len() == 0, PATIENCE).await.unwrap();
    assert!(process.call("getServerInfo", "id=s0").await.body.contains(r#""state":"enabled""#));
    assert_eq!(process.post("panicServer", r#"{"id":"none"}"#).await.status, 404);
}

#[tokio::test]
async fn removal_is_refused_while_meetings_run() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    stage.fakes[0].put_meeting(MeetingSpec::new("unbound").people(1, 0, 0));
    process.poll().await;
    let answer = process.post("removeServer", r#"{"id":"s0"}"#).await;
    assert_eq!(answer.status, 409);
    assert!(answer.body.contains("unbound") && answer.body.contains("cordon"), "{answer:?}");
    assert!(process.create("m").await.ok());
    assert_eq!(process.post("removeServer", r#"{"id":"s1"}"#).await.status, 409);
    assert_eq!(process.post("removeServer", r#"{"id":"s1","force":true}"#).await.status, 200);
    stage.fakes[1].wait_for(|s| s.meeting("m").is_none(), PATIENCE).await.unwrap();
    assert_eq!(process.join("m").await.text("messageKey"), "notFound");
}

#[tokio::test]
async fn a_removed_server_hears_nothing_more() {
    let stage = Stage::memory(2).await;
    let process = Arc::new(stage.process(patient()).await);
    stage.fakes[0].stop().await;
    let answer = timeout(SOON, process.post("deleteServer", r#"{"id":"s0"}"#)).await.unwrap();
    assert_eq!(answer.status, 200);
    stage.fakes[0].ok().await.unwrap();
    let before = stage.fakes[0].inspect(|s| s.requests());
    process.poll().await;
    for n in 0..8 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [0, 8]);
    assert_eq!(stage.fakes[0].inspect(|s| s.requests()), before);
}

#[tokio::test]
async fn servers_are_added_by_host_name_and_without_user_names() {
    let stage = Stage::memory(0).await;
    let mut o = patient();
    o.id_is_hostname = true;
    let process = stage.process(o).await;
    for (host, id) in [("[2001:DB8::1]:8443", "2001:db8::1"), ("BBB1.example.com:8443", "bbb1.example.com")] {
        let body = format!(r#"{{"server":{{"url":"https://{host}/bigbluebutton/api","secret":"s"}}}}"#);
        let answer = process.post("addServer", &body).await;
        let added: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, added["id"].as_str()), (201, Some(id)));
    }
    for url in ["http:///api", "https://bbb3.example.com/api?a=1", "https://bbb3.example.com/api#a", "ftp://a/api", "a"]
    {
        let answer = process.post("addServer", &format!(r#"{{"server":{{"url":"{url}","secret":"s"}}}}"#)).await;
        assert!(answer.status == 400 && answer.body.contains("is not a URL of a server"), "{url}: {answer:?}");
    }
    // Fields that are null are left as they are.
    let body = r#"{"id":"bbb1.example.com","server":{"state":null,"load_multiplier":null,"secret":null,"tag":"eu"}}"#;
    let answer = process.post("updateServer", body).await;
    assert!(answer.status == 200 && answer.body.contains(r#""tag":"eu""#), "{answer:?}");
    assert!(answer.body.contains(r#""state":"disabled""#), "{answer:?}");
    let body = r#"{"server":{"url":"https://ann:hunter2@bbb2.example.com/bigbluebutton/api","secret":"s"}}"#;
    let answer = process.post("addServer", body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("user name") && !answer.body.contains("hunter2"), "{answer:?}");
}

#[tokio::test]
async fn a_meeting_whose_server_refuses_to_end_it_is_not_forgotten() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let home = stage.having("m")[0];
    let refusal = Mode::failed("invalidPassword", "You must supply the moderator password for this call.");
    stage.fakes[home].set_mode_for(&["end"], refusal);
    let answer = process.call("end", "meetingID=m&password=wrong").await;
    assert_eq!(answer.text("messageKey"), "invalidPassword", "{answer:?}");
    assert_eq!(stage.led_to(&process.join("m").await), Some(home));
    assert!(process.create("m").await.ok());
    assert_eq!(stage.having("m"), [home]);
    // One that has ended there already is forgotten, and so is one whose server is gone.
    stage.fakes[home].set_mode_for(&["end"], Mode::failed("notFound", "not here"));
    assert_eq!(process.call("end", "meetingID=m&password=mp").await.text("messageKey"), "notFound");
    assert_eq!(process.join("m").await.text("messageKey"), "notFound");
    assert!(process.create("n").await.ok());
    let home = stage.having("n")[0];
    stage.fakes[home].set_mode_for(&["end"], Mode::Down);
    assert_eq!(process.call("end", "meetingID=n&password=mp").await.text("messageKey"), "internalError");
    assert_eq!(process.join("n").await.text("messageKey"), "notFound");
}
