//! The API, over HTTP/1.

use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::control::{Control, ControlError, Order, Remaining};
use console::{Answer, Problem, ServeLimits, json as json_of, plain, problem, refused, told, typed};
use form_urlencoded::parse;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics;
use super::probes::Probes;
use crate::settings::Settings;

/// How many connections are served at a time; others wait.
const CONNECTIONS: u32 = 128;
/// The longest name of a room or a server, in bytes.
const NAME: usize = 4096;

/// What all requests share.
#[derive(Clone)]
pub(super) struct Shared {
    control: Control,
    token: Option<Arc<str>>,
    asking: Option<Arc<crate::asking::Asking>>,
    probes: Arc<Probes>,
}

impl Shared {
    pub(super) fn new(control: Control, settings: &Settings, probes: Arc<Probes>) -> Self {
        let token = settings.http.token.as_ref().map(|token| Arc::from(token.as_str()));
        let asking = settings.ask.as_ref().map(|ask| Arc::new(crate::asking::Asking::new(ask)));
        Self { control, token, asking, probes }
    }
}

/// Serves until told to stop; then requests under way get `grace`.
pub(super) async fn serve(listener: TcpListener, shared: Shared, stopping: watch::Receiver<bool>, grace: Duration) {
    let warn = |error| tracing::warn!(%error, "a connection cannot be accepted");
    let limits = ServeLimits { connections: CONNECTIONS, grace };
    let respond = move |request| {
        let shared = shared.clone();
        async move { respond(&shared, &request).await }
    };
    console::serve(listener, limits, stopping, warn, respond).await;
}

const PATHS: &str = "there are /livez, /readyz, /metrics, /v1/status, /v1/rooms, /v1/servers, /v1/moves, /v1/splits";

async fn respond(shared: &Shared, request: &Request<Incoming>) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or_default();
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let writing = *method == Method::POST;
    if writing && let Err(problem) = allowed(shared, request) {
        return told(Err(problem));
    }
    let control = &shared.control;
    match path {
        "/livez" if reading => plain(StatusCode::OK, "ok\n"),
        "/readyz" if reading => match control.unready() {
            None => plain(StatusCode::OK, "ok\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" if reading => typed(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::render(control, &shared.probes.counts()),
        ),
        "/v1/status" if reading => serialised(&control.status()),
        "/v1/rooms" if reading => told(explain(control, query).await),
        "/v1/rooms" if writing => told(place(control, query).await),
        "/v1/servers" if reading => told(server(control, query)),
        "/v1/servers" if writing => told(order(control, query).await),
        "/v1/moves" if reading => {
            let servers: Vec<String> = parse(query.as_bytes())
                .filter(|(key, _)| key == "server")
                .map(|(_, value)| value.into_owned())
                .collect();
            let moves = control.would_move(&servers.iter().map(String::as_str).collect::<Vec<_>>());
            let moves = moves.into_iter().map(|(room, from, to)| json!({ "room": room, "from": from, "to": to }));
            json_of(StatusCode::OK, &json!({ "moves": moves.collect::<Vec<_>>() }))
        }
        "/v1/splits" if reading => {
            let (servers, mut silent) = match &shared.asking {
                Some(asking) => asking.ask(control.addresses()).await,
                None => Default::default(),
            };
            let mut splits = control.splits(&servers).await;
            splits.silent.append(&mut silent);
            serialised(&splits)
        }
        "/livez" | "/readyz" | "/metrics" | "/v1/status" | "/v1/moves" | "/v1/splits" => refused("GET, HEAD"),
        "/v1/rooms" | "/v1/servers" => refused("GET, HEAD, POST"),
        _ => problem(StatusCode::NOT_FOUND, "not-found", PATHS),
    }
}

/// Changes need the token, if there is one, and do not come from a page in a browser.
fn allowed(shared: &Shared, request: &Request<Incoming>) -> Result<(), Problem> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "origin", "changes are not taken from web pages".to_owned()));
    }
    let Some(token) = &shared.token else { return Ok(()) };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Every byte is looked at, however early they differ.
    let differ =
        shown.bytes().zip(token.bytes()).fold(shown.len() ^ token.len(), |sum, (a, b)| sum | usize::from(a ^ b));
    if differ == 0 {
        return Ok(());
    }
    Err((
        StatusCode::UNAUTHORIZED,
        "token",
        "show http.token as `Authorization: Bearer …`: --token, HAPROXY_CONTROL_TOKEN, or --config".to_owned(),
    ))
}

async fn explain(control: &Control, query: &str) -> Result<Answer, Problem> {
    let report = control.explain(&required(query, "room")?).await.map_err(|e| trouble(control, &e))?;
    Ok(serialised(&report))
}

async fn place(control: &Control, query: &str) -> Result<Answer, Problem> {
    let room = required(query, "room")?;
    let server = control.place(&room).await.map_err(|e| trouble(control, &e))?;
    Ok(json_of(StatusCode::OK, &json!({ "room": room, "server": server })))
}

fn server(control: &Control, query: &str) -> Result<Answer, Problem> {
    let name = required(query, "server")?;
    let status = control.status();
    let Some(server) = status.servers.iter().find(|server| server.name == name) else {
        let known = status.servers.iter().map(|server| server.name.clone()).collect();
        return Err(trouble(control, &ControlError::NoServer { name, known }));
    };
    // Until every process that answers has carried it out, rooms may still come.
    let obeys = |word: &String| word.contains("drain") || word.contains("maint");
    let in_force = !server.seen.is_empty() && server.seen.values().all(obeys);
    #[derive(serde::Serialize)]
    struct Left {
        #[serde(flatten)]
        left: Remaining,
        in_force: bool,
    }
    Ok(serialised(&Left { left: control.remaining(&name), in_force }))
}

async fn order(control: &Control, query: &str) -> Result<Answer, Problem> {
    let name = required(query, "server")?;
    let order = match &*required(query, "order")? {
        "drain" => Some(Order::Drain),
        "maint" => Some(Order::Maint),
        "ready" => None,
        other => {
            let text = format!("order is {other:?}: drain, maint or ready");
            return Err((StatusCode::BAD_REQUEST, "order", text));
        }
    };
    control.order(&name, order).await.map_err(|e| trouble(control, &e))?;
    Ok(json_of(StatusCode::OK, &json!({ "server": name, "order": order })))
}

fn trouble(control: &Control, error: &ControlError) -> Problem {
    if let ControlError::NoServer { known, .. } = error
        && known.is_empty()
    {
        let why = control.unready().unwrap_or_else(|| "the backend has none".to_owned());
        return (StatusCode::SERVICE_UNAVAILABLE, "no-servers", format!("no server is known yet: {why}"));
    }
    let (status, code) = match error {
        ControlError::NoServer { .. } => (StatusCode::NOT_FOUND, "no-server"),
        ControlError::Foreign { .. } => (StatusCode::CONFLICT, "foreign"),
        ControlError::Nowhere => (StatusCode::SERVICE_UNAVAILABLE, "nowhere"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "store"),
    };
    (status, code, error.to_string())
}

fn required(query: &str, name: &str) -> Result<String, Problem> {
    console::required(query, name, NAME)
}

fn serialised(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_value(value) {
        Ok(value) => json_of(StatusCode::OK, &value),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}
