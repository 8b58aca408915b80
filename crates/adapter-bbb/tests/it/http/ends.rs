//! Where it listens, and how it ends.

use adapter_bbb::{Bind, HttpLimits, HttpServer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Served, closed, exchange, get, read_reply, target};
use crate::stage::{PATIENCE, patient};
use crate::store::Folder;

#[tokio::test]
async fn a_unix_socket_is_made_and_removed() {
    let folder = Folder::new();
    let path = folder.0.join("balancer.sock");
    let bind = Bind::Unix(path.clone());
    // A stale one is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut served = Served::at(bind.clone(), patient(), HttpLimits::default()).await;
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
    let mut served = Served::alone(patient()).await;
    let mut idle = served.connect().await;
    assert_eq!(exchange(&mut idle, get("/livez").as_bytes()).await.status, 200);
    let mut held = served.fake().hold("create");
    let mut busy = served.connect().await;
    busy.write_all(get(&target("create", "meetingID=m")).as_bytes()).await.unwrap();
    held.arrived().await.unwrap();
    served.shut_down();
    // The idle connection ends long before its time, and nobody is let in any more.
    closed(&mut idle).await;
    assert!(!served.task.is_finished());
    held.release();
    let reply = read_reply(&mut busy).await.unwrap();
    assert!(reply.body.contains("SUCCESS"), "{reply:?}");
    timeout(PATIENCE, &mut served.task).await.expect("it ends with its last request").unwrap();
    let Bind::Tcp(addr) = &served.at else { panic!("not on TCP") };
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let served = Served::start(patient(), HttpLimits::default()).await;
    let e = HttpServer::bind(&served.at, served.process.service.clone(), HttpLimits::default()).await.unwrap_err();
    let Bind::Tcp(addr) = &served.at else { panic!("not on TCP") };
    assert!(e.to_string().contains(&addr.to_string()) && e.to_string().contains("another program"), "{e}");
}
