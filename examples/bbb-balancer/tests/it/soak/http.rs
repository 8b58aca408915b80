//! One request, one connection, one deadline.

use std::time::Duration;

use adapter_bbb::{Algorithm, Params, signed_url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing may take longer than this: twice what the slowest create may take by its own limits, and more.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// No connection, or it broke: the process was killed.
    Cut,
    /// Nothing came within the deadline.
    Silent,
}

impl Answer {
    /// The text of a simple element.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let rest = self.body.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once('<')?.0)
    }

    pub(super) fn ok(&self) -> bool {
        self.text("returncode") == Some("SUCCESS")
    }

    /// The port a redirect leads to.
    pub(super) fn port(&self) -> Option<u16> {
        self.location.as_deref()?.split('/').nth(2)?.rsplit(':').next()?.parse().ok()
    }
}

pub(super) fn signed(base: &str, call: &str, pairs: &[(&str, &str)], secret: &str) -> String {
    let mut params = Params::new();
    for (name, value) in pairs {
        params.push(*name, *value);
    }
    signed_url(base, call, &params, secret, Algorithm::Sha256)
}

/// One GET, or a POST of this JSON.
pub(super) async fn http(port: u16, path: &str, json: Option<&str>, within: Duration) -> Result<Answer, Lost> {
    match json {
        Some(body) => post(port, path, "Content-Type: application/json\r\n", body, within).await,
        None => answered("GET", port, path, "", "", within).await,
    }
}

/// One POST with these further header lines.
pub(super) async fn post(port: u16, path: &str, lines: &str, body: &str, within: Duration) -> Result<Answer, Lost> {
    answered("POST", port, path, lines, body, within).await
}

async fn answered(
    method: &str,
    port: u16,
    path: &str,
    lines: &str,
    body: &str,
    within: Duration,
) -> Result<Answer, Lost> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{lines}");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    match tokio::time::timeout(within, exchange(port, &request)).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Lost::Cut),
        Err(_) => Err(Lost::Silent),
    }
}

async fn exchange(port: u16, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines().find_map(|l| {
            let (n, v) = l.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then(|| v.to_owned())
        })
    };
    // A body that is shorter than announced was cut off with its process.
    let whole = field("content-length").is_none_or(|n| n.parse() == Ok(body.len()));
    whole.then(|| Answer { status, location: field("location"), body: body.to_owned() })
}
