//! A front-end in a few lines: signed calls over plain HTTP, one connection each.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{failed, signed};
use console::Failure;

/// The largest answer it reads.
const LIMIT: u64 = 16 << 20;

/// What came back.
pub(super) struct Answer {
    pub(super) location: Option<String>,
    pub(super) body: String,
}

#[derive(Clone)]
pub(super) struct Browser {
    addr: SocketAddr,
}

impl Browser {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr }
    }

    /// One signed call of the BigBlueButton API.
    pub(super) async fn call(&self, call: &str, pairs: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.send("GET", &signed("/bigbluebutton/api", call, pairs), "").await
    }

    /// One call of Scalelite's JSON API.
    pub(super) async fn admin(&self, call: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.send("POST", &signed("/scalelite/api", call, &[]), &body.to_string()).await?;
        serde_json::from_str(&answer.body).map_err(|e| failed(call, e))
    }

    /// One of our own calls for operators.
    pub(super) async fn operate(&self, call: &str) -> Result<Value, Failure> {
        let method = if call == "poll" { "POST" } else { "GET" };
        let body = if call == "poll" { "{}" } else { "" };
        let answer = self.send(method, &signed("/balancer/api", call, &[]), body).await?;
        serde_json::from_str(&answer.body).map_err(|e| failed(call, e))
    }

    /// Why a meeting is where it is.
    pub(super) async fn explain(&self, meeting: &str) -> Result<String, Failure> {
        let answer = self.send("GET", &signed("/balancer/api", "explain", &[("meetingID", meeting)]), "").await?;
        let value: Value = serde_json::from_str(&answer.body).map_err(|e| failed("explain", e))?;
        Ok(value["text"].as_str().unwrap_or_default().to_owned())
    }

    /// Follows a redirect to one of the pretended servers.
    pub(super) async fn follow(&self, url: &str) -> Result<(), Failure> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let addr: SocketAddr = host.parse().map_err(|e| failed("a redirect", e))?;
        Self { addr }.send("GET", &format!("/{path}"), "").await.map(drop)
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        if method == "POST" {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head.push_str(body);
        let mut answer = Vec::new();
        let io = async {
            let mut stream = TcpStream::connect(self.addr).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.take(LIMIT).read_to_end(&mut answer).await
        };
        io.await.map_err(|e| failed("a call did not come back", e))?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let location = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        Ok(Answer { location, body: body.to_owned() })
    }
}
