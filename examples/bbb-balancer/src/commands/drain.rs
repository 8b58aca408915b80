//! `drain`: cordon a server and wait until its meetings are over; and what a change would concern, without making it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{View, good, id_of, items, servers, text};
use crate::action::Wish;
use crate::cli::Output;
use crate::client::{Api, Client};
use console::printable;
use console::{Exit, Failure, Outcome};

/// Time between two looks at the meetings that are left.
const EVERY: Duration = Duration::from_secs(1);
/// Meetings that are named in an error; more are counted.
const NAMED: usize = 10;

/// Whether to wait for the end of the meetings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// How long at most; without end when `None`.
    pub(crate) deadline: Option<Duration>,
}

/// Cordons a server and, if told so, waits until no meeting is left on it.
pub(super) async fn drain(client: &Client, name: &str, wait: Option<Wait>, view: View) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let id = id_of(client, name).await?;
    let cordoned = servers::wish(client, &id, Wish::Cordon, view).await?;
    let Some(wait) = wait else { return Ok(cordoned) };
    let (mut last, shown) = (None, printable(&id));
    loop {
        let left = left(client, &id).await?;
        if left.is_empty() {
            let value = json!({ "id": id, "state": "cordoned", "meetings": [] });
            let empty = view.output == Output::Json;
            return Ok(if empty {
                super::json(&value)
            } else {
                Outcome::done(format!("OK\n{shown} has no meetings\n"))
            });
        }
        if view.terminal && last != Some(left.len()) {
            crate::complain(&format!("{shown}: {} left", meetings(left.len())));
            last = Some(left.len());
        }
        let rest = wait.deadline.map(|deadline| deadline.saturating_sub(began.elapsed()));
        if let Some(deadline) = wait.deadline.filter(|_| rest == Some(Duration::ZERO)) {
            let seconds = deadline.as_secs_f64();
            let what = format!("{shown} still has {} after {seconds} s, and stays cordoned", meetings(left.len()));
            let more = if left.len() > NAMED { ", ..." } else { "" };
            let names: Vec<String> = left.iter().take(NAMED).map(|id| printable(id)).collect();
            return Err(Failure::new(Exit::TimedOut, what)
                .cause(format!("running: {}{more}", names.join(", ")))
                .hint(format!("wait on with --wait, or end them with `bbb-balancer servers panic {shown}`")));
        }
        tokio::time::sleep(rest.map_or(EVERY, |rest| rest.min(EVERY))).await;
    }
}

/// Says which meetings a change of a server would concern, and makes none.
pub(super) async fn preview(client: &Client, name: &str, change: &str, view: View) -> Result<Outcome, Failure> {
    let id = id_of(client, name).await?;
    let left = left(client, &id).await?;
    if view.output == Output::Json {
        return Ok(super::json(&json!({ "id": id, "change": change, "dry_run": true, "meetings": left })));
    }
    let fate = match change {
        "cordon" | "drain" => "would go on there, and no new ones would come",
        "disable" => "would stay there, and nobody could join any more",
        "panic" => "would be ended and forgotten",
        _ => "would be in the way: removal is refused, or with --force forgets them",
    };
    let mut out = format!("{change} {}: {} {fate}\n", printable(&id), meetings(left.len()));
    for id in &left {
        out.push_str(&format!("  {}\n", printable(id)));
    }
    out.push_str("Nothing was changed (--dry-run)\n");
    Ok(Outcome::done(out))
}

/// The meetings that are on a server.
pub(super) async fn left(client: &Client, id: &str) -> Result<Vec<String>, Failure> {
    let answer = client.get(Api::Own, "meetings", &[("server", id)]).await?;
    let answer = good(answer, "the meetings cannot be listed")?;
    Ok(items(&answer, "meetings")?.iter().map(|m: &Value| text(m, "id").to_owned()).collect())
}

fn meetings(n: usize) -> String {
    console::counted(n, "meeting")
}
