//! Requests on a connection of their own.

use std::io::Write;
use std::net::{IpAddr, TcpStream};

use crate::haproxy::MINUTE;
use crate::responder::read_message;

/// A client that keeps its connection while it is served.
#[derive(Debug)]
pub(crate) struct Client {
    port: u16,
    source: Option<IpAddr>,
    stream: Option<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The name of the server that answered, or `HTTP` and the status.
    pub(crate) fn served(self) -> String {
        if self.status == 200 { self.body } else { format!("HTTP {}", self.status) }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.filter(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

impl Client {
    pub(crate) const fn of(port: u16) -> Self {
        Self { port, source: None, stream: None }
    }

    /// One whose address the PROXY protocol tells.
    pub(crate) const fn from(port: u16, source: IpAddr) -> Self {
        Self { port, source: Some(source), stream: None }
    }

    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(MINUTE)).unwrap();
        stream.set_nodelay(true).unwrap();
        if let Some(source) = self.source {
            let (family, to) = if source.is_ipv4() { ("TCP4", "127.0.0.1") } else { ("TCP6", "::1") };
            stream.write_all(format!("PROXY {family} {source} {to} 40000 {}\r\n", self.port).as_bytes()).unwrap();
        }
        stream
    }

    /// One request with a `Host` of its own unless the headers have one.
    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &[(String, String)], body: &str) -> Answer {
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += "Host: h\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += &format!("\r\n{body}");
        let mut stream = self.stream.take().unwrap_or_else(|| self.connect());
        stream.write_all(text.as_bytes()).unwrap();
        let (head, body) = read_message(&mut stream).unwrap_or_else(|| panic!("no answer to {text}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = String::from_utf8(body).unwrap();
        if status == 200 {
            self.stream = Some(stream);
        }
        Answer { status, head, body }
    }

    /// A plain `GET`.
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &[], "")
    }
}
