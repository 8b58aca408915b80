//! `servers sync` and `servers add-all`: the servers of a file.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Map, Value, json};

use super::servers::{checked_url, multiplier};
use super::{View, drain, good, text};
use crate::action::{Absent, Wish};
use crate::cli::Output;
use crate::client::{Api, Client};
use console::printable;
use console::{Exit, Failure, Outcome};

/// The largest file.
const MAX_FILE: u64 = 4 << 20;

/// A server as the file wants it; what is `None` stays.
struct Wanted {
    secret: String,
    url: Option<String>,
    enabled: Option<bool>,
    multiplier: Option<f64>,
    tag: Option<String>,
}

/// One change.
struct Step {
    id: String,
    what: String,
    /// Meetings that it concerns.
    meetings: Vec<String>,
    call: Call,
}

enum Call {
    Add(Value),
    Update(Value),
    /// Forgets and ends all, then removes.
    RemoveForced,
    Remove,
}

fn content(file: &str) -> Result<Value, Failure> {
    let cannot =
        |e: std::io::Error| Failure::failed(format!("{} cannot be read", printable(file))).cause(e.to_string());
    let mut whole = String::new();
    if file == "-" {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_string(&mut whole).map_err(cannot)?;
    } else {
        std::fs::File::open(file).and_then(|f| f.take(MAX_FILE + 1).read_to_string(&mut whole)).map_err(cannot)?;
    }
    if whole.len() as u64 > MAX_FILE {
        return Err(Failure::failed(format!("{} is larger than {} MiB", printable(file), MAX_FILE >> 20)));
    }
    crate::yaml::read(&whole)
        .map_err(|why| Failure::failed(format!("{} is not a list of servers", printable(file))).cause(why))
}

/// Reads the map of servers by id; everything that is wrong is told at once.
fn wanted(value: &Value) -> Result<BTreeMap<String, Wanted>, Vec<String>> {
    let (mut all, mut wrong) = (BTreeMap::new(), Vec::new());
    let empty = Map::new();
    let fields = match value {
        Value::Null => &empty,
        Value::Object(fields) => fields,
        _ => return Err(vec!["it must be a map of ids".to_owned()]),
    };
    for (id, entry) in fields {
        let shown = printable(id);
        let mut no = |why: &str| wrong.push(format!("{shown}: {why}"));
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            no("an id has letters, digits, `.`, `-` and `_`");
        }
        let known = ["secret", "url", "enabled", "load_multiplier", "tag", "state", "load", "bbb_version", "online"];
        let names = entry.as_object().map(|fields| fields.keys().map(String::as_str).collect::<Vec<_>>());
        for name in names.unwrap_or_default() {
            if !known.contains(&name) {
                no(&format!("{} is unknown", printable(name)));
            }
        }
        let secret = word(entry.get("secret")).unwrap_or_default();
        if secret.is_empty() {
            no("its secret is missing");
        } else if secret.contains("...") {
            no("its secret is masked: print the file with `servers yaml --show-secrets`");
        }
        let url = word(entry.get("url")).map(|url| checked_url(&url).map_err(|e| e.what)).transpose();
        let url = url.unwrap_or_else(|why| {
            no(&why);
            None
        });
        let enabled = match entry.get("enabled") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(on)) => Some(*on),
            Some(_) => {
                no("enabled must be true or false");
                None
            }
        };
        let number = word(entry.get("load_multiplier")).map(|text| multiplier(&text)).transpose();
        let number = number.unwrap_or_else(|_| {
            no("load_multiplier must be a number above 0");
            None
        });
        // A tag that is there and empty is taken away.
        let tag = entry.get("tag").map(|tag| word(Some(tag)).unwrap_or_default());
        all.insert(id.clone(), Wanted { secret, url, enabled, multiplier: number, tag });
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Makes the servers those of a file.
pub(super) async fn sync(
    client: &Client,
    file: &str,
    absent: Absent,
    dry: bool,
    view: View,
) -> Result<Outcome, Failure> {
    let wanted = wanted(&content(file)?).map_err(|wrong| {
        Failure::failed(format!("{} cannot be used, and nothing was changed", printable(file))).cause(wrong.join("; "))
    })?;
    let there = super::servers(client).await?;
    let mut steps = Vec::new();
    for (id, wish) in &wanted {
        steps.extend(match there.iter().find(|server| text(server, "id") == id) {
            None => added(id, wish),
            Some(server) => changed(client, id, server, wish).await?,
        });
    }
    for server in there.iter().filter(|server| !wanted.contains_key(text(server, "id"))) {
        steps.extend(left_out(client, server, absent).await?);
    }
    carry_out(client, steps, dry, view).await
}

/// Adds every server of a file: `servers: [{url, secret}]`.
pub(super) async fn add_all(client: &Client, file: &str, dry: bool, view: View) -> Result<Outcome, Failure> {
    let value = content(file)?;
    let Some(list) = value.get("servers").and_then(Value::as_array) else {
        return Err(Failure::failed(format!("{} has no list `servers`", printable(file)))
            .hint("write:\nservers:\n- url: https://bbb1.example.com/bigbluebutton/api\n  secret: SECRET"));
    };
    let there = super::servers(client).await?;
    let mut steps = Vec::new();
    for (at, entry) in (1..).zip(list) {
        let url = checked_url(&word(entry.get("url")).unwrap_or_default())
            .map_err(|e| Failure::failed(format!("server {at} of {}: {}", printable(file), e.what)))?;
        let Some(secret) = word(entry.get("secret")).filter(|secret| !secret.is_empty()) else {
            return Err(Failure::failed(format!("server {at} of {} has no secret", printable(file))));
        };
        if there.iter().any(|server| text(server, "url").trim_end_matches('/').eq_ignore_ascii_case(&url)) {
            return Err(Failure::failed(format!("{} is there already, and nothing was changed", printable(&url))));
        }
        let call = Call::Add(json!({ "url": url, "secret": secret }));
        steps.push(Step {
            id: String::new(),
            what: format!("server: {}", printable(&url)),
            meetings: Vec::new(),
            call,
        });
    }
    carry_out(client, steps, dry, view).await
}

fn added(id: &str, wish: &Wanted) -> Vec<Step> {
    let url = wish.url.clone().unwrap_or_else(|| format!("https://{id}/bigbluebutton/api"));
    let mut server = json!({ "id": id, "url": url, "secret": wish.secret });
    if let Some(number) = wish.multiplier {
        server["load_multiplier"] = number.into();
    }
    if let Some(tag) = &wish.tag {
        server["tag"] = tag.as_str().into();
    }
    // Enabled unless it says otherwise: disabled in the file is cordoned here.
    let state = if wish.enabled == Some(false) { Wish::Cordon } else { Wish::Enable };
    let step = |what: String, call| Step { id: id.to_owned(), what, meetings: Vec::new(), call };
    vec![
        step(format!("add {}", printable(&url)), Call::Add(server)),
        step(state.word().to_owned(), Call::Update(json!({ "state": state.word() }))),
    ]
}

async fn changed(client: &Client, id: &str, server: &Value, wish: &Wanted) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    if let Some(url) = wish.url.as_ref().filter(|url| text(server, "url").trim_end_matches('/') != **url) {
        return Err(Failure::failed(format!("server {id} has another URL than {}", printable(url)))
            .cause("its meetings are known by the server, and would be looked for at another one".to_owned())
            .hint("give the new one an id of its own, and drain the old one; nothing was changed"));
    }
    let (mut fields, mut names) = (Map::new(), Vec::new());
    if text(server, "secret") != wish.secret {
        fields.insert("secret".into(), wish.secret.as_str().into());
        names.push("secret".to_owned());
    }
    let now = word(server.get("load_multiplier")).and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
    if let Some(number) = wish.multiplier.filter(|number| (number - now).abs() > f64::EPSILON) {
        fields.insert("load_multiplier".into(), number.into());
        names.push(format!("load multiplier {now} -> {number}"));
    }
    if let Some(tag) = wish.tag.as_ref().filter(|tag| text(server, "tag") != **tag) {
        fields.insert("tag".into(), tag.as_str().into());
        names.push(format!("tag {:?} -> {:?}", printable(text(server, "tag")), printable(tag)));
    }
    if !fields.is_empty() {
        let call = Call::Update(fields.into());
        steps.push(Step {
            id: id.to_owned(),
            what: format!("update {}", names.join(", ")),
            meetings: Vec::new(),
            call,
        });
    }
    let state = text(server, "state");
    let order = match wish.enabled {
        Some(true) if state != "enabled" => Some(Wish::Enable),
        Some(false) if state == "enabled" => Some(Wish::Cordon),
        _ => None,
    };
    if let Some(order) = order {
        let meetings = if order == Wish::Cordon { drain::left(client, id).await? } else { Vec::new() };
        let call = Call::Update(json!({ "state": order.word() }));
        steps.push(Step { id: id.to_owned(), what: order.word().to_owned(), meetings, call });
    }
    Ok(steps)
}

/// What becomes of a server that the file leaves out.
async fn left_out(client: &Client, server: &Value, absent: Absent) -> Result<Option<Step>, Failure> {
    let id = text(server, "id").to_owned();
    if absent == Absent::Keep {
        return Ok(None);
    }
    let meetings = drain::left(client, &id).await?;
    let (what, call) = match absent {
        Absent::Force => ("end its meetings and remove it", Call::RemoveForced),
        _ if meetings.is_empty() => ("remove", Call::Remove),
        _ if text(server, "state") == "cordoned" => return Ok(None),
        _ => ("cordon", Call::Update(json!({ "state": Wish::Cordon.word() }))),
    };
    Ok(Some(Step { id, what: what.to_owned(), meetings, call }))
}

async fn carry_out(client: &Client, steps: Vec<Step>, dry: bool, view: View) -> Result<Outcome, Failure> {
    let (mut out, mut done) = (String::new(), Vec::new());
    for step in &steps {
        let id = if dry { Ok(step.id.clone()) } else { run(client, step).await };
        let id = match id {
            Ok(id) => id,
            Err(failure) if done.is_empty() => return Err(failure),
            Err(failure) => {
                // What was done has to be told as well.
                let mut outcome = Outcome::done(out);
                outcome.notes.push(failure.to_string());
                outcome.exit = Exit::Partly;
                return Ok(outcome);
            }
        };
        let shown = printable(&id);
        if step.id.is_empty() {
            // The lines of rake's `servers:addAll`.
            out.push_str(&format!("{}\n", step.what));
            if !id.is_empty() {
                out.push_str(&format!("id: {shown}\n"));
            }
        } else {
            out.push_str(&format!("{shown}: {}\n", step.what));
        }
        for meeting in &step.meetings {
            out.push_str(&format!("  {}\n", printable(meeting)));
        }
        done.push(json!({ "id": id, "change": step.what, "meetings": step.meetings }));
    }
    if view.output == Output::Json {
        return Ok(super::json(&json!({ "changes": done, "dry_run": dry })));
    }
    out.push_str(if dry { "Nothing was changed (--dry-run)\n" } else { "OK\n" });
    Ok(Outcome::done(out))
}

async fn run(client: &Client, step: &Step) -> Result<String, Failure> {
    let shown = printable(&step.id);
    let refused = || format!("server {shown}: {} was refused", step.what);
    match &step.call {
        Call::Add(server) => {
            let answer = client.post(Api::Scalelite, "addServer", &json!({ "server": server })).await?;
            Ok(text(&good(answer, &refused())?.json, "id").to_owned())
        }
        Call::Update(fields) => {
            let body = json!({ "id": step.id, "server": fields });
            good(client.post(Api::Scalelite, "updateServer", &body).await?, &refused())?;
            Ok(step.id.clone())
        }
        Call::Remove | Call::RemoveForced => {
            let force = matches!(step.call, Call::RemoveForced);
            let body = json!({ "id": step.id, "force": force });
            good(client.post(Api::Own, "removeServer", &body).await?, &refused())?;
            Ok(step.id.clone())
        }
    }
}
