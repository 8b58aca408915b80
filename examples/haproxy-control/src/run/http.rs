//! The API, over HTTP/1.

use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::AgentCheckCounters;
use adapter_haproxy::control::{Control, ControlError, Order, Remaining, RoomReport, Status};
use adapter_haproxy::peers::{PeerNode, PeerNodeStatus};
use adapter_haproxy::spoe::AgentCounters;
use console::{Answer, Problem, ServeLimits, json as json_of, plain, problem, refused, told, typed};
use form_urlencoded::parse;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::part::Part;
use super::{explain, metrics};
use crate::settings::Settings;

/// How many connections are served at a time; others wait.
const CONNECTIONS: u32 = 128;
/// The longest name of a room or a server, in bytes.
const NAME: usize = 4096;

/// What all requests share.
#[derive(Clone)]
pub(super) struct Shared {
    parts: Arc<[Part]>,
    node: Option<PeerNode>,
    /// Processes, and their names as peers.
    peers: Arc<[(String, String)]>,
    pub(super) spoe: Option<Arc<AgentCounters>>,
    pub(super) agent: Option<AgentCheckCounters>,
    token: Option<Arc<str>>,
    asking: Option<Arc<crate::asking::Asking>>,
}

impl Shared {
    pub(super) fn new(settings: &Settings, parts: Vec<Part>, node: Option<PeerNode>) -> Self {
        let token = settings.http.token.as_ref().map(|token| Arc::from(token.as_str()));
        let asking = settings.ask.as_ref().map(|ask| Arc::new(crate::asking::Asking::new(ask)));
        let peers = settings.haproxy.iter().map(|process| {
            let name = process.peer_name.as_ref().unwrap_or(&process.name);
            (process.name.as_str().to_owned(), name.as_str().to_owned())
        });
        let (parts, peers) = (parts.into(), peers.collect());
        Self { parts, node, peers, spoe: None, agent: None, token, asking }
    }

    /// The backend that is meant: the one that is named, else the only one, else, for who only looks, the first.
    fn part(&self, query: &str, looking: bool) -> Result<&Part, Problem> {
        let named = parse(query.as_bytes()).find(|(key, _)| key == "backend").map(|(_, name)| name);
        let found = match &named {
            Some(name) => self.parts.iter().find(|part| part.name == **name),
            None if looking || self.parts.len() == 1 => self.parts.first(),
            None => None,
        };
        found.ok_or_else(|| {
            let known = self.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ");
            let text = match named {
                Some(name) => format!("no backend is called {name:?}: there are {known}"),
                None => format!("there are several backends: {known}; --backend names one"),
            };
            (StatusCode::BAD_REQUEST, "backend", text)
        })
    }

    /// Why nothing is in control of some backend, if so.
    fn unready(&self) -> Option<String> {
        let of = |part: &Part| {
            let why = part.control.unready()?;
            Some(if self.parts.len() > 1 { format!("{}: {why}", part.name) } else { why })
        };
        self.parts.iter().find_map(of).or_else(|| {
            let peers = self.node.as_ref()?.status().peers;
            let alone = !peers.is_empty() && peers.iter().all(|peer| !peer.connected);
            alone.then(|| "no HAProxy is connected as a peer".to_owned())
        })
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
    match path {
        "/livez" if reading => plain(StatusCode::OK, "ok\n"),
        "/readyz" if reading => match shared.unready() {
            None => plain(StatusCode::OK, "ok\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" if reading => typed(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::render(&shared.parts, shared.node.as_ref(), shared.spoe.as_deref(), shared.agent.as_ref()),
        ),
        "/v1/status" if reading => told(status(shared, query)),
        "/v1/rooms" if reading => told(explain(shared, query).await),
        "/v1/rooms" if writing => told(place(shared, query).await),
        "/v1/servers" if reading => told(server(shared, query)),
        "/v1/servers" if writing => told(order(shared, query).await),
        "/v1/moves" if reading => told(moves(shared, query)),
        "/v1/splits" if reading => told(splits(shared, query).await),
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

fn status(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    #[derive(serde::Serialize)]
    struct Told {
        #[serde(flatten)]
        status: Status,
        /// All there are.
        backends: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        spoe: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        peers: Option<PeerNodeStatus>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<Value>,
    }
    let part = shared.part(query, true)?;
    let mut peers = shared.node.as_ref().filter(|_| part.table.is_some()).map(PeerNode::status);
    peers.iter_mut().for_each(|peers| peers.tables.retain(|table| Some(&table.name) == part.table.as_ref()));
    Ok(serialised(&Told {
        status: part.control.status(),
        backends: shared.parts.iter().map(|part| part.name.clone()).collect(),
        spoe: explain::spoe(part, shared.spoe.as_deref()),
        peers,
        agent: explain::agent(shared.agent.as_ref()),
    }))
}

async fn explain(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    #[derive(serde::Serialize)]
    struct Told {
        #[serde(flatten)]
        report: RoomReport,
        written: Vec<explain::Written>,
    }
    let part = shared.part(query, false)?;
    let report = part.control.explain(&required(query, "room")?).await.map_err(|e| trouble(&part.control, &e))?;
    let written = explain::written(part, shared.node.as_ref(), &shared.peers, &report);
    Ok(serialised(&Told { report, written }))
}

fn moves(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let servers = parse(query.as_bytes()).filter(|(key, _)| key == "server");
    let servers: Vec<String> = servers.map(|(_, value)| value.into_owned()).collect();
    let names = servers.iter().map(String::as_str).collect::<Vec<_>>();
    let moves = shared.part(query, false)?.control.would_move(&names).into_iter();
    let moves = moves.map(|(room, from, to)| json!({ "room": room, "from": from, "to": to }));
    Ok(json_of(StatusCode::OK, &json!({ "moves": moves.collect::<Vec<_>>() })))
}

async fn splits(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let control = &shared.part(query, false)?.control;
    let (servers, mut silent) = match &shared.asking {
        Some(asking) => asking.ask(control.addresses()).await,
        None => Default::default(),
    };
    let mut splits = control.splits(&servers).await;
    splits.silent.append(&mut silent);
    Ok(serialised(&splits))
}

async fn place(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let control = &shared.part(query, false)?.control;
    let room = required(query, "room")?;
    let server = control.place(&room).await.map_err(|e| trouble(control, &e))?;
    Ok(json_of(StatusCode::OK, &json!({ "room": room, "server": server })))
}

fn server(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let control = &shared.part(query, false)?.control;
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

async fn order(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let control = &shared.part(query, false)?.control;
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
