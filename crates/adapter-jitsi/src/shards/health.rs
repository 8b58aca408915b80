//! How a shard is, by its parts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{Backend, BackendId, HealthProbe, ProbeError, Report};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::focus::MAX_LIST;
use super::load::SHARE;
use super::{FocusRooms, Shard};
use crate::rest;

/// The most of a stream's beginning that is read.
const MAX_GREETING: usize = 4096;

/// A part of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShardPart {
    /// The web server.
    Web,
    /// The XMPP server's BOSH port.
    Bosh,
    /// The XMPP server's port for clients.
    Xmpp,
    /// The focus.
    Focus,
    /// The bridges, as the focus or a watched brewery counts them.
    Bridges,
}

impl ShardPart {
    /// Its name, as in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Bosh => "bosh",
            Self::Xmpp => "xmpp",
            Self::Focus => "focus",
            Self::Bridges => "bridges",
        }
    }
}

impl fmt::Display for ShardPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one part was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartSeen {
    /// Which.
    pub part: ShardPart,
    /// What is wrong with it, if anything.
    pub result: Result<(), ProbeError>,
}

/// How a shard was when it was probed last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardSeen {
    /// When.
    pub at: Instant,
    /// Its parts.
    pub parts: Vec<PartSeen>,
    /// Operational bridges, and all bridges, if known.
    pub bridges: Option<(u64, u64)>,
}

/// Tells how many bridges of a shard are operational, and how many there are, out of its brewery; `None` when that is
/// not watched, and the focus is asked.
pub type BridgeSource = Box<dyn Fn(&Shard) -> Option<(u64, u64)> + Send + Sync>;

/// Asks all parts of a shard at once: the web server `GET /`, the XMPP server `GET /http-bind` or for a stream, the
/// focus `GET /about/health`, `/stats` and, for the stress of its bridges, `/debug`. All in plain HTTP.
///
/// One part that fails makes the shard fail, and each that does is named. When a part is found silent while others
/// answer, our own network is not to blame.
pub struct ShardProbe {
    limit: Duration,
    bridges: Option<BridgeSource>,
    seen: Arc<Mutex<HashMap<BackendId, ShardSeen>>>,
}

impl fmt::Debug for ShardProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardProbe").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Default for ShardProbe {
    fn default() -> Self {
        Self { limit: Duration::from_secs(3), bridges: None, seen: Arc::default() }
    }
}

impl ShardProbe {
    /// Limit for each part. Default 3 s; the monitor's own limit should be longer, lest the parts stay nameless.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Counts bridges by what a brewery says, where it says anything.
    #[must_use]
    pub fn with_bridges(mut self, bridges: BridgeSource) -> Self {
        self.bridges = Some(bridges);
        self
    }

    /// How a shard was when it was probed last.
    pub fn seen(&self, id: &BackendId) -> Option<ShardSeen> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BackendId, ShardSeen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one part, if it has an address.
    async fn ask<T>(
        &self,
        address: Option<&String>,
        ask: impl AsyncFnOnce(&str) -> Result<T, ProbeError>,
    ) -> Option<Result<T, ProbeError>> {
        let address = address?;
        let silent = || ProbeError::Silent(format!("no answer from {address} within {:?}", self.limit));
        Some(timeout(self.limit, ask(address)).await.unwrap_or_else(|_| Err(silent())))
    }
}

#[async_trait]
impl HealthProbe<Shard> for ShardProbe {
    async fn probe(&self, target: &Shard) -> Result<Report, ProbeError> {
        let (began, addresses) = (Instant::now(), target.addresses());
        let (web, bosh, xmpp, focus) = tokio::join!(
            self.ask(addresses.web.as_ref(), async |address| http(address, "/", 200..=399).await),
            self.ask(addresses.bosh.as_ref(), async |address| http(address, "/http-bind", 200..=299).await),
            self.ask(addresses.xmpp.as_ref(), async |address| stream(address).await),
            self.ask(addresses.focus.as_ref(), async |address| figures(address).await),
        );
        let (focus, figures) = match focus {
            Some(Ok(figures)) => (Some(Ok(())), figures),
            Some(Err(why)) => (Some(Err(why)), Figures::default()),
            None => (None, Figures::default()),
        };
        let bridges = self.bridges.as_ref().and_then(|count| count(target)).or(figures.bridges);
        let enough = bridges.map(|(operational, all)| match operational {
            enough if enough >= target.bridges() => Ok(()),
            few => {
                let least = target.bridges();
                Err(ProbeError::Answer(format!("{few} of {all} bridges are operational, {least} at least are due")))
            }
        });
        use ShardPart::{Bosh, Bridges, Focus, Web, Xmpp};
        let all = [(Web, web), (Bosh, bosh), (Xmpp, xmpp), (Focus, focus), (Bridges, enough)];
        let asked = all.into_iter().filter_map(|(part, result)| Some(PartSeen { part, result: result? }));
        let parts: Vec<PartSeen> = asked.collect();
        let verdict = verdict(&parts);
        self.lock().insert(target.id().clone(), ShardSeen { at: began, parts, bridges });
        verdict.map(|()| figures.report(began))
    }
}

/// All failures in one, by the best that was heard: one part that answers proves our own network.
fn verdict(parts: &[PartSeen]) -> Result<(), ProbeError> {
    let failed = parts.iter().filter_map(|seen| Some((seen.part, seen.result.as_ref().err()?)));
    let words: Vec<String> = failed.clone().map(|(part, why)| format!("{part}: {why}")).collect();
    if words.is_empty() {
        return Ok(());
    }
    let words = words.join("; ");
    let heard = parts.iter().any(|seen| seen.result.as_ref().err().is_none_or(ProbeError::answered));
    let refused = failed.clone().any(|(_, why)| matches!(why, ProbeError::Refused(_)));
    let unknown = failed.clone().all(|(_, why)| matches!(why, ProbeError::Resolve(_)));
    Err(match heard {
        true if refused => ProbeError::Refused(words),
        true => ProbeError::Answer(words),
        false if unknown => ProbeError::Resolve(words),
        false => ProbeError::Silent(words),
    })
}

async fn http(address: &str, path: &str, fine: std::ops::RangeInclusive<u16>) -> Result<(), ProbeError> {
    let (status, _) = rest::get(address, path).await?;
    match fine.contains(&status) {
        true => Ok(()),
        false => Err(ProbeError::Answer(format!("{address} answers {path} with status {status}"))),
    }
}

/// Opens a stream for clients, and waits for the server's.
async fn stream(address: &str) -> Result<(), ProbeError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let head = format!(
        "<stream:stream to='{}' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
        crate::escape(host)
    );
    let mut tcp = rest::connect(address).await?;
    let broken = |error: std::io::Error| ProbeError::Refused(format!("{address}: {error}"));
    tcp.write_all(head.as_bytes()).await.map_err(broken)?;
    let mut greeting = Vec::new();
    let mut buffer = [0; 512];
    // Whatever it thinks of the name: that it speaks is what counts.
    while greeting.len() < MAX_GREETING {
        let length = tcp.read(&mut buffer).await.map_err(broken)?;
        greeting.extend_from_slice(&buffer[..length]);
        if greeting.windows(b"stream:stream".len()).any(|window| window == b"stream:stream") {
            return Ok(());
        }
        if length == 0 {
            return Err(ProbeError::Refused(format!("{address} closes the connection without a stream")));
        }
    }
    Err(ProbeError::Answer(format!("{address} does not speak xmpp")))
}

/// What a focus tells.
#[derive(Debug, Default)]
struct Figures {
    rooms: Option<u64>,
    users: Option<u64>,
    bridges: Option<(u64, u64)>,
    share: Option<f64>,
    stress: Option<f64>,
}

impl Figures {
    fn report(&self, began: Instant) -> Report {
        let mut report = Report::new(began);
        (report.rooms, report.users) = (self.rooms, self.users);
        let bridges = self.bridges.map(|(operational, _)| operational as f64);
        let facts = [("operational_bridges", bridges), (SHARE, self.share), ("stress", self.stress)];
        facts.into_iter().fold(report, |report, (name, value)| match value {
            Some(value) => report.with_fact(name, value),
            None => report,
        })
    }

    /// Of `/debug`: how many of its bridges that take part are overloaded, and their mean stress.
    fn with_debug(mut self, debug: &Value) -> Self {
        let Some(bridges) = debug.pointer("/bridge_selector/bridge").and_then(Value::as_object) else { return self };
        // Numbers and switches stand there as text in some versions.
        let is = |bridge: &Value, name: &str| match bridge.get(name) {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        let stress = |bridge: &Value| match bridge.get("corrected-stress")? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let taking: Vec<&Value> = bridges.values().filter(|it| is(it, "operational") && !is(it, "drain")).collect();
        if taking.is_empty() {
            return self;
        }
        let overloaded = taking.iter().filter(|it| is(it, "overloaded")).count();
        self.share = Some(overloaded as f64 / taking.len() as f64);
        let known: Vec<f64> = taking.iter().filter_map(|it| stress(it)).filter(|it| it.is_finite()).collect();
        self.stress = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        self
    }
}

async fn figures(address: &str) -> Result<Figures, ProbeError> {
    // Where its health checks are switched off, the focus has no such route.
    let (status, _) = rest::get(address, "/about/health").await?;
    if !matches!(status, 200..=299 | 404) {
        return Err(ProbeError::Answer(format!("unhealthy: {address} answers /about/health with status {status}")));
    }
    let stats = json(address, "/stats").await?;
    let count = |path: &str| stats.pointer(path).and_then(Value::as_u64);
    let mut figures = Figures { rooms: count("/conferences"), users: count("/participants"), ..Figures::default() };
    if let Some(operational) = count("/bridge_selector/operational_bridge_count") {
        figures.bridges = Some((operational, count("/bridge_selector/bridge_count").unwrap_or(operational)));
    }
    // Closed in some installations, and no reason to complain.
    Ok(match json(address, "/debug").await {
        Ok(debug) => figures.with_debug(&debug),
        Err(_) => figures,
    })
}

async fn json(address: &str, path: &str) -> Result<Value, ProbeError> {
    match rest::get(address, path).await? {
        (200, body) => serde_json::from_slice(&body)
            .map_err(|error| ProbeError::Answer(format!("{address}{path}: not json: {error}"))),
        (status, _) => Err(ProbeError::Answer(format!("{address} answers {path} with status {status}"))),
    }
}

/// The rooms that a focus has now: `GET /debug/conferences` of its private port.
///
/// # Errors
///
/// [`ProbeError`], by whether it answered.
///
/// # Cancel safety
///
/// Nothing is changed.
pub async fn focus_rooms(address: &str, limit: Duration) -> Result<FocusRooms, ProbeError> {
    let wrong = |why: String| ProbeError::Answer(format!("{address}/debug/conferences: {why}"));
    match timeout(limit, rest::get_long(address, "/debug/conferences", MAX_LIST)).await {
        Ok(Ok((200, body))) => FocusRooms::parse(&body).map_err(wrong),
        Ok(Ok((status, _))) => Err(wrong(format!("status {status}"))),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(ProbeError::Silent(format!("no answer from {address} within {limit:?}"))),
    }
}
