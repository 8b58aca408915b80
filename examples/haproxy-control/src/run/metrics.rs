//! `/metrics`: the text that Prometheus reads. No room is named; labels are servers and processes of the settings.

use std::fmt::{Display, Write as _};

use adapter_haproxy::AgentCheckCounters;
use adapter_haproxy::control::{Durations, ServerStatus};
use adapter_haproxy::peers::PeerNode;
use adapter_haproxy::spoe::AgentCounters;

use super::part::Part;

mod beside;

/// All figures as of the last round.
pub(super) fn render(
    parts: &[Part],
    node: Option<&PeerNode>,
    spoe: Option<&AgentCounters>,
    agent: Option<&AgentCheckCounters>,
) -> String {
    let mut out = Lines::default();
    out.head("balancer_build_info", "gauge", "The version.");
    out.line("balancer_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    for part in parts {
        // Of several backends each says which it is, in every line.
        out.pool = (parts.len() > 1).then(|| label(&part.name));
        backend(&mut out, part);
        beside::placed(&mut out, part);
    }
    out.pool = None;
    beside::spoe(&mut out, spoe);
    beside::peers(&mut out, node);
    beside::agent(&mut out, agent);
    out.text()
}

fn backend(out: &mut Lines, part: &Part) {
    let (control, probes) = (&part.control, part.probes.counts());
    let status = control.status();
    let pool = label(&control.options().backend);
    out.head("balancer_pool_mode", "gauge", "Where the places of rooms are written.");
    out.line("balancer_pool_mode", &format!("pool=\"{pool}\",mode=\"{}\"", part.mode), 1);
    out.head("balancer_backends", "gauge", "Servers by state.");
    for word in ["up", "down", "out", "doubtful", "unknown", "drain"] {
        let count = status.servers.iter().filter(|server| state(server) == word).count();
        out.line("balancer_backends", &format!("pool=\"{pool}\",state=\"{word}\""), count);
    }
    out.head("balancer_backend_load", "gauge", "Sessions open to a server, in all processes.");
    for server in &status.servers {
        out.line("balancer_backend_load", &of(server), server.sessions);
    }
    let help = "Sessions open to a server as a share of its maxconn, where it has one.";
    out.head("balancer_backend_capacity_ratio", "gauge", help);
    for server in &status.servers {
        if let Some(limit) = server.session_limit {
            out.line("balancer_backend_capacity_ratio", &of(server), server.sessions as f64 / limit as f64);
        }
    }
    out.head("balancer_backend_rooms", "gauge", "Rooms pinned to a server.");
    for server in &status.servers {
        out.line("balancer_backend_rooms", &of(server), server.rooms);
    }
    out.head("balancer_backend_data_age_seconds", "gauge", "Age of what is known of a server.");
    // Of a process that is lost it grows.
    let age = status.processes.iter().filter_map(|process| process.age_seconds).fold(f64::NAN, f64::min);
    for server in &status.servers {
        out.line("balancer_backend_data_age_seconds", &of(server), age);
    }
    out.head("balancer_drain_remaining", "gauge", "Rooms in use on a server that is to be empty.");
    for server in status.servers.iter().filter(|server| server.order.is_some() || server.dead) {
        out.line("balancer_drain_remaining", &of(server), control.remaining(&server.name).rooms.len());
    }
    out.head("balancer_drain_entries", "gauge", "Rooms that stick tables have on a server that is to be empty.");
    for server in status.servers.iter().filter(|server| server.order.is_some()) {
        out.line("balancer_drain_entries", &of(server), control.remaining(&server.name).entries);
    }
    out.head("balancer_decisions_total", "counter", "Rooms placed, moved and ended, by reason.");
    for (what, count) in &status.decisions {
        let (outcome, reason) = what.split_once(' ').unwrap_or((what, ""));
        let labels = format!("pool=\"{pool}\",outcome=\"{outcome}\",reason=\"{reason}\"");
        out.line("balancer_decisions_total", &labels, count);
    }
    let help = "From the table that was read until a placement or a move was in force.";
    out.durations("balancer_decision_duration_seconds", help, &status.took);
    out.head("balancer_probes_total", "counter", "Our own probes of servers.");
    for ((server, result), count) in &probes.results {
        let labels = format!("backend=\"{}\",result=\"{result}\"", label(server));
        out.line("balancer_probes_total", &labels, count);
    }
    out.durations("balancer_probe_duration_seconds", "How long our own probes took.", &probes.took);
    let pooled = format!("pool=\"{pool}\"");
    out.head("balancer_stick_entries", "gauge", "Rooms known.");
    out.line("balancer_stick_entries", &pooled, status.rooms);
    out.head("balancer_stick_conflicts_total", "counter", "Rooms that another controller had moved.");
    out.line("balancer_stick_conflicts_total", "", status.conflicts);
    out.head("balancer_split_rooms", "gauge", "Rooms that tables show in use on two servers.");
    out.line("balancer_split_rooms", "", status.splits);
    out.head("balancer_stranded_rooms", "gauge", "Rooms that must move and cannot.");
    out.line("balancer_stranded_rooms", "", status.stranded);
    out.head("balancer_store_up", "gauge", "Whether the store answers.");
    out.line("balancer_store_up", "", u8::from(status.store_up));
    out.head("balancer_pins_pushed_total", "counter", "Pins added, changed and ended in HAProxy.");
    out.line("balancer_pins_pushed_total", "", status.pushed);
    out.head("balancer_process_up", "gauge", "Whether a HAProxy answers.");
    for process in &status.processes {
        out.line("balancer_process_up", &format!("process=\"{}\"", label(&process.name)), u8::from(process.up));
    }
    out.head("balancer_process_pins", "gauge", "Pins in force in a HAProxy.");
    for process in &status.processes {
        if let Some(pins) = process.pins {
            out.line("balancer_process_pins", &format!("process=\"{}\"", label(&process.name)), pins);
        }
    }
}

/// One word for a server.
fn state(server: &ServerStatus) -> &'static str {
    match server.verdict.as_str() {
        "up" if !server.takes_rooms => "drain",
        word => word,
    }
}

fn of(server: &ServerStatus) -> String {
    format!("backend=\"{}\"", label(&server.name))
}

/// Lines by name: those of one name stand together, however many backends have them.
#[derive(Default)]
struct Lines {
    families: Vec<(String, String)>,
    /// What each line says of its backend, where there are several.
    pool: Option<String>,
}

impl Lines {
    // Writing to a string cannot fail.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        if self.families.iter().all(|(known, _)| known != name) {
            self.families.push((name.to_owned(), format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")));
        }
    }

    fn durations(&mut self, name: &str, help: &str, took: &Durations) {
        self.head(name, "histogram", help);
        for (bound, count) in took.buckets() {
            self.within(name, "_bucket", &format!("le=\"{bound}\""), count);
        }
        self.within(name, "_bucket", "le=\"+Inf\"", took.count);
        self.within(name, "_sum", "", took.seconds);
        self.within(name, "_count", "", took.count);
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        self.within(name, "", labels, value);
    }

    fn within(&mut self, family: &str, suffix: &str, labels: &str, value: impl Display) {
        let pool = self.pool.as_ref().filter(|_| !labels.starts_with("pool=")).map(|pool| format!("pool=\"{pool}\""));
        let all = [pool.as_deref().unwrap_or_default(), labels];
        let all = all.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(",");
        let Some((_, text)) = self.families.iter_mut().find(|(name, _)| name == family) else { return };
        let _ = if all.is_empty() {
            writeln!(text, "{family}{suffix} {value}")
        } else {
            writeln!(text, "{family}{suffix}{{{all}}} {value}")
        };
    }

    fn text(self) -> String {
        self.families.into_iter().map(|(_, text)| text).collect()
    }
}

/// A name as the value of a label.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
