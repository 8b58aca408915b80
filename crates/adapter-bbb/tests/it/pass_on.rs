//! Calls that Scalelite does not know: passed on to where they belong.

use adapter_bbb::testing::Mode;
use adapter_bbb::{Algorithm, Payload, RequestHead, sign};
use bytes::Bytes;

use crate::stage::{HOST, Process, SECRET, Stage, patient};

#[tokio::test]
async fn a_chat_message_reaches_the_meetings_server() {
    let stage = Stage::memory(3).await;
    let process = stage.process(patient()).await;
    for n in 0..3 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    for n in 0..3 {
        let query = format!("meetingID=m{n}&message=hello+%C3%A4+%26&userName=The+office");
        let answer = process.call("sendChatMessage", &query).await;
        assert!(answer.ok(), "{answer:?}");
        let at = stage.having(&format!("m{n}"))[0];
        let chat = stage.fakes[at].meeting(&format!("m{n}")).unwrap().chat;
        assert_eq!(chat, [("The office".to_owned(), "hello ä &".to_owned())]);
        let seen = stage.fakes[at].calls_of("sendChatMessage");
        assert_eq!((seen.len(), seen[0].checksum_ok), (1, true));
    }
    assert_eq!(process.call("sendChatMessage", "message=x").await.text("messageKey"), "missingParamMeetingID");
    assert_eq!(process.call("sendChatMessage", "meetingID=none&message=x").await.text("messageKey"), "notFound");
    // The server's own refusal comes through.
    assert_eq!(process.call("sendChatMessage", "meetingID=m0").await.text("messageKey"), "invalidMessage");
}

/// A session token of somebody who joined.
async fn session(stage: &Stage, process: &Process, meeting: &str) -> String {
    let led = process.join(meeting).await.location.unwrap();
    let at = stage.having(meeting)[0];
    let client = stage.fakes[at].perform(&led, b"").unwrap();
    client.split_once("sessionToken=").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_session_is_found_on_its_server() {
    let stage = Stage::memory(3).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let at = stage.having("m")[0];
    let token = session(&stage, &process, "m").await;
    // Without the meeting every server is asked; one that fails is no harm.
    stage.fakes[(at + 1) % 3].set_mode_for(&["getJoinUrl"], Mode::Html502);
    let answer = process.call("getJoinUrl", &format!("sessionToken={token}")).await;
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(json["response"]["returncode"], "SUCCESS", "{answer:?}");
    assert!(json["response"]["url"].as_str().unwrap().contains(&stage.fakes[at].port().to_string()));
    // With it, its server only.
    let before = stage.fakes.iter().map(|f| f.count("getJoinUrl")).sum::<u64>();
    let answer = process.call("getJoinUrl", &format!("sessionToken={token}&meetingID=m")).await;
    assert!(answer.body.contains("SUCCESS"), "{answer:?}");
    assert_eq!(stage.fakes.iter().map(|f| f.count("getJoinUrl")).sum::<u64>(), before + 1);
    let unknown = process.call("getJoinUrl", "sessionToken=nobody").await;
    assert!(unknown.body.contains("missingSession"), "{unknown:?}");
    assert_eq!(process.call("getJoinUrl", "").await.text("messageKey"), "missingToken");
}

#[tokio::test]
async fn feedback_reaches_the_server_of_its_session() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let at = stage.having("m")[0];
    let token = session(&stage, &process, "m").await;
    let query = format!("sessionToken={token}");
    let sum = sign(Algorithm::Sha256, "feedback", &query, SECRET);
    let query = format!("{query}&checksum={sum}");
    let said = r#"{"rating":5,"comment":"good ä"}"#;
    let head = RequestHead {
        method: "POST",
        path: "/bigbluebutton/api/feedback",
        query: &query,
        host: Some(HOST),
        content_type: Some("application/json"),
        ..RequestHead::default()
    };
    let answer = process.service.handle(head, Payload::Whole(Bytes::from(said))).await;
    assert_eq!(answer.body().as_ref(), br#"{"status":"ok"}"#);
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(stage.fakes[at].feedback(), [said]);
    assert_eq!(stage.fakes[1 - at].feedback(), [""; 0]);
    // Nobody without a secret has every server asked.
    let unsigned = RequestHead { query: "sessionToken=x", ..head };
    let answer = process.service.handle(unsigned, Payload::Whole(Bytes::from(said))).await;
    assert!(String::from_utf8_lossy(answer.body()).contains("checksumError"));
}
