//! `poll`: ask every server for its figures now.

use serde_json::{Value, json};

use super::{NO_SERVERS, View, counted_of, good, items, number, text};
use crate::cli::Output;
use crate::client::{Api, Client};
use crate::table::decimal;
use console::{Exit, Failure, Outcome};
use console::{counted, printable};

/// Polls, and prints a line for each server and a summary.
pub(super) async fn poll(client: &Client, lenient: bool, view: View) -> Result<Outcome, Failure> {
    let answer = good(client.post(Api::Own, "poll", &json!({})).await?, "the servers were not polled")?;
    let results = items(&answer, "results")?;
    if results.is_empty() {
        return Ok(if view.output == Output::Json { super::json(&answer.json) } else { Outcome::note(NO_SERVERS) });
    }
    let good = results.iter().filter(|r| is_ok(r)).count();
    let mut outcome =
        if view.output == Output::Json { super::json(&answer.json) } else { Outcome::done(lines(results)) };
    outcome.exit = match good {
        n if lenient || n == results.len() => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::Partly,
    };
    Ok(outcome)
}

fn is_ok(result: &Value) -> bool {
    result.get("ok").and_then(Value::as_bool).unwrap_or_default()
}

/// One line for each server, then a summary.
pub(super) fn lines(results: &[Value]) -> String {
    let mut out = String::new();
    for result in results {
        let url = printable(text(result, "url"));
        let seconds = number(result, "seconds").unwrap_or_default();
        if is_ok(result) {
            let load = number(result, "load").map_or_else(|| "unavailable".to_owned(), decimal);
            let (meetings, users) = (counted_of(result, "meetings"), counted_of(result, "users"));
            out.push_str(&format!("{url}: ok in {seconds:.2} s, {meetings}, {users}, load {load}\n"));
        } else {
            let why = Some(text(result, "error")).filter(|why| !why.is_empty()).unwrap_or("no reason given");
            out.push_str(&format!("{url}: FAILED in {seconds:.2} s: {}\n", printable(why)));
        }
    }
    let good = results.iter().filter(|r| is_ok(r)).count();
    out.push_str(&format!("{good} of {} answered\n", counted(results.len(), "server")));
    out
}
