//! What the tests of Redis share.

#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use std::time::Duration;

use balancer_core::{StickError, StickErrorKind};
pub(crate) use real_servers::{RedisServer, free_port};
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use tokio::time::Instant;

#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again until there is an answer.
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The error's words, checked for what it must and must not say: any password of the tests.
pub(crate) fn words(error: &StickError, kind: StickErrorKind, named: &[&str]) {
    let said = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{said}");
    for word in named {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
    assert!(!said.contains("hunter2"), "the password shows: {said}");
}
