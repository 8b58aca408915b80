//! Bridges for people and for programs.

use std::time::{SystemTime, UNIX_EPOCH};

use adapter_jitsi::BridgeView;
use serde_json::{Value, json};

use crate::pool::{Figures, Happening, Kind, state};
use console::Cell;

/// The columns of every table of bridges.
pub(crate) const COLUMNS: [&str; 9] =
    ["BRIDGE", "STATE", "STRESS", "CORRECTED", "CONFERENCES", "ENDPOINTS", "REGION", "VERSION", "AGE"];

/// What stands behind the slash of a JID.
pub(crate) fn nick(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(_, nick)| nick)
}

/// The cells of [`COLUMNS`].
pub(crate) fn cells(view: &BridgeView, figures: &Figures) -> Vec<Cell> {
    vec![
        Cell::text(nick(view.id.as_str())),
        Cell::text(state(view)),
        Cell::number(Some(format!("{:.2}", view.stress))),
        Cell::number(Some(format!("{:.2}", view.corrected_stress))),
        Cell::number(figures.conferences),
        Cell::number(figures.endpoints),
        Cell::text(view.region.as_deref().unwrap_or_default()),
        Cell::text(view.full_version.as_deref().unwrap_or_default()),
        Cell::number(view.age_ms.map(age)),
    ]
}

fn age(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// A table of bridges.
pub(crate) fn bridges(ranking: &[(BridgeView, Figures)]) -> String {
    let rows: Vec<Vec<Cell>> = ranking.iter().map(|(view, figures)| cells(view, figures)).collect();
    console::table(&COLUMNS, &rows)
}

/// One bridge as JSON. Stress that is no number is `null`.
pub(crate) fn json(view: &BridgeView, figures: &Figures) -> Value {
    json!({
        "bridge": nick(view.id.as_str()),
        "jid": view.id.as_str(),
        "state": state(view),
        "stress": view.stress,
        "corrected_stress": view.corrected_stress,
        "conferences": figures.conferences,
        "endpoints": figures.endpoints,
        "region": view.region,
        "version": view.full_version,
        "relay_id": view.relay_id,
        "age_seconds": view.age_ms.map(|ms| ms as f64 / 1000.0),
        "operational": view.operational,
        "overloaded": view.overloaded,
        "drain": view.drain,
        "graceful_shutdown": view.graceful_shutdown,
        "shutting_down": view.shutting_down,
        "healthy": view.healthy,
        "missing": view.missing,
        "warnings": view.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// What happened, in one line without its line break.
pub(crate) fn happening(it: &Happening) -> String {
    let nobody = match it.kind {
        Kind::Log => "focus",
        Kind::LogFile => "log",
        _ => "brewery",
    };
    let who = it.bridge.as_deref().map_or(nobody, nick);
    console::printable(&format!("{who}: {}", it.text))
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The time of day in UTC.
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}
