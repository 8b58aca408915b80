//! Bridges asked over their private HTTP port.

use std::fmt;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{Backend, HealthProbe, ProbeError, Report};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::brewery::BridgeReport;

/// The most of an answer that is read.
const MAX_BODY: usize = 1024 * 1024;
/// The longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// The most figures that are taken from an answer.
const MAX_FIGURES: usize = 500;
/// The figures that go into the report besides those that a presence's report has.
const FACTS: [&str; 8] = [
    "drain",
    "graceful_shutdown",
    "shutting_down",
    "healthy",
    "largest_conference",
    "visitors",
    "bit_rate_download",
    "bit_rate_upload",
];

type Told<B> = Box<dyn Fn(&B, &BridgeFigures) + Send + Sync>;

/// The figures of one bridge under the names its presence has, every value as the text that stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeFigures(Vec<(String, String)>);

impl BridgeFigures {
    /// Reads the answer of `/colibri/stats`. Lists and objects in it are left out; at most 500 figures are taken.
    ///
    /// # Errors
    ///
    /// What is wrong with it: not JSON, or no object.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("not json: {error}"))?;
        let Value::Object(object) = value else { return Err("no json object".to_owned()) };
        let figures = object.into_iter().filter_map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((name, text))
        });
        Ok(Self(figures.take(MAX_FIGURES).collect()))
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All figures.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The same as a bridge would publish it, for a [`BridgeTable`](crate::BridgeTable).
    pub fn to_stats(&self) -> BridgeReport {
        BridgeReport::from_stats(self.iter())
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            "true" => Some(1.0),
            "false" => Some(0.0),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        }
    }

    fn report(&self, began: Instant) -> Report {
        let mut report = self.to_stats().to_report(began, Duration::ZERO);
        for name in FACTS {
            if let Some(number) = self.number(name) {
                report = report.with_fact(name, number);
            }
        }
        report
    }
}

/// Asks a bridge `/about/health` and then `/colibri/stats`, in plain HTTP: both are on its private port, 8080.
///
/// A bridge that is healthy but has no statistics, because `videobridge.apis.rest.enabled` is off, passes with a report
/// that has no rooms and no people. Redirects are not followed.
pub struct RestProbe<B> {
    address: Box<dyn Fn(&B) -> String + Send + Sync>,
    told: Option<Told<B>>,
    timeout: Duration,
}

impl<B> fmt::Debug for RestProbe<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestProbe").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<B: Backend> RestProbe<B> {
    /// Asks the address that `address` gives for a bridge, as `host:port` or `[v6]:port`.
    pub fn new(address: impl Fn(&B) -> String + Send + Sync + 'static) -> Self {
        Self { address: Box::new(address), told: None, timeout: Duration::from_secs(5) }
    }

    /// Hands over all figures of each answer, for whoever reads more than a report holds.
    #[must_use]
    pub fn with_figures(mut self, told: impl Fn(&B, &BridgeFigures) + Send + Sync + 'static) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// Limit for both questions together. Default 5 s; the monitor's own limit holds as well.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    async fn ask(&self, target: &B, address: &str) -> Result<Report, ProbeError> {
        let (status, _) = get(address, "/about/health").await?;
        if status != 200 {
            return Err(ProbeError::Answer(format!("unhealthy: {address} answers /about/health with status {status}")));
        }
        let began = Instant::now();
        match get(address, "/colibri/stats").await? {
            (200, body) => {
                let figures = BridgeFigures::parse(&body)
                    .map_err(|why| ProbeError::Answer(format!("{address}/colibri/stats: {why}")))?;
                if let Some(told) = &self.told {
                    told(target, &figures);
                }
                Ok(figures.report(began))
            }
            (404, _) => Ok(Report::new(began)),
            (status, _) => Err(ProbeError::Answer(format!("{address} answers /colibri/stats with status {status}"))),
        }
    }
}

#[async_trait]
impl<B: Backend> HealthProbe<B> for RestProbe<B> {
    async fn probe(&self, target: &B) -> Result<Report, ProbeError> {
        let address = (self.address)(target);
        match timeout(self.timeout, self.ask(target, &address)).await {
            Ok(report) => report,
            Err(_) => Err(ProbeError::Silent(format!("no answer from {address} within {:?}", self.timeout))),
        }
    }
}

/// A connection to a private port.
pub(crate) async fn connect(address: &str) -> Result<TcpStream, ProbeError> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
            ProbeError::Refused(format!("connect to {address}: {error}"))
        }
        ErrorKind::InvalidInput | ErrorKind::NotFound => ProbeError::Resolve(format!("{address}: {error}")),
        _ if error.raw_os_error().is_none() => ProbeError::Resolve(format!("{address}: {error}")),
        _ => ProbeError::Silent(format!("connect to {address}: {error}")),
    })
}

/// One question on a connection of its own, with an answer of at most 1 MiB.
pub(crate) async fn get(address: &str, path: &str) -> Result<(u16, Bytes), ProbeError> {
    get_long(address, path, MAX_BODY).await
}

/// The same with an answer of at most so many bytes.
pub(crate) async fn get_long(address: &str, path: &str, most: usize) -> Result<(u16, Bytes), ProbeError> {
    let stream = connect(address).await?;
    let wrong = |what: &dyn fmt::Display| ProbeError::Answer(format!("{address}{path}: {what}"));
    let request = Request::get(path)
        .header(header::HOST, address)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| wrong(&error))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let mut asking = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| {
            if error.is_incomplete_message() || error.is_canceled() {
                ProbeError::Refused(format!("{address}{path}: {error}"))
            } else {
                wrong(&error)
            }
        })?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), most).collect().await.map_err(|error| wrong(&error))?;
        Ok((status, body.to_bytes()))
    });
    tokio::select! {
        answer = &mut asking => answer,
        // The connection may end first; what was received of the answer is still there.
        _ = connection => asking.await,
    }
}
