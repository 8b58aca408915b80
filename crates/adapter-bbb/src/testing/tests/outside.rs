//! Hooks, chat and sessions of the fake.

use super::*;

#[tokio::test]
async fn hooks_are_kept_listed_and_removed() {
    let fake = fake().await;
    let mut client = Client::open(&fake).await;
    assert_eq!(client.call(&fake, "hooks/create", "").await.key(), "missingParamCallbackURL");
    let first = client.call(&fake, "hooks/create", "callbackURL=http%3A%2F%2Fa%2F%3Fx%3D1%26y&getRaw=true").await;
    assert_eq!((first.child("hookID"), first.child("rawData"), first.child("permanentHook")), ("1", "true", "false"));
    let again = client.call(&fake, "hooks/create", "callbackURL=http%3A%2F%2Fa%2F%3Fx%3D1%26y&meetingID=m").await;
    assert_eq!((again.key(), again.child("hookID")), ("duplicateWarning", "1"));
    client.call(&fake, "hooks/create", "callbackURL=http%3A%2F%2Fb&meetingID=m&eventID=user-joined").await;
    let list = client.call(&fake, "hooks/list", "").await;
    list.has("<callbackURL><![CDATA[http://a/?x=1&y]]></callbackURL>").has("<meetingID><![CDATA[m]]></meetingID>");
    let other = client.call(&fake, "hooks/list", "meetingID=other").await;
    assert!(other.body.contains("http://a/") && !other.body.contains("http://b"), "{other:?}");
    assert_eq!(client.call(&fake, "hooks/destroy", "").await.key(), "missingParamHookID");
    assert_eq!(client.call(&fake, "hooks/destroy", "hookID=9").await.key(), "destroyMissingHook");
    client.call(&fake, "hooks/destroy", "hookID=1").await.has("<removed>true</removed>");
    assert_eq!(fake.hooks().iter().map(|h| (h.id, h.url.as_str())).collect::<Vec<_>>(), [(2, "http://b")]);
    fake.revive(Meetings::Lose).await.unwrap();
    assert!(fake.hooks().is_empty());
}

#[tokio::test]
async fn chat_and_sessions_belong_to_meetings() {
    let fake = fake().await;
    let mut client = Client::open(&fake).await;
    client.call(&fake, "create", "meetingID=m").await.has("SUCCESS");
    client.call(&fake, "sendChatMessage", "meetingID=m&message=a%3Cb").await.has("SUCCESS");
    assert_eq!(fake.meeting("m").unwrap().chat, [("System".to_owned(), "a<b".to_owned())]);
    let long = format!("meetingID=m&message={}", "x".repeat(501));
    assert_eq!(client.call(&fake, "sendChatMessage", &long).await.key(), "invalidMessage");
    assert_eq!(client.call(&fake, "sendChatMessage", "meetingID=n&message=x").await.key(), "notFound");
    let joined = client.call(&fake, "join", "meetingID=m&fullName=A&redirect=false").await;
    let token = joined.child("session_token").to_owned();
    let url = client.call(&fake, "getJoinUrl", &format!("sessionToken={token}")).await;
    assert!(url.head.contains("application/json") && url.body.contains("/html5client/?sessionToken="), "{url:?}");
    client.call(&fake, "getJoinUrl", "sessionToken=x").await.has("missingSession");
    let path = fake.signed_path("feedback", &format!("sessionToken={token}"));
    client.send(&format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{{\"rating\":5}}")).await;
    timeout(SOON, client.reply()).await.unwrap().unwrap().has("ok");
    assert_eq!(fake.feedback(), ["{\"rating\":5}"]);
}

#[tokio::test]
async fn a_breakout_room_needs_its_parent() {
    let fake = fake().await;
    let room = "meetingID=b&isBreakout=true&parentMeetingID=m";
    assert_eq!(once(&fake, "create", room).await.unwrap().key(), "noParentMeeting");
    once(&fake, "create", "meetingID=m").await.unwrap().has("SUCCESS");
    once(&fake, "create", room).await.unwrap().has("SUCCESS");
    once(&fake, "getMeetingInfo", "meetingID=b").await.unwrap().has("<isBreakout>true</isBreakout>");
}
