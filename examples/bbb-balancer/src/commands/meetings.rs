//! `meetings`, `meetings info`, `meetings end` and `explain`.

use std::io::{BufRead, IsTerminal};

use serde_json::{Value, json};

use super::{View, good, id_of, items, text};
use crate::action::Agreed;
use crate::cli::Output;
use crate::client::{Api, Client};
use console::printable;
use console::{Exit, Failure, Outcome};

/// The known meetings, of some servers or of all, perhaps of one tenant.
pub(super) async fn list(
    client: &Client,
    servers: &[String],
    tenant: Option<&str>,
    view: View,
) -> Result<Outcome, Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut ask = Vec::new();
    for name in servers {
        ask.push(Some(id_of(client, name).await?));
    }
    if ask.is_empty() {
        ask.push(None);
    }
    for id in ask {
        let mut query: Vec<(&str, &str)> = id.iter().map(|id| ("server", id.as_str())).collect();
        query.extend(tenant.map(|tenant| ("tenant", tenant)));
        let answer = good(client.get(Api::Own, "meetings", &query).await?, "the meetings cannot be listed")?;
        all.extend_from_slice(items(&answer, "meetings")?);
    }
    if view.output == Output::Json {
        return Ok(super::json(&json!({ "meetings": all })));
    }
    if all.is_empty() {
        return Ok(Outcome::note("No meetings are known"));
    }
    let wide = view.output == Output::Wide;
    Ok(Outcome::done(all.iter().map(|meeting| block(meeting, wide)).collect::<String>()))
}

/// One meeting, in the lines of `rake meetings`.
pub(super) fn block(meeting: &Value, wide: bool) -> String {
    let field = |name| printable(text(meeting, name));
    let mut out =
        format!("MeetingID: {}\n\tServer ID: {}\n\tServer Url: {}\n", field("id"), field("server"), field("url"));
    let tenant = field("tenant");
    if !tenant.is_empty() {
        out.push_str(&format!("\tTenant ID: {tenant}\n"));
    }
    if wide {
        out.push_str(&format!("\tVoice bridge: {}\n", field("voice_bridge")));
    }
    out
}

/// Where a meeting is, or would go, and why.
pub(super) async fn explain(client: &Client, meeting: &str, tag: Option<&str>, view: View) -> Result<Outcome, Failure> {
    let mut query = vec![("meetingID", meeting)];
    query.extend(tag.map(|tag| ("tag", tag)));
    let answer = good(client.get(Api::Own, "explain", &query).await?, "the meeting cannot be explained")?;
    if view.output == Output::Json {
        return Ok(super::json(&answer.json));
    }
    let lines = text(&answer.json, "text").lines();
    Ok(Outcome::done(lines.map(|line| printable(line) + "\n").collect::<String>()))
}

/// The meetings of each server, in the lines of `rake servers:meeting_list`.
pub(super) async fn by_server(client: &Client, names: &[String], view: View) -> Result<Outcome, Failure> {
    let mut wanted = Vec::new();
    for name in names {
        wanted.push(id_of(client, name).await?);
    }
    let servers = super::servers(client).await?;
    let servers = servers.iter().filter(|s| wanted.is_empty() || wanted.iter().any(|id| id == text(s, "id")));
    let (mut out, mut all) = (String::new(), Vec::new());
    for server in servers {
        let (id, url) = (text(server, "id"), text(server, "url"));
        let meetings = super::drain::left(client, id).await?;
        out.push_str(&format!("Server ID: {}\nServer Url: {}\nMeetingIDs:\n", printable(id), printable(url)));
        for meeting in &meetings {
            out.push_str(&format!("\t{}\n", printable(meeting)));
        }
        all.push(json!({ "server": id, "url": url, "meetings": meetings }));
    }
    if view.output == Output::Json {
        return Ok(super::json(&json!({ "servers": all })));
    }
    Ok(if out.is_empty() { Outcome::note(super::NO_SERVERS) } else { Outcome::done(out) })
}

/// What is known of these meetings, and what their servers say.
pub(super) async fn info(client: &Client, ids: &[String], view: View) -> Result<Outcome, Failure> {
    let mut all = Vec::new();
    for id in ids {
        let answer = client.get(Api::Own, "meeting", &[("meetingID", id)]).await?;
        all.push(good(answer, &format!("meeting {} cannot be shown", printable(id)))?.json);
    }
    if view.output == Output::Json {
        return Ok(super::json(&json!({ "meetings": all })));
    }
    Ok(Outcome::done(all.iter().map(details).collect::<String>()))
}

fn details(meeting: &Value) -> String {
    let mut out = block(meeting, false);
    let mut line = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null => return,
            Value::String(text) => printable(text),
            other => other.to_string(),
        };
        out.push_str(format!("\t{name}: {shown}").trim_end());
        out.push('\n');
    };
    let fields = [
        ("Meeting Name", "name"),
        ("Internal Meeting ID", "internal_id"),
        ("Created Date", "create_date"),
        ("Recording Enabled", "recording"),
        ("Participants", "participants"),
        ("Error", "error"),
    ];
    for (shown, name) in fields {
        line(shown, &meeting[name]);
    }
    if let Some(metadata) = meeting["metadata"].as_object().filter(|all| !all.is_empty()) {
        line("Metadata", &"".into());
        for (name, value) in metadata {
            line(&format!("\t{}", printable(name)), value);
        }
    }
    out
}

/// Ends meetings, if somebody says yes.
pub(super) async fn end(
    client: &Client,
    ids: &[String],
    agreed: Agreed,
    dry: bool,
    view: View,
) -> Result<Outcome, Failure> {
    let listed = good(client.get(Api::Own, "meetings", &[]).await?, "the meetings cannot be listed")?;
    let known = items(&listed, "meetings")?;
    let known: Vec<&Value> = known.iter().filter(|m| ids.iter().any(|id| id == text(m, "id"))).collect();
    if let Some(missing) = ids.iter().find(|id| !known.iter().any(|m| text(m, "id") == id.as_str())) {
        return Err(Failure::failed(format!("No meeting found with id: {}", printable(missing)))
            .hint("`bbb-balancer meetings` lists them; nothing was ended"));
    }
    if dry {
        let mut out: String = known.iter().map(|meeting| block(meeting, false)).collect();
        out.push_str("Nothing was ended (--dry-run)\n");
        let value = json!({ "change": "end", "dry_run": true, "meetings": ids });
        return Ok(if view.output == Output::Json { super::json(&value) } else { Outcome::done(out) });
    }
    if !agree(agreed, ids.len()) {
        return Err(Failure::new(Exit::Refused, "that meetings end was not agreed to")
            .hint("answer `yes`, or give --yes; --dry-run shows what would be ended"));
    }
    let mut outcome = Outcome::done("");
    let mut ended = Vec::new();
    for id in ids {
        let answer = client.post(Api::Own, "endMeeting", &json!({ "id": id })).await?;
        match good(answer, &format!("meeting {} was not ended", printable(id))) {
            Ok(_) => {
                outcome.out.push_str(&format!("Ended {}\n", printable(id)));
                ended.push(id);
            }
            Err(failure) => outcome.notes.push(failure.to_string()),
        }
    }
    outcome.exit = match ended.len() {
        n if n == ids.len() => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::Partly,
    };
    if view.output == Output::Json {
        outcome.out = super::json(&json!({ "ended": ended })).out;
    } else if outcome.exit == Exit::Done {
        outcome.out.push_str("OK\n");
    }
    Ok(outcome)
}

/// Whether somebody says yes; a program without a person in front of it is not waited for.
fn agree(agreed: Agreed, meetings: usize) -> bool {
    let asked = match agreed {
        Agreed::Yes => return true,
        Agreed::Ask => std::io::stdin().is_terminal(),
        Agreed::Read => true,
    };
    if asked {
        crate::complain(&format!("{meetings} to be ended for everybody in them: type `yes` to go on"));
    }
    let mut line = String::new();
    asked && std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "yes"
}
