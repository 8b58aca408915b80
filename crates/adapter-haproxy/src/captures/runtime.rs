//! Recorded runtime sockets: each command is written by us as it was sent where we can write it, each answer is read
//! whole, and what is read is what was there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Tally;
use crate::runtime::{Command, Decoder, Framing, MAX_ANSWER, Piece, Refusal, RefusalKind, Reply};

mod commands;
mod data;

pub(super) fn play(file: &Value, tally: &mut Tally) {
    let Some(transcript) = file["transcript"].as_array() else {
        return tally.check(false, || "it has no transcript".to_owned());
    };
    let mut world = World::of(file["config"].as_str().unwrap_or_default());
    world.modern = file["version"].as_str().is_some_and(|v| v.starts_with('3'));
    let mut count = 0;
    for (i, entry) in transcript.iter().enumerate() {
        let (Some(send), Some(recv)) = (entry["send"].as_str(), entry["recv"].as_str()) else {
            tally.check(false, || format!("entry {i}: no send and recv"));
            continue;
        };
        let at = || format!("entry {i}, {:?}", send.chars().take(60).collect::<String>());
        // 2.6 leaves the empty line out after some refusals, all do for a line that is too long.
        let ended = recv.ends_with("\n\n") || recv.ends_with("> ") || matches!(recv, "" | "\n") || send.len() > 16_000;
        let lax = file["version"].as_str().is_some_and(|v| v.starts_with("2.6")) && recv.ends_with('\n');
        tally.check(ended || lax, || format!("{}: the answer does not end", at()));
        let sent = commands::cut(send, world.modern);
        let answers = match answers(&sent, recv, world.modern) {
            Ok(answers) => answers,
            Err(e) => {
                tally.check(false, || format!("{}: {e}", at()));
                continue;
            }
        };
        tally.check(answers.len() == sent.len(), || {
            format!("{}: {} answers to {} commands: {answers:?}", at(), answers.len(), sent.len())
        });
        let level = entry["socket"].as_str().filter(|s| *s != "tcp").unwrap_or("admin");
        world.level = level.to_owned();
        for (line, answer) in sent.iter().zip(&answers) {
            count += 1;
            if recv.is_empty() {
                tally.check(line == "quit" || line.len() > 16_000, || format!("{}: no answer", at()));
                continue;
            }
            let result = world.one(line, answer);
            tally.check(result.is_ok(), || format!("{}: {line:?}: {}", at(), result.err().unwrap_or_default()));
        }
    }
    println!("{count} commands and their answers read");
}

/// The answers to these commands: by prompts, by the end of the connection, or by empty lines between them.
fn answers(sent: &[String], recv: &str, modern: bool) -> Result<Vec<Reply>, String> {
    let first = sent.first().map(|s| s.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let prompts = first.first() == Some(&"prompt") && !(modern && first.len() > 1);
    if recv.is_empty() {
        // `quit`, or a line that 2.6 found too long.
        return Ok(vec![Reply::default(); sent.len()]);
    }
    let (mut out, mut lines) = (vec![], vec![]);
    let mut fed = |framing, bytes: &[u8]| {
        for step in [1, bytes.len()] {
            out.clear();
            lines.clear();
            let mut decoder = Decoder::new(framing, MAX_ANSWER);
            let mut sink = |piece: Piece<'_>| match piece {
                Piece::Line(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
                Piece::End { .. } => out.push(std::mem::take(&mut lines)),
            };
            for piece in bytes.chunks(step) {
                decoder.read(piece, &mut sink).map_err(|e| e.to_string())?;
            }
            if framing == Framing::Close && !decoder.close(&mut sink) {
                return Err("the answer ends in the midst of a line".to_owned());
            }
        }
        if !lines.is_empty() {
            return Err(format!("no prompt after {lines:?}"));
        }
        Ok(out.clone())
    };
    let whole = if prompts {
        let mut all = fed(Framing::Prompt, recv.as_bytes())?;
        if sent.last().is_some_and(|s| s == "quit") {
            all.push(vec![]);
        }
        all
    } else if sent.len() == 1 {
        fed(Framing::Close, recv.as_bytes())?
    } else {
        let mut all = vec![];
        let mut rest = recv;
        while !rest.is_empty() {
            let (one, more) = if let Some(more) = rest.strip_prefix('\n') {
                ("\n", more)
            } else {
                rest.split_once("\n\n").ok_or("the last answer has no empty line after it")?
            };
            all.extend(fed(Framing::Close, format!("{}\n", one.trim_end_matches('\n')).as_bytes())?);
            rest = more;
        }
        if sent.last().is_some_and(|s| s == "quit") {
            all.push(vec![]);
        }
        all
    };
    let reply = |lines: Vec<String>| {
        let text = lines.join("\n");
        let (severity, rest) = match text.strip_prefix('[').and_then(|t| t.split_once("]: ")) {
            Some(("3" | "err", rest)) => (Some(3), rest.to_owned()),
            _ => (None, text),
        };
        Reply::new(rest, severity)
    };
    Ok(whole.into_iter().map(reply).collect())
}

/// What must be so after the commands before.
#[derive(Debug, Default)]
struct World {
    modern: bool,
    level: String,
    /// Backends and their servers.
    servers: BTreeMap<String, BTreeSet<String>>,
    weights: BTreeMap<String, (u32, u32)>,
    /// The entries of maps, by reference order, as far as known.
    maps: BTreeMap<String, Vec<(String, String)>>,
}

impl World {
    fn of(config: &str) -> Self {
        let mut world = Self::default();
        let mut backend: Option<String> = None;
        for line in config.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !line.starts_with([' ', '\t']) {
                backend = None;
            }
            match words.as_slice() {
                ["backend", name, ..] => {
                    backend = Some((*name).to_owned());
                    world.servers.entry((*name).to_owned()).or_default();
                }
                ["frontend", name, ..] => {
                    world.servers.entry((*name).to_owned()).or_default();
                }
                ["server", name, ..] => {
                    if let Some(servers) = backend.as_ref().and_then(|b| world.servers.get_mut(b)) {
                        servers.insert((*name).to_owned());
                    }
                }
                _ => {}
            }
        }
        world
    }

    /// One command and its answer.
    fn one(&mut self, line: &str, reply: &Reply) -> Result<(), String> {
        let words = commands::words(line);
        let command = commands::written(line, &words)?;
        let accepted = command.accept(reply).map(str::to_owned);
        if let Err(refusal) = &accepted
            && refusal.kind() == RefusalKind::Other
        {
            return Err(format!("a refusal that is not known: {:?}", refusal.text()));
        }
        self.expect(&words, &accepted)?;
        match accepted {
            Ok(text) => {
                self.follow(&words, &text)?;
                data::read(&words, &text)
            }
            Err(_) => Ok(()),
        }
    }

    /// Refusals must be those that this world gives.
    fn expect(&mut self, words: &[&str], accepted: &Result<String, Refusal>) -> Result<(), String> {
        let kind = accepted.as_ref().err().map(Refusal::kind);
        match words {
            ["operator" | "user"] => self.level = words[0].to_owned(),
            ["show", "cli", "level"] => {
                let told = accepted.as_deref().unwrap_or_default();
                return if told == self.level { Ok(()) } else { Err(format!("the level is {}", self.level)) };
            }
            _ => {}
        }
        if kind == Some(RefusalKind::Permission) {
            return if self.level == "admin" { Err("refused at the highest level".to_owned()) } else { Ok(()) };
        }
        if kind == Some(RefusalKind::UnknownCommand) {
            return Ok(());
        }
        let name = match words {
            ["set", "maxconn" | "weight", "server", name, ..]
            | ["set", "server" | "weight", name, ..]
            | ["get", "weight", name]
            | ["enable" | "disable", "server" | "health" | "agent", name]
            | ["del", "server", name]
            | ["shutdown", "sessions", "server", name] => name,
            ["add", "server", name, ..] => {
                let backend = name.split('/').next().unwrap_or_default();
                let absent = !self.servers.contains_key(backend) && name.contains('/');
                let wrong = absent != (kind == Some(RefusalKind::NoBackend));
                return if wrong { Err(format!("refused as {kind:?}, absent: {absent}")) } else { Ok(()) };
            }
            _ => return Ok(()),
        };
        let Some((backend, server)) = name.split_once('/') else { return Ok(()) };
        let want = match self.servers.get(backend) {
            None => Some(RefusalKind::NoBackend),
            Some(servers) if !servers.contains(server) => Some(RefusalKind::NoServer),
            Some(_) => None,
        };
        let got = kind.filter(|k| matches!(k, RefusalKind::NoBackend | RefusalKind::NoServer));
        let alike = got == want || (want.is_some() && got.is_some());
        if alike { Ok(()) } else { Err(format!("refused as {kind:?} where {want:?} is due")) }
    }

    /// What the command changed.
    fn follow(&mut self, words: &[&str], text: &str) -> Result<(), String> {
        let split = |name: &str| name.split_once('/').map(|(b, s)| (b.to_owned(), s.to_owned()));
        match words {
            ["add", "server", name, ..] if name.contains('/') => {
                let (backend, server) = split(name).unwrap_or_default();
                self.servers.entry(backend).or_default().insert(server);
                self.weights.remove(*name);
            }
            ["del", "server", name] => {
                let (backend, server) = split(name).unwrap_or_default();
                self.servers.entry(backend).or_default().remove(&server);
            }
            ["set", "server", name, "name", new] => {
                let (backend, server) = split(name).unwrap_or_default();
                let servers = self.servers.entry(backend).or_default();
                servers.remove(&server);
                servers.insert((*new).to_owned());
            }
            ["set", "server", name, "weight", value] | ["set", "weight", name, value] => {
                if let Some((now, initial)) = self.weights.get_mut(*name) {
                    *now = match value.strip_suffix('%') {
                        Some(percent) => percent.parse::<u32>().map_or(*now, |p| *initial * p / 100),
                        None => value.parse().unwrap_or(*now),
                    };
                }
            }
            // An agent changes the weight of its server as it likes.
            ["get", "weight", name] if !name.ends_with("/mm2") => {
                let read: crate::runtime::WeightInForce = text.parse().map_err(|e| format!("{e}"))?;
                let known = self.weights.insert((*name).to_owned(), (read.now, read.initial));
                if known.is_some_and(|k| k != (read.now, read.initial)) {
                    return Err(format!("the weight is {known:?}"));
                }
            }
            ["add", "map", map, key, value] if !map.starts_with('@') => {
                if let Some(entries) = self.maps.get_mut(*map) {
                    entries.push(((*key).to_owned(), (*value).to_owned()));
                }
            }
            ["clear", "map", map] => {
                self.maps.insert((*map).to_owned(), vec![]);
            }
            [_, "map", map, ..] if map.starts_with('@') || words.len() < 4 && words[0] != "show" => {
                let map = if map.starts_with('@') { words.get(3 - 1).unwrap_or(map) } else { map };
                self.maps.remove(*map);
            }
            ["set" | "del" | "add", "map", map, ..] => {
                self.maps.remove(*map);
            }
            ["show", "map", map] if !map.starts_with(['@', '#']) => {
                let read = crate::runtime::MapLine::parse_all(text).map_err(|e| e.to_string())?;
                // Keys with blanks are cut where HAProxy does not say.
                let shown: Vec<String> = read.iter().map(|l| format!("{} {}", l.key, l.value)).collect();
                if let Some(known) = self.maps.get(*map) {
                    let known: Vec<String> = known.iter().map(|(k, v)| format!("{k} {v}")).collect();
                    if known != shown {
                        return Err(format!("the map has {known:?}, shown is {shown:?}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn raw(line: &str) -> Result<Command, String> {
    Command::raw(line).map_err(|e| e.to_string())
}
