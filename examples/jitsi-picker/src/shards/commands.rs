//! The commands but `plan`.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::client::Client;
use crate::cli::Output;
use crate::{complain, say};
use console::{Cell, Exit, Failure, counted, printable};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two tables of `status --watch`.
const AGAIN: Duration = Duration::from_secs(2);
/// Rooms that are named in an error; more are counted.
const NAMED: usize = 10;

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn list_in<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn rooms(number: u64) -> String {
    counted(usize::try_from(number).unwrap_or(usize::MAX), "room")
}

fn json(value: &Value) {
    say(&format!("{value}\n"));
}

/// What is wrong with a shard, part by part.
fn wrong(shard: &Value) -> String {
    let failed = list_in(shard, "parts").iter().filter(|part| part["ok"] == false);
    let words: Vec<String> = failed.map(|part| format!("{}: {}", text(part, "part"), text(part, "error"))).collect();
    words.join("; ")
}

/// The shards as a table; all columns when wide.
pub(crate) fn table(answer: &Value, wide: bool) -> String {
    let number = |value: Option<f64>| Cell::number(value.map(|number| format!("{number:.1}")));
    let row = |shard: &Value| {
        let float = |name: &str| shard.get(name).and_then(Value::as_f64);
        let bound = Cell::number(shard.get("rooms").and_then(Value::as_u64));
        let mut row = vec![
            Cell::text(text(shard, "shard")),
            Cell::text(text(shard, "region")),
            Cell::text(text(shard, "state")),
            Cell::text(text(shard, "health")),
            Cell::number(float("weight")),
            bound,
        ];
        if wide {
            let bridges = shard.get("bridges").filter(|bridges| bridges.is_object());
            let bridges = bridges.map(|it| format!("{}/{}", count(it, "operational"), count(it, "all")));
            row.extend([
                number(float("load")),
                Cell::number(shard.get("participants").and_then(Value::as_u64)),
                Cell::number(bridges),
                Cell::number(float("age_seconds").map(|age| format!("{age:.0} s"))),
                Cell::Text(printable(&wrong(shard))),
            ]);
        }
        row
    };
    let rows: Vec<Vec<Cell>> = list_in(answer, "shards").iter().map(row).collect();
    let mut headers = vec!["SHARD", "REGION", "STATE", "HEALTH", "WEIGHT", "ROOMS"];
    if wide {
        headers.extend(["LOAD", "PEOPLE", "BRIDGES", "AGE", "WRONG"]);
    }
    console::table(&headers, &rows)
}

pub(super) async fn list(client: &Client, view: Output) -> Result<Exit, Failure> {
    let answer = client.get("/shards", &[]).await?;
    match view {
        Output::Json => json(&answer),
        Output::Table => drop(say(&table(&answer, false))),
    }
    Ok(Exit::Done)
}

/// Whether everything is as it should be, and what is not, each with what to do.
fn problems(answer: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(why) = answer.get("store_error").and_then(Value::as_str) {
        let place = text(answer, "store");
        found.push(format!("{place} does not serve: {why}; rooms seen lately go on, new ones are refused"));
    }
    for shard in list_in(answer, "shards") {
        let (id, health, why) = (text(shard, "shard"), text(shard, "health"), wrong(shard));
        match health {
            "up" if why.is_empty() => {}
            "unknown" if list_in(shard, "parts").is_empty() => {}
            _ if why.is_empty() => found.push(format!("{id} is {health}")),
            _ => found.push(format!("{id} is {health}: {why}")),
        }
    }
    for split in list_in(answer, "split_rooms") {
        let (room, id) = (text(split, "room"), text(split, "also_on"));
        found.push(format!(
            "room {room} is on {id} too: people are apart; `jitsi-picker shards explain {room}` says where it lives, \
             those on {id} have to load the page again"
        ));
    }
    found
}

pub(super) async fn status(client: &Client, view: Output, watch: bool) -> Result<Exit, Failure> {
    let terminal = std::io::stdout().is_terminal();
    loop {
        let answer = client.get("/shards", &[]).await;
        let exit = match (&answer, view) {
            (Err(failure), _) if !watch => return Err(failure.clone()),
            (Err(failure), _) => {
                complain(&failure.to_string());
                Exit::Failed
            }
            (Ok(answer), _) => {
                let problems = problems(answer);
                let going = if view == Output::Json {
                    say(&format!("{answer}\n"))
                } else {
                    print(answer, &problems, watch && terminal)
                };
                if !going {
                    return Ok(Exit::Done);
                }
                if problems.is_empty() { Exit::Done } else { Exit::Failed }
            }
        };
        if !watch {
            return Ok(exit);
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = console::signalled() => return Ok(Exit::Done),
        }
    }
}

fn print(answer: &Value, problems: &[String], clear: bool) -> bool {
    let mut out = if clear { "\x1b[H\x1b[2J".to_owned() } else { String::new() };
    out.push_str(&table(answer, true));
    out.push_str(&format!("\nrooms are kept in {}\n", printable(text(answer, "store"))));
    if !problems.is_empty() {
        out.push_str("\nPotential problems\n");
        problems.iter().for_each(|problem| out.push_str(&format!("{}\n", printable(problem))));
    }
    say(&out)
}

pub(super) async fn explain(client: &Client, view: Output, room: &str, region: Option<&str>) -> Result<Exit, Failure> {
    let name = if room.starts_with('/') || room.contains("://") { "url" } else { "room" };
    let query = [(name, room), ("region", region.unwrap_or_default())];
    let answer = client.get("/explain", &query).await?;
    match view {
        Output::Json => json(&answer["decision"]),
        Output::Table => drop(say(&console::lines(text(&answer, "text")))),
    }
    Ok(if answer["decision"]["backend"].is_null() { Exit::Failed } else { Exit::Done })
}

pub(super) async fn order(client: &Client, view: Output, shard: &str, to: &str) -> Result<Exit, Failure> {
    let answer = client.post("/order", &[("shard", shard), ("to", to)]).await?;
    match view {
        Output::Json => json(&answer),
        Output::Table => {
            let left = match (to, count(&answer, "rooms")) {
                ("ready", _) => "takes new rooms".to_owned(),
                ("drain", 0) => "has no rooms and takes none".to_owned(),
                ("drain", left) => format!("keeps {} and takes no new ones", rooms(left)),
                (_, 0) => "is out of service".to_owned(),
                (_, left) => format!("is out of service, {} to move", rooms(left)),
            };
            say(&format!("OK\n{} {left}\n", printable(shard)));
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn maint(client: &Client, view: Output, shard: &str, force: bool) -> Result<Exit, Failure> {
    let has = count(&client.get("/rooms", &[("shard", shard)]).await?, "count");
    if has > 0 && !force {
        return Err(Failure::new(Exit::Refused, format!("{shard} has {}, and people in them", rooms(has)))
            .hint(format!("`jitsi-picker shards drain {shard} --wait` lets them end; --force moves them now")));
    }
    order(client, view, shard, "maint").await
}

pub(super) async fn forget(client: &Client, view: Output, shard: &str) -> Result<Exit, Failure> {
    let answer = client.post("/forget", &[("shard", shard)]).await?;
    match view {
        Output::Json => json(&answer),
        Output::Table => drop(say(&format!("OK\n{} let go of\n", rooms(count(&answer, "released"))))),
    }
    Ok(Exit::Done)
}

pub(super) async fn export(client: &Client, view: Output) -> Result<Exit, Failure> {
    match view {
        Output::Json => json(&client.get("/pins", &[("format", "json")]).await?),
        Output::Table => drop(say(&client.text("/pins").await?)),
    }
    Ok(Exit::Done)
}

/// The rooms of a shard, without any change.
pub(super) async fn preview(client: &Client, view: Output, shard: &str) -> Result<Exit, Failure> {
    let answer = client.get("/rooms", &[("shard", shard)]).await?;
    if view == Output::Json {
        json(&answer);
        return Ok(Exit::Done);
    }
    let has = count(&answer, "count");
    let mut out = format!("drain {}: {} would go on there, and no new ones would come\n", printable(shard), rooms(has));
    list_in(&answer, "rooms").iter().filter_map(Value::as_str).for_each(|room| {
        out.push_str(&format!("  {}\n", printable(room)));
    });
    out.push_str("Nothing was changed (--dry-run)\n");
    say(&out);
    Ok(Exit::Done)
}

/// Drains, and waits until no room is left.
pub(super) async fn drain(client: &Client, view: Output, shard: &str, deadline: Option<u64>) -> Result<Exit, Failure> {
    let began = Instant::now();
    client.post("/order", &[("shard", shard), ("to", "drain")]).await?;
    let terminal = std::io::stderr().is_terminal();
    let (mut told, shown) = (None, printable(shard));
    loop {
        let answer = client.get("/rooms", &[("shard", shard)]).await?;
        let left = count(&answer, "count");
        if left == 0 {
            match view {
                Output::Json => json(&answer),
                Output::Table => drop(say(&format!("OK\n{shown} has no rooms\n"))),
            }
            return Ok(Exit::Done);
        }
        if terminal && told.replace(left) != Some(left) {
            complain(&format!("{shown}: {} left", rooms(left)));
        }
        let rest = deadline.map(|seconds| Duration::from_secs(seconds).saturating_sub(began.elapsed()));
        if rest == Some(Duration::ZERO) {
            let names: Vec<&str> = list_in(&answer, "rooms").iter().filter_map(Value::as_str).take(NAMED).collect();
            let more = if left > NAMED as u64 { ", ..." } else { "" };
            let seconds = deadline.unwrap_or_default();
            return Err(Failure::timed_out(format!(
                "{shard} still has {} after {seconds} s, and drains on",
                rooms(left)
            ))
            .cause(format!("rooms: {}{more}", names.join(", ")))
            .hint(format!("wait on with --wait, or move them with `jitsi-picker shards maint {shard} --force`")));
        }
        tokio::select! {
            () = tokio::time::sleep(rest.map_or(EVERY, |rest| rest.min(EVERY))) => {}
            () = console::signalled() => {
                return Err(Failure::failed("interrupted").hint(format!("{shard} drains on")));
            }
        }
    }
}
