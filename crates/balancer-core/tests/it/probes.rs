//! The probes against real listeners on this machine.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use balancer_core::{HealthProbe, HttpProbe, ProbeError, Report, TcpProbe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use crate::monitor::{Server, secs};

/// A listener that reads the whole request, sends these bytes to everybody and hangs up; ends with the test.
struct Canned {
    server: Arc<Server>,
    task: JoinHandle<()>,
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn canned(reply: Option<Vec<u8>>) -> Canned {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(reply) = &reply else {
                open.push(stream);
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_buf(&mut request).await {
                    Ok(n) if n > 0 => {}
                    _ => break,
                }
            }
            let _ = stream.write_all(reply).await;
        }
    });
    Canned { server: Server::at("it", &address), task }
}

fn http() -> HttpProbe<Server> {
    HttpProbe::new(|s: &Server| s.address.clone(), "/up").timeout(secs(30))
}

async fn ask(probe: &impl HealthProbe<Server>, reply: &[u8]) -> Result<Report, ProbeError> {
    let c = canned(Some(reply.to_vec())).await;
    probe.probe(&c.server).await
}

fn fact(report: &Report, name: &str) -> Option<f64> {
    report.facts.iter().find(|(n, _)| &**n == name).map(|(_, v)| *v)
}

/// An address where nobody listens, kept from others.
fn deserted() -> (TcpSocket, Arc<Server>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = Server::at("gone", &socket.local_addr().unwrap().to_string());
    (socket, server)
}

#[tokio::test]
async fn tcp_passes_where_somebody_listens() {
    let c = canned(None).await;
    let report = TcpProbe::new(|s: &Server| s.address.clone()).timeout(secs(30)).probe(&c.server).await.unwrap();
    assert!(fact(&report, "latency_seconds").is_some_and(|l| l >= 0.0));
}

#[tokio::test]
async fn nobody_listening_is_a_refusal() {
    let (_kept, gone) = deserted();
    let tcp = TcpProbe::new(|s: &Server| s.address.clone()).probe(&gone).await;
    assert!(matches!(tcp, Err(ProbeError::Refused(_))), "{tcp:?}");
    let http = http().probe(&gone).await;
    assert!(matches!(http, Err(ProbeError::Refused(_))), "{http:?}");
}

#[tokio::test]
async fn names_that_do_not_resolve_are_told_apart() {
    for address in ["no-such-host.invalid:80", "no port at all", ""] {
        let server = Server::at("x", address);
        let r = TcpProbe::new(|s: &Server| s.address.clone()).timeout(secs(60)).probe(&server).await;
        assert!(matches!(r, Err(ProbeError::Resolve(_))), "{address}: {r:?}");
    }
}

#[tokio::test]
async fn taken_and_never_answered_is_silent() {
    let c = canned(None).await;
    let r = http().timeout(secs(5)).probe(&c.server).await;
    let e = r.unwrap_err();
    assert!(matches!(e, ProbeError::Silent(_)) && e.to_string().contains("took the connection"), "{e}");
}

#[tokio::test]
async fn expected_statuses_pass_and_others_do_not() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let report = ask(&http(), ok).await.unwrap();
    assert_eq!(fact(&report, "status"), Some(200.0));
    assert!(fact(&report, "latency_seconds").is_some_and(|l| l > 0.0));
    assert!(ask(&http(), b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n").await.is_ok());
    let broken = b"HTTP/1.1 500 Internal Server Error\r\n\r\n";
    assert_eq!(ask(&http(), broken).await, Err(ProbeError::Answer("status 500".into())));
    assert!(ask(&http().expect([500..=500, 503..=503]), broken).await.is_ok());
}

#[tokio::test]
async fn a_text_can_be_expected_in_the_body() {
    let mut page = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    page.extend(vec![b'x'; 10_000]);
    page.extend(b"version 3.0");
    assert!(ask(&http().contains("version 3"), &page).await.is_ok());
    let e = ask(&http().contains("version 4"), &page).await.unwrap_err();
    assert!(e.answered() && e.to_string().contains("lacks"), "{e}");
    // Beyond the limit nothing is looked for.
    let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    long.extend(vec![b'x'; 70_000]);
    long.extend(b"version 3.0");
    assert!(ask(&http().contains("version 3"), &long).await.is_err());
}

#[tokio::test]
async fn garbage_and_nothing_are_wrong_answers() {
    for (reply, words) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "not HTTP/1: the answer starts with \"SSH-2.0-OpenSSH_9.6"),
        (&b"\x00\xff\xfe\x01"[..], "not HTTP/1: the answer starts with \"\\x00\\xff"),
        (&b""[..], "closed the connection without an answer"),
        (&b"HTTP/1.1 200 OK\r\nHalf: "[..], "within the headers"),
    ] {
        let e = ask(&http(), reply).await.unwrap_err();
        assert!(matches!(e, ProbeError::Answer(_)) && e.to_string().contains(words), "{e}");
    }
}

#[tokio::test]
async fn tls_servers_are_recognised() {
    let alert = b"\x15\x03\x01\x00\x02\x02\x46".as_slice();
    let nginx = b"HTTP/1.1 400 Bad Request\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>";
    let go = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    for reply in [alert, nginx, go] {
        let e = ask(&http(), reply).await.unwrap_err();
        assert_eq!(e, ProbeError::Answer("answers TLS: this probe speaks plain HTTP".into()));
    }
}

#[tokio::test]
async fn endless_headers_end_at_the_limit() {
    let mut reply = b"HTTP/1.1 200 OK\r\n".to_vec();
    while reply.len() < 200_000 {
        reply.extend(b"X-More: and more of it\r\n");
    }
    let e = tokio::time::timeout(Duration::from_secs(60), ask(&http(), &reply)).await.unwrap().unwrap_err();
    assert!(matches!(e, ProbeError::Answer(_)) && e.to_string().contains("longer than 16384"), "{e}");
}
