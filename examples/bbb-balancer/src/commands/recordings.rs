//! `recordings`: list, import, check, update, add-to-tenant.

use serde_json::{Value, json};

use super::{View, count, counted_of, good, items, text};
use crate::cli::{Output, Which};
use crate::client::{Api, Client};
use crate::table::{Column, render};
use console::{Cell, Exit, Failure, Outcome, counted, printable};

fn is(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// The recordings that are asked for, the newest first.
pub(super) async fn list(client: &Client, which: &Which, view: View) -> Result<Outcome, Failure> {
    let lists = [("state", &which.state), ("meetingID", &which.meeting), ("recordID", &which.record)];
    let mut query: Vec<(&str, String)> =
        lists.into_iter().filter(|(_, all)| !all.is_empty()).map(|(name, all)| (name, all.join(","))).collect();
    query.extend(which.tenant.clone().map(|tenant| ("tenant", tenant)));
    query.push(("limit", which.limit.to_string()));
    query.push(("offset", which.offset.to_string()));
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = good(client.get(Api::Own, "recordings", &query).await?, "the recordings cannot be listed")?;
    let all = items(&answer, "recordings")?;
    if view.output == Output::Json {
        return Ok(super::json(&answer.json));
    }
    if all.is_empty() {
        return Ok(Outcome::note("No recordings are known"));
    }
    let wide = view.output == Output::Wide;
    let mut columns = vec![
        Column::new("RECORD ID"),
        Column::new("MEETING ID"),
        Column::new("NAME"),
        Column::new("STATE"),
        Column::new("PROTECTED"),
        Column::new("FORMATS"),
    ];
    if wide {
        columns.extend([Column::new("PARTICIPANTS"), Column::new("MINUTES"), Column::new("TENANT")]);
    }
    let row = |r: &Value| {
        let formats: Vec<&str> =
            r.get("formats").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let protected = if is(r, "protected") { "yes" } else { "no" };
        let mut row = vec![
            Cell::text(text(r, "record_id")),
            Cell::text(text(r, "meeting_id")),
            Cell::text(text(r, "name")),
            Cell::text(text(r, "state")),
            Cell::text(protected),
            Cell::text(&formats.join(",")),
        ];
        if wide {
            let minutes = count(r, "end_ms").saturating_sub(count(r, "start_ms")) / 60_000;
            row.extend([Cell::count(count(r, "participants")), Cell::count(minutes), Cell::text(text(r, "tenant"))]);
        }
        row
    };
    let rows: Vec<Vec<Cell>> = all.iter().map(row).collect();
    let mut outcome = Outcome::done(render(&columns, &rows));
    if is(&answer.json, "more") {
        outcome.notes.push(format!("There are more; see --limit and --offset {}", which.offset + all.len() as u64));
    }
    Ok(outcome)
}

/// Imports what waits.
pub(super) async fn import(client: &Client, view: View) -> Result<Outcome, Failure> {
    let answer = client.post(Api::Own, "importRecordings", &json!({ "again": true })).await?;
    let answer = good(answer, "nothing was imported")?;
    let all = items(&answer, "archives")?;
    let kept = all.iter().filter(|a| !is(a, "imported")).count();
    let mut outcome = Outcome::done("");
    outcome.exit = match kept {
        0 => Exit::Done,
        n if n == all.len() => Exit::Failed,
        _ => Exit::Partly,
    };
    if view.output == Output::Json {
        outcome.out = super::json(&answer.json).out;
        return Ok(outcome);
    }
    for archive in all {
        let name = printable(text(archive, "archive"));
        for r in archive.get("recordings").and_then(Value::as_array).into_iter().flatten() {
            let formats: Vec<String> =
                r["formats"].as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect();
            let id = printable(text(r, "record_id"));
            outcome.out.push_str(&format!("{name}: imported {id} ({})\n", formats.join(", ")));
        }
        if !is(archive, "imported") {
            let why = printable(text(archive, "error"));
            let then = if is(archive, "lasting") { "mend or remove it" } else { "it is tried again by itself" };
            outcome.out.push_str(&format!("{name}: KEPT in the spool: {why}; {then}\n"));
        }
    }
    if is(&answer.json, "running") {
        outcome.notes.push("An import is still under way; the log tells how it ends".to_owned());
    } else if all.is_empty() {
        outcome.notes.push("No archives wait in the spool".to_owned());
    }
    Ok(outcome)
}

/// Compares the index with the files, or brings the files into agreement with it.
pub(super) async fn check(client: &Client, update: bool, view: View) -> Result<Outcome, Failure> {
    let answer = if update {
        client.post(Api::Own, "settleRecordings", &json!({})).await?
    } else {
        client.get(Api::Own, "checkRecordings", &[]).await?
    };
    let answer = good(answer, "the recordings cannot be checked")?;
    let findings = items(&answer, "findings")?;
    let left = findings.iter().filter(|f| !is(f, "mended")).count();
    let exit = match (left, update) {
        (0, _) => Exit::Done,
        (_, true) => Exit::Partly,
        (_, false) => Exit::Failed,
    };
    if view.output == Output::Json {
        let mut outcome = super::json(&answer.json);
        outcome.exit = exit;
        return Ok(outcome);
    }
    let waiting = items(&answer, "waiting")?;
    let mut outcome = Outcome::done("");
    outcome.exit = exit;
    for f in findings {
        let what = match (text(f, "record_id"), text(f, "format")) {
            ("", _) => String::new(),
            (id, format) => format!(" {} {}", printable(id), printable(format)),
        };
        let (kind, folder) = (printable(text(f, "kind")), printable(text(f, "folder")));
        let then = if is(f, "mended") { "done".to_owned() } else { printable(text(f, "remedy")) };
        outcome.out.push_str(&format!("{kind}{what}: {folder}\n\t{then}\n"));
    }
    let (recordings, on_disk) = (counted_of(&answer.json, "recordings"), count(&answer.json, "on_disk"));
    let verdict = match left {
        0 => "they agree".to_owned(),
        n => counted(n, "finding"),
    };
    outcome.out.push_str(&format!("{recordings} in the index, {on_disk} on disk: {verdict}\n"));
    if !waiting.is_empty() {
        let names: Vec<String> = waiting.iter().filter_map(Value::as_str).take(20).map(printable).collect();
        let wait = if waiting.len() == 1 { "waits" } else { "wait" };
        let archives = counted(waiting.len(), "archive");
        outcome.out.push_str(&format!("{archives} {wait} in the spool: {}\n", names.join(", ")));
    }
    Ok(outcome)
}

/// Gives recordings without a tenant to one.
pub(super) async fn to_tenant(client: &Client, tenant: &str, view: View) -> Result<Outcome, Failure> {
    let answer = client.post(Api::Own, "addRecordingsToTenant", &json!({ "tenant": tenant })).await?;
    let answer = good(answer, "the recordings were not given to the tenant")?;
    if view.output == Output::Json {
        return Ok(super::json(&answer.json));
    }
    let added = usize::try_from(count(&answer.json, "added")).unwrap_or(usize::MAX);
    Ok(Outcome::done(format!("OK\n{} added\n", counted(added, "recording"))))
}
