//! `plan`: what a change of servers would do to the meetings; nothing is changed.

use std::io::Read;

use serde_json::{Value, json};

use super::servers::{checked_url, multiplier};
use super::{View, count, good, id_of, items, text};
use crate::cli::Output;
use crate::client::{Answer, Api, Client};
use crate::table::{Column, render};
use console::{Cell, printable};
use console::{Failure, Outcome};

/// The most bytes of meeting ids that are sent; a balancer takes 1 MiB in all.
const MAX_IDS: u64 = 900 << 10;

const WORDS: [&str; 7] = ["add", "remove", "drain", "cordon", "disable", "enable", "weight"];

/// What to plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    steps: Vec<Step>,
    /// The file with the meetings, `-` for standard input.
    meetings: Option<String>,
    /// The tag that new meetings would ask for.
    tag: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Add {
        url: String,
        multiplier: Option<f64>,
        tag: Option<String>,
    },
    Weight(String, f64),
    /// The balancer's word, and the server as it was named.
    Word(&'static str, String),
}

impl Wanted {
    /// From the words of the command line: `remove bbb1 weight bbb2 1.5`.
    ///
    /// # Errors
    ///
    /// A word that is none, one without its server, options that fit nothing.
    pub(crate) fn read(
        words: Vec<String>,
        of_added: (Option<String>, Option<String>),
        meetings: Option<String>,
        tag: Option<String>,
    ) -> Result<Self, Failure> {
        let (given, server_tag) = of_added;
        let factor = given.as_deref().map(multiplier).transpose()?;
        let mut steps = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut next = |what: &str| {
                words.next().filter(|w| !w.trim().is_empty()).ok_or_else(|| {
                    Failure::usage(format!("{:?} lacks {what}", printable(&word)))
                        .hint("`bbb-balancer plan --help` has examples")
                })
            };
            steps.push(match word.as_str() {
                "add" => Step::Add {
                    url: checked_url(&next("the URL of a server")?)?,
                    multiplier: factor,
                    tag: server_tag.clone(),
                },
                "weight" => Step::Weight(next("a server")?, multiplier(&next("a load multiplier")?)?),
                "remove" => Step::Word("remove", next("a server")?),
                "drain" | "cordon" => Step::Word("drain", next("a server")?),
                "disable" => Step::Word("disable", next("a server")?),
                "enable" => Step::Word("enable", next("a server")?),
                _ => {
                    let failure = Failure::usage(format!("{:?} is not a change that can be planned", printable(&word)));
                    return Err(match crate::nearest::nearest(&word, WORDS) {
                        Some(near) => failure.hint(format!("did you mean {near:?}?")),
                        None => failure.hint(format!("the changes are: {}", WORDS.join(", "))),
                    });
                }
            });
        }
        let adds = steps.iter().any(|s| matches!(s, Step::Add { .. }));
        if !adds && (factor.is_some() || server_tag.is_some()) {
            return Err(Failure::usage("--multiplier and --server-tag are about servers to add, and none is added")
                .hint("for a server that is there write: plan weight SERVER N"));
        }
        Ok(Self { steps, meetings, tag })
    }
}

/// Asks for the plan and prints it.
pub(super) async fn plan(client: &Client, wanted: &Wanted, view: View) -> Result<Outcome, Failure> {
    let mut body = json!({});
    if let Some(file) = &wanted.meetings {
        body["meetings"] = json!(meetings(file)?);
    }
    if let Some(tag) = &wanted.tag {
        body["tag"] = json!(tag);
    }
    let mut steps = Vec::with_capacity(wanted.steps.len());
    for step in &wanted.steps {
        steps.push(match step {
            Step::Add { url, multiplier, tag } => {
                let mut add = json!({"url": url});
                if let Some(multiplier) = multiplier {
                    add["load_multiplier"] = json!(multiplier);
                }
                if let Some(tag) = tag {
                    add["tag"] = json!(tag);
                }
                json!({"add": add})
            }
            Step::Weight(server, factor) => {
                json!({"weight": {"id": id_of(client, server).await?, "load_multiplier": factor}})
            }
            Step::Word(word, server) => {
                let mut step = serde_json::Map::new();
                step.insert((*word).to_owned(), id_of(client, server).await?.into());
                step.into()
            }
        });
    }
    body["steps"] = steps.into();
    let answer = good(client.post(Api::Own, "plan", &body).await?, "the change cannot be planned")?;
    if view.output == Output::Json {
        return Ok(super::json(&answer.json));
    }
    shown(&answer, view.output == Output::Wide)
}

/// The meetings in a file, one a line; blank lines and repeated ones are left out.
fn meetings(file: &str) -> Result<Vec<String>, Failure> {
    let (name, read) = match file {
        "-" => ("standard input".to_owned(), limited(std::io::stdin().lock())),
        path => (format!("the file {:?}", printable(path)), std::fs::File::open(path).and_then(limited)),
    };
    let read = read.map_err(|e| {
        Failure::failed(format!("the meetings cannot be read from {name}"))
            .cause(e.to_string())
            .hint("give a file with one meeting id a line, or - for standard input")
    })?;
    if read.len() as u64 > MAX_IDS {
        return Err(Failure::usage(format!("{name} holds more than {} KiB of meeting ids", MAX_IDS >> 10))
            .hint("plan with some of them"));
    }
    let text = String::from_utf8(read)
        .map_err(|e| Failure::usage(format!("{name} is not UTF-8 text")).cause(e.utf8_error().to_string()))?;
    let mut seen = std::collections::HashSet::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && seen.insert(line.to_owned()));
    let ids: Vec<String> = lines.map(str::to_owned).collect();
    if let Some(long) = ids.iter().find(|id| id.len() > balancer_core::MAX_KEY_LEN) {
        let begin: String = long.chars().take(32).collect();
        return Err(Failure::usage(format!("{name} has a meeting id that is too long: {}...", printable(&begin)))
            .hint(format!("an id has at most {} bytes; write one id a line", balancer_core::MAX_KEY_LEN)));
    }
    if ids.is_empty() {
        return Err(Failure::usage(format!("{name} names no meeting"))
            .hint("write one meeting id a line, or leave --meetings away to plan with the meetings that exist"));
    }
    Ok(ids)
}

/// At most one byte more than is sent.
fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    from.take(MAX_IDS + 1).read_to_end(&mut read)?;
    Ok(read)
}

const MEETINGS: [Column; 5] =
    [Column::new("MEETING"), Column::new("FROM"), Column::new("TO"), Column::new("SELECTOR ALONE"), Column::new("WHY")];

const SERVERS: [Column; 7] = [
    Column::new("HOSTNAME"),
    Column::new("STATE").at_least(8),
    Column::new("STATUS"),
    Column::new("MEETINGS"),
    Column::new("AFTER"),
    Column::new("ALONE"),
    Column::new("ALONE AFTER"),
];

/// The tables: meetings for which something changes (all when wide), servers, and the sums.
fn shown(answer: &Answer, wide: bool) -> Result<Outcome, Failure> {
    let plan = answer.json.get("plan").unwrap_or(&Value::Null);
    let inner = Answer { status: answer.status, json: plan.clone() };
    let (rooms, servers) = (items(&inner, "rooms")?, items(&inner, "servers")?);
    let host = |id: &str| match answer.json.get("hosts").and_then(|hosts| hosts.get(id)).and_then(Value::as_str) {
        Some(host) => host.to_owned(),
        None => id.to_owned(),
    };
    let name = |room: &Value, field| host(text(room, field));
    let or_none = |name: String| if name.is_empty() { "<none>".to_owned() } else { printable(&name) };
    let changes = |room: &&Value| {
        wide || text(room, "fate") != "stays" || text(room, "alone_before") != text(room, "alone_after")
    };
    let rows: Vec<Vec<Cell>> = rooms
        .iter()
        .filter(changes)
        .map(|room| {
            let to = if text(room, "fate") == "stays" { "stays".to_owned() } else { or_none(name(room, "to")) };
            let (before, after) = (or_none(name(room, "alone_before")), or_none(name(room, "alone_after")));
            let alone = if before == after { after } else { format!("{before} -> {after}") };
            vec![
                Cell::text(text(room, "room")),
                Cell::text(&name(room, "from")),
                Cell::Text(to),
                Cell::Text(alone),
                Cell::text(text(room, "reason")),
            ]
        })
        .collect();
    let mut out = String::from("\n");
    if !rows.is_empty() {
        out.push_str(&render(&MEETINGS, &rows));
        out.push('\n');
    }
    let flag = |server: &Value, field| server.get(field).and_then(Value::as_bool).unwrap_or_default();
    let rows: Vec<Vec<Cell>> = servers
        .iter()
        .map(|server| {
            let state = match text(server, "admin") {
                _ if flag(server, "removed") => "removed",
                _ if flag(server, "added") => "new",
                "ready" => "enabled",
                "drain" => "cordoned",
                "maint" => "disabled",
                other => other,
            };
            let status = match text(server, "health") {
                "up" => "online",
                "dead" => "offline",
                other => other,
            };
            vec![
                Cell::text(&name(server, "id")),
                Cell::text(state),
                Cell::text(status),
                Cell::count(count(server, "before")),
                Cell::count(count(server, "after")),
                Cell::count(count(server, "alone_before")),
                Cell::count(count(server, "alone_after")),
            ]
        })
        .collect();
    out.push_str(&render(&SERVERS, &rows));
    let totals = plan.get("totals").unwrap_or(&Value::Null);
    let sum = |name| count(totals, name);
    out.push_str(&format!(
        "\n{} meetings: {} stay, {} would move, {} are new, {} find no server; the selector alone would move {}.\n\
         Nothing was changed.\n",
        sum("rooms"),
        sum("stay"),
        sum("moved"),
        sum("placed"),
        sum("refused"),
        sum("moved_alone"),
    ));
    Ok(Outcome::done(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Vec<Step>, Failure> {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        Wanted::read(words, (None, None), None, None).map(|w| w.steps)
    }

    #[test]
    fn changes_are_read_in_their_order() {
        let url = "https://bbb9.example.com/bigbluebutton/api";
        let steps =
            read(&["remove", "a", "cordon", "b", "add", url, "weight", "c", "1.5", "disable", "drain"]).unwrap();
        let word = |word, server: &str| Step::Word(word, server.into());
        let add = Step::Add { url: url.into(), multiplier: None, tag: None };
        let want =
            [word("remove", "a"), word("drain", "b"), add, Step::Weight("c".into(), 1.5), word("disable", "drain")];
        assert_eq!(steps, want);
    }

    #[test]
    fn wrong_changes_are_named() {
        let hint = |words: &[&str]| read(words).map_err(|e| format!("{} | {}", e.what, e.hint.unwrap_or_default()));
        assert!(hint(&["remov", "a"]).unwrap_err().contains("did you mean \"remove\""));
        assert!(hint(&["remove"]).unwrap_err().contains("lacks a server"));
        assert!(hint(&["weight", "a"]).unwrap_err().contains("lacks a load multiplier"));
        assert!(hint(&["weight", "a", "0"]).unwrap_err().contains("load multiplier is"));
        assert!(hint(&["add", "bbb"]).unwrap_err().contains("not a URL"));
        let factor = (Some("2".to_owned()), None);
        let e = Wanted::read(vec!["remove".into(), "a".into()], factor, None, None).unwrap_err();
        assert!(e.what.contains("none is added"), "{e}");
    }
}
