//! Being thrown out, and servers and bridges that send what they should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use adapter_jitsi::{Action, Backoff, BreweryEvent, Channel, LeaveReason, Session, Signal, XmppError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::prosody::{Observer, Prosody, Setup, figures, soon};

const ROOM: &str = "jvbbrewery@internal.auth.meet.test";

/// An owner of the room who sends whatever he is told: the session drives his login, the test writes the rest.
struct Owner(TcpStream);

impl Owner {
    async fn join(server: &Prosody) -> Self {
        let options = server.options("focus", "focus");
        let mut stream = TcpStream::connect(&options.server).await.unwrap();
        let mut session = Session::new(options.login, Channel::Loopback, [9; 18], "", Instant::now());
        let mut buffer = [0; 4096];
        loop {
            while let Some(action) = session.poll() {
                match action {
                    Action::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
                    Action::Signal(Signal::Joined { .. }) => return Self(stream),
                    Action::Signal(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            let length = stream.read(&mut buffer).await.unwrap();
            session.receive(&buffer[..length], Instant::now());
        }
    }

    async fn admin(&mut self, item: &str) {
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
        self.send(&format!("<iq type='set' id='a' to='{ROOM}'>{query}</iq>")).await;
    }

    /// What the server sends up to the end of the stanza with this id.
    async fn answer(&mut self, id: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some((_, answer)) = text.split_once("<iq ").filter(|(_, answer)| answer.contains(id))
                && (answer.contains("/>") || answer.contains("</iq>"))
            {
                return answer.to_owned();
            }
            let length = self.0.read(&mut buffer).await.unwrap();
            assert!(length > 0, "closed before {id}");
            text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }
}

async fn left(observer: &mut Observer) -> (String, LeaveReason) {
    observer
        .until("a leave", |event| match event {
            BreweryEvent::BridgeLeft { occupant, reason } => Some((occupant.nick().to_owned(), reason)),
            _ => None,
        })
        .await
}

async fn disconnected(observer: &mut Observer) -> XmppError {
    observer
        .until("our own removal", |event| match event {
            BreweryEvent::Disconnected { why, .. } => Some(why),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn kicks_and_a_destroyed_room_are_told_apart_and_survived() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let mut owner = Owner::join(&server).await;
    let (one, two) = (server.bridge("jvb1"), server.bridge("jvb2"));
    soon(one.joined()).await.unwrap();
    soon(two.joined()).await.unwrap();
    let mut options = server.options("balancer", "observer");
    options.retry_lasting = Backoff { first: Duration::from_millis(300), cap: Duration::from_millis(300) };
    let mut observer = Observer::start(options);
    assert_eq!(observer.resynced().await.present, ["jvb1", "jvb2"]);

    owner.admin("<item nick='jvb1' role='none'/>").await;
    assert_eq!(left(&mut observer).await, ("jvb1".to_owned(), LeaveReason::Kicked));
    owner.admin("<item nick='observer' role='none'/>").await;
    let why = disconnected(&mut observer).await;
    assert!(matches!(&why, XmppError::Removed { reason: LeaveReason::Kicked, .. }) && why.is_lasting(), "{why}");
    assert!(observer.resynced().await.present.contains(&"jvb2".to_owned()));

    owner.send(&format!("<iq type='set' id='d' to='{ROOM}'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>")).await;
    let why = disconnected(&mut observer).await;
    assert!(matches!(why, XmppError::Removed { reason: LeaveReason::RoomDestroyed, .. }), "{why}");
    let resync = observer.resynced().await;
    println!("after the room was destroyed: {resync:?}");
}

#[tokio::test]
async fn a_bridge_answers_health_checks_as_it_is() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let mut owner = Owner::join(&server).await;
    let bridge = server.bridge("jvb1");
    soon(bridge.joined()).await.unwrap();
    let check = |id: &str| {
        let check = "<healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/>";
        format!("<iq type='get' id='{id}' to='{ROOM}/jvb1'>{check}</iq>")
    };
    owner.send(&check("h1")).await;
    let answer = soon(owner.answer("h1")).await;
    assert!(answer.contains("result") && !answer.contains("<error"), "{answer}");
    bridge.set_healthy(false);
    let mut observer = Observer::start(server.options("balancer", "observer"));
    observer
        .until("the figure", |event| match event {
            BreweryEvent::BridgeSeen { stanza, .. } => (figures(&stanza)["healthy"] == "false").then_some(()),
            _ => None,
        })
        .await;
    owner.send(&check("h2")).await;
    let answer = soon(owner.answer("h2")).await;
    assert!(answer.contains("internal-server-error"), "{answer}");
}

#[tokio::test]
async fn who_is_banned_is_told_so_and_comes_back_when_he_may() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let mut owner = Owner::join(&server).await;
    let mut options = server.options("balancer", "observer");
    options.retry_lasting = Backoff { first: Duration::from_millis(300), cap: Duration::from_millis(300) };
    let mut observer = Observer::start(options);
    observer.resynced().await;
    owner.admin("<item jid='balancer@auth.meet.test' affiliation='outcast'/>").await;
    let why = disconnected(&mut observer).await;
    assert!(matches!(why, XmppError::Removed { reason: LeaveReason::Banned, .. }), "{why}");
    observer
        .until("the closed door", |event| match event {
            BreweryEvent::Refused { why: XmppError::Join { condition, .. }, .. } => {
                assert_eq!(condition, "forbidden");
                Some(())
            }
            _ => None,
        })
        .await;
    owner.admin("<item jid='balancer@auth.meet.test' affiliation='none'/>").await;
    observer.resynced().await;
    observer.stop().await;
}

#[tokio::test]
async fn a_presence_above_the_limit_is_cut_and_the_rest_is_read() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let bridge = server.bridge("jvb1");
    soon(bridge.joined()).await.unwrap();
    let mut options = server.options("balancer", "observer");
    options.login.limits.stanza = 1000;
    let mut observer = Observer::start(options);
    let (nick, bytes) = observer
        .until("the cut", |event| match event {
            BreweryEvent::Cut { occupant, bytes } => Some((occupant.unwrap().nick().to_owned(), bytes)),
            _ => None,
        })
        .await;
    assert!(nick == "jvb1" && bytes > 1000, "{nick} {bytes}");
    observer.resynced().await;
    for _ in 0..5 {
        observer.until("more cuts", |event| matches!(event, BreweryEvent::Cut { .. }).then_some(())).await;
    }
    assert!(!observer.came().iter().any(|event| matches!(event, BreweryEvent::Disconnected { .. })));
    observer.stop().await;
}

/// A server that answers every connection with these bytes and counts them.
async fn liar(answer: &'static [u8]) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let _ = stream.write_all(answer).await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_server_that_sends_garbage_is_not_asked_in_a_loop() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"<?xml version='1.0'?><!DOCTYPE lol [<!ENTITY lol 'lol'>]><stream>",
        b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'><a></b>",
        b"<html>",
        b"\x16\x03\x01\0\0",
    ] {
        let (address, count) = liar(answer).await;
        let mut options = server.options("balancer", "observer");
        options.server = address;
        options.retry = Backoff { first: Duration::from_millis(200), cap: Duration::from_millis(200) };
        let mut observer = Observer::start(options);
        let began = Instant::now();
        let mut said = String::new();
        for _ in 0..4 {
            observer
                .until("a refusal", |event| match event {
                    BreweryEvent::Refused { why, .. } => {
                        said = why.to_string();
                        Some(())
                    }
                    _ => None,
                })
                .await;
        }
        println!("{:?}: {said}", String::from_utf8_lossy(answer).chars().take(20).collect::<String>());
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        assert!(count.load(Ordering::Relaxed) <= 5);
        observer.stop().await;
    }
}
