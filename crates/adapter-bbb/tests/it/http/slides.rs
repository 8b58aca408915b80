//! Slides of a create: passed on while they arrive, kept for a second server as far as there is room.

use std::net::SocketAddr;

use adapter_bbb::{Bind, HttpLimits, RateLimit, RatePer, Secret, ServerPatch, ServerRecord, ServerState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::bodies::pattern;
use super::{Served, exchange, post, read_reply, target};
use crate::stage::{PATIENCE, patient, until};

const MIB: usize = 1 << 20;

/// A server that tells how much of a create has arrived, and may break off there.
struct Reading {
    at: SocketAddr,
    arrived: watch::Receiver<usize>,
}

fn document(inner: &str) -> String {
    let body = format!("<response>{inner}</response>");
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads one request and answers it; `false` when it broke off.
async fn serve(stream: &mut TcpStream, break_at: usize, arrived: &watch::Sender<usize>) -> bool {
    let mut got = Vec::new();
    let begin = loop {
        if let Some(at) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if !matches!(stream.read_buf(&mut got).await, Ok(n) if n > 0) {
            return false;
        }
    };
    let head = String::from_utf8_lossy(&got[..begin]).to_lowercase();
    let answer = if head.starts_with("post ") {
        let (_, rest) = head.split_once("content-length: ").unwrap();
        let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
        arrived.send_replace(got.len() - begin);
        while got.len() - begin < length {
            if got.len() - begin >= break_at || !matches!(stream.read_buf(&mut got).await, Ok(n) if n > 0) {
                return false;
            }
            arrived.send_replace(got.len() - begin);
        }
        assert!(got[begin..] == pattern(length), "something else arrived than was sent");
        "<returncode>SUCCESS</returncode><meetingID>m</meetingID>"
    } else if head.contains("getmeetings") {
        "<returncode>SUCCESS</returncode><meetings/>"
    } else {
        "<returncode>FAILED</returncode><messageKey>notFound</messageKey><message>none</message>"
    };
    stream.write_all(document(answer).as_bytes()).await.is_ok()
}

impl Reading {
    /// Added to the pool in such a way that it is chosen first.
    async fn beside(served: &Served, break_at: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, arrived) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move { serve(&mut stream, break_at, &tell).await });
            }
        });
        let record = ServerRecord::new("reading", format!("http://{at}/bigbluebutton/api"), Secret::new("its"));
        let store = &served.stage.store;
        assert!(store.add_server(&record).await.unwrap());
        let patch = ServerPatch { state: Some(ServerState::Enabled), ..ServerPatch::default() };
        assert!(store.update_server(&"reading".into(), &patch).await.unwrap());
        served.stage.burden(0, 50);
        served.process.poll().await;
        Self { at, arrived }
    }

    async fn wait_for(&mut self, bytes: usize) {
        timeout(PATIENCE, self.arrived.wait_for(|n| *n >= bytes)).await.expect("so much arrives").unwrap();
    }
}

fn create(bytes: usize) -> String {
    post(&target("create", "meetingID=m"), "application/xml", bytes)
}

/// Announces slides on a fresh connection and sends the first 2 MiB of them.
async fn begun(served: &Served, slides: &[u8]) -> TcpStream {
    let mut stream = served.connect().await;
    stream.write_all(create(slides.len()).as_bytes()).await.unwrap();
    stream.write_all(&slides[..2 * MIB]).await.unwrap();
    stream
}

async fn served(slides_held: usize) -> Served {
    let mut limits = HttpLimits::default();
    limits.slides_held = slides_held;
    Served::start(patient(), limits).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slides_flow_while_they_arrive() {
    // Also when nothing of them may be kept.
    for held in [0, 64 * MIB] {
        let served = served(held).await;
        let mut server = Reading::beside(&served, usize::MAX).await;
        let slides = pattern(8 * MIB);
        let mut stream = begun(&served, &slides).await;
        server.wait_for(MIB).await;
        stream.write_all(&slides[2 * MIB..]).await.unwrap();
        let reply = read_reply(&mut stream).await.unwrap();
        assert!(reply.body.contains("SUCCESS"), "{reply:?}");
        assert_eq!(served.process.home("m").await.as_deref(), Some("reading"), "{}", server.at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_gets_all_that_arrived() {
    let served = served(64 * MIB).await;
    let mut server = Reading::beside(&served, MIB).await;
    let slides = pattern(8 * MIB);
    let mut stream = begun(&served, &slides).await;
    server.wait_for(MIB).await;
    stream.write_all(&slides[2 * MIB..]).await.unwrap();
    let reply = read_reply(&mut stream).await.unwrap();
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    assert!(served.fake().meeting("m").unwrap().body == slides);
    assert_eq!(served.process.home("m").await.as_deref(), Some("s0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_them_a_failing_server_is_told_to_the_front_end() {
    let served = served(MIB).await;
    let _server = Reading::beside(&served, 2 * MIB).await;
    let slides = pattern(6 * MIB);
    let request = [create(slides.len()).into_bytes(), slides].concat();
    let reply = exchange(&mut served.connect().await, &request).await;
    assert!(reply.body.contains("Unable to create meeting on server."), "{reply:?}");
    assert_eq!(served.process.home("m").await, None);
    assert!(served.fake().meeting("m").is_none());
    // The next attempt is free to go elsewhere.
    let reply = exchange(&mut served.connect().await, &request).await;
    assert!(reply.body.contains("SUCCESS") && served.fake().meeting("m").is_some(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_end_that_hangs_up_leaves_nothing_behind() {
    let served = served(64 * MIB).await;
    let mut server = Reading::beside(&served, usize::MAX).await;
    let stream = begun(&served, &pattern(8 * MIB)).await;
    server.wait_for(MIB).await;
    assert_eq!(served.process.home("m").await.as_deref(), Some("reading"));
    drop(stream);
    until("the meeting is bound nowhere", async || served.process.home("m").await.is_none()).await;
    assert!(served.fake().meeting("m").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slides_that_may_not_pass_leave_nothing_behind() {
    let served = served(64 * MIB).await;
    let filler = "<!-- slides -->".repeat(40_000);
    let list = format!("<modules>{filler}<document url=\"http://127.0.0.1/x.pdf\"/>{filler}</modules>");
    let reply = exchange(&mut served.connect().await, (create(list.len()) + &list).as_bytes()).await;
    assert!(reply.body.contains("invalidDocument"), "{reply:?}");
    // Too large, not announced.
    let mut stream = served.connect().await;
    let head = create(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n".as_slice(), &pattern(MIB), b"\r\n"].concat();
    for _ in 0..66 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    if let Some(reply) = read_reply(&mut stream).await {
        assert_eq!(reply.status, 413, "{reply:?}");
    }
    until("the meeting is bound nowhere", async || served.process.home("m").await.is_none()).await;
    assert!(served.fake().meeting("m").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slides_are_not_held_without_limit() {
    let served = served(MIB).await;
    let Bind::Tcp(addr) = served.at else { panic!("not on TCP") };
    let mut held = served.fake().hold("create");
    let sent: Vec<_> = ["first", "second", "third"]
        .map(|id| {
            let head = post(&target("create", &format!("meetingID={id}")), "application/xml", 700 << 10);
            tokio::spawn(async move {
                let request = [head.into_bytes(), pattern(700 << 10)].concat();
                exchange(&mut TcpStream::connect(addr).await.unwrap(), &request).await
            })
        })
        .into();
    // Nobody waits for room: what there is none for is passed on all the same.
    held.arrived().await.unwrap();
    served.fake().wait_for(|s| s.count("create") == 3, PATIENCE).await.unwrap();
    held.release();
    for sent in sent {
        assert!(sent.await.unwrap().body.contains("SUCCESS"));
    }
    for id in ["first", "second", "third"] {
        assert!(served.fake().meeting(id).unwrap().body == pattern(700 << 10), "{id}");
    }
}

/// Without its body, and yet like any other call: counted, slowed down, and with the id of the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slides_nobody_signed_are_refused_like_other_calls() {
    let mut o = patient();
    o.rate = Some(RateLimit { per_second: 0.001, burst: 2, per: RatePer::Address });
    let served = Served::start(o, HttpLimits::default()).await;
    let head = post("/bigbluebutton/api/create?meetingID=m&checksum=00", "application/xml", 50 << 20);
    let head = head.replacen("\r\n\r\n", "\r\nX-Request-Id: lesson-7\r\n\r\n", 1);
    let mut said = Vec::new();
    for _ in 0..3 {
        // Nothing of the body is sent.
        let reply = served.ask(&head).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.head.contains("x-request-id: lesson-7"), "{reply:?}");
        said.push(reply.body);
    }
    assert!(said[0].contains("checksumError") && said[1].contains("checksumError"), "{said:?}");
    assert!(said[2].contains("tooManyRequests"), "{said:?}");
    let figures = served.process.call_metrics().await;
    assert!(figures.contains("balancer_request_duration_seconds_count{call=\"create\"} 3\n"), "{figures}");
    assert_eq!(served.fake().count("create"), 0);
}
