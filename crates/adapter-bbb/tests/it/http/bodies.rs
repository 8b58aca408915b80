//! Bodies: how large they may be, and how slow.

use std::time::Duration;

use adapter_bbb::{BbbClient, BbbOptions, CallError, HttpLimits, Upload};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{FORM, Served, exchange, post, read_reply, target};
use crate::stage::{PATIENCE, patient};

#[tokio::test]
async fn bodies_are_limited() {
    let mut limits = HttpLimits::default();
    limits.slides = 3 << 20;
    let served = Served::start(patient(), limits).await;
    let create = target("create", "meetingID=m");
    // Announced too large: refused at once.
    let reply = served.ask(&post(&create, FORM, (1 << 20) + 1)).await;
    assert_eq!(reply.status, 413, "{reply:?}");
    let reply = served.ask(&post(&create, "application/xml", (3 << 20) + 1)).await;
    assert_eq!(reply.status, 413, "{reply:?}");
    // Not announced: refused when it becomes too large.
    let mut stream = served.connect().await;
    let head =
        format!("POST {create} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
    for _ in 0..18 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 413);
    assert_eq!(served.fake().count("create"), 0);
    // With a wrong checksum: not even read.
    let wrong = "/bigbluebutton/api/create?meetingID=m&checksum=0";
    let reply = served.ask(&post(wrong, "application/xml", 1 << 20)).await;
    assert!(reply.status == 200 && reply.body.contains("checksumError"), "{reply:?}");
    // Just below the limits.
    let mut stream = served.connect().await;
    let body = format!("welcome={}", "x".repeat(60_000));
    let request = post(&create, FORM, body.len()) + &body;
    let reply = exchange(&mut stream, request.as_bytes()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let slides = vec![b'x'; 2 << 20];
    let mut request = post(&target("create", "meetingID=slides"), "application/xml", slides.len()).into_bytes();
    request.extend_from_slice(&slides);
    let reply = exchange(&mut served.connect().await, &request).await;
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    assert_eq!(served.fake().meeting("slides").unwrap().body, slides);
}

/// Bytes that are not the same everywhere.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n * 31 + n / 257) % 251).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_streamed_through() {
    let served = Served::start(patient(), HttpLimits::default()).await;
    assert!(served.process.create("m").await.ok());
    let insert = target("insertDocument", "meetingID=m");
    let document = pattern(8 << 20);
    let mut request = post(&insert, "application/xml", document.len()).into_bytes();
    request.extend_from_slice(&document);
    let reply = exchange(&mut served.connect().await, &request).await;
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    let documents = served.fake().meeting("m").unwrap().documents;
    assert!(documents.len() == 1 && documents[0] == document);
    let seen = served.fake().calls_of("insertDocument");
    let names: Vec<&str> = seen[0].params.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, seen[0].header("content-type")), (vec!["meetingID", "checksum"], Some("application/xml")));
    // Too large, not announced: neither side gets a whole document.
    let mut stream = served.connect().await;
    let head =
        format!("POST {insert} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n".as_slice(), &pattern(1 << 20), b"\r\n"].concat();
    for _ in 0..66 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    if let Some(reply) = read_reply(&mut stream).await {
        assert!(!reply.body.contains("SUCCESS"), "{reply:?}");
    }
    assert_eq!(served.fake().meeting("m").unwrap().documents.len(), 1);
    // Of another kind: refused. With a wrong checksum: not even read.
    let reply = served.ask(&(post(&insert, FORM, 3) + "a=b")).await;
    assert!(reply.body.contains("unsupportedContentType"), "{reply:?}");
    let reply = served.ask(&post("/bigbluebutton/api/insertDocument?meetingID=m&checksum=0", "text/xml", 100)).await;
    assert!(reply.body.contains("checksumError"), "{reply:?}");
}

/// A call may take four and a half seconds.
fn slow() -> BbbOptions {
    let mut o = patient();
    o.calls.connect = Duration::from_millis(500);
    o.calls.response = Duration::from_secs(4);
    o
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_may_come_slowly_but_not_stop() {
    // This document takes longer than a call may.
    let served = Served::start(slow(), HttpLimits::default()).await;
    assert!(served.process.create("m").await.ok());
    let insert = target("insertDocument", "meetingID=m");
    let document = pattern(60_000);
    let mut stream = served.connect().await;
    stream.write_all(post(&insert, "application/xml", document.len()).as_bytes()).await.unwrap();
    for piece in document.chunks(10_000) {
        tokio::time::sleep(Duration::from_millis(800)).await;
        stream.write_all(piece).await.unwrap();
    }
    let reply = read_reply(&mut stream).await.unwrap();
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    assert!(served.fake().meeting("m").unwrap().documents == [document.clone()]);
    let mut stream = served.connect().await;
    stream.write_all(post(&insert, "application/xml", document.len()).as_bytes()).await.unwrap();
    stream.write_all(&document[..10_000]).await.unwrap();
    let reply = read_reply(&mut stream).await.unwrap();
    assert!(reply.body.contains("Unable to insert document on server."), "{reply:?}");
    assert_eq!(served.fake().meeting("m").unwrap().documents.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slides_may_take_long_to_send_but_not_stop() {
    // A server that reads slowly, but reads, takes longer than a call may.
    let client = BbbClient::new(slow().calls);
    let slides = Bytes::from(pattern(32 << 20));
    for stops in [false, true] {
        let socket = TcpSocket::new_v4().unwrap();
        // Little is on its way: what was sent is read soon.
        socket.set_recv_buffer_size(256 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let url = format!("http://{}/bigbluebutton/api/create", listener.local_addr().unwrap());
        let length = slides.len();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut got, mut piece) = (Vec::new(), vec![0; 4 << 20]);
            let begin = loop {
                let n = stream.read(&mut piece).await.unwrap();
                got.extend_from_slice(&piece[..n]);
                if let Some(at) = got.windows(4).position(|w| w == b"\r\n\r\n") {
                    break at + 4;
                }
            };
            let announced = String::from_utf8_lossy(&got[..begin]).to_ascii_lowercase();
            assert!(announced.contains(&format!("content-length: {length}\r\n")), "{announced}");
            let mut left = length - (got.len() - begin);
            while left > 0 && !stops {
                tokio::time::sleep(Duration::from_millis(600)).await;
                let now = left.min(piece.len());
                stream.read_exact(&mut piece[..now]).await.unwrap();
                left -= now;
            }
            if stops {
                // Until the client gives up.
                tokio::time::sleep(PATIENCE).await;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
        });
        let answer = client.call(&url, Some(Upload::xml(slides.clone())), false).await;
        if stops {
            assert!(matches!(answer, Err(CallError::Timeout { .. })), "{answer:?}");
        } else {
            assert_eq!(answer.as_deref(), Ok(&b"done"[..]));
        }
        server.abort();
    }
}
