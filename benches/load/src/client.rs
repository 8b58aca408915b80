//! Signed requests as bytes, and one keep-alive connection that sends them.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const LIMIT: usize = 256 << 20;

/// Where requests go and how they are signed.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    host: String,
    base: String,
    secret: String,
}

impl Target {
    /// Reads `http://HOST:PORT[/PATH]`; the path is that of the API unless given.
    pub(crate) fn parse(url: &str, secret: &str) -> Result<Self, String> {
        let fault = |why: &str| format!("{url}: {why}; give http://HOST:PORT or http://HOST:PORT/bigbluebutton/api");
        let rest = url.strip_prefix("http://").ok_or_else(|| fault("only plain http is driven"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let mut addrs =
            std::net::ToSocketAddrs::to_socket_addrs(&with_port).map_err(|error| fault(&error.to_string()))?;
        let addr = addrs.next().ok_or_else(|| fault("the host has no address"))?;
        let path = path.trim_matches('/');
        let base = if path.is_empty() { "/bigbluebutton/api".to_owned() } else { format!("/{path}") };
        Ok(Self { addr, host: host.to_owned(), base, secret: secret.to_owned() })
    }

    /// A signed GET of a BigBlueButton call.
    pub(crate) fn get(&self, call: &str, query: &str) -> Vec<u8> {
        self.get_at(&self.base, call, query)
    }

    /// A signed GET under another path.
    pub(crate) fn get_at(&self, base: &str, call: &str, query: &str) -> Vec<u8> {
        let (joint, sum) = (if query.is_empty() { "" } else { "&" }, self.sign(call, query));
        format!("GET {base}/{call}?{query}{joint}checksum={sum} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host).into_bytes()
    }

    /// A signed POST of a JSON body under another path.
    pub(crate) fn post_json(&self, base: &str, call: &str, body: &str) -> Vec<u8> {
        let (host, length, sum) = (&self.host, body.len(), self.sign(call, ""));
        let head =
            format!("POST {base}/{call}?checksum={sum} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
        format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    fn sign(&self, call: &str, query: &str) -> String {
        let mut hash = Sha256::new();
        for part in [call, query, &self.secret] {
            hash.update(part.as_bytes());
        }
        let mut hex = String::with_capacity(64);
        for byte in hash.finalize() {
            for digit in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        hex
    }
}

/// One connection; it is opened when first needed and again after the other side closed it.
pub(crate) struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
    chunked: Vec<u8>,
}

/// An answer, borrowed from the connection.
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) location: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, input: Vec::with_capacity(64 * 1024), chunked: Vec::new() }
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        let exchanged = timeout(PATIENCE, self.exchange_patiently(request)).await;
        let (status, head, body, close) = match exchanged.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(read) => read,
            Err(error) => {
                self.stream = None;
                return Err(error);
            }
        };
        if close {
            self.stream = None;
        }
        let text = std::str::from_utf8(&self.input[..head]).map_err(|_| bad("the head is not text"))?;
        let body = match body {
            Body::Plain(length) => &self.input[head..head + length],
            Body::Chunked => self.chunked.as_slice(),
        };
        Ok(Reply { status, location: header(text, "location"), body })
    }

    async fn exchange_patiently(&mut self, request: &[u8]) -> io::Result<(u16, usize, Body, bool)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.addr).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(request).await?;
        let input = &mut self.input;
        input.clear();
        let mut seen = 0;
        let head = loop {
            more(stream, input).await?;
            if let Some(at) = input[seen..].windows(4).position(|four| four == b"\r\n\r\n") {
                break seen + at + 4;
            }
            seen = input.len().saturating_sub(3);
        };
        let text = std::str::from_utf8(&input[..head]).map_err(|_| bad("the head is not text"))?;
        let status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(|| bad("no status line"))?;
        let close = header(text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if header(text, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.chunked.clear();
            let mut at = head;
            loop {
                let Some(line) = input[at..].windows(2).position(|two| two == b"\r\n") else {
                    more(stream, input).await?;
                    continue;
                };
                let digits = std::str::from_utf8(&input[at..at + line]).unwrap_or("").split(';').next().unwrap_or("");
                let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| bad("no chunk size"))?;
                let start = at + line + 2;
                let end = start.saturating_add(size).saturating_add(2);
                if end > LIMIT {
                    return Err(bad("the answer is too large"));
                }
                while input.len() < end {
                    more(stream, input).await?;
                }
                if size == 0 {
                    return Ok((status, head, Body::Chunked, close));
                }
                self.chunked.extend_from_slice(&input[start..start + size]);
                at = end;
            }
        }
        let length: usize = match header(text, "content-length") {
            Some(digits) => digits.parse().map_err(|_| bad("no content length"))?,
            None if status == 204 => 0,
            // Nobody reads what stands behind a redirect. Where it ends is not said, so nothing else comes after it.
            None if (300..400).contains(&status) => return Ok((status, head, Body::Plain(0), true)),
            None => return Err(bad("an answer without a length")),
        };
        while input.len() < head + length {
            more(stream, input).await?;
        }
        Ok((status, head, Body::Plain(length), close))
    }
}

enum Body {
    Plain(usize),
    Chunked,
}

async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    if input.len() > LIMIT {
        return Err(bad("the answer is too large"));
    }
    input.reserve(16 * 1024);
    match stream.read_buf(input).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (have, value) = line.split_once(':')?;
        have.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request on each connection, in these words.
    async fn answering(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut seen).await.unwrap();
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        addr
    }

    #[tokio::test]
    async fn redirects_are_read_with_and_without_a_length() {
        let addr = answering(&[
            "HTTP/1.1 302 Found\r\nLocation: http://a/join?x\r\n\r\n<html>not awaited</html>",
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://b/join?x\r\n\r\n",
            "HTTP/1.1 303 See Other\r\nlocation: http://c/join?x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            "HTTP/1.1 307 T\r\nlocation: http://d/join?x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhow long?",
        ])
        .await;
        // One connection where it stays open, a new one where it cannot.
        let mut connection = Connection::new(addr);
        for (status, host, body) in [(302, "a", ""), (307, "b", ""), (303, "c", "ok"), (307, "d", "ok")] {
            let reply = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!((reply.status, reply.body), (status, body.as_bytes()));
            assert_eq!(reply.location, Some(&*format!("http://{host}/join?x")));
        }
        connection = Connection::new(addr);
        assert!(connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.is_err(), "only redirects need no length");
    }
}
