//! What is told of its health.

use std::net::SocketAddr;
use std::time::Duration;

use adapter_bbb::{Bind, HttpLimits, HttpServer};
use tokio::net::TcpStream;

use super::{Served, exchange, get};
use crate::stage::{Stage, options};

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
