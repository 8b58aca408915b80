//! Figures for Prometheus, in its text format. Labels are servers and states, never meetings or people.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use balancer_core::{Backend, BackendId, ProbeOutcome};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::limit::Limiter;
use super::tenants::Limit;
use super::{BbbService, with_body};
use crate::client::host_of;
use crate::server::{BbbServer, MILLI};
use crate::store::{ServerRecord, ServerState};
use crate::times::{BOUNDS, Times};

const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The label of times that have none.
pub(crate) const ALL: &str = "";

/// What happened since the process began.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Meetings placed for the first time.
    pub(crate) placed: AtomicU64,
    /// Meetings that had to move to another server.
    pub(crate) moved: AtomicU64,
    /// Creates of meetings that stayed where they were.
    pub(crate) kept: AtomicU64,
    /// Creates that no server could take.
    pub(crate) refused: AtomicU64,
    /// Joins sent to a server.
    pub(crate) joins: AtomicU64,
    /// Callbacks that arrived.
    pub(crate) delivered: AtomicU64,
    /// Attempts at callbacks that failed and are repeated.
    pub(crate) retried: AtomicU64,
    /// Callbacks given up: too old, refused for good, or to an address that is not allowed.
    pub(crate) given_up: AtomicU64,
    /// Callbacks dropped because too many waited.
    pub(crate) dropped: AtomicU64,
    /// Calls refused because their caller calls too often.
    pub(crate) limited: AtomicU64,
    /// Creates that found their meeting placed by another one meanwhile.
    pub(crate) conflicts: AtomicU64,
    /// How long calls took.
    pub(crate) calls: Times,
    /// How long choosing and claiming a server took, under one label.
    pub(crate) decisions: Times,
    /// How long polls took, under one label.
    pub(crate) polls: Times,
    /// Polls of each server that it answered, by host.
    pub(crate) answered: Times,
    /// Polls of each server that failed, by host.
    pub(crate) failed: Times,
    /// Who called how often.
    pub(crate) limiter: Limiter,
    /// Which tenant called how often.
    pub(crate) tenant_limiter: Limiter,
    /// Calls refused because a tenant has as much as it may have, by tenant.
    pub(crate) tenants_refused: Mutex<BTreeMap<(String, Limit), u64>>,
}

impl Counts {
    pub(crate) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Notes one poll.
    pub(crate) fn poll(&self, outcome: &ProbeOutcome<BbbServer>) {
        self.polls.note(ALL, outcome.took);
        let of = if outcome.ok() { &self.answered } else { &self.failed };
        of.note(&host_of(outcome.backend.url()), outcome.took);
    }
}

/// The label of every server: host and port; with the path where several servers have those, else with the id.
fn labels(records: &[ServerRecord]) -> HashMap<&BackendId, String> {
    let path = |r: &ServerRecord| {
        let (host, rest) = (host_of(&r.url), r.url.split_once("://").map_or(&*r.url, |(_, rest)| rest));
        let path = rest.find('/').map_or("", |at| rest[at..].split(['?', '#']).next().unwrap_or_default());
        format!("{host}{}", path.trim_end_matches('/'))
    };
    let ways: [&dyn Fn(&ServerRecord) -> String; 2] = [&|r| host_of(&r.url), &path];
    let mut labels = HashMap::new();
    for way in ways {
        let mut found: HashMap<String, Vec<&ServerRecord>> = HashMap::new();
        for r in records.iter().filter(|r| !labels.contains_key(&r.id)) {
            found.entry(way(r)).or_default().push(r);
        }
        for (label, of) in found {
            if let [one] = of[..] {
                labels.insert(&one.id, label);
            }
        }
    }
    for r in records {
        labels.entry(&r.id).or_insert_with(|| format!("{}#{}", path(r), r.id));
    }
    labels
}

/// One figure of a server.
type Figure = fn(&ServerRecord) -> f64;

pub(super) struct Page(String);

impl Page {
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

impl Page {
    /// Histograms by label; of an empty label, without any.
    pub(super) fn histograms(&mut self, name: &str, help: &str, label: &str, times: &Times) {
        self.family(name, "histogram", help);
        for (text, of) in times.all() {
            let mut total = 0;
            let labels = &[(label, &*text), ("le", "")][usize::from(label.is_empty())..];
            let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (count, bound) in of.counts.iter().zip(bounds) {
                total += count;
                let mut labels = labels.to_vec();
                if let Some(last) = labels.last_mut() {
                    last.1 = &bound;
                }
                self.sample(&format!("{name}_bucket"), &labels, total as f64);
            }
            let labels = &labels[..labels.len() - 1];
            self.sample(&format!("{name}_sum"), labels, of.sum);
            self.sample(&format!("{name}_count"), labels, total as f64);
        }
    }
}

impl BbbService {
    pub(super) async fn metrics(&self) -> Response<Bytes> {
        let c = &self.cluster;
        let mut page = Page(String::with_capacity(4096));
        let records = c.records();
        let labels = labels(&records);
        let label = |id: &BackendId| labels.get(id).map_or("", String::as_str);
        let mut views = c.pool.view(Instant::now());
        // Removed meanwhile, or added.
        views.retain(|v| labels.contains_key(v.backend.id()));
        let mut states: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for r in &records {
            *states.entry((r.state.as_str(), if r.online { "online" } else { "offline" })).or_default() += 1;
        }
        page.family("balancer_backends", "gauge", "Servers by ordered state and shared verdict.");
        for ((state, status), n) in states {
            page.sample("balancer_backends", &[("state", state), ("status", status)], f64::from(n));
        }
        let columns: [(&str, &str, Figure); 3] = [
            ("balancer_backend_meetings", "Meetings by the last poll.", |r| r.figures.meetings as f64),
            ("balancer_backend_users", "People by the last poll.", |r| r.figures.users as f64),
            ("balancer_backend_videos", "Cameras by the last poll.", |r| r.figures.videos as f64),
        ];
        for (name, help, value) in columns {
            page.family(name, "gauge", help);
            for r in &records {
                page.sample(name, &[("backend", label(&r.id))], value(r));
            }
        }
        page.family("balancer_backend_load", "gauge", "Expected load in points of the load formula.");
        for v in &views {
            let label = label(v.backend.id());
            page.sample("balancer_backend_load", &[("backend", label)], v.expected as f64 / MILLI);
        }
        page.family("balancer_backend_data_age_seconds", "gauge", "Age of the figures.");
        for v in &views {
            if let Some(age) = v.age {
                let label = label(v.backend.id());
                page.sample("balancer_backend_data_age_seconds", &[("backend", label)], age.as_secs_f64());
            }
        }
        page.family("balancer_decisions_total", "counter", "Creates by what became of them.");
        let counts = [
            ("new", &c.counts.placed),
            ("moved", &c.counts.moved),
            ("sticky", &c.counts.kept),
            ("refused", &c.counts.refused),
        ];
        for (outcome, counter) in counts {
            page.sample("balancer_decisions_total", &[("outcome", outcome)], counter.load(Relaxed) as f64);
        }
        let name = "balancer_decision_duration_seconds";
        page.histograms(name, "How long choosing and claiming a server took.", "", &c.counts.decisions);
        page.family("balancer_stick_entries", "gauge", "Meetings known, by the last polls.");
        page.sample("balancer_stick_entries", &[], c.bound_count() as f64);
        page.family("balancer_stick_conflicts_total", "counter", "Creates whose meeting another one had just placed.");
        page.sample("balancer_stick_conflicts_total", &[], c.counts.conflicts.load(Relaxed) as f64);
        page.family("balancer_split_rooms", "gauge", "Meetings that run on two servers, by the last polls.");
        let strays = c.strays();
        let split: BTreeSet<&str> = strays.iter().map(|s| s.meeting.as_str()).collect();
        page.sample("balancer_split_rooms", &[], split.len() as f64);
        page.family(
            "balancer_drain_remaining",
            "gauge",
            "Meetings left on a server that is cordoned, by its last poll.",
        );
        for r in records.iter().filter(|r| r.state == ServerState::Cordoned) {
            page.sample("balancer_drain_remaining", &[("backend", label(&r.id))], r.figures.meetings as f64);
        }
        page.family(
            "balancer_requests_limited_total",
            "counter",
            "Calls refused because their caller calls too often.",
        );
        page.sample("balancer_requests_limited_total", &[], c.counts.limited.load(Relaxed) as f64);
        if c.live().multitenancy {
            let figures = self.tenant_figures().await;
            page.family("balancer_tenant_meetings", "gauge", "Meetings by tenant.");
            for (tenant, n) in &figures.meetings {
                page.sample("balancer_tenant_meetings", &[("tenant", tenant)], *n as f64);
            }
            page.family("balancer_tenant_users", "gauge", "People by tenant, as last seen by this process.");
            for (tenant, n) in &figures.users {
                page.sample("balancer_tenant_users", &[("tenant", tenant)], *n as f64);
            }
            let name = "balancer_tenant_refused_total";
            page.family(name, "counter", "Calls refused because a tenant has as much as it may have, by limit.");
            for (tenant, limit, n) in &figures.refused {
                page.sample(name, &[("tenant", tenant), ("limit", limit)], *n as f64);
            }
        }
        let name = "balancer_request_duration_seconds";
        page.histograms(name, "How long calls took, by call.", "call", &c.counts.calls);
        let hosts: Vec<String> = records.iter().map(|r| host_of(&r.url)).collect();
        let times = c.client.times();
        times.keep(|host| hosts.iter().any(|known| known == host));
        let name = "balancer_backend_request_duration_seconds";
        page.histograms(name, "How long servers took to answer or to fail, by server.", "backend", times);
        page.family("balancer_probes_total", "counter", "Polls of servers by this process.");
        for (result, of) in [("ok", &c.counts.answered), ("failed", &c.counts.failed)] {
            of.keep(|host| hosts.iter().any(|known| known == host));
            for (host, of) in of.all() {
                let labels = [("backend", host.as_str()), ("result", result)];
                page.sample("balancer_probes_total", &labels, of.counts.iter().sum::<u64>() as f64);
            }
        }
        page.histograms("balancer_probe_duration_seconds", "How long polls took.", "", &c.counts.polls);
        page.family("balancer_joins_total", "counter", "Joins sent to a server.");
        page.sample("balancer_joins_total", &[], c.counts.joins.load(Relaxed) as f64);
        page.family("balancer_callbacks_total", "counter", "Callbacks to front-ends by what became of them.");
        let counts = [
            ("delivered", &c.counts.delivered),
            ("retried", &c.counts.retried),
            ("given_up", &c.counts.given_up),
            ("dropped", &c.counts.dropped),
        ];
        for (outcome, counter) in counts {
            page.sample("balancer_callbacks_total", &[("outcome", outcome)], counter.load(Relaxed) as f64);
        }
        if let Ok(n) = c.store.callback_store().queued().await {
            page.family("balancer_callbacks_waiting", "gauge", "Callbacks that wait to be delivered.");
            page.sample("balancer_callbacks_waiting", &[], n as f64);
        }
        page.family(
            "balancer_meetings_found_twice_total",
            "counter",
            "Meetings found on two servers by what was done.",
        );
        for (verdict, n) in c.twice_counts() {
            page.sample("balancer_meetings_found_twice_total", &[("verdict", verdict.as_str())], n as f64);
        }
        page.family("balancer_stray_meetings", "gauge", "Copies of meetings that run where nobody is led to.");
        page.sample("balancer_stray_meetings", &[], strays.len() as f64);
        page.family("balancer_polled_servers", "gauge", "Servers that this process polls.");
        page.sample("balancer_polled_servers", &[], c.poll_share() as f64);
        page.family("balancer_processes", "gauge", "Live processes that share the store.");
        page.sample("balancer_processes", &[], f64::from(c.processes()));
        page.family("balancer_store_up", "gauge", "Whether the store can be written and read.");
        page.sample("balancer_store_up", &[], f64::from(u8::from(c.store.check().await.is_ok())));
        self.recording_figures(&mut page).await;
        page.family("balancer_build_info", "gauge", "The version.");
        page.sample("balancer_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        with_body(StatusCode::OK, FORMAT, page.0)
    }
}
