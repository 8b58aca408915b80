//! Documents that servers are to fetch: their addresses are looked at before, whether a list is at hand or passes
//! through.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Either};
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinSet;

use super::callbacks::refused_document;
use crate::api::{DocumentScan, Fault};
use crate::client::CallBody;
use crate::cluster::lock;
use crate::egress::AddressRules;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Check = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// All at once: a slow resolver delays a list by one time-out, not by one for each document.
async fn check_all(rules: AddressRules, urls: Vec<String>) -> Result<(), String> {
    let mut checks = JoinSet::new();
    for url in urls {
        let rules = rules.clone();
        checks.spawn(async move { rules.check_resolved(&url).await.map_err(|e| e.to_string()) });
    }
    while let Some(done) = checks.join_next().await {
        done.map_err(|_| "it could not be looked at".to_owned())??;
    }
    Ok(())
}

/// Refuses a list that leads a server to a private address.
pub(super) async fn check(rules: &AddressRules, list: &[u8]) -> Result<(), Fault> {
    let mut urls = Vec::new();
    DocumentScan::default().feed(list, &mut urls).map_err(refused_document)?;
    if urls.is_empty() {
        return Ok(());
    }
    check_all(rules.clone(), urls).await.map_err(|why| refused_document(&why))
}

/// Why a list that passed through was broken off.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal(Arc<OnceLock<String>>);

impl Refusal {
    /// The failure to answer with, if there was one.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.get().map(|why| refused_document(why))
    }
}

/// A list that passes through. The piece that holds the end of a refused address is not passed on, nor is anything
/// behind it: the server never gets a whole list.
struct Watched {
    inner: CallBody,
    scan: DocumentScan,
    rules: AddressRules,
    /// A piece that waits for its addresses to be looked at. The lock is never contended: it makes the whole shareable.
    pending: Mutex<Option<(Bytes, Check)>>,
    refusal: Refusal,
}

impl Watched {
    fn refuse(&self, why: String) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let error = BoxError::from(why.clone());
        let _ = self.refusal.0.set(why);
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let waiting = lock(&this.pending).take();
            if let Some((piece, mut check)) = waiting {
                return match check.as_mut().poll(cx) {
                    Poll::Pending => {
                        *lock(&this.pending) = Some((piece, check));
                        Poll::Pending
                    }
                    Poll::Ready(Ok(())) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                    Poll::Ready(Err(why)) => this.refuse(why),
                };
            }
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            let piece = match frame.into_data() {
                Ok(piece) => piece,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            let mut urls = Vec::new();
            if let Err(why) = this.scan.feed(&piece, &mut urls) {
                return this.refuse(why.to_owned());
            }
            if urls.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            *lock(&this.pending) = Some((piece, Box::pin(check_all(this.rules.clone(), urls))));
        }
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.pending).is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The same list, looked at while it passes through.
pub(super) fn watched(inner: CallBody, rules: &AddressRules) -> (CallBody, Refusal) {
    let refusal = Refusal::default();
    let body = Watched {
        inner,
        scan: DocumentScan::default(),
        rules: rules.clone(),
        pending: Mutex::default(),
        refusal: refusal.clone(),
    };
    (Either::Right(body.boxed()), refusal)
}
