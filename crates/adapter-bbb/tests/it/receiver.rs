//! A front-end that is called back: it notes what arrives, and answers what it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stage::until;

/// What arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) body: String,
}

#[derive(Default)]
struct State {
    arrived: Vec<Arrived>,
    /// Statuses of the next answers; 200 when there are no more.
    next: VecDeque<u16>,
    location: Option<String>,
}

pub(crate) struct Receiver {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let answer = service_fn(move |r: Request<Incoming>| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(note(&state, r).await) }
                });
                tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await });
            }
        });
        Self { port, state, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers these statuses next.
    pub(crate) fn answer(&self, statuses: &[u16]) {
        self.state.lock().unwrap().next = statuses.iter().copied().collect();
    }

    /// Where a redirect leads.
    pub(crate) fn redirect(&self, to: &str) {
        self.state.lock().unwrap().location = Some(to.to_owned());
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.state.lock().unwrap().arrived.clone()
    }

    /// Waits until so many have arrived.
    pub(crate) async fn wait_for(&self, n: usize) -> Vec<Arrived> {
        until(&format!("{n} callbacks arrive"), async || self.arrived().len() >= n).await;
        self.arrived()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn note(state: &Mutex<State>, r: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = r.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let header = |name: &str| parts.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let arrived = Arrived {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        authorization: header("authorization"),
        content_type: header("content-type"),
        agent: header("user-agent"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let mut s = state.lock().unwrap();
    s.arrived.push(arrived);
    let mut answer = Response::builder().status(s.next.pop_front().unwrap_or(200));
    if let Some(to) = &s.location {
        answer = answer.header("location", to);
    }
    answer.body(Full::new(Bytes::from_static(b"an answer nobody reads"))).unwrap()
}
