//! `status`: the table of servers.

use serde_json::Value;

use super::{NO_SERVERS, View, count, good, items, number, text};
use crate::cli::Output;
use crate::client::{Api, Client};
use crate::table::{Column, decimal, load, render};
use console::{Cell, printable};
use console::{Failure, Outcome};

const COLUMNS: [Column; 10] = [
    Column::new("HOSTNAME"),
    // As wide as the longest state.
    Column::new("STATE").at_least(8),
    Column::new("STATUS"),
    Column::new("MEETINGS"),
    Column::new("USERS"),
    Column::new("LARGEST MEETING"),
    Column::new("VIDEOS"),
    Column::new("LOAD"),
    Column::new("BBB VERSION"),
    Column::new("TAG"),
];

const WIDE: [Column; 5] = [
    Column::new("HEALTH"),
    Column::new("EXPECTED LOAD"),
    Column::new("MULTIPLIER"),
    Column::new("AGE"),
    Column::new("ID"),
];

/// Asks for the figures and prints them.
pub(super) async fn status(client: &Client, view: View) -> Result<Outcome, Failure> {
    let answer = good(client.get(Api::Own, "status", &[]).await?, "the status cannot be read")?;
    if view.output == Output::Json {
        return Ok(super::json(&answer.json));
    }
    let servers = items(&answer, "servers")?;
    if servers.is_empty() {
        return Ok(Outcome::note(NO_SERVERS));
    }
    let wide = view.output == Output::Wide;
    let mut out = String::from("\n");
    out.push_str(&table(servers, wide));
    if wide || view.terminal {
        out.push_str(&footer(&answer.json, servers));
    }
    Ok(Outcome::done(out))
}

/// The table, sorted by host name.
pub(super) fn table(servers: &[Value], wide: bool) -> String {
    let mut servers: Vec<&Value> = servers.iter().collect();
    servers.sort_by_key(|server| (text(server, "host"), text(server, "id")));
    let columns: Vec<Column> = if wide { COLUMNS.into_iter().chain(WIDE).collect() } else { COLUMNS.into() };
    let rows: Vec<Vec<Cell>> = servers.into_iter().map(|server| row(server, wide)).collect();
    render(&columns, &rows)
}

fn row(server: &Value, wide: bool) -> Vec<Cell> {
    let online = server.get("online").and_then(Value::as_bool).unwrap_or_default();
    let mut row = vec![
        Cell::text(text(server, "host")),
        Cell::text(text(server, "state")),
        Cell::text(if online { "online" } else { "offline" }),
        Cell::count(count(server, "meetings")),
        Cell::count(count(server, "users")),
        Cell::count(count(server, "largest_meeting")),
        Cell::count(count(server, "videos")),
        load(number(server, "load")),
        Cell::text(text(server, "bbb_version")),
        Cell::text(text(server, "tag")),
    ];
    if wide {
        let stale = server.get("stale").and_then(Value::as_bool).unwrap_or_default();
        let age = number(server, "age_seconds").map_or_else(|| "never".to_owned(), |age| format!("{age:.0}s"));
        row.extend([
            Cell::text(text(server, "health")),
            load(number(server, "expected_load")),
            load(number(server, "load_multiplier")),
            Cell::Number(if stale { format!("{age} (stale)") } else { age }),
            Cell::text(text(server, "id")),
        ]);
    }
    row
}

/// When the next poll is, how load is counted, what was not measured yet and what is stale.
pub(super) fn footer(status: &Value, servers: &[Value]) -> String {
    let mut facts = Vec::new();
    if let Some(seconds) = number(status, "next_poll_seconds") {
        facts.push(format!("next poll in {seconds:.0} s"));
    }
    if !text(status, "load_formula").is_empty() {
        facts.push(format!("load = {}", printable(text(status, "load_formula"))));
    }
    if !text(status, "store").is_empty() {
        facts.push(format!("store: {}", printable(text(status, "store"))));
    }
    if count(status, "processes") > 1 {
        facts.push(format!("{} balancers", count(status, "processes")));
    }
    if !text(status, "version").is_empty() {
        facts.push(format!("version {}", printable(text(status, "version"))));
    }
    let mut out = if facts.is_empty() { String::new() } else { format!("\n{}\n", facts.join("; ")) };
    let waits = |s: &&Value| {
        let online = s.get("online").and_then(Value::as_bool).unwrap_or_default();
        online && text(s, "state") != "disabled" && number(s, "load").is_none()
    };
    for server in servers.iter().filter(waits) {
        out.push_str(&format!("{}: no load yet, its first poll is still to come\n", printable(text(server, "host"))));
    }
    let old = servers.iter().filter(|s| s.get("stale").and_then(Value::as_bool).unwrap_or_default());
    for server in old {
        let age = number(server, "age_seconds").map_or_else(|| "?".to_owned(), decimal);
        out.push_str(&format!("{}: figures are {age} s old\n", printable(text(server, "host"))));
    }
    out
}
