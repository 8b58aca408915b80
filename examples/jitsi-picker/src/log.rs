//! A focus's log, followed: what it tells of bridges.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

use adapter_jitsi::{
    BridgeHistory, BridgeStep, FollowStart, LineSplitter, LogEvent, LogEventKind, LogFollower, LogLine, MAX_HISTORY,
    read_log_line,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::pool::{Happening, Kind};
use console::{Cell, Failure};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How many lines may wait.
const WAITING: usize = 1024;

/// What came out of the log.
#[derive(Debug)]
pub(crate) enum News {
    /// A line.
    Line(String),
    /// Something about the file itself.
    File(String),
    /// What was there at the beginning has been read.
    Read,
    /// There will be no more.
    End,
}

/// Reads a log on a thread of its own, until nobody takes the lines any more.
///
/// # Errors
///
/// A folder, or a file that may not be read.
pub(crate) fn follow(path: &Path, start: FollowStart) -> Result<mpsc::Receiver<News>, Failure> {
    let (tell, news) = mpsc::channel(WAITING);
    if path.as_os_str() == "-" {
        std::thread::spawn(move || piped(&tell));
        return Ok(news);
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let what = format!("{} is a folder", path.display());
            return Err(Failure::usage(what).hint("name the log in it, such as jicofo.log"));
        }
        _ => {}
    }
    if let Err(e) = std::fs::File::open(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Failure::failed(format!("{} cannot be read", path.display())).cause(e));
    }
    let mut follower = LogFollower::new(path, start);
    if start == FollowStart::End {
        // The end is where it is now, not where it is when the thread runs.
        let unreadable = |e| Failure::failed(format!("{} cannot be read", path.display())).cause(e);
        follower.poll(|_| {}).map_err(unreadable)?;
    }
    std::thread::spawn(move || grown(follower, &tell));
    Ok(news)
}

fn piped(tell: &mpsc::Sender<News>) {
    let _ = tell.blocking_send(News::Read);
    let (mut input, mut lines) = (BufReader::new(std::io::stdin()), LineSplitter::new());
    let (mut chunk, mut open) = (vec![0; 16 * 1024], true);
    while open {
        match input.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => lines.push(chunk.get(..length).unwrap_or_default(), |line| {
                open = open && tell.blocking_send(News::Line(line.to_owned())).is_ok();
            }),
        }
    }
    lines.finish(|line| {
        let _ = tell.blocking_send(News::Line(line.to_owned()));
    });
    let _ = tell.blocking_send(News::End);
}

fn grown(mut follower: LogFollower, tell: &mpsc::Sender<News>) {
    let name = follower.path().display().to_string();
    let (mut trouble, mut read) = (String::new(), false);
    while !tell.is_closed() {
        let mut open = true;
        let found = follower.poll(|line| {
            open = open && tell.blocking_send(News::Line(line.to_owned())).is_ok();
        });
        let (more, told) = match found {
            Ok(found) if found.rotated => (found.more, format!("{name} was rotated: the new file is followed")),
            Ok(found) if found.truncated => (found.more, format!("{name} was written anew: it is read from its start")),
            Ok(found) if found.missing => (false, format!("{name} is not there: it is waited for")),
            Ok(found) => (found.more, String::new()),
            Err(e) => (false, format!("{name} cannot be read: {e}")),
        };
        // What lasts is told once.
        if told != trouble {
            if !told.is_empty() && tell.blocking_send(News::File(told.clone())).is_err() {
                return;
            }
            trouble = told;
        }
        if !more {
            if !std::mem::replace(&mut read, true) && tell.blocking_send(News::Read).is_err() {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// What the log told of one bridge last.
#[derive(Clone, Debug)]
struct Row {
    state: &'static str,
    stress: Option<f64>,
    region: Option<String>,
    version: Option<String>,
    time: String,
}

/// What the log told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    history: BridgeHistory,
    rows: BTreeMap<String, Row>,
    /// Lines that were read.
    pub(crate) lines: u64,
    /// Those of them that are of a focus.
    pub(crate) known: u64,
}

impl Told {
    /// Takes in a line; what it tells that is new.
    pub(crate) fn line(&mut self, text: &str) -> Option<Happening> {
        self.lines += 1;
        let line = read_log_line(text)?;
        self.known += 1;
        let explained = line.explain();
        let Some(event) = &line.event else {
            return explained.map(|why| happening(&line, None, line.text, Some(why)));
        };
        self.row(&line, event);
        let bridge = event.bridge.as_ref().map(|bridge| bridge.jid.unwrap_or(bridge.nick));
        if let Some(change) = self.history.push(&line) {
            // The other lines on the same change say nothing new, but that it was not announced.
            let says_more = event.kind == LogEventKind::BridgeLost;
            if !change.is_new() && !says_more {
                return None;
            }
            let what = match change.step {
                BridgeStep::Added => "is there",
                BridgeStep::Removed if change.lost => "is gone without having said so",
                _ => "is gone",
            };
            return Some(happening(&line, bridge, what, explained));
        }
        let mut words = event.kind.as_str().replace('-', " ");
        if let Some(endpoints) = event.endpoints {
            words.push_str(&format!(", {} endpoints", endpoints));
        }
        if let Some(reason) = event.reason {
            words.push_str(&format!(": {}", reason.chars().take(200).collect::<String>()));
        }
        Some(happening(&line, bridge, &words, explained))
    }

    fn row(&mut self, line: &LogLine<'_>, event: &LogEvent<'_>) {
        use LogEventKind as Event;
        let Some(bridge) = &event.bridge else { return };
        if !self.rows.contains_key(bridge.nick) && self.rows.len() >= MAX_HISTORY {
            return;
        }
        let state = match event.kind {
            Event::InstanceRemoved | Event::BridgeLeft | Event::BridgeRemoved | Event::HealthStopped => Some("gone"),
            Event::BridgeLost => Some("lost"),
            Event::BridgeShuttingDown => Some("shutting-down"),
            Event::HealthFailed | Event::HealthTimedOut => Some("failed"),
            Event::InstanceAdded | Event::BridgeAdded | Event::HealthScheduled => Some("there"),
            _ => None,
        };
        let fresh = || Row { state: "there", stress: None, region: None, version: None, time: String::new() };
        let row = self.rows.entry(bridge.nick.to_owned()).or_insert_with(fresh);
        // That it is gone is said again after it was said how.
        row.state = match state {
            Some("gone") if row.state == "lost" => row.state,
            state => state.unwrap_or(row.state),
        };
        row.stress = bridge.stress.or(row.stress);
        let keep = |new: Option<&str>, old: &mut Option<String>| {
            if let Some(new) = new {
                *old = Some(new.to_owned());
            }
        };
        keep(bridge.region, &mut row.region);
        keep(bridge.version, &mut row.version);
        row.time = line.time.to_owned();
    }

    /// The table: what the log knows of bridges.
    pub(crate) fn table(&self) -> String {
        let row = |(nick, row): (&String, &Row)| {
            vec![
                Cell::text(nick),
                Cell::text(row.state),
                Cell::number(row.stress.map(|stress| format!("{stress:.2}"))),
                Cell::text(row.region.as_deref().unwrap_or_default()),
                Cell::text(row.version.as_deref().unwrap_or_default()),
                Cell::text(&row.time),
            ]
        };
        let rows: Vec<Vec<Cell>> = self.rows.iter().map(row).collect();
        console::table(&["BRIDGE", "STATE", "STRESS", "REGION", "VERSION", "LAST LINE"], &rows)
    }

    /// The table for programs.
    pub(crate) fn json(&self) -> Vec<Value> {
        let row = |(nick, row): (&String, &Row)| {
            let Row { state, stress, region, version, time } = row;
            json!({
                "bridge": nick, "state": state, "stress": stress, "region": region, "version": version, "time": time,
            })
        };
        self.rows.iter().map(row).collect()
    }
}

fn happening(line: &LogLine<'_>, bridge: Option<&str>, what: &str, why: Option<&str>) -> Happening {
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Happening::of(Kind::Log, bridge, format!("{what}{why}, says the log of {}", line.time))
}

/// What is followed, for messages.
pub(crate) fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}
