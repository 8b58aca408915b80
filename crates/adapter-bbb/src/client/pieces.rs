//! Bodies that note when they moved last: one that is at hand as a whole is sent in pieces, another as it comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::CallBody;

/// Small against a socket's buffer: a piece is only taken when most of those before it have left.
const PIECE: usize = 64 << 10;

struct Pieces {
    whole: Full<Bytes>,
    /// What is left of the frame that `whole` is.
    rest: Bytes,
    began: Instant,
    moved: Arc<AtomicU64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match Pin::new(&mut this.whole).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => this.rest = frame.into_data().unwrap_or_default(),
                other => return other,
            }
        }
        this.moved.store(u64::try_from(this.began.elapsed().as_millis()).unwrap_or_default(), Relaxed);
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.whole.is_end_stream()
    }

    /// Exact, so that the length is announced.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole.size_hint().lower() + self.rest.len() as u64)
    }
}

/// The same body; a large one in pieces, each of which notes in `moved` when it was taken, in milliseconds.
pub(super) fn cut(whole: Full<Bytes>, began: Instant, moved: Arc<AtomicU64>) -> CallBody {
    if whole.size_hint().lower() <= PIECE as u64 {
        return Either::Left(whole);
    }
    let pieces = Pieces { whole, rest: Bytes::new(), began, moved };
    Either::Right(pieces.map_err(|never| match never {}).boxed())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What passes through.
struct Noted {
    stream: BoxBody<Bytes, BoxError>,
    began: Instant,
    moved: Arc<AtomicU64>,
}

impl Body for Noted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_frame(cx);
        if polled.is_ready() {
            this.moved.store(u64::try_from(this.began.elapsed().as_millis()).unwrap_or_default(), Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// That of the stream: a length that its sender announced is announced to the server.
    fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}

/// The same stream, each piece of which notes in `moved` when it came, in milliseconds.
pub(super) fn noted(stream: BoxBody<Bytes, BoxError>, began: Instant, moved: Arc<AtomicU64>) -> CallBody {
    Either::Right(Noted { stream, began, moved }.boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_body_comes_whole_in_small_pieces() {
        let bytes: Bytes = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let moved = Arc::new(AtomicU64::new(0));
        let mut body = cut(Full::new(bytes.clone()), Instant::now(), moved.clone());
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let left = body.size_hint().exact().unwrap();
            let piece = frame.unwrap().into_data().unwrap();
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            all.extend_from_slice(&piece);
            assert_eq!(left, (bytes.len() - all.len()) as u64);
            assert_eq!(body.is_end_stream(), left == 0);
        }
        assert_eq!(all, bytes);
        assert!(matches!(cut(Full::new(bytes.slice(..PIECE)), Instant::now(), moved), Either::Left(_)));
    }
}
