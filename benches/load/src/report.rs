//! Tables of what was measured, and how it compares.
use std::time::Duration;

use crate::load::Outcome;

/// Where the figures of the peers come from.
pub(crate) const SOURCE: &str =
    "published CPU time per request at 64 connections, balancer on one core, best measured peer";

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Running,
    Info,
    List,
    Join,
    Create,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Running, Self::Info, Self::List, Self::Join, Self::Create];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "isMeetingRunning",
            Self::Info => "getMeetingInfo",
            Self::List => "getMeetings",
            Self::Join => "join",
            Self::Create => "create",
        }
    }

    /// CPU time per request of the best peer where it was measured, and ours at most; see [`SOURCE`].
    fn figures(self) -> (Option<Duration>, Duration) {
        let (peer, limit) = match self {
            Self::Running => (Some(917), 90),
            Self::Info => (None, 90),
            Self::Join => (Some(736), 45),
            Self::Create => (Some(2_806), 250),
            Self::List => (Some(8_100), 800),
        };
        (peer.map(Duration::from_micros), Duration::from_micros(limit))
    }
}

/// One line of the table.
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    pub(crate) outcome: Outcome,
}

impl Line {
    /// CPU time of the balancer and its Redis per request.
    fn cpu_per_request(&self) -> Option<Duration> {
        self.per_request(self.outcome.all_cpu())
    }

    fn per_request(&self, cpu: Option<Duration>) -> Option<Duration> {
        let requests = u32::try_from(self.outcome.requests).ok().filter(|requests| *requests > 0)?;
        cpu.map(|cpu| cpu / requests)
    }
}

/// Prints the lines of one run, then, of one of ours, the comparison with its limits.
pub(crate) fn print(title: &str, lines: &[Line], ours: bool) {
    println!("\n{title}");
    let mut rows = vec![
        ["CALL", "CONNS", "REQUESTS", "REQ/S", "P50", "P99", "CPU/REQ", "OWN", "REDIS", "RSS", "ERRORS"]
            .map(str::to_owned),
    ];
    for line in lines {
        let out = &line.outcome;
        let rate = precise(out.requests) / out.elapsed.as_secs_f64().max(1e-9);
        rows.push([
            line.kind.name().to_owned(),
            line.connections.to_string(),
            out.requests.to_string(),
            format!("{rate:.0}"),
            micros(out.p50),
            micros(out.p99),
            or_none(line.cpu_per_request()),
            or_none(line.per_request(out.cpu)),
            or_none(line.per_request(out.redis)),
            out.resident.map_or_else(|| "<none>".to_owned(), |kib| format!("{:.1} MiB", precise(kib) / 1_024.0)),
            out.errors.to_string(),
        ]);
    }
    table(&rows);
    for line in lines.iter().filter(|line| line.outcome.errors > 0) {
        let first = line.outcome.first_error.as_deref().unwrap_or("unknown");
        let (name, connections, errors) = (line.kind.name(), line.connections, line.outcome.errors);
        println!("INVALID: {name} at {connections} connections had {errors} errors; first: {first}");
    }
    for line in lines.iter().filter(|line| line.outcome.requests == 0) {
        println!("INVALID: {} at {} connections answered nothing", line.kind.name(), line.connections);
    }
    if ours {
        compare(lines);
    }
}

/// Ours against another balancer that was measured in the same run.
pub(crate) fn beside(name: &str, ours: &[Line], theirs: &[Line]) {
    let mut rows = vec![["CALL", "OURS", "BBBLB", "BBBLB/OURS", "P99", "BBBLB P99"].map(str::to_owned)];
    for line in ours.iter().filter(|line| line.connections == 64) {
        let Some(other) = theirs.iter().find(|other| other.connections == 64 && other.kind == line.kind) else {
            continue;
        };
        let (cpu, theirs) = (line.cpu_per_request(), other.cpu_per_request());
        let failed = line.outcome.errors + other.outcome.errors > 0;
        let ratio = cpu.zip(theirs).map(|(ours, theirs)| theirs.as_secs_f64() / ours.as_secs_f64().max(1e-9));
        rows.push([
            line.kind.name().to_owned(),
            or_none(cpu),
            or_none(theirs),
            ratio.map_or_else(
                || "<none>".to_owned(),
                |ratio| format!("{ratio:.1}x{}", if failed { " (errors)" } else { "" }),
            ),
            micros(line.outcome.p99),
            micros(other.outcome.p99),
        ]);
    }
    println!("\n{name} beside bbblb 0.0.18 in this run, CPU time per request at 64 connections");
    table(&rows);
}

fn compare(lines: &[Line]) {
    let mut rows = vec![["CALL", "CPU/REQ", "PEER", "PEER/OURS", "LIMIT", "VERDICT"].map(str::to_owned)];
    for line in lines.iter().filter(|line| line.connections == 64) {
        let Some(ours) = line.cpu_per_request() else { continue };
        let (peer, limit) = line.kind.figures();
        let verdict = match (line.outcome.errors, ours <= limit) {
            (0, true) => "met",
            (0, false) => "not met",
            _ => "not met (errors)",
        };
        rows.push([
            line.kind.name().to_owned(),
            micros(ours),
            or_none(peer),
            peer.map_or_else(
                || "<none>".to_owned(),
                |peer| format!("{:.1}x", peer.as_secs_f64() / ours.as_secs_f64().max(1e-9)),
            ),
            micros(limit),
            verdict.to_owned(),
        ]);
    }
    let running = lines.iter().find(|line| line.connections == 64 && line.kind == Kind::Running);
    if rows.len() > 1 {
        println!("\n64 connections against: {SOURCE}");
        table(&rows);
    }
    if let Some(line) = running {
        verdict("p99 of isMeetingRunning at 64 connections", line.outcome.p99, Duration::from_millis(12));
    }
}

/// One figure against its limit.
pub(crate) fn verdict(what: &str, ours: Duration, limit: Duration) {
    let word = if ours <= limit { "met" } else { "not met" };
    println!("{what}: {} of at most {}: {word}", micros(ours), micros(limit));
}

/// Memory in KiB against its limit in MB.
pub(crate) fn memory(what: &str, ours: Option<u64>, limit: u64) {
    let Some(ours) = ours else { return };
    let word = if ours * 1_024 <= limit * 1_000_000 { "met" } else { "not met" };
    println!("{what}: {:.1} MB of at most {limit} MB: {word}", precise(ours) * 1_024.0 / 1e6);
}

fn or_none(time: Option<Duration>) -> String {
    time.map_or_else(|| "<none>".to_owned(), micros)
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}

/// A count as a number to divide; counts here stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn precise(count: u64) -> f64 {
    count as f64
}

/// First column to the left, the others to the right, no borders.
fn table<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    for row in rows {
        let mut text = format!("{:<1$}", row[0], width(0));
        for (column, cell) in row.iter().enumerate().skip(1) {
            text.push_str(&format!("  {cell:>0$}", width(column)));
        }
        println!("{}", text.trim_end());
    }
}
