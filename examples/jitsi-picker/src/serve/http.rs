//! The routes, over HTTP/1.

use std::time::Duration;

use adapter_jitsi::Participant;
use console::ServeLimits;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Served, Shared, metrics, shard_routes};
use crate::{complain, show};

/// How many connections are served at a time; others wait.
const CONNECTIONS: u32 = 512;
/// The longest name of a room or a region, in bytes.
const NAME: usize = 1024;

pub(super) use console::{Answer, Problem, json as json_of, plain, problem, refused, told, typed};

/// Serves until told to stop; then requests under way get `grace`.
pub(super) async fn serve(listener: TcpListener, served: Served, stopping: watch::Receiver<bool>, grace: Duration) {
    let warn = |e| complain(&format!("<4>a connection cannot be accepted: {e}"));
    let limits = ServeLimits { connections: CONNECTIONS, grace };
    let respond = move |request| {
        let served = served.clone();
        async move { dispatch(&served, &request).await }
    };
    console::serve(listener, limits, stopping, warn, respond).await;
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
    console::optional(query, name, NAME)
}

pub(super) fn required(query: &str, name: &str) -> Result<String, Problem> {
    console::required(query, name, NAME)
}
