//! One id for what one request causes: in the log, in the calls to servers, and in the answer.

use std::sync::Arc;

use balancer_core::random;
use http::HeaderName;
use tracing::Instrument as _;

/// The header it comes in and goes out with.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest one that is taken over.
const MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Arc<str>;
}

/// The id that came with a request, or a new one. What could forge a header or a line of the log is not taken over.
pub(crate) fn taken(given: Option<&str>) -> Arc<str> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'=' | b'+' | b'@');
    match given.filter(|id| (1..=MAX).contains(&id.len()) && id.bytes().all(inner)) {
        Some(id) => id.into(),
        None => format!("{:016x}", random()).into(),
    }
}

/// The id of the request that this work belongs to.
pub(crate) fn current() -> Option<Arc<str>> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Does the work under this id.
pub(crate) async fn under<T>(id: Arc<str>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(id, work).await
}

/// Work for a task of its own that still belongs to the request at hand.
pub(crate) fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let id = current();
    let work = async move {
        match id {
            Some(id) => under(id, work).await,
            None => work.await,
        }
    };
    work.in_current_span()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_ids_are_not_taken_over() {
        assert_eq!(&*taken(Some("a-1:b/2=")), "a-1:b/2=");
        let long = "x".repeat(MAX + 1);
        for given in [None, Some(""), Some("a b"), Some("a\r\nb: c"), Some("\"x\""), Some("ü"), Some(&long)] {
            let made = taken(given);
            assert!(made.len() == 16 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{given:?}: {made}");
        }
    }
}
