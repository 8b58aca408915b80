#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{RoomServer, VisitError, Visitor, ask};
use crate::room::RoomRule;

const ALGEBRA: &str = "/socket.io/?peerId=ann&roomId=algebra&transport=websocket";

async fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        tokio::task::yield_now().await;
    }
}

fn names(server: &RoomServer) -> Vec<(String, usize)> {
    server.rooms().into_iter().map(|room| (room.room, room.people)).collect()
}

#[tokio::test]
async fn a_room_counts_who_is_in_it() {
    let server = RoomServer::start("mm1", RoomRule::Edumeet3).await.unwrap();
    let mut ann = Visitor::join(server.address(), ALGEBRA).await.unwrap();
    let bob = Visitor::join(server.address(), "/socket.io/?peerId=bob&roomId=al%67ebra").await.unwrap();
    assert_eq!((ann.answer().people, bob.answer().people, bob.room()), (1, 2, "algebra"));
    ann.say("hello").await.unwrap();
    drop(bob);
    until("bob leaves", || names(&server) == [("algebra".to_owned(), 1)]).await;
    // Asked for by callback and by polling, it is the same room; a page opens none.
    let state = super::encode_base64(br#"{"peerId":"x","roomId":"algebra"}"#);
    assert_eq!(ask(server.address(), &format!("/auth/callback?code=1&state={state}")).await.unwrap().room, "algebra");
    assert_eq!(ask(server.address(), "/socket.io/?roomId=algebra").await.unwrap().people, 1);
    assert!(matches!(ask(server.address(), "/geometry").await, Err(VisitError::Lost { .. })), "a page is no JSON");
    assert_eq!(server.rooms().len(), 1);
    let said = raw(&server, "GET /metrics HTTP/1.1\r\n\r\n").await;
    assert!(
        said.ends_with("edumeet_rooms 1\n# TYPE edumeet_peers gauge\nedumeet_peers{room_id=\"algebra\"} 1\n"),
        "{said}"
    );
    let said = raw(&server, "GET /rooms.json HTTP/1.1\r\n\r\n").await;
    assert!(said.ends_with(r#"[{"name":"algebra","people":1}]"#), "{said}");
}

async fn raw(server: &RoomServer, words: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn shards_know_their_tenants() {
    let shard = RoomServer::start("shard1", RoomRule::Jitsi).await.unwrap();
    for target in ["/Acme/xmpp-websocket?room=Standup", "/acme/http-bind?room=standup"] {
        assert_eq!(ask(shard.address(), target).await.unwrap().room, "acme/standup");
    }
    assert!(ask(shard.address(), "/acme/other").await.is_err(), "a page opens no room");
    assert_eq!(names(&shard), [("acme/standup".to_owned(), 0)]);
}

#[tokio::test]
async fn it_drains_sickens_hangs_and_dies_on_command() {
    let server = RoomServer::start("mm1", RoomRule::Edumeet3).await.unwrap();
    let mut ann = Visitor::join(server.address(), ALGEBRA).await.unwrap();
    server.drain(true);
    Visitor::join(server.address(), ALGEBRA).await.unwrap();
    let refused = Visitor::join(server.address(), "/socket.io/?peerId=x&roomId=new").await;
    assert!(matches!(refused, Err(VisitError::Refused { status: 503, .. })), "{refused:?}");
    assert_eq!(server.refused(), 1);
    server.drain(false);

    server.set_healthy(false);
    assert!(raw(&server, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 500 "));
    ann.say("still here").await.unwrap();
    server.set_healthy(true);
    assert!(raw(&server, "GET / HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\nmm1\n"));

    server.hang(true);
    assert!(!server.is_alive());
    let mut waiting = Box::pin(ask(server.address(), ALGEBRA));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    server.hang(false);
    assert_eq!(waiting.await.unwrap().server, "mm1");

    server.die();
    timeout(Duration::from_secs(60), ann.cut()).await.unwrap();
    let (address, lost) = (server.address(), ask(server.address(), ALGEBRA).await);
    assert!(lost.unwrap_err().to_string().starts_with(&format!("{address} does not answer {ALGEBRA}: ")));
    server.revive().await.unwrap();
    assert!(server.is_alive() && server.rooms().is_empty());
    let again = Visitor::join(server.address(), ALGEBRA).await.unwrap();
    assert_eq!(again.answer().people, 1, "who was there before its death is forgotten");
    assert_eq!(server.people(), 1);
}

#[tokio::test]
async fn what_is_no_request_ends_its_connection_alone() {
    let server = RoomServer::start("mm1", RoomRule::Edumeet3).await.unwrap();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
    let odd = [
        "\0\u{ff}\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        &long,
        &many,
        "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    ];
    for words in odd {
        // A connection that is cut while we still speak is an error here, and that is well.
        if let Ok(mut stream) = TcpStream::connect(server.address()).await {
            let _ = stream.write_all(words.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    assert_eq!(ask(server.address(), ALGEBRA).await.unwrap().server, "mm1");
}
