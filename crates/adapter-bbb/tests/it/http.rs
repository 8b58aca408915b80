//! The HTTP server: limits on everything that comes from outside, and an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use adapter_bbb::testing::FakeBbb;
use adapter_bbb::{BbbClient, BbbOptions, Bind, CallError, HttpLimits, HttpServer, Upload};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::stage::{PATIENCE, Process, Stage, options, patient, signed};
use crate::store::Folder;

/// A server that serves until told otherwise.
struct Served {
    stage: Stage,
    process: Process,
    at: Bind,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    async fn start(options: BbbOptions, limits: HttpLimits) -> Self {
        Self::at(Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), options, limits).await
    }

    async fn at(bind: Bind, options: BbbOptions, limits: HttpLimits) -> Self {
        let stage = Stage::memory(1).await;
        let process = stage.process(options).await;
        let server = HttpServer::bind(&bind, process.service.clone(), limits).await.unwrap();
        let at = server.local().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let over = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.serve(over, Duration::from_secs(10)));
        Self { stage, process, at, stop: Some(stop), task }
    }

    async fn connect(&self) -> TcpStream {
        let Bind::Tcp(addr) = &self.at else { panic!("not on TCP") };
        TcpStream::connect(addr).await.unwrap()
    }

    /// Sends these bytes on a fresh connection, and reads one answer.
    async fn ask(&self, request: &str) -> Reply {
        exchange(&mut self.connect().await, request.as_bytes()).await
    }

    fn fake(&self) -> &FakeBbb {
        &self.stage.fakes[0]
    }

    fn shut_down(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

/// Reads one answer with a known length; `None` when the connection ends before.
async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Option<Reply> {
    let mut all = Vec::new();
    let reading = timeout(PATIENCE, async {
        loop {
            if let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
                let length = head
                    .split_once("content-length: ")
                    .map_or(0, |(_, r)| r.split("\r\n").next().unwrap().parse::<usize>().unwrap());
                if all.len() >= end + 4 + length {
                    let body = String::from_utf8_lossy(&all[end + 4..end + 4 + length]).into_owned();
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return Some(Reply { status, head, body });
                }
            }
            match stream.read_buf(&mut all).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    });
    reading.await.expect("an answer or an end")
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Reply {
    stream.write_all(request).await.unwrap();
    read_reply(stream).await.expect("an answer")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: balancer.example\r\n\r\n")
}

fn post(target: &str, kind: &str, length: usize) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: balancer.example\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn target(call: &str, query: &str) -> String {
    let (path, query) = signed(call, query);
    format!("{path}?{query}")
}

/// Waits until the other side closes; whatever still comes is dropped. The answer is how long it took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut waste = [0; 4096];
    let end = timeout(PATIENCE, async { while matches!(stream.read(&mut waste).await, Ok(n) if n > 0) {} });
    end.await.expect("the server closes the connection");
    began.elapsed()
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn health_is_told_in_three_ways() {
    let served = Served::start(options(), HttpLimits::default()).await;
    for path in ["/livez", "/readyz", "/health_check"] {
        let reply = served.ask(&get(path)).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "success"), "{path}");
        assert!(reply.head.contains("content-type: text/plain"), "{reply:?}");
    }
    let reply = served.ask(&get("/bigbluebutton/api")).await;
    assert!(reply.body.contains("<version>2.0</version>"), "{reply:?}");
    assert!(reply.head.contains("content-type: application/xml; charset=utf-8"), "{reply:?}");
    let reply = served.ask(&get("/bigbluebutton/api/setConfigXML")).await;
    assert!(reply.status == 200 && reply.body.contains("unsupportedRequest"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_is_not_ready_but_alive() {
    let Some(mut stage) = Stage::redis(1).await else { return };
    let process = stage.process(options()).await;
    let bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = HttpServer::bind(&bind, process.service.clone(), HttpLimits::default()).await.unwrap();
    let Some(Bind::Tcp(addr)) = server.local() else { panic!("not on TCP") };
    let task = tokio::spawn(server.serve(std::future::pending(), Duration::ZERO));
    stage.redis.as_mut().unwrap().stop();
    let mut told = Vec::new();
    for path in ["/livez", "/readyz", "/health_check"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        told.push(exchange(&mut stream, get(path).as_bytes()).await);
    }
    assert_eq!((told[0].status, told[1].status, told[2].status), (200, 503, 200), "{told:?}");
    assert!(told[2].body.starts_with("Health Check Failure: "), "{told:?}");
    // Unknown meetings are refused with a reason, not guessed.
    assert_eq!(process.create("m").await.text("messageKey"), "internalError");
    stage.redis.as_mut().unwrap().resume();
    crate::stage::until("it is ready again", async || {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        exchange(&mut stream, get("/readyz").as_bytes()).await.status == 200
    })
    .await;
    task.abort();
}

#[tokio::test]
async fn heads_are_limited() {
    let served = Served::start(options(), HttpLimits::default()).await;
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
    let served = Served::start(options(), limits).await;
    // A head that never ends, however lively it drips.
    let mut slow = served.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let took = closed(&mut slow).await;
    assert!((300..5_000).contains(&took.as_millis()), "{took:?}");
    // Nothing at all.
    let took = closed(&mut served.connect().await).await;
    assert!((800..5_000).contains(&took.as_millis()), "{took:?}");
    // Several requests, then nothing.
    let mut kept = served.connect().await;
    for _ in 0..3 {
        assert_eq!(exchange(&mut kept, get("/livez").as_bytes()).await.status, 200);
    }
    let took = closed(&mut kept).await;
    assert!((800..5_000).contains(&took.as_millis()), "{took:?}");
    // A request under way is neither.
    let held = served.fake().hold("create");
    let mut busy = served.connect().await;
    busy.write_all(get(&target("create", "meetingID=m")).as_bytes()).await.unwrap();
    let patience = timeout(Duration::from_millis(950), busy.readable()).await;
    assert!(patience.is_err(), "no answer and no end while the request is under way");
    held.release();
    assert!(read_reply(&mut busy).await.unwrap().body.contains("SUCCESS"));
}

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
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n * 31 + n / 257) % 251).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slides_are_not_held_without_limit() {
    let mut limits = HttpLimits::default();
    limits.slides_held = 1 << 20;
    let served = Served::start(patient(), limits).await;
    let Bind::Tcp(addr) = served.at else { panic!("not on TCP") };
    let send = |id: &str, bytes: usize| {
        let head = post(&target("create", &format!("meetingID={id}")), "application/xml", bytes);
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // Some of it may have to wait for the other side.
            let (mut reading, mut writing) = stream.into_split();
            let slides = vec![b'x'; bytes];
            let (_, reply) = tokio::join!(writing.write_all(&slides), read_reply(&mut reading));
            reply
        })
    };
    let held = served.fake().hold("create");
    let first = send("first", 700 << 10);
    served.fake().wait_for(|s| s.count("create") == 1, PATIENCE).await.unwrap();
    let second = send("second", 700 << 10);
    // One without slides is not kept waiting.
    assert!(served.process.create("small").await.ok());
    let asked: Vec<_> = served
        .fake()
        .calls_of("create")
        .iter()
        .map(|r| (r.param("meetingID").map(str::to_owned), r.body.len()))
        .collect();
    assert_eq!(served.fake().count("create"), 2, "the second waits for room: {asked:?}");
    held.release();
    for sent in [first, second] {
        assert!(sent.await.unwrap().unwrap().body.contains("SUCCESS"));
    }
    // Larger than all the room there is: alone.
    assert!(send("large", 3 << 20).await.unwrap().unwrap().body.contains("SUCCESS"));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_may_come_slowly_but_not_stop() {
    // A call may take a second; this document takes longer.
    let served = Served::start(options(), HttpLimits::default()).await;
    assert!(served.process.create("m").await.ok());
    let insert = target("insertDocument", "meetingID=m");
    let document = pattern(60_000);
    let mut stream = served.connect().await;
    stream.write_all(post(&insert, "application/xml", document.len()).as_bytes()).await.unwrap();
    for piece in document.chunks(10_000) {
        tokio::time::sleep(Duration::from_millis(300)).await;
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
    // A call may take a second; a server that reads slowly, but reads, takes longer.
    let client = BbbClient::new(options().calls).unwrap();
    let slides = Bytes::from(pattern(32 << 20));
    for stops in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
                tokio::time::sleep(Duration::from_millis(200)).await;
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

#[tokio::test]
async fn connections_are_limited() {
    let mut limits = HttpLimits::default();
    limits.connections = 2;
    let served = Served::start(options(), limits).await;
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
    let mut o = options();
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

#[tokio::test]
async fn a_unix_socket_is_made_and_removed() {
    let folder = Folder::new();
    let path = folder.0.join("balancer.sock");
    let bind = Bind::Unix(path.clone());
    // A stale one is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut served = Served::at(bind.clone(), options(), HttpLimits::default()).await;
    assert_eq!(served.at, bind);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(exchange(&mut stream, get("/livez").as_bytes()).await.status, 200);
    let reply = exchange(&mut stream, get(&target("create", "meetingID=m")).as_bytes()).await;
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    // A live one is not taken over.
    let e = HttpServer::bind(&bind, served.process.service.clone(), HttpLimits::default()).await.unwrap_err();
    assert!(e.to_string().contains("balancer.sock") && e.to_string().contains("another program"), "{e}");
    assert_eq!(exchange(&mut stream, get("/livez").as_bytes()).await.status, 200);
    served.shut_down();
    timeout(PATIENCE, &mut served.task).await.unwrap().unwrap();
    assert!(!path.exists());
    // What is no socket is not removed.
    std::fs::write(&path, "precious").unwrap();
    assert!(HttpServer::bind(&bind, served.process.service.clone(), HttpLimits::default()).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn requests_under_way_are_finished_at_shutdown() {
    let mut served = Served::start(patient(), HttpLimits::default()).await;
    let mut idle = served.connect().await;
    assert_eq!(exchange(&mut idle, get("/livez").as_bytes()).await.status, 200);
    let mut held = served.fake().hold("create");
    let mut busy = served.connect().await;
    busy.write_all(get(&target("create", "meetingID=m")).as_bytes()).await.unwrap();
    held.arrived().await.unwrap();
    served.shut_down();
    // The idle connection ends at once, and nobody is let in any more.
    assert!(closed(&mut idle).await < Duration::from_secs(2));
    assert!(!served.task.is_finished());
    held.release();
    let reply = read_reply(&mut busy).await.unwrap();
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    timeout(Duration::from_secs(3), &mut served.task).await.expect("it ends with its last request").unwrap();
    let Bind::Tcp(addr) = &served.at else { panic!("not on TCP") };
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let served = Served::start(options(), HttpLimits::default()).await;
    let e = HttpServer::bind(&served.at, served.process.service.clone(), HttpLimits::default()).await.unwrap_err();
    let Bind::Tcp(addr) = &served.at else { panic!("not on TCP") };
    assert!(e.to_string().contains(&addr.to_string()) && e.to_string().contains("another program"), "{e}");
}
