//! A probe that connects and hangs up.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::load::Report;

use super::{HealthProbe, ProbeError};

/// At most so many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type Address<B> = Box<dyn Fn(&B) -> String + Send + Sync>;

/// Passes when a TCP connection comes about. The report carries `latency_seconds`, name lookup excluded.
pub struct TcpProbe<B> {
    address: Address<B>,
    timeout: Duration,
}

impl<B> fmt::Debug for TcpProbe<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpProbe").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<B: Backend> TcpProbe<B> {
    /// Probes the address that `address` gives for a server, as `host:port` or `[v6]:port`.
    pub fn new(address: impl Fn(&B) -> String + Send + Sync + 'static) -> Self {
        Self { address: Box::new(address), timeout: TIMEOUT }
    }

    /// Limit for lookup and connect together. Default 5 s; the monitor's own limit holds as well.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }
}

#[async_trait]
impl<B: Backend> HealthProbe<B> for TcpProbe<B> {
    async fn probe(&self, target: &B) -> Result<Report, ProbeError> {
        let address = (self.address)(target);
        let began = Instant::now();
        match timeout(self.timeout, connect(&address)).await {
            Ok(connected) => {
                let (_, since) = connected?;
                Ok(Report::new(began).with_fact("latency_seconds", since.elapsed().as_secs_f64()))
            }
            Err(_) => Err(ProbeError::Silent(format!("no connection to {address} within {:?}", self.timeout))),
        }
    }
}

/// Connects to the first address that accepts. The answer is the stream and when that connect began.
pub(super) async fn connect(address: &str) -> Result<(TcpStream, Instant), ProbeError> {
    let found: Vec<SocketAddr> = match lookup_host(address).await {
        Ok(list) => list.take(MAX_ADDRESSES).collect(),
        Err(e) => return Err(ProbeError::Resolve(format!("{address}: {e}"))),
    };
    let mut worst = None;
    for to in found {
        let began = Instant::now();
        match TcpStream::connect(to).await {
            Ok(stream) => return Ok((stream, began)),
            Err(e) => {
                let e = classify(&format!("connect to {to}"), &e);
                // One address that answers says more than another that is silent.
                if worst.as_ref().is_none_or(|w: &ProbeError| !w.answered()) {
                    worst = Some(e);
                }
            }
        }
    }
    Err(worst.unwrap_or_else(|| ProbeError::Resolve(format!("{address}: the name has no address"))))
}

pub(super) fn classify(what: &str, e: &Error) -> ProbeError {
    let text = format!("{what}: {e}");
    match e.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => ProbeError::Refused(text),
        _ => ProbeError::Silent(text),
    }
}
