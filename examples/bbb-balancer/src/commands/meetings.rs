//! `meetings` and `explain`.

use serde_json::{Value, json};

use super::{View, good, id_of, items, text};
use crate::cli::Output;
use crate::client::{Api, Client};
use console::printable;
use console::{Failure, Outcome};

/// The known meetings, of some servers or of all.
pub(super) async fn list(client: &Client, servers: &[String], view: View) -> Result<Outcome, Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut ask = Vec::new();
    for name in servers {
        ask.push(Some(id_of(client, name).await?));
    }
    if ask.is_empty() {
        ask.push(None);
    }
    for id in ask {
        let query: Vec<(&str, &str)> = id.iter().map(|id| ("server", id.as_str())).collect();
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
