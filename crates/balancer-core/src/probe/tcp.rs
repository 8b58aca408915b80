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
        match timeout(self.timeout, connect(&address, self.timeout)).await {
            Ok(connected) => {
                let (_, since) = connected?;
                Ok(Report::new(began).with_fact("latency_seconds", since.elapsed().as_secs_f64()))
            }
            Err(_) => Err(ProbeError::Silent(format!("no connection to {address} within {:?}", self.timeout))),
        }
    }
}

/// Connects to the first address that accepts, within `limit` for all of them. The answer is the stream and when that
/// connect began.
pub(super) async fn connect(address: &str, limit: Duration) -> Result<(TcpStream, Instant), ProbeError> {
    let end = Instant::now().checked_add(limit);
    match lookup_host(address).await {
        Ok(list) => connect_any(address, list.take(MAX_ADDRESSES).collect(), end).await,
        Err(e) => Err(ProbeError::Resolve(format!("{address}: {e}"))),
    }
}

/// Each address has its share of the time, so that a silent one leaves some to the next.
async fn connect_any(
    name: &str,
    found: Vec<SocketAddr>,
    end: Option<Instant>,
) -> Result<(TcpStream, Instant), ProbeError> {
    let mut worst = None;
    let lefts = (1..=u32::try_from(found.len()).unwrap_or(u32::MAX)).rev();
    for (left, to) in lefts.zip(found) {
        let began = Instant::now();
        let share = end.map_or(Duration::MAX, |end| end.saturating_duration_since(began) / left);
        let e = match timeout(share, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return Ok((stream, began)),
            Ok(Err(e)) => classify(&format!("connect to {to}"), &e),
            Err(_) => ProbeError::Silent(format!("no connection to {to} within {share:?}")),
        };
        // One address that answers says more than another that is silent.
        if worst.as_ref().is_none_or(|w: &ProbeError| !w.answered()) {
            worst = Some(e);
        }
    }
    Err(worst.unwrap_or_else(|| ProbeError::Resolve(format!("{name}: the name has no address"))))
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_silent_address_leaves_time_for_the_next() {
        // A queue that is full drops whoever comes.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_secs(2), TcpStream::connect(silent)).await {
            queued.push(stream);
            assert!(queued.len() < 64, "this system drops nobody");
        }
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = Some(Instant::now() + Duration::from_secs(10));
        let found = vec![silent, open.local_addr().unwrap()];
        let (stream, _) = connect_any("two", found, end).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open.local_addr().unwrap());
        let end = Some(Instant::now() + Duration::from_millis(100));
        let error = connect_any("one", vec![silent], end).await.unwrap_err();
        assert!(matches!(&error, ProbeError::Silent(why) if why.contains(&silent.to_string())), "{error}");
    }
}
