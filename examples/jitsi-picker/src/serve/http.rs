//! The routes, over HTTP/1.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use adapter_jitsi::Participant;
use bytes::Bytes;
use form_urlencoded::parse;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::{Served, Shared, metrics, shard_routes};
use crate::{complain, show};

/// How many connections are served at a time; others wait.
const CONNECTIONS: u32 = 512;
/// How long the head of a request may take, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection is served, however busy it is; its last answer then has as long as a head.
const LIFE: Duration = Duration::from_secs(600);
/// The most bytes that are read ahead of one connection.
const BUFFER: usize = 16 * 1024;
/// The longest name of a room or a region, in bytes.
const NAME: usize = 1024;

pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is not carried out: the status, a name that stays, and words.
pub(super) type Problem = (StatusCode, &'static str, String);

/// Serves until told to stop; then requests under way get `grace`.
pub(super) async fn serve(listener: TcpListener, served: Served, stopping: watch::Receiver<bool>, grace: Duration) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS as usize));
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
                let (served, stopping) = (served.clone(), stopping.clone());
                tokio::spawn(async move {
                    connection(stream, served, stopping).await;
                    drop(permit);
                });
            }
            Some((Err(e), _)) => {
                // Out of descriptors and the like: others must close first.
                complain(&format!("<4>a connection cannot be accepted: {e}"));
                sleep(Duration::from_millis(50)).await;
            }
            None => break,
        }
    }
    // All permits are back when all connections are closed.
    let _ = timeout(grace, slots.acquire_many(CONNECTIONS)).await;
}

async fn connection(stream: TcpStream, served: Served, mut stopping: watch::Receiver<bool>) {
    let service = service_fn(|request: Request<Incoming>| {
        let served = served.clone();
        async move { Ok::<_, Infallible>(dispatch(&served, &request).await) }
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

async fn dispatch<B>(served: &Served, request: &Request<B>) -> Answer {
    if let Err(refusal) = served.guard.check(request) {
        return told(Err(refusal));
    }
    let (method, uri, bridges) = (request.method().clone(), request.uri().clone(), served.bridges.as_ref());
    let answer = match &served.shards {
        Some(desk) => shard_routes::respond(desk, bridges, &method, &uri).await,
        None => None,
    };
    match (answer, bridges) {
        (Some(answer), _) => answer,
        (None, Some(shared)) => respond(shared, request),
        (None, None) => problem(StatusCode::NOT_FOUND, "not-found", shard_routes::ROUTES),
    }
}

fn respond<B>(shared: &Shared, request: &Request<B>) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let writing = *method == Method::POST;
    match path {
        "/livez" if reading => plain(StatusCode::OK, "ok\n"),
        "/readyz" if reading => match shared.lock().unready() {
            None => plain(StatusCode::OK, "ok\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" if reading => {
            let text = metrics::render(&mut shared.lock());
            typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/" if reading => plain(StatusCode::OK, show::bridges(&shared.lock().pool.ranking())),
        "/bridges" if reading => {
            let ranking = shared.lock().pool.ranking();
            let bridges: Vec<Value> = ranking.iter().map(|(view, figures)| show::json(view, figures)).collect();
            json_of(StatusCode::OK, &json!({ "bridges": bridges }))
        }
        "/pick" if reading || writing => told(pick(shared, request.uri().query().unwrap_or_default(), writing)),
        "/leave" if writing => told(leave(shared, request.uri().query().unwrap_or_default())),
        "/end" if writing => told(end(shared, request.uri().query().unwrap_or_default())),
        "/livez" | "/readyz" | "/metrics" | "/" | "/bridges" => refused("GET, HEAD"),
        "/pick" => refused("GET, HEAD, POST"),
        "/leave" | "/end" => refused("POST"),
        _ => problem(
            StatusCode::NOT_FOUND,
            "not-found",
            "there are /pick, /leave, /end, /bridges, /metrics, /livez, /readyz",
        ),
    }
}

pub(super) fn told(answer: Result<Answer, Problem>) -> Answer {
    answer.unwrap_or_else(|(status, code, text)| problem(status, code, &text))
}

/// `GET` asks, `POST` places as well.
fn pick(shared: &Shared, query: &str, keep: bool) -> Result<Answer, Problem> {
    let room = required(query, "conference")?;
    let region = optional(query, "region")?;
    let mut who = region.as_deref().map_or_else(Participant::new, Participant::of_region);
    if optional(query, "visitor")?.as_deref() == Some("true") {
        who = who.visiting();
    }
    let mut desk = shared.lock();
    match desk.pick(&room, &who, keep) {
        Ok(choice) => {
            let now = desk.pool.now();
            let view = desk.pool.table.view(choice.bridge.as_str(), now);
            let view = view.as_ref();
            Ok(json_of(
                StatusCode::OK,
                &json!({
                    "conference": room,
                    "bridge": show::nick(choice.bridge.as_str()),
                    "jid": choice.bridge.as_str(),
                    "region": view.and_then(|view| view.region.as_deref()),
                    "relay_id": view.and_then(|view| view.relay_id.as_deref()),
                    "version": view.and_then(|view| view.full_version.as_deref()),
                    "reason": choice.reason.code(),
                    "because": choice.reason.text(),
                    "placed": keep,
                }),
            ))
        }
        Err(why) => Err((StatusCode::SERVICE_UNAVAILABLE, why.code(), why.to_string())),
    }
}

fn leave(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let (room, bridge) = (required(query, "conference")?, required(query, "bridge")?);
    found(shared.lock().leave(&room, &bridge), "the conference is not on that bridge")
}

fn end(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let room = required(query, "conference")?;
    found(shared.lock().end(&room), "there is no such conference")
}

fn found(found: bool, otherwise: &str) -> Result<Answer, Problem> {
    match found {
        true => Ok(json_of(StatusCode::OK, &json!({ "ok": true }))),
        false => Err((StatusCode::NOT_FOUND, "unknown", otherwise.to_owned())),
    }
}

pub(super) fn optional(query: &str, name: &str) -> Result<Option<String>, Problem> {
    let value = parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    match value {
        Some(value) if value.len() > NAME => {
            Err((StatusCode::BAD_REQUEST, "too-long", format!("{name} is longer than {NAME} bytes")))
        }
        value => Ok(value.filter(|value| !value.is_empty())),
    }
}

pub(super) fn required(query: &str, name: &str) -> Result<String, Problem> {
    let missing = || (StatusCode::BAD_REQUEST, "missing", format!("the query has no {name}"));
    optional(query, name)?.ok_or_else(missing)
}

pub(super) fn problem(status: StatusCode, code: &str, text: &str) -> Answer {
    json_of(status, &json!({ "error": code, "text": text }))
}

pub(super) fn refused(allowed: &'static str) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method", allowed);
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    answer
}

pub(super) fn json_of(status: StatusCode, value: &Value) -> Answer {
    typed(status, "application/json", format!("{value}\n"))
}

pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    typed(status, "text/plain; charset=utf-8", text)
}

pub(super) fn typed(status: StatusCode, kind: &'static str, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use adapter_jitsi::FocusSettings;
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;
    use crate::pool::Pool;
    use crate::serve::desk::Desk;
    use crate::serve::guard::Guard;

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_loses_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let pool = Pool::new("brewery@meet.example", FocusSettings::default()).unwrap();
        let shared = Shared(Arc::new(Mutex::new(Desk::new(pool, LIFE))));
        let (_stop, stopping) = watch::channel(false);
        let began = Instant::now();
        let guard = Arc::new(Guard::new("127.0.0.1:0".parse().unwrap(), &["x".to_owned()]));
        let served = Served { bridges: Some(shared), shards: None, guard };
        let serving = tokio::spawn(connection(stream, served, stopping));
        let asking = tokio::spawn(async move {
            let many = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
            // Until neither side takes anything; the end of the connection ends it.
            while client.write_all(many.as_bytes()).await.is_ok() {}
        });
        timeout(2 * LIFE, serving).await.expect("it ends").unwrap();
        asking.await.unwrap();
        assert!(began.elapsed() <= LIFE + HEAD + Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
