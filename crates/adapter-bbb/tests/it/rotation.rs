//! A server's secret is changed while it serves: nobody notices, and the old one is gone in the end.

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};

use crate::stage::{Process, Stage, patient, until};
use real_servers::free_port;

const NEW: &str = "server-secret-new-Zk9";

/// The server comes back at its old place with another secret and the same meeting.
async fn restart(stage: &mut Stage, secret: &str) {
    let port = stage.fakes[0].port();
    drop(stage.fakes.remove(0));
    let mut back = None;
    until("the server is back", async || {
        back = FakeBbb::start(FakeOptions::new(secret).name("s0").port(port)).await.ok();
        back.is_some()
    })
    .await;
    let fake = back.unwrap();
    fake.put_meeting(MeetingSpec::new("m").people(2, 1, 0));
    stage.fakes.insert(0, fake);
}

async fn serves(stage: &Stage, process: &Process, when: &str) {
    let running = process.call("isMeetingRunning", "meetingID=m").await;
    assert!(running.ok(), "{when}: {running:?}");
    let location = process.join("m").await.location.unwrap_or_else(|| panic!("{when}: no join"));
    let path = location.split_once("/bigbluebutton/").map(|(_, rest)| format!("/bigbluebutton/{rest}")).unwrap();
    let shown = stage.fakes[0].perform(&path, b"").or_else(|| stage.fakes[0].perform(&location, b"")).unwrap();
    assert!(shown.contains("/html5client/"), "{when}: {shown}");
    process.poll().await;
    let status = process.call("status", "").await.body;
    assert!(status.contains("\"online\":true"), "{when}: {status}");
}

async fn changing(process: &Process) -> bool {
    process.call("status", "").await.body.contains("\"secret_changing\":true")
}

async fn rotates(mut stage: Stage) {
    // At a place that no outgoing connection takes while it is away.
    let options = FakeOptions::new("server-secret-0-Zk9").name("s0").port(free_port());
    stage.put(0, FakeBbb::start(options).await.unwrap(), None, None).await;
    let process = stage.process(patient()).await;
    let other = stage.process(patient()).await;
    process.poll().await;
    assert!(process.create("m").await.ok());
    stage.fakes[0].put_meeting(MeetingSpec::new("m").people(2, 1, 0));

    // The balancer is told first: the server still answers to the old one.
    let told = process.post("updateServer", &format!(r#"{{"id":"s0","server":{{"secret":"{NEW}"}}}}"#)).await;
    assert!(told.status == 200 && told.body.contains(NEW), "Scalelite's answer: {told:?}");
    assert!(changing(&process).await);
    serves(&stage, &process, "the server has the old secret").await;
    other.poll().await;
    serves(&stage, &other, "another process, the server has the old secret").await;
    assert!(changing(&process).await);

    // Then the server changes: the first call finds out, and the old one is forgotten everywhere.
    restart(&mut stage, NEW).await;
    serves(&stage, &process, "the server has the new secret").await;
    assert!(!changing(&process).await);
    other.poll().await;
    assert!(!changing(&other).await);
    serves(&stage, &other, "another process, the server has the new secret").await;
    let record = stage.store.servers().await.unwrap().servers.remove(0);
    assert!(record.old_secret.is_none() && record.secret.expose() == NEW);

    // The server first, the balancer after it: no old one is kept at all.
    restart(&mut stage, "server-secret-third-Zk9").await;
    let told = process.post("updateServer", r#"{"id":"s0","server":{"secret":"server-secret-third-Zk9"}}"#).await;
    assert_eq!(told.status, 200);
    assert!(!changing(&process).await);
    serves(&stage, &process, "the third secret").await;

    // A change that is taken back leaves nothing.
    process.post("updateServer", r#"{"id":"s0","server":{"secret":"server-secret-fourth-Zk9"}}"#).await;
    process.post("updateServer", r#"{"id":"s0","server":{"secret":"server-secret-fifth-Zk9"}}"#).await;
    assert!(changing(&process).await);
    serves(&stage, &process, "two that the server never had").await;
    process.post("updateServer", r#"{"id":"s0","server":{"secret":"server-secret-third-Zk9"}}"#).await;
    assert!(!changing(&process).await);
    serves(&stage, &process, "taken back").await;
}

#[tokio::test]
async fn a_servers_secret_changes_in_memory() {
    rotates(Stage::memory(0).await).await;
}

#[tokio::test]
async fn a_servers_secret_changes_in_redis() {
    let Some(stage) = Stage::redis(0).await else { return };
    rotates(stage).await;
}
