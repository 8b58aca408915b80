//! Signed calls to a running balancer.

use std::fmt;
use std::time::Duration;

use adapter_bbb::{Algorithm, Connector, sign};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use console::printable;
use console::{Exit, Failure};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// The two groups of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// Scalelite's JSON calls.
    Scalelite,
    /// What Scalelite has no call for.
    Own,
}

/// An answer: its status and its JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) json: Value,
}

impl Answer {
    /// What the answer calls the error.
    pub(crate) fn error(&self) -> String {
        let named = ["error", "message"].iter().find_map(|name| self.json.get(name).and_then(Value::as_str));
        named.map_or_else(|| format!("HTTP {}", self.status.as_u16()), printable)
    }
}

/// Calls one balancer. `Debug` hides the secret.
pub(crate) struct Client {
    base: String,
    host: Option<String>,
    secret: String,
    algorithm: Algorithm,
    timeout: Duration,
    pool: Connections,
}

/// Connections over HTTP and HTTPS.
pub(crate) type Connections = Pool<Connector, Full<Bytes>>;

/// Connections that judge certificates by those that the system trusts.
pub(crate) fn connections(connect: Duration) -> Connections {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(connect));
    http.set_nodelay(true);
    http.enforce_http(false);
    Pool::builder(TokioExecutor::new()).build(Connector::new(http))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// For the balancer at this URL.
    ///
    /// # Errors
    ///
    /// A URL that is not one, an empty secret.
    pub(crate) fn new(url: &str, secret: &str, algorithm: Algorithm, timeout: Duration) -> Result<Self, Failure> {
        if secret.is_empty() {
            return Err(Failure::usage("the balancer's secret is not known")
                .hint("set BALANCER_SECRET or LOADBALANCER_SECRET, or give --secret"));
        }
        let base = base(url)?;
        let pool = connections(Duration::from_secs(10).min(timeout));
        Ok(Self { base, host: None, secret: secret.to_owned(), algorithm, timeout, pool })
    }

    /// Calls it by this host name, whatever its address: what a balancer with `URL_HOST` wants.
    pub(crate) fn named(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    /// The balancer's address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A call without a body.
    ///
    /// # Errors
    ///
    /// No connection, no answer in time, an answer that is not JSON, a refused signature.
    pub(crate) async fn get(&self, api: Api, call: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.send(api, call, query, None).await
    }

    /// A call with a JSON body.
    ///
    /// # Errors
    ///
    /// Like [`get`](Self::get).
    pub(crate) async fn post(&self, api: Api, call: &str, body: &Value) -> Result<Answer, Failure> {
        self.send(api, call, &[], Some(body)).await
    }

    fn path(&self, api: Api, call: &str, query: &[(&str, &str)]) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let checksum = sign(self.algorithm, call, &query, &self.secret);
        let prefix = match api {
            Api::Scalelite => "scalelite",
            Api::Own => "balancer",
        };
        let and = if query.is_empty() { "" } else { "&" };
        format!("{}/{prefix}/api/{call}?{query}{and}checksum={checksum}", self.base)
    }

    async fn send(
        &self,
        api: Api,
        call: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let mut request = http::Request::builder().uri(self.path(api, call, query));
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        if body.is_some() {
            request = request.method(Method::POST).header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
        let request = request.body(body).map_err(|e| self.lost("cannot be called", &e))?;
        let work = async {
            let answer = self.pool.request(request).await.map_err(|e| {
                if e.is_connect() { self.lost("cannot be reached", &e) } else { self.lost("broke the connection", &e) }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| {
                Failure::failed(format!("the answer of {} cannot be read", self.base)).cause(e.to_string())
            })?;
            self.understand(head.status, &body.to_bytes())
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(Failure::new(
                Exit::TimedOut,
                format!("{} does not answer {call} within {} s", self.base, self.timeout.as_secs_f64()),
            )
            .hint("it may still be carried out; look with `bbb-balancer status`, wait longer with --timeout")),
        }
    }

    fn lost(&self, what: &str, e: &dyn std::error::Error) -> Failure {
        let mut root = e;
        while let Some(source) = root.source() {
            root = source;
        }
        Failure::failed(format!("the balancer at {} {what}", self.base))
            .cause(printable(&root.to_string()))
            .hint("is `bbb-balancer serve` running there? give its address with --url or BALANCER_URL")
    }

    fn understand(&self, status: StatusCode, body: &[u8]) -> Result<Answer, Failure> {
        let text = String::from_utf8_lossy(body);
        if let Some(key) = between(&text, "<messageKey>", "</messageKey>") {
            let message = printable(between(&text, "<message>", "</message>").unwrap_or(key));
            return Err(match key {
                "checksumError" => Failure::failed(format!("the balancer did not accept the secret: {message}"))
                    .hint("give the one it was started with, as BALANCER_SECRET, LOADBALANCER_SECRET or --secret"),
                "unsupportedRequest" => Failure::failed(format!("{} does not know this call: {message}", self.base))
                    .hint("is it an older version, or Scalelite? give the balancer's address with --url"),
                _ => Failure::failed(format!("the balancer refused the call: {message}")),
            });
        }
        if status == StatusCode::FORBIDDEN {
            return Err(Failure::failed(format!("{} refused the host name of the call", self.base))
                .cause("it was started with URL_HOST, and answers that name only")
                .hint(
                    "give a URL with that name: --url https://NAME; on the balancer's own machine, run this with its \
                     environment and without a URL",
                ));
        }
        match serde_json::from_slice(body) {
            Ok(json) => Ok(Answer { status, json }),
            Err(_) => Err(Failure::failed(format!("{} does not answer like a balancer", self.base))
                .cause(format!("HTTP {} with {} bytes that are not JSON", status.as_u16(), body.len()))
                .hint("give the balancer's address with --url or BALANCER_URL")),
        }
    }
}

fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}

/// The URL before the path of a call: without a slash at the end, and without the path of the API that front-ends use.
fn base(url: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("the URL {:?} cannot be called: {why}", printable(url)))
            .hint("write --url http://HOST:PORT or https://HOST")
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrong(&e.to_string()))?;
    if uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(wrong("it has a query or a user name"));
    }
    let mut base = url.trim_end_matches('/');
    for path in ["/api", "/bigbluebutton", "/scalelite"] {
        base = base.strip_suffix(path).unwrap_or(base);
    }
    Ok(base.to_owned())
}

#[cfg(test)]
mod tests;
