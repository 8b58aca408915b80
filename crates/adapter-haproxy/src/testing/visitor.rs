//! People who come to rooms.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::message::{Message, odd};

/// So long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest line that is read of a room.
const MAX_LINE: u64 = 64 * 1024;

/// Why somebody could not come in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VisitError {
    /// Nobody answered, or the connection broke.
    #[error("{address} does not answer {target}: {source}")]
    Lost {
        /// Who was asked.
        address: SocketAddr,
        /// For what.
        target: String,
        /// What happened.
        source: io::Error,
    },
    /// The answer was another than 101 or 200.
    #[error("{address} answers {target} with {status}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// For what.
        target: String,
        /// The status.
        status: u16,
    },
}

/// What a room server says of a room.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The name of the server.
    pub server: String,
    /// The key of the room.
    pub room: String,
    /// How many people are in it.
    pub people: usize,
}

/// Somebody in a room, for as long as the connection lives.
#[derive(Debug)]
pub struct Visitor {
    stream: BufReader<TcpStream>,
    answer: Answer,
}

impl Visitor {
    /// Joins the room of this target at a room server, or through what stands before it, and waits for its answer for at
    /// most 10 s.
    ///
    /// # Errors
    ///
    /// [`VisitError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the connection is closed: whoever had joined has left.
    pub async fn join(address: SocketAddr, target: &str) -> Result<Self, VisitError> {
        let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        limited(address, target, async {
            let (mut stream, message) = exchange(address, target, headers).await?;
            let status = status(&message)?;
            if status != 101 {
                return Ok(Err(status));
            }
            let mut line = Vec::new();
            (&mut stream).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            let answer = serde_json::from_slice(&line)?;
            Ok(Ok(Self { stream, answer }))
        })
        .await
    }

    /// The server that was met.
    pub fn server(&self) -> &str {
        &self.answer.server
    }

    /// The key of the room, as the server sees it.
    pub fn room(&self) -> &str {
        &self.answer.room
    }

    /// What the server said at the door.
    pub const fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Says something, and waits for at most 10 s until it is heard to come back.
    ///
    /// # Errors
    ///
    /// The connection is cut, or something else came back.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what comes back later disturbs the next call.
    pub async fn say(&mut self, words: &str) -> io::Result<()> {
        let spoken = async {
            self.stream.get_mut().write_all(words.as_bytes()).await?;
            let mut heard = vec![0; words.len()];
            self.stream.read_exact(&mut heard).await?;
            if heard == words.as_bytes() { Ok(()) } else { Err(odd("something else came back")) }
        };
        timeout(PATIENCE, spoken).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Waits until the connection is cut by the other side.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn cut(&mut self) {
        let mut byte = [0];
        while matches!(self.stream.read(&mut byte).await, Ok(count) if count > 0) {}
    }
}

/// Asks for a room without joining it.
///
/// # Errors
///
/// [`VisitError`].
///
/// # Cancel safety
///
/// Safe.
pub async fn ask(address: SocketAddr, target: &str) -> Result<Answer, VisitError> {
    limited(address, target, async {
        let (_, message) = exchange(address, target, "Connection: close\r\n").await?;
        match status(&message)? {
            200 => Ok(Ok(serde_json::from_slice(&message.body)?)),
            other => Ok(Err(other)),
        }
    })
    .await
}

async fn exchange(address: SocketAddr, target: &str, headers: &str) -> io::Result<(BufReader<TcpStream>, Message)> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let request = format!("GET {target} HTTP/1.1\r\nHost: meet.example.com\r\n{headers}\r\n");
    stream.get_mut().write_all(request.as_bytes()).await?;
    let message = Message::read(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((stream, message))
}

fn status(message: &Message) -> io::Result<u16> {
    let start = String::from_utf8_lossy(&message.start);
    let word = start.split(' ').nth(1).and_then(|word| word.parse().ok());
    word.ok_or_else(|| odd("it has no status"))
}

async fn limited<T>(
    address: SocketAddr,
    target: &str,
    visit: impl Future<Output = io::Result<Result<T, u16>>>,
) -> Result<T, VisitError> {
    let result = timeout(PATIENCE, visit).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match result {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(status)) => Err(VisitError::Refused { address, target: target.to_owned(), status }),
        Err(source) => Err(VisitError::Lost { address, target: target.to_owned(), source }),
    }
}
