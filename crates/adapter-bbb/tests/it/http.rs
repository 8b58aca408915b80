//! The HTTP server: limits on everything that comes from outside, and an orderly end.

mod bodies;
mod ends;
mod heads;
mod health;
mod slides;
mod telephones;

use std::net::SocketAddr;
use std::time::Duration;

use adapter_bbb::testing::FakeBbb;
use adapter_bbb::{BbbOptions, Bind, HttpLimits, HttpServer};
use real_servers::free_port;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Process, Stage, signed};

/// How long requests may go on after an order to stop; no test waits so long.
const GRACE: Duration = Duration::from_secs(120);

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

    /// On a port that nobody else gets afterwards.
    async fn alone(options: BbbOptions) -> Self {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::at(Bind::Tcp(addr), options, HttpLimits::default()).await
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
        let task = tokio::spawn(server.serve(over, GRACE));
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
    // The server may answer and close before everything is sent.
    let _ = stream.write_all(request).await;
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

/// Waits until the other side closes; whatever still comes is dropped.
async fn closed(stream: &mut TcpStream) {
    let mut waste = [0; 4096];
    let end = timeout(PATIENCE, async { while matches!(stream.read(&mut waste).await, Ok(n) if n > 0) {} });
    end.await.expect("the server closes the connection");
}

const FORM: &str = "application/x-www-form-urlencoded";
