//! Calls to BigBlueButton servers: pooled keep-alive connections, deadlines, a limit on what is read.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

mod pieces;

use crate::connector::Connector;
use crate::request_id;
use crate::times::Times;

/// Why a call to a server brought no answer, by what the caller can conclude from it.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum CallError {
    /// The connection was refused: the request did certainly not arrive.
    #[error("{host} refuses connections")]
    Refused {
        /// Host and port.
        host: String,
    },
    /// The host name does not resolve, or the address cannot be used: the request did certainly not arrive.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Why.
        why: String,
    },
    /// No connection within the time-out: the request did certainly not arrive.
    #[error("{host} does not accept a connection within {seconds} s")]
    ConnectTimeout {
        /// Host and port.
        host: String,
        /// The time-out.
        seconds: f64,
    },
    /// No whole answer within the time-out: unknown whether the request was carried out.
    #[error("{host} does not answer within {seconds} s")]
    Timeout {
        /// Host and port.
        host: String,
        /// The time-out.
        seconds: f64,
    },
    /// The connection broke: unknown whether the request was carried out.
    #[error("the connection to {host} broke: {why}")]
    Broken {
        /// Host and port.
        host: String,
        /// Why.
        why: String,
    },
    /// The answer is larger than allowed.
    #[error("{host} answers with more than {limit} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The limit.
        limit: usize,
    },
}

impl CallError {
    /// Whether the request certainly did not arrive.
    pub fn never_arrived(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unreachable { .. } | Self::ConnectTimeout { .. })
    }
}

/// Time-outs and limits of calls.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallLimits {
    /// Longest wait for a connection. Default 5 s.
    pub connect: Duration,
    /// Longest wait for the whole answer. Default 10 s.
    pub response: Duration,
    /// Largest answer in bytes. Default 16 MiB.
    pub reply: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), response: Duration::from_secs(10), reply: 16 << 20 }
    }
}

impl CallLimits {
    /// The short times for a server that is flagged offline: 0.2 s and 0.5 s, each raised to at least a tenth of the
    /// response time and capped at it (Scalelite's rule; 1 s and 1 s with defaults).
    #[must_use]
    pub fn short(self) -> Self {
        let tenth = self.response / 10;
        let short = |ms| Duration::from_millis(ms).max(tenth).min(self.response);
        Self { connect: short(200), response: short(500), ..self }
    }
}

/// The body of a call: whole, or streamed through.
pub type CallBody = Either<Full<Bytes>, BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// A body to send along.
pub struct Upload {
    /// Its content type.
    pub content_type: &'static str,
    /// The body.
    pub body: CallBody,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

impl Upload {
    /// XML that is at hand as a whole.
    pub fn xml(body: Bytes) -> Self {
        Self { content_type: "application/xml", body: Either::Left(Full::new(body)) }
    }
}

/// Another way to servers than the network: for tests that decide when a request arrives and when its answer does.
#[cfg(feature = "testing")]
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// One call, GET or POST with a body. Time-outs are kept outside.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the call carried out or not.
    async fn call(&self, url: &str, upload: Option<Upload>) -> Result<Bytes, CallError>;
}

type Inner = Client<Connector, CallBody>;

/// The client, shared by all calls of a process.
#[derive(Clone)]
pub struct BbbClient {
    way: Way,
    limits: CallLimits,
    times: Arc<Times>,
}

#[derive(Clone)]
enum Way {
    Network(Arc<Network>),
    #[cfg(feature = "testing")]
    Double(Arc<dyn Transport>),
}

struct Network {
    usual: Inner,
    brief: Inner,
}

impl std::fmt::Debug for BbbClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BbbClient").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Pooled connections; certificates are judged by those that the system trusts.
pub(crate) fn connections<B>(connect: Duration) -> Client<Connector, B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(connect));
    http.set_nodelay(true);
    http.set_keepalive(Some(Duration::from_secs(60)));
    http.enforce_http(false);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Below the keep-alive time of the nginx before BigBlueButton (75 s).
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(64)
        .http1_max_headers(128)
        .build(Connector::new(http))
}

impl BbbClient {
    /// A client with these limits; certificates are judged by those that the system trusts.
    pub fn new(limits: CallLimits) -> Self {
        let network = Network { usual: connections(limits.connect), brief: connections(limits.short().connect) };
        Self { way: Way::Network(Arc::new(network)), limits, times: Arc::default() }
    }

    /// A client whose calls go another way than the network.
    #[cfg(feature = "testing")]
    pub fn with_transport(limits: CallLimits, transport: Arc<dyn Transport>) -> Self {
        Self { way: Way::Double(transport), limits, times: Arc::default() }
    }

    /// The limits.
    pub fn limits(&self) -> &CallLimits {
        &self.limits
    }

    /// How long servers took, by host and port.
    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// One call: GET, or POST with a body. The answer is the body, whatever its HTTP status.
    ///
    /// The time-out begins anew with each piece of a body that is streamed through or large: a document may take as
    /// long as its sender and the server's network need, a server that stops reading may not.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the call carried out or not.
    pub async fn call(&self, url: &str, upload: Option<Upload>, brief: bool) -> Result<Bytes, CallError> {
        let host = host_of(url);
        let limits = if brief { self.limits.short() } else { self.limits };
        let (began, moved) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let upload = upload.map(|u| watched(u, began, moved.clone()));
        // Connecting has its own limit inside; the sum bounds the whole call.
        let all = limits.connect + limits.response;
        let work = async {
            match &self.way {
                Way::Network(n) => {
                    let client = if brief { &n.brief } else { &n.usual };
                    over_network(client, limits, url, &host, upload).await
                }
                #[cfg(feature = "testing")]
                Way::Double(transport) => transport.call(url, upload).await,
            }
        };
        tokio::pin!(work);
        loop {
            let due = began + Duration::from_millis(moved.load(Relaxed)) + all;
            match timeout_at(due, &mut work).await {
                Ok(done) => {
                    self.times.note(&host, began.elapsed());
                    return done;
                }
                Err(_) if began + Duration::from_millis(moved.load(Relaxed)) + all > due => {}
                Err(_) => break,
            }
        }
        self.times.note(&host, began.elapsed());
        Err(CallError::Timeout { host: host.clone(), seconds: all.as_secs_f64() })
    }
}

/// A large body that notes when it moved last, in milliseconds from the beginning.
fn watched(upload: Upload, began: Instant, moved: Arc<AtomicU64>) -> Upload {
    let body = match upload.body {
        Either::Left(whole) => pieces::cut(whole, began, moved),
        Either::Right(stream) => pieces::noted(stream, began, moved),
    };
    Upload { body, ..upload }
}

async fn over_network(
    client: &Inner,
    limits: CallLimits,
    url: &str,
    host: &str,
    upload: Option<Upload>,
) -> Result<Bytes, CallError> {
    let unusable = |why: String| CallError::Unreachable { host: host.to_owned(), why };
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| unusable(e.to_string()))?;
    let mut request = http::Request::builder().uri(uri);
    if let Some(id) = request_id::current() {
        request = request.header(request_id::HEADER, &*id);
    }
    let body = match upload {
        Some(u) => {
            request = request.method(http::Method::POST).header(http::header::CONTENT_TYPE, u.content_type);
            u.body
        }
        None => Either::Left(Full::new(Bytes::new())),
    };
    let request = request.body(body).map_err(|e| unusable(e.to_string()))?;
    let again = is_read(request.uri()).then(|| request.uri().clone());
    let failed = |e| classify(&e, host, limits.connect);
    let answer = match (client.request(request).await.map_err(failed), again) {
        // A server may close a kept connection while a request is on its way to it.
        (Err(CallError::Broken { .. }), Some(uri)) => {
            let mut request = http::Request::new(Either::Left(Full::new(Bytes::new())));
            *request.uri_mut() = uri;
            client.request(request).await.map_err(failed)?
        }
        (answer, _) => answer?,
    };
    read(answer.into_body(), limits.reply, host).await
}

/// Whether a call only asks, so that it may be asked again.
fn is_read(uri: &http::Uri) -> bool {
    let call = uri.path().rsplit('/').next().unwrap_or_default();
    ["getMeetings", "getMeetingInfo", "isMeetingRunning"].contains(&call)
}

pub(crate) async fn read(mut body: hyper::body::Incoming, limit: usize, host: &str) -> Result<Bytes, CallError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| CallError::Broken { host: host.to_owned(), why: root(&e) })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(CallError::TooLarge { host: host.to_owned(), limit });
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if !first.is_empty() {
                all.extend_from_slice(&first);
                first = Bytes::new();
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

pub(crate) fn root(e: &dyn std::error::Error) -> String {
    let mut e = e;
    while let Some(source) = e.source() {
        e = source;
    }
    e.to_string()
}

pub(crate) fn classify(e: &hyper_util::client::legacy::Error, host: &str, connect: Duration) -> CallError {
    let host = host.to_owned();
    let mut kind = None;
    let mut cause = e.source();
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
        }
        cause = c.source();
    }
    let why = root(e);
    if !e.is_connect() {
        return CallError::Broken { host, why };
    }
    match kind {
        Some(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset) => {
            CallError::Refused { host }
        }
        Some(std::io::ErrorKind::TimedOut) => CallError::ConnectTimeout { host, seconds: connect.as_secs_f64() },
        _ => CallError::Unreachable { host, why },
    }
}

/// Host and port of a URL, without anything that could be secret.
pub(crate) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}
