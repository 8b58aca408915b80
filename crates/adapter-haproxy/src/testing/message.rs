//! HTTP/1.1 messages, as far as rooms need them.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use crate::{MAX_BODY_LEN, MAX_TARGET_LEN};

/// The longest head of a message, in bytes.
const MAX_HEAD: usize = MAX_TARGET_LEN + 32 * 1024;
/// The most header lines.
const MAX_HEADERS: usize = 100;

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Message {
    /// Its first line, without its end.
    pub(super) start: Vec<u8>,
    headers: Vec<(String, String)>,
    /// Its body, by its stated length.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Reads one; nothing when the other side has closed before it.
    pub(super) async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut left = MAX_HEAD;
        let Some(start) = line(stream, &mut left).await? else { return Ok(None) };
        let mut message = Self { start, headers: Vec::new(), body: Vec::new() };
        loop {
            let Some(line) = line(stream, &mut left).await? else { return Err(odd("it ends within its head")) };
            if line.is_empty() {
                break;
            }
            if message.headers.len() == MAX_HEADERS {
                return Err(odd("it has more than 100 headers"));
            }
            let line = String::from_utf8_lossy(&line);
            let (name, value) = line.split_once(':').ok_or_else(|| odd("a header has no colon"))?;
            message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if message.header("transfer-encoding").is_some() {
            return Err(odd("it comes in chunks"));
        }
        if let Some(length) = message.header("content-length") {
            let length: usize = length.parse().map_err(|_| odd("its length is no number"))?;
            if length > MAX_BODY_LEN {
                return Err(odd("its body is too long"));
            }
            message.body.resize(length, 0);
            stream.read_exact(&mut message.body).await?;
        }
        Ok(Some(message))
    }

    /// The first header of this name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// All headers, names in lower case.
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

async fn line(stream: &mut BufReader<TcpStream>, left: &mut usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = (&mut *stream).take(*left as u64).read_until(b'\n', &mut line).await?;
    *left -= count.min(*left);
    match line.pop() {
        None if *left > 0 => return Ok(None),
        Some(b'\n') => {}
        _ if *left == 0 => return Err(odd("its head is too long")),
        _ => return Err(odd("it ends within a line")),
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

pub(super) fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an HTTP message cannot be read: {what}"))
}
