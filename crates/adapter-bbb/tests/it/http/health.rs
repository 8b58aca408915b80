//! What is told of its health.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adapter_bbb::{Bind, HttpLimits, HttpServer};
use tokio::net::TcpStream;

use super::{Served, exchange, get};
use crate::stage::{ANSWER, Stage, patient};

#[tokio::test]
async fn health_is_told_in_three_ways() {
    let served = Served::start(patient(), HttpLimits::default()).await;
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

/// A load balancer in front asks whether this process is ready: one that took out all of them, because all have lost the
/// same store, would end the joins that each can still answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_shared_store_takes_no_process_out() {
    let Some(mut stage) = Stage::redis(1).await else { return };
    let process = stage.process(patient()).await;
    assert!(process.create("known").await.ok());
    let bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = HttpServer::bind(&bind, process.service.clone(), HttpLimits::default()).await.unwrap();
    let Some(Bind::Tcp(addr)) = server.local() else { panic!("not on TCP") };
    let task = tokio::spawn(server.serve(std::future::pending(), Duration::ZERO));
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        exchange(&mut stream, get(path).as_bytes()).await
    };
    assert_eq!(ask("/readyz").await.body, "success");
    stage.redis.as_mut().unwrap().stop();
    let alive = ask("/livez").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "success"));
    let began = Instant::now();
    let ready = ask("/readyz").await;
    assert!(ready.status == 200 && ready.body.starts_with("success, but known meetings"), "{ready:?}");
    // Nobody waits as long as an answer of Redis may take.
    assert!(began.elapsed() < ANSWER, "{:?}", began.elapsed());
    let health = ask("/health_check").await;
    assert!(health.status == 200 && health.body.starts_with("Health Check Failure: "), "{health:?}");
    // It does what it says: known meetings are joined, unknown ones refused with a reason, not guessed.
    assert_eq!(process.join("known").await.status, 302);
    assert_eq!(process.create("m").await.text("messageKey"), "internalError");
    stage.redis.as_mut().unwrap().resume();
    crate::stage::until("it is ready without a but", async || ask("/readyz").await.body == "success").await;
    task.abort();
}
