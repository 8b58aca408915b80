//! Calls, ours and theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::address::PeerAddress;
use super::error::PeerNodeError;
use super::fresh::Job;
use super::line::Line;
use super::link::Link;
use super::node::Inner;
use super::status::NodeEvent;
use crate::peers::session::PeerSession;
use crate::reach::is_local_peer;

/// How long a call may take to be answered.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest wait between two calls of a peer that is not there.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What connections are made with.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) inner: Arc<Inner>,
    pub(super) jobs: Vec<mpsc::Sender<Job>>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Calls {
    /// Takes calls.
    pub(super) async fn accept(mut self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.inner.options.max_callers));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
                _ = self.stopped.wait_for(|stop| *stop) => break,
            };
            let Ok((stream, from)) = accepted else {
                // Too many open files: let some be closed.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            if self.inner.options.local_only() && !is_local_peer(from.ip()) {
                continue;
            }
            tasks.spawn(self.clone().take(stream, place));
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    async fn take(self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        #[cfg(feature = "peers-tls")]
        if let Some(tls) = self.inner.options.tls.clone() {
            if let Ok(Ok(stream)) = timeout(CONNECT, tls.accept(stream)).await {
                self.taken(stream, place).await;
            }
            return;
        }
        self.taken(stream, place).await;
    }

    async fn taken<S: AsyncRead + AsyncWrite>(mut self, stream: S, place: OwnedSemaphorePermit) {
        let known = self.inner.lines.iter().map(|line| line.name.clone()).collect();
        let session = PeerSession::accept(self.inner.session_options(), known, Instant::now().into_std());
        Link::new(&self.inner, session, &self.jobs).with_place(place).drive(stream, &mut self.stopped).await;
    }

    /// Calls a peer whenever it is not connected.
    pub(super) async fn call(mut self, at: usize, address: PeerAddress) {
        let inner = self.inner.clone();
        let Some(line) = inner.lines.get(at) else { return };
        let mut failures = 0_u32;
        loop {
            // Two that call each other at the same time end each other's connection: chance ends that.
            let wait = match failures {
                0 => Duration::from_millis(inner.chance() % 50),
                n => {
                    (Duration::from_millis(100) * 2_u32.pow(n.min(6))).min(MAX_WAIT) / 2
                        + Duration::from_millis(50 + inner.chance() % 1000)
                }
            };
            let ready = async {
                sleep(wait).await;
                while line.is_open() {
                    line.lost.notified().await;
                    sleep(Duration::from_millis(50 + inner.chance() % 2000)).await;
                }
            };
            tokio::select! {
                () = ready => {}
                _ = self.stopped.wait_for(|stop| *stop) => return,
            }
            let called = tokio::select! {
                called = timeout(CONNECT, connect(&inner, &address)) => called,
                _ = self.stopped.wait_for(|stop| *stop) => return,
            };
            let why = match called {
                Ok(Ok(stream)) => match self.talk(line, stream, &address).await {
                    None => {
                        failures = 1;
                        continue;
                    }
                    Some(why) => why,
                },
                Ok(Err(error)) => format!("{address}: {error}"),
                Err(_) => format!("{address}: no answer within {} s", CONNECT.as_secs()),
            };
            failures = failures.saturating_add(1);
            if line.end(None, why.clone()) {
                inner.tell(NodeEvent::Lost { peer: line.name.clone(), why });
            }
        }
    }

    /// Until the connection ends; why it was none.
    async fn talk(&mut self, line: &Line, stream: TcpStream, _address: &PeerAddress) -> Option<String> {
        let _ = stream.set_nodelay(true);
        let options = self.inner.session_options().with_minor(line.minor.load(Ordering::Relaxed));
        #[cfg(feature = "peers-tls")]
        if let Some(tls) = self.inner.options.tls.clone() {
            let stream = match timeout(CONNECT, tls.connect(_address, stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Some(format!("{_address}: {error}")),
                Err(_) => return Some(format!("{_address}: no TLS within {} s", CONNECT.as_secs())),
            };
            let session = PeerSession::connect(options, &line.name, Instant::now().into_std());
            let link = Link::new(&self.inner, session, &self.jobs).to(line);
            return link.drive(stream, &mut self.stopped).await;
        }
        let session = PeerSession::connect(options, &line.name, Instant::now().into_std());
        Link::new(&self.inner, session, &self.jobs).to(line).drive(stream, &mut self.stopped).await
    }
}

/// A connection to the first address of a host that takes one.
async fn connect(inner: &Inner, address: &PeerAddress) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let found: Vec<SocketAddr> = tokio::net::lookup_host((address.host(), address.port())).await?.collect();
    for at in found {
        if inner.options.local_only() && !is_local_peer(at.ip()) {
            let why = PeerNodeError::Public { address: at.to_string() };
            last = std::io::Error::new(std::io::ErrorKind::PermissionDenied, why);
            continue;
        }
        match TcpStream::connect(at).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
