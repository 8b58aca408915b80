//! Calls to addresses that front-ends named: never into networks of ours that they could not reach themselves.

mod rules;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tower_service::Service;

pub use rules::{AddressRuleError, AddressRules, UrlRefusal};

use crate::client::{host_of, root};
use crate::connector::Connector;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Resolves names, and leaves out addresses that are not allowed: what is connected to is what was checked.
#[derive(Clone)]
struct Vetted(AddressRules);

impl Service<Name> for Vetted {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let rules = self.0.clone();
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = all.filter(|at| rules.allows(at.ip())).collect();
            if allowed.is_empty() {
                let why = "leads to a private address; allow it in callback_allow if that is meant";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Why a callback did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EgressError {
    /// Its address is not allowed.
    #[error(transparent)]
    Refused(#[from] UrlRefusal),
    /// No answer.
    #[error("{host} cannot be reached: {why}")]
    Lost {
        /// Host and port.
        host: String,
        /// Why.
        why: String,
    },
    /// No answer in time.
    #[error("{host} does not answer within {} s", .limit.as_secs_f64())]
    Timeout {
        /// Host and port.
        host: String,
        /// The limit.
        limit: Duration,
    },
}

/// The client for callbacks: checked addresses, no redirects, no answer's body, a connection for each.
#[derive(Clone)]
pub(crate) struct Egress {
    client: Client<Connector<HttpConnector<Vetted>>, Full<Bytes>>,
    rules: AddressRules,
    limit: Duration,
}

/// A message to send.
pub(crate) struct Message<'m> {
    pub(crate) url: &'m str,
    pub(crate) content_type: &'static str,
    pub(crate) agent: &'static str,
    /// A token for the `Authorization` header.
    pub(crate) bearer: Option<&'m str>,
    pub(crate) body: Bytes,
}

impl Egress {
    /// With these rules, and so much time for a whole call.
    pub(crate) fn new(rules: AddressRules, limit: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(Vetted(rules.clone()));
        http.set_connect_timeout(Some(CONNECT.min(limit)));
        http.set_nodelay(true);
        http.enforce_http(false);
        // Nothing is kept open: each call resolves and checks anew.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_headers(128)
            .build(Connector::new(http));
        Self { client, rules, limit }
    }

    /// Posts a message; the answer is its status. A redirect is an answer like any other.
    pub(crate) async fn post(&self, message: Message<'_>) -> Result<StatusCode, EgressError> {
        self.send(message).await.map(|answer| answer.status())
    }

    /// Posts a message; the answer is its status and what it says, of at most so many bytes.
    pub(crate) async fn ask(&self, message: Message<'_>, most: usize) -> Result<(StatusCode, Bytes), EgressError> {
        let host = host_of(message.url);
        let answer = self.send(message).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), most).collect();
        match tokio::time::timeout(self.limit, body).await {
            Ok(Ok(body)) => Ok((status, body.to_bytes())),
            Ok(Err(e)) => Err(EgressError::Lost { host, why: e.to_string() }),
            Err(_) => Err(EgressError::Timeout { host, limit: self.limit }),
        }
    }

    async fn send(&self, message: Message<'_>) -> Result<Response<Incoming>, EgressError> {
        // Addresses written as numbers are never resolved, so they are checked here.
        let uri = self.rules.check(message.url)?;
        let host = host_of(message.url);
        let lost = |why: String| EgressError::Lost { host: host.clone(), why };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, message.content_type)
            .header(header::USER_AGENT, message.agent);
        if let Some(token) = message.bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|e| lost(e.to_string()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Full::new(message.body)).map_err(|e| lost(e.to_string()))?;
        match tokio::time::timeout(self.limit, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(lost(root(&e))),
            Err(_) => Err(EgressError::Timeout { host, limit: self.limit }),
        }
    }
}
