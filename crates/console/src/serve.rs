//! A small HTTP/1 service: its connections, and when it ends.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

mod answer;

pub use answer::{Answer, Problem, json, optional, plain, problem, refused, required, told, typed};

/// How long the head of a request may take, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection is served, however busy it is; its last answer then has as long as a head.
const LIFE: Duration = Duration::from_secs(600);
/// The most bytes that are read ahead of one connection.
const BUFFER: usize = 16 * 1024;

/// How much a service takes on.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// How many connections are served at a time; others wait.
    pub connections: u32,
    /// How long requests under way may take after the order to stop.
    pub grace: Duration,
}

/// Serves until told to stop; then requests under way get their time. A connection that cannot be taken is told to `warn`.
///
/// # Cancel safety
///
/// Dropped, no connection is taken any more; those there are go on.
pub async fn serve<S, F>(
    listener: TcpListener,
    limits: ServeLimits,
    stopping: watch::Receiver<bool>,
    warn: impl Fn(io::Error),
    respond: S,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let slots = Arc::new(Semaphore::new(limits.connections as usize));
    let mut stop = stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let permit = slots.clone().acquire_owned().await.ok()?;
                Some((listener.accept().await, permit))
            } => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Some((Ok((stream, _)), permit)) => {
                let (respond, stopping) = (respond.clone(), stopping.clone());
                tokio::spawn(async move {
                    connection(stream, stopping, respond).await;
                    drop(permit);
                });
            }
            Some((Err(error), _)) => {
                // Out of descriptors and the like: others must close first.
                warn(error);
                sleep(Duration::from_millis(50)).await;
            }
            None => break,
        }
    }
    // All permits are back when all connections are closed.
    let _ = timeout(limits.grace, slots.acquire_many(limits.connections)).await;
}

async fn connection<S, F>(stream: TcpStream, mut stopping: watch::Receiver<bool>, respond: S)
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = respond(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // What goes wrong on a connection is the client's business.
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
        () = sleep(LIFE) => {}
    }
    serving.as_mut().graceful_shutdown();
    // Whoever does not read its answer must not keep a place for ever.
    let _ = timeout(HEAD, serving).await;
}

/// Waits for SIGTERM or SIGINT. Without signals it waits for ever: the process can only be killed.
///
/// # Cancel safety
///
/// Safe. From the first call on the process does not end by these signals of itself.
pub async fn signalled() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    async fn large(_: Request<Incoming>) -> Answer {
        plain(StatusCode::OK, "x".repeat(100_000))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_loses_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (_stop, stopping) = watch::channel(false);
        let began = Instant::now();
        let serving = tokio::spawn(connection(stream, stopping, large));
        let asking = tokio::spawn(async move {
            let many = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
            // Until neither side takes anything; the end of the connection ends it.
            while client.write_all(many.as_bytes()).await.is_ok() {}
        });
        timeout(2 * LIFE, serving).await.unwrap().unwrap();
        asking.await.unwrap();
        assert!(began.elapsed() <= LIFE + HEAD + Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn it_answers_and_ends_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let limits = ServeLimits { connections: 2, grace: Duration::from_secs(5) };
        let serving = tokio::spawn(serve(listener, limits, stopping, |_| {}, large));
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 15];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        stop.send(true).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"xxx") && rest.len() > 100_000);
        timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }
}
