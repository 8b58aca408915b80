//! The HTTP server: connections with limits on everything that comes from outside.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::client::CallBody;
use crate::service::{BbbService, BodyPlan, Payload, RequestHead, plain};

mod stream;

use stream::{Phase, Watched};

/// Limits on what comes from outside.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HttpLimits {
    /// Connections at once; further ones wait in the backlog. Default 4,096.
    pub connections: usize,
    /// Head of a request in bytes. Default 64 KiB.
    pub head: usize,
    /// Form and JSON bodies in bytes. Default 1 MiB.
    pub form: usize,
    /// Bodies with slides in bytes. Default 64 MiB.
    pub slides: usize,
    /// Bytes of slides under way that are kept at once, so that another server can have them when the first one fails;
    /// what goes beyond is passed through all the same. Default 512 MiB.
    pub slides_held: usize,
    /// Longest time from the first byte of a head to its last. Default 10 s.
    pub head_time: Duration,
    /// Longest time between two requests of a connection. Default 60 s.
    pub idle: Duration,
    /// Longest time a request may take as a whole, its body included. Default 120 s.
    pub request: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head: 64 << 10,
            form: 1 << 20,
            slides: 64 << 20,
            slides_held: 512 << 20,
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            request: Duration::from_secs(120),
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket; a stale one is replaced.
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "http://{addr}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {bind}: {hint}")]
pub struct BindError {
    bind: Bind,
    hint: &'static str,
    #[source]
    source: std::io::Error,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A bound server, not serving yet.
pub struct HttpServer {
    listener: Listener,
    service: BbbService,
    limits: HttpLimits,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Listens there; connections wait until [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// [`BindError`] naming the address, the cause and the remedy.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future listens nowhere.
    pub async fn bind(bind: &Bind, service: BbbService, limits: HttpLimits) -> Result<Self, BindError> {
        let fail = |source: std::io::Error| {
            let hint = match source.kind() {
                std::io::ErrorKind::AddrInUse if matches!(bind, Bind::Unix(_)) => {
                    "another program listens there, or it is no socket: stop that program or choose another path"
                }
                std::io::ErrorKind::AddrInUse => "another program listens there: stop it or choose another port",
                std::io::ErrorKind::PermissionDenied => "no permission: choose a port above 1023 or another path",
                std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
                _ => "the system refuses",
            };
            BindError { bind: bind.clone(), hint, source }
        };
        let listener = match bind {
            Bind::Tcp(addr) => Listener::Tcp(TcpListener::bind(addr).await.map_err(fail)?),
            Bind::Unix(path) => {
                // Only a socket that nobody serves is replaced: a wrong path must not cost a file.
                let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
                if is_socket && tokio::net::UnixStream::connect(path).await.is_err() {
                    std::fs::remove_file(path).map_err(fail)?;
                }
                Listener::Unix(UnixListener::bind(path).map_err(fail)?, path.clone())
            }
        };
        Ok(Self { listener, service, limits })
    }

    /// Where it listens, with the port it got.
    pub fn local(&self) -> Option<Bind> {
        match &self.listener {
            Listener::Tcp(l) => l.local_addr().ok().map(Bind::Tcp),
            Listener::Unix(_, path) => Some(Bind::Unix(path.clone())),
        }
    }

    /// Serves until `shutdown` resolves; requests under way get `grace` to finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener and leaves running connections to themselves.
    pub async fn serve(self, shutdown: impl Future<Output = ()>, grace: Duration) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let room = Arc::new(Semaphore::new(kib(self.limits.slides_held)));
        let (stop, stopping) = tokio::sync::watch::channel(false);
        tokio::pin!(shutdown);
        loop {
            let permit = tokio::select! {
                p = slots.clone().acquire_owned() => p,
                () = &mut shutdown => break,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                a = accept(&self.listener) => a,
                () = &mut shutdown => break,
            };
            let stream = match accepted {
                Ok(s) => s,
                Err(e) => {
                    // Out of descriptors and the like: others must close first.
                    tracing::warn!(error = %e, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (service, limits, stopping) = (self.service.clone(), self.limits, stopping.clone());
            let room = room.clone();
            tokio::spawn(async move {
                connection(stream, service, limits, room, stopping).await;
                drop(permit);
            });
        }
        let _ = stop.send(true);
        let deadline = Instant::now() + grace;
        while slots.available_permits() < self.limits.connections && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Listener::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn accept(l: &Listener) -> std::io::Result<(Watched, Option<IpAddr>)> {
    match l {
        Listener::Tcp(l) => {
            let (s, from) = l.accept().await?;
            s.set_nodelay(true)?;
            Ok((Watched::tcp(s), Some(from.ip())))
        }
        Listener::Unix(l, _) => Ok((Watched::unix(l.accept().await?.0), None)),
    }
}

async fn connection(
    (stream, caller): (Watched, Option<IpAddr>),
    service: BbbService,
    limits: HttpLimits,
    room: Arc<Semaphore>,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) {
    let phase = stream.phase();
    let on_request = {
        let phase = phase.clone();
        service_fn(move |request: Request<Incoming>| {
            let (service, phase, room) = (service.clone(), phase.clone(), room.clone());
            phase.enter(Phase::BUSY);
            async move {
                let answer = respond(&service, request, &limits, &room, caller).await;
                phase.enter(Phase::IDLE);
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.head.max(8192))
        .keep_alive(true)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), on_request);
    tokio::pin!(conn);
    loop {
        let due = phase.deadline(&limits);
        tokio::select! {
            done = conn.as_mut() => {
                if let Err(e) = done {
                    tracing::trace!(error = %e, "connection ended");
                }
                return;
            }
            () = tokio::time::sleep_until(due) => {
                if phase.is_due(&limits) {
                    return;
                }
            }
            changed = stopping.changed() => {
                if changed.is_err() {
                    return;
                }
                conn.as_mut().graceful_shutdown();
            }
        }
    }
}

/// About how many bytes a head had: the request line, and each header with its colon, blank and line break.
fn head_size(parts: &http::request::Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    parts.method.as_str().len() + target + headers.sum::<usize>()
}

fn value(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// XML of at most so many bytes is read as a whole before anything else is done, when its length is announced.
const WHOLE: u64 = 256 << 10;

/// Permits for so many bytes, in KiB.
fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024).clamp(1, Semaphore::MAX_PERMITS >> 1)
}

async fn respond(
    service: &BbbService,
    request: Request<Incoming>,
    limits: &HttpLimits,
    room: &Arc<Semaphore>,
    caller: Option<IpAddr>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    // The reader's own limit is that of its buffer, which may fill beyond it with one read.
    if head_size(&parts) > limits.head {
        let text = format!("the request's head is larger than {} bytes", limits.head);
        return plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &text).map(Full::new);
    }
    let head = RequestHead {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        host: value(&parts.headers, header::HOST).or_else(|| parts.uri.host()),
        content_type: value(&parts.headers, header::CONTENT_TYPE),
        authorization: value(&parts.headers, header::AUTHORIZATION),
        request_id: value(&parts.headers, crate::request_id::HEADER),
        forwarded_proto: parts.headers.get("x-forwarded-proto").and_then(|v| v.to_str().ok()),
        cookie: value(&parts.headers, header::COOKIE),
        agent: value(&parts.headers, header::USER_AGENT),
        caller,
    };
    let plan = service.body_plan(&head);
    if plan == BodyPlan::Slides && !service.takes_slides(&head).await {
        // Refused, counted and slowed down like any other, without its body.
        return service.handle(head, Payload::Whole(Bytes::new())).await.map(Full::new);
    }
    let limit = if plan == BodyPlan::Form { limits.form } else { limits.slides };
    let work = async {
        let payload = if body.is_end_stream() {
            Payload::Whole(Bytes::new())
        } else if body.size_hint().lower() > limit as u64 {
            return too_large(limit);
        } else if plan == BodyPlan::Stream {
            Payload::Stream(CallBody::Right(Limited::new(body, limit).boxed()))
        } else if plan == BodyPlan::Slides && body.size_hint().exact().is_none_or(|length| length > WHOLE) {
            Payload::Slides { body: CallBody::Right(Limited::new(body, limit).boxed()), room: room.clone() }
        } else {
            match Limited::new(body, limit).collect().await {
                Ok(all) => Payload::Whole(all.to_bytes()),
                Err(e) if e.is::<LengthLimitError>() => return too_large(limit),
                Err(_) => return plain(StatusCode::BAD_REQUEST, "the request's body broke off"),
            }
        };
        service.handle(head, payload).await
    };
    let answer = match tokio::time::timeout(limits.request, work).await {
        Ok(answer) => answer,
        Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
    };
    answer.map(Full::new)
}

fn too_large(limit: usize) -> Response<Bytes> {
    plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("the request's body is larger than {limit} bytes"))
}
