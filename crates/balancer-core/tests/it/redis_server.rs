//! What the tests of Redis share.

use std::time::Duration;

use balancer_core::{RedisOptions, StickError, StickErrorKind};
pub(crate) use real_servers::{RedisServer, free_port};
use tokio::net::TcpSocket;
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);

/// As patient as servers on a busy machine are slow.
pub(crate) fn patient(options: RedisOptions) -> RedisOptions {
    options.connect_timeout(Duration::from_secs(20)).response_timeout(Duration::from_secs(30))
}

/// A port where nobody listens for as long as the socket lives: it is bound, so that nobody else gets it.
pub(crate) fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Asks again until there is an answer.
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
