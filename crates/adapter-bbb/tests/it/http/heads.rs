//! Heads, connections and requests that are none.

use std::time::Duration;

use adapter_bbb::HttpLimits;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::{FORM, Served, closed, exchange, get, post, read_reply, target};
use crate::stage::patient;

#[tokio::test]
async fn heads_are_limited() {
    let served = Served::start(patient(), HttpLimits::default()).await;
    let fits = get(&format!("/livez?{}", "x".repeat(50_000)));
    assert_eq!(served.ask(&fits).await.status, 200);
    // A little too large: the reader's buffer takes it all the same.
    let over = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(66_000));
    assert_eq!(served.ask(&over).await.status, 431);
    let mut stream = served.connect().await;
    let large = format!("GET /livez HTTP/1.1\r\nX-Large: {}", "x".repeat(200_000));
    // The server may answer and close before everything is sent.
    let _ = stream.write_all(large.as_bytes()).await;
    if let Some(reply) = read_reply(&mut stream).await {
        assert_eq!(reply.status, 431, "{reply:?}");
    }
    closed(&mut stream).await;
    assert_eq!(served.ask(&get("/livez")).await.status, 200);
}

#[tokio::test]
async fn slow_heads_and_idle_connections_end() {
    let mut limits = HttpLimits::default();
    limits.head_time = Duration::from_millis(400);
    limits.idle = Duration::from_millis(900);
    // At the latest long before the usual limits.
    let ends = |least: u64, took: Duration| {
        assert!((Duration::from_millis(least)..HttpLimits::default().head_time).contains(&took), "{took:?}");
    };
    let served = Served::start(patient(), limits).await;
    // A head that never ends, however lively it drips.
    let began = Instant::now();
    let mut slow = served.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    closed(&mut slow).await;
    ends(300, began.elapsed());
    // Nothing at all.
    let began = Instant::now();
    closed(&mut served.connect().await).await;
    ends(800, began.elapsed());
}

#[tokio::test]
async fn connections_that_are_used_are_not_idle() {
    let mut limits = HttpLimits::default();
    limits.head_time = Duration::from_secs(4);
    limits.idle = Duration::from_secs(4);
    let served = Served::start(patient(), limits).await;
    // Several requests, then nothing.
    let kept = async {
        let mut kept = served.connect().await;
        let mut began = Instant::now();
        for _ in 0..3 {
            began = Instant::now();
            assert_eq!(exchange(&mut kept, get("/livez").as_bytes()).await.status, 200);
        }
        closed(&mut kept).await;
        assert!(began.elapsed() > Duration::from_millis(3_900), "{:?}", began.elapsed());
    };
    // A request under way is neither slow nor idle.
    let busy = async {
        let held = served.fake().hold("create");
        let mut busy = served.connect().await;
        busy.write_all(get(&target("create", "meetingID=m")).as_bytes()).await.unwrap();
        let patience = timeout(Duration::from_millis(4_200), busy.readable()).await;
        assert!(patience.is_err(), "no answer and no end while the request is under way");
        held.release();
        assert!(read_reply(&mut busy).await.unwrap().body.contains("SUCCESS"));
    };
    tokio::join!(kept, busy);
}

#[tokio::test]
async fn connections_are_limited() {
    let mut limits = HttpLimits::default();
    limits.connections = 2;
    let served = Served::start(patient(), limits).await;
    let (mut a, mut b) = (served.connect().await, served.connect().await);
    for stream in [&mut a, &mut b] {
        assert_eq!(exchange(stream, get("/livez").as_bytes()).await.status, 200);
    }
    let mut third = served.connect().await;
    third.write_all(get("/livez").as_bytes()).await.unwrap();
    assert!(timeout(Duration::from_millis(200), third.readable()).await.is_err(), "the third waits");
    drop(a);
    assert_eq!(read_reply(&mut third).await.unwrap().status, 200);
    assert_eq!(exchange(&mut b, get("/livez").as_bytes()).await.status, 200);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let mut o = patient();
    o.url_host = Some("balancer.example".into());
    let served = Served::start(o, HttpLimits::default()).await;
    for query in ["meetingID=%", "meetingID=%zz", "meetingID=%ff", "%zz=1&meetingID=a"] {
        let reply = served.ask(&get(&target("create", query))).await;
        assert_eq!(reply.status, 400, "{query}: {reply:?}");
    }
    for body in ["meetingID=%", "a=%ff"] {
        let request = post(&target("create", ""), FORM, body.len()) + body;
        assert_eq!(served.ask(&request).await.status, 400, "{body}");
    }
    for bytes in ["\r\n\r\n\r\nx\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n"] {
        let mut stream = served.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        if let Some(reply) = read_reply(&mut stream).await {
            assert!(reply.status >= 400, "{bytes:?}: {reply:?}");
        }
    }
    let with_host = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let running = target("isMeetingRunning", "meetingID=m");
    for (host, expected) in
        [("balancer.example", 200), ("BALANCER.example:8080", 200), ("other.example", 403), ("", 403)]
    {
        assert_eq!(served.ask(&with_host(&running, host)).await.status, expected, "{host}");
    }
    for path in ["/health_check", "/livez", "/readyz"] {
        assert_eq!(served.ask(&with_host(path, "other.example")).await.status, 200, "{path}");
    }
}
