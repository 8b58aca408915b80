//! Slides on their way through: a server gets them while they still arrive, and as far as there is room they are kept,
//! so that another server can have them too.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Either, LengthLimitError};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::documents::{self, Refusal};
use super::super::{Done, plain};
use crate::api::Fault;
use crate::client::{CallBody, Upload};
use crate::cluster::lock;
use crate::egress::AddressRules;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why no more comes.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    TooLarge,
    /// The front-end broke off, or an address is refused.
    Broken,
}

/// What all copies share.
struct Passing {
    source: CallBody,
    /// The length that was announced.
    length: Option<u64>,
    kept: Vec<Bytes>,
    /// Everything that came is kept.
    whole: bool,
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    ended: bool,
    trouble: Option<Trouble>,
    /// Number of the newest copy: only that one reads on.
    newest: u64,
}

impl Passing {
    /// Keeps a piece while there is room for it; without, nothing is kept any more.
    fn keep(&mut self, piece: &Bytes) {
        if !self.whole {
            return;
        }
        let size = u32::try_from(piece.len().div_ceil(1024)).unwrap_or(u32::MAX);
        match self.room.clone().try_acquire_many_owned(size) {
            Ok(permit) => {
                match &mut self.held {
                    Some(held) => held.merge(permit),
                    none => *none = Some(permit),
                }
                self.kept.push(piece.clone());
            }
            Err(_) => {
                self.whole = false;
                self.kept = Vec::new();
                self.held = None;
            }
        }
    }

    /// The next piece that arrives.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if self.trouble.is_some() {
                return Poll::Ready(Some(Err("the slides broke off".into())));
            }
            match Pin::new(&mut self.source).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        self.keep(&piece);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Poll::Ready(Some(Err(e))) => {
                    let too_large = e.is::<LengthLimitError>();
                    self.trouble = Some(if too_large { Trouble::TooLarge } else { Trouble::Broken });
                }
            }
        }
    }
}

/// A body with slides that is still arriving.
pub(super) struct Slides {
    passing: Arc<Mutex<Passing>>,
    refusal: Refusal,
}

impl Slides {
    /// Slides from this body, kept as far as `room` has permits, one for each KiB.
    pub(super) fn new(body: CallBody, room: Arc<Semaphore>, rules: &AddressRules) -> Self {
        let length = body.size_hint().exact();
        let (source, refusal) = documents::watched(body, rules);
        let passing = Passing {
            source,
            length,
            kept: Vec::new(),
            whole: true,
            room,
            held: None,
            ended: false,
            trouble: None,
            newest: 0,
        };
        Self { passing: Arc::new(Mutex::new(passing)), refusal }
    }

    /// Whether a part is gone already, so that nobody else can have them.
    pub(super) fn are_spent(&self) -> bool {
        !lock(&self.passing).whole
    }

    /// All of them for one more server, unless they are spent.
    fn copy(&self) -> Option<CallBody> {
        let mut passing = lock(&self.passing);
        if !passing.whole {
            return None;
        }
        passing.newest += 1;
        let copy = Copy { passing: self.passing.clone(), number: passing.newest, at: 0, left: passing.length };
        Some(Either::Right(copy.boxed()))
    }

    /// What to answer when they broke off.
    pub(super) fn broken(&self) -> Option<Done> {
        if let Some(fault) = self.refusal.fault() {
            return Some(Err(fault));
        }
        match lock(&self.passing).trouble? {
            Trouble::TooLarge => Some(Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large"))),
            Trouble::Broken => Some(Err(Fault::CreateFailed)),
        }
    }

    /// Reads what is left and forgets it: a front-end that is still sending reads no answer.
    async fn drain(&self) {
        {
            let mut passing = lock(&self.passing);
            passing.newest += 1;
            passing.whole = false;
            passing.kept = Vec::new();
            passing.held = None;
        }
        while let Some(Ok(_)) = std::future::poll_fn(|cx| lock(&self.passing).poll_next(cx)).await {}
    }
}

/// The slides for one server.
struct Copy {
    passing: Arc<Mutex<Passing>>,
    number: u64,
    /// Pieces of the kept ones that were sent.
    at: usize,
    left: Option<u64>,
}

impl Body for Copy {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut passing = lock(&this.passing);
        if passing.newest != this.number {
            return Poll::Ready(Some(Err("the slides are sent elsewhere".into())));
        }
        let piece = match passing.kept.get(this.at) {
            Some(piece) => piece.clone(),
            None => match passing.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => piece,
                Poll::Ready(Some(Err(e))) => return Poll::Ready(Some(Err(e))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.at += 1;
        this.left = this.left.map(|left| left.saturating_sub(piece.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let passing = lock(&self.passing);
        passing.ended && self.at >= passing.kept.len()
    }

    /// Exact where the front-end announced it, so that the server is told too.
    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What a create brings along.
pub(super) enum Document {
    /// Nothing.
    None,
    /// XML that is at hand as a whole.
    Whole(Bytes),
    /// XML that is still arriving.
    Slides(Slides),
}

impl Document {
    /// What goes along with one call. Nothing of slides that are spent: [`slides`](Self::slides) tells.
    pub(super) fn upload(&self) -> Option<Upload> {
        match self {
            Self::None => None,
            Self::Whole(list) => Some(Upload::xml(list.clone())),
            Self::Slides(slides) => slides.copy().map(|body| Upload { content_type: "application/xml", body }),
        }
    }

    /// Slides that are still arriving.
    pub(super) fn slides(&self) -> Option<&Slides> {
        match self {
            Self::Slides(slides) => Some(slides),
            _ => None,
        }
    }

    /// Whether no other server can have it any more.
    pub(super) fn is_spent(&self) -> bool {
        self.slides().is_some_and(Slides::are_spent)
    }

    /// Reads what is left of it, unless it broke off.
    pub(super) async fn finish(&self) {
        if let Some(slides) = self.slides().filter(|slides| slides.broken().is_none()) {
            slides.drain().await;
        }
    }
}
