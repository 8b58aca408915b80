//! A probe that asks one plain HTTP/1.1 question.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::load::Report;

use super::tcp::{Address, TIMEOUT, classify, connect};
use super::{HealthProbe, ProbeError};

/// The longest head (status line and headers) that is read.
const MAX_HEAD: usize = 16 * 1024;
/// The most of a body that is read.
const MAX_BODY: usize = 64 * 1024;
const TLS: &str = "answers TLS: this probe speaks plain HTTP";

/// Passes when a plain HTTP `GET` is answered with an expected status.
///
/// The report carries `latency_seconds` (connect until the whole head was read, name lookup excluded) and `status`.
/// Redirects are not followed. A body is read only when something is expected in it, 64 KiB of it at most.
pub struct HttpProbe<B> {
    address: Address<B>,
    path: String,
    host: Option<String>,
    expect: Vec<RangeInclusive<u16>>,
    contains: Option<String>,
    timeout: Duration,
}

impl<B> fmt::Debug for HttpProbe<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may carry a secret in its query.
        f.debug_struct("HttpProbe")
            .field("expect", &self.expect)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> HttpProbe<B> {
    /// Asks the address that `address` gives for a server (`host:port` or `[v6]:port`) for this path. Characters that
    /// cannot stand in a request line are sent percent-encoded.
    pub fn new(address: impl Fn(&B) -> String + Send + Sync + 'static, path: &str) -> Self {
        Self {
            address: Box::new(address),
            path: encode_path(path),
            host: None,
            expect: vec![200..=399],
            contains: None,
            timeout: TIMEOUT,
        }
    }

    /// Sends this `Host` instead of the address. Characters no host may have are left out.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.chars().filter(char::is_ascii_graphic).collect());
        self
    }

    /// The statuses that pass. Default 200 to 399.
    #[must_use]
    pub fn expect(mut self, statuses: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        self.expect = statuses.into_iter().collect();
        self
    }

    /// Passes only when this text stands in the first 64 KiB of the body, as sent. Default: the body is not read.
    #[must_use]
    pub fn contains(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    /// Limit for everything together. Default 5 s; the monitor's own limit holds as well.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    async fn ask(&self, address: &str, reached: &mut bool) -> Result<Report, ProbeError> {
        let began = Instant::now();
        let (mut stream, since) = connect(address, self.timeout).await?;
        *reached = true;
        let host = match &self.host {
            Some(h) => h.clone(),
            None => address.chars().filter(char::is_ascii_graphic).collect(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: balancer-core\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path
        );
        stream.write_all(request.as_bytes()).await.map_err(|e| classify("send the request", &e))?;
        let mut read = Vec::new();
        let (status, body) = read_head(&mut stream, &mut read).await?;
        let latency = since.elapsed().as_secs_f64();
        if !self.expect.iter().any(|r| r.contains(&status)) {
            if status == 400 {
                // Servers that answer plain requests on their TLS port in words.
                for words in ["HTTPS port", "HTTPS server"] {
                    if find_in_body(&mut stream, &mut read, body, words).await.unwrap_or(false) {
                        return Err(ProbeError::Answer(TLS.to_owned()));
                    }
                }
            }
            return Err(ProbeError::Answer(format!("status {status}")));
        }
        if let Some(text) = &self.contains
            && !find_in_body(&mut stream, &mut read, body, text).await?
        {
            return Err(ProbeError::Answer(format!("status {status}, but the body lacks the expected text")));
        }
        Ok(Report::new(began).with_fact("latency_seconds", latency).with_fact("status", f64::from(status)))
    }
}

#[async_trait]
impl<B: Backend> HealthProbe<B> for HttpProbe<B> {
    async fn probe(&self, target: &B) -> Result<Report, ProbeError> {
        let address = (self.address)(target);
        let mut reached = false;
        match timeout(self.timeout, self.ask(&address, &mut reached)).await {
            Ok(result) => result,
            Err(_) if reached => {
                let text = format!("{address} took the connection, then said nothing whole within {:?}", self.timeout);
                Err(ProbeError::Silent(text))
            }
            Err(_) => Err(ProbeError::Silent(format!("no connection to {address} within {:?}", self.timeout))),
        }
    }
}

/// Reads until a whole final head stands in `read`. The answer is its status and where the body begins.
async fn read_head(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<(u16, usize), ProbeError> {
    loop {
        if let Some(found) = head(read)? {
            return Ok(found);
        }
        if read.len() >= MAX_HEAD {
            return Err(ProbeError::Answer(format!("headers longer than {MAX_HEAD} bytes")));
        }
        if !read_more(stream, read, MAX_HEAD).await? {
            return Err(ProbeError::Answer(if read.is_empty() {
                "closed the connection without an answer".to_owned()
            } else {
                format!("closed the connection within the headers, after {} bytes", read.len())
            }));
        }
    }
}

/// Reads on, never beyond `limit` bytes altogether. `false` at the end.
async fn read_more(stream: &mut TcpStream, read: &mut Vec<u8>, limit: usize) -> Result<bool, ProbeError> {
    let mut part = [0; 4096];
    let room = limit.saturating_sub(read.len()).min(part.len());
    let n = stream.read(&mut part[..room]).await.map_err(|e| classify("read the answer", &e))?;
    read.extend_from_slice(&part[..n]);
    Ok(n > 0)
}

async fn find_in_body(stream: &mut TcpStream, read: &mut Vec<u8>, body: usize, text: &str) -> Result<bool, ProbeError> {
    let mut from = body;
    loop {
        if find(read.get(from..).unwrap_or_default(), text.as_bytes()).is_some() {
            return Ok(true);
        }
        // The text may stand across two parts.
        from = read.len().saturating_sub(text.len()).max(body);
        let limit = body.saturating_add(MAX_BODY);
        if read.len() >= limit || !read_more(stream, read, limit).await? {
            return Ok(false);
        }
    }
}

fn find(within: &[u8], text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    within.windows(text.len()).position(|w| w == text)
}

/// The status of the final head in these bytes and where its body begins; `None` when more is needed.
fn head(read: &[u8]) -> Result<Option<(u16, usize)>, ProbeError> {
    if let [0x14..=0x17, rest @ ..] = read {
        return match rest {
            [] => Ok(None),
            [3, ..] => Err(ProbeError::Answer(TLS.to_owned())),
            _ => Err(not_http(read)),
        };
    }
    let mut at = 0;
    loop {
        let rest = read.get(at..).unwrap_or_default();
        let Some(status) = status_line(rest)? else { return Ok(None) };
        let Some(end) = find(rest, b"\r\n\r\n") else { return Ok(None) };
        at += end + 4;
        // Interim answers come before the final one.
        if !(100..200).contains(&status) || status == 101 {
            return Ok(Some((status, at)));
        }
    }
}

fn status_line(read: &[u8]) -> Result<Option<u16>, ProbeError> {
    const START: &[u8] = b"HTTP/1.";
    let n = read.len().min(START.len());
    if read.get(..n) != START.get(..n) {
        return Err(not_http(read));
    }
    let digit = |b: u8| b.is_ascii_digit().then(|| u16::from(b - b'0'));
    let [.., minor, b' ', a, b, c, after] = (match read.get(..13) {
        Some(line) => line,
        None => return Ok(None),
    }) else {
        return Err(not_http(read));
    };
    let (Some(_), Some(a), Some(b), Some(c), b' ' | b'\r') = (digit(*minor), digit(*a), digit(*b), digit(*c), *after)
    else {
        return Err(not_http(read));
    };
    Ok(Some(a * 100 + b * 10 + c))
}

fn not_http(read: &[u8]) -> ProbeError {
    let start = read.get(..read.len().min(24)).unwrap_or_default();
    ProbeError::Answer(format!("not HTTP/1: the answer starts with \"{}\"", start.escape_ascii()))
}

fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        out.push('/');
    }
    for b in path.bytes() {
        if b.is_ascii_graphic() {
            out.push(char::from(b));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_status_and_place_of_the_body() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Ok(Some((200, 25))));
        assert_eq!(head(b"HTTP/1.0 503\r\n\r\n"), Ok(Some((503, 16))));
        assert_eq!(head(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n"), Ok(Some((204, 44))));
        for part in [&b""[..], b"HT", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nA: b\r\n", b"\x15"] {
            assert_eq!(head(part), Ok(None));
        }
    }

    #[test]
    fn names_what_is_not_http() {
        assert_eq!(head(b"\x15\x03\x01\x00\x02\x02\x46"), Err(ProbeError::Answer(TLS.into())));
        for bad in [&b"SSH-2.0"[..], b"HTTP/2 200 OK\r\n", b"HTTP/1.1 2x0 OK\r\n", b"HTTP/1.1 20000\r\n", b"\x16\x00"] {
            let e = head(bad).expect_err("is not HTTP/1").to_string();
            assert!(e.contains("not HTTP/1"), "{e}");
        }
    }

    #[test]
    fn a_path_cannot_break_out_of_the_request_line() {
        assert_eq!(encode_path("a b\r\nX: y"), "/a%20b%0D%0AX:%20y");
        assert_eq!(encode_path("/ok?x=%20"), "/ok?x=%20");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), http in any::<bool>()) {
            let mut all = if http { b"HTTP/1.1 ".to_vec() } else { Vec::new() };
            all.extend(bytes);
            let _ = head(&all);
        }
    }
}
