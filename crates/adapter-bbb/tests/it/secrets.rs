//! No secret in any output.

use std::time::Duration;

use adapter_bbb::testing::Mode;
use adapter_bbb::{Bind, HttpLimits, HttpServer, MeetingClaim, Payload, RequestHead, Secret, ServerPatch, ServerState};
use balancer_core::{Token, Want};
use bytes::Bytes;

use crate::logs::Log;
use crate::stage::{SECRET, Stage, options, signed};

const NEVER: [&str; 6] = [SECRET, "server-secret", "Zk9", "Password-a1", "Password-b2", "checksum="];

#[tokio::test]
async fn no_secret_is_logged_or_shown() {
    let log = Log::default();
    let _kept = log.keep();
    let Some(stage) = Stage::redis(3).await else { return };
    let process = stage.process(options()).await;
    let create = |id: &str| format!("meetingID={id}&moderatorPW=Password-a1&attendeePW=Password-b2");
    let mut bodies = String::new();
    for mode in [Mode::Ok, Mode::Down, Mode::Reset, Mode::Hang, Mode::Garbage, Mode::failed("a", "b"), Mode::Ok] {
        stage.fakes[0].set_mode(mode).await.unwrap();
        process.poll().await;
        for n in 0..3 {
            let id = format!("m{n}");
            for (call, query) in [
                ("create", create(&id)),
                ("join", format!("meetingID={id}&fullName=A&password=Password-b2")),
                ("getMeetingInfo", format!("meetingID={id}&password=Password-a1")),
                ("isMeetingRunning", format!("meetingID={id}")),
                ("end", format!("meetingID={id}&password=Password-a1")),
            ] {
                let answer = process.call(call, &query).await;
                if call != "join" && call != "getMeetingInfo" && call != "create" {
                    bodies.push_str(&answer.body);
                }
            }
        }
        for call in ["getMeetings", "status", "explain", "meetings"] {
            let answer = process.call(call, "meetingID=m1").await;
            if call != "getMeetings" {
                bodies.push_str(&answer.body);
            }
        }
    }
    let add = r#"{"server":{"url":"http://127.0.0.1:9/bigbluebutton/api","secret":"server-secret-new"}}"#;
    assert_eq!(process.post("addServer", add).await.status, 201);
    stage.state(1, ServerState::Disabled).await;
    process.post("updateServer", r#"{"id":"s0","server":{"state":"bogus","secret":"server-secret-x"}}"#).await;
    process.post("updateServer", r#"{"id":"s0","server":{"secret":"server-secret-x"}}"#).await;
    bodies.push_str(&process.post("poll", "{}").await.body);
    bodies.push_str(&process.post("panicServer", r#"{"id":"s2"}"#).await.body);
    bodies.push_str(&process.post("removeServer", r#"{"id":"s2"}"#).await.body);

    // Again a meeting with its passwords, to be shown.
    assert!(process.call("create", &create("shown")).await.status == 200);
    let look = stage.store.look("shown").await.unwrap();
    let listed = stage.store.meetings(None).await.unwrap();
    let want = Want { backend: "s0".into(), token: Token(1) };
    let claim = MeetingClaim {
        id: "shown",
        over: None,
        want: &want,
        moderator_pw: "Password-a1",
        bridges: &[],
        load: 0.0,
        adopt: false,
        tenant: "",
        most: 0,
        registered: false,
        ttl: Duration::from_secs(1),
    };
    let (path, query) = signed("create", &create("shown"));
    let head = RequestHead {
        method: "GET",
        path: &path,
        query: &query,
        host: None,
        content_type: None,
        ..RequestHead::default()
    };
    let patch = ServerPatch { secret: Some(Secret::new("server-secret-patch")), ..ServerPatch::default() };
    let payload = Payload::Whole(Bytes::from_static(add.as_bytes()));
    let data = format!("{look:?} {listed:?} {claim:?} {head:?} {patch:?} {payload:?}");

    let cluster = process.service.cluster();
    let bind = Bind::Tcp(([127, 0, 0, 1], 0).into());
    let http = HttpServer::bind(&bind, process.service.clone(), HttpLimits::default()).await.unwrap();
    let records = stage.store.servers().await.unwrap();
    assert!(!records.servers.is_empty());
    let defined: Vec<_> = records.servers.iter().map(adapter_bbb::BbbServer::new).collect();
    let shown = format!(
        "{cluster:?} {:?} {http:?} {records:?} {defined:?} {:?} {:?} {:?} {}",
        process.service,
        options(),
        stage.fakes,
        Secret::new("server-secret-direct"),
        stage.store.describe(),
    );
    let log = log.text();
    assert!(log.contains("server is offline") && log.contains("call to a server failed"), "{log}");
    for (what, text) in [("log", &log), ("Debug", &shown), ("data", &data), ("answers", &bodies)] {
        for never in NEVER {
            let line = text.lines().find(|l| l.contains(never));
            assert!(line.is_none(), "{never} in {what}: {line:?}");
        }
    }
}
