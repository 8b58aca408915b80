//! A socket that notes what its connection is doing, so that slow heads and idle connections can be ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::HttpLimits;

/// What a connection is doing and since when, in one word: two bits and milliseconds.
#[derive(Debug)]
pub(super) struct Phase {
    start: Instant,
    word: AtomicU64,
}

impl Phase {
    /// Waiting for a request.
    pub(super) const IDLE: u64 = 0;
    /// A head has begun.
    pub(super) const HEAD: u64 = 1;
    /// A request is being answered.
    pub(super) const BUSY: u64 = 2;

    fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), word: AtomicU64::new(Self::IDLE) })
    }

    pub(super) fn enter(&self, phase: u64) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.word.store((ms << 2) | phase, Relaxed);
    }

    fn began(&self) {
        if self.word.load(Relaxed) & 3 == Self::IDLE {
            self.enter(Self::HEAD);
        }
    }

    /// When the present phase has lasted too long. Request deadlines are kept by the request itself.
    pub(super) fn deadline(&self, limits: &HttpLimits) -> Instant {
        let word = self.word.load(Relaxed);
        let allowed = match word & 3 {
            Self::IDLE => limits.idle,
            Self::HEAD => limits.head_time,
            _ => limits.request + Duration::from_secs(10),
        };
        // Phases change while the watcher sleeps: it looks again at least this often.
        let due = self.start + Duration::from_millis(word >> 2) + allowed;
        due.min(Instant::now() + limits.head_time).max(Instant::now() + Duration::from_millis(5))
    }

    pub(super) fn is_due(&self, limits: &HttpLimits) -> bool {
        let word = self.word.load(Relaxed);
        let allowed = match word & 3 {
            Self::IDLE => limits.idle,
            Self::HEAD => limits.head_time,
            _ => limits.request + Duration::from_secs(10),
        };
        self.start + Duration::from_millis(word >> 2) + allowed <= Instant::now()
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(super) struct Watched {
    socket: Socket,
    phase: Arc<Phase>,
}

impl Watched {
    pub(super) fn tcp(s: TcpStream) -> Self {
        Self { socket: Socket::Tcp(s), phase: Phase::new() }
    }

    pub(super) fn unix(s: UnixStream) -> Self {
        Self { socket: Socket::Unix(s), phase: Phase::new() }
    }

    pub(super) fn phase(&self) -> Arc<Phase> {
        self.phase.clone()
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.phase.began();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_flush(cx),
            Socket::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Socket::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Socket::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(s) => s.is_write_vectored(),
            Socket::Unix(s) => s.is_write_vectored(),
        }
    }
}
