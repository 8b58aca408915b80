//! Recorded connections between peers: each message reads as what it was and is written the same again, and our session
//! in the place of either side greets, teaches, acknowledges and confirms as it did.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::{Tally, bytes};
use crate::peers::{
    DataType, Datum, Entry, Hello, HelloStatus, Message, MessageCutter, NameRef, NamesReceived, NamesSent,
    TableDefinition, Update,
};

mod stand_in;
mod words;

use stand_in::StandIn;

pub(super) fn play(file: &Json, tally: &mut Tally) {
    let Some(events) = file["events"].as_array() else {
        return tally.check(false, || "it has no events".to_owned());
    };
    let mut conns: HashMap<String, Conn> = HashMap::new();
    let mut messages = 0;
    for (i, event) in events.iter().enumerate() {
        if event["close"] == true {
            continue;
        }
        let name = event["conn"].as_str().unwrap_or("?");
        let at = || format!("event {i} of {name}");
        let (Some(sent), Some((from, to))) =
            (event["hex"].as_str().and_then(bytes), event["dir"].as_str().and_then(|d| d.split_once('>')))
        else {
            tally.check(false, || format!("{}: no bytes or no direction", at()));
            continue;
        };
        let conn = conns.entry(name.to_owned()).or_insert_with(|| Conn::new(name));
        let result = conn.take(event, from, to, &sent);
        if let Ok(all) = &result {
            messages += all.len();
        }
        for message in result.as_ref().ok().into_iter().flatten() {
            let modern = file["haproxy"][from].as_str().is_some_and(|v| v.starts_with('3'));
            let result = conn.stand_in(from, to, message, modern);
            tally.check(result.is_ok(), || format!("{}: {message:?}: {}", at(), result.err().unwrap_or_default()));
        }
        tally.check(result.is_ok(), || format!("{}: {}", at(), result.err().unwrap_or_default()));
    }
    for (name, conn) in conns {
        let left: usize = conn.streams.values().map(|s| s.told.len()).sum();
        tally.check(left == 0, || format!("{name}: {left} messages were not found"));
    }
    println!("{messages} messages of peers read");
}

/// One connection.
#[derive(Debug)]
struct Conn {
    opener: String,
    hello: Option<Hello>,
    streams: BTreeMap<String, Stream>,
    stand_ins: BTreeMap<String, StandIn>,
}

/// What one side sent.
#[derive(Debug, Default)]
struct Stream {
    greeting: Vec<u8>,
    open: bool,
    cutter: MessageCutter,
    /// The bytes of messages not read yet.
    unread: Vec<u8>,
    /// What the recording says it sent, not yet read.
    told: std::collections::VecDeque<Json>,
    tables: HashMap<u64, TableDefinition>,
    table: u64,
    last: HashMap<u64, u32>,
    received: NamesReceived,
    sent: NamesSent,
}

/// A message with what it means.
#[derive(Debug)]
enum Meaning {
    Entry { table: u64, id: u32, update: Update, entry: Entry, server_key: Option<Vec<u8>> },
    Other(Message),
}

impl Conn {
    fn new(name: &str) -> Self {
        let opener = name.split("-to-").next().unwrap_or_default().to_owned();
        Self { opener, hello: None, streams: BTreeMap::new(), stand_ins: BTreeMap::new() }
    }

    /// Reads what one side sent, and writes it again.
    fn take(&mut self, event: &Json, from: &str, to: &str, sent: &[u8]) -> Result<Vec<Meaning>, String> {
        let stream = self.streams.entry(from.to_owned()).or_default();
        stream.told.extend(event["decoded"].as_array().into_iter().flatten().cloned());
        let mut new = sent.to_vec();
        if !stream.open {
            stream.greeting.append(&mut new);
            let (text, len) = if from == self.opener {
                let read = Hello::decode(&stream.greeting).map_err(|e| e.to_string())?;
                let Some((hello, len)) = read else { return Ok(vec![]) };
                let text = hello.to_string();
                self.stand_ins.insert(from.to_owned(), StandIn::calling(&hello, &text)?);
                self.stand_ins.insert(to.to_owned(), StandIn::called(&hello));
                self.hello = Some(hello);
                (text, len)
            } else {
                let read = HelloStatus::decode(&stream.greeting).map_err(|e| e.to_string())?;
                let Some((status, len)) = read else { return Ok(vec![]) };
                (format!("{status}\n"), len)
            };
            let rest = stream.greeting.split_off(len);
            if stream.greeting != text.as_bytes() {
                return Err(format!("greeting written otherwise: {text:?}"));
            }
            let lines: Vec<&str> = text.lines().collect();
            if !event["handshake"].is_null() && event["handshake"] != serde_json::json!(lines) {
                return Err(format!("greeting {text:?} is not {}", event["handshake"]));
            }
            stream.greeting.clear();
            stream.open = true;
            new = rest;
            if let Some(other) = self.stand_ins.get_mut(to) {
                other.hear(text.as_bytes());
            }
            if let Some(ours) = self.stand_ins.get_mut(from).filter(|_| from != self.opener) {
                ours.greeted(text.as_bytes())?;
            }
        }
        if let Some(other) = self.stand_ins.get_mut(to) {
            other.hear(&new);
        }
        stream.messages(&new)
    }

    /// What our sessions make of a message: the one in the sender's place would have sent it as well.
    fn stand_in(&mut self, from: &str, to: &str, message: &Meaning, modern: bool) -> Result<(), String> {
        if let (Some(other), Meaning::Entry { table, id, .. }) = (self.stand_ins.get_mut(to), message) {
            other.given(*table, *id);
        }
        let Some(ours) = self.stand_ins.get_mut(from) else { return Err("before its greeting".to_owned()) };
        match message {
            Meaning::Other(Message::Define(table)) => ours.define(table),
            Meaning::Entry { table, update, entry, server_key, .. } => {
                ours.teach(*table, update, entry, server_key.as_deref())
            }
            Meaning::Other(Message::Ack { table, update }) => ours.acknowledged(*table, *update, modern),
            Meaning::Other(Message::Control(control)) => ours.control(*control),
            Meaning::Other(other) => Err(format!("{other:?} of a HAProxy")),
        }
    }
}

impl Stream {
    fn messages(&mut self, new: &[u8]) -> Result<Vec<Meaning>, String> {
        self.cutter.push(new);
        self.unread.extend_from_slice(new);
        let mut all = Vec::new();
        while let Some(message) = self.cutter.cut().map_err(|e| e.to_string())? {
            let mut written = Vec::new();
            message.encode(&mut written);
            if !self.unread.starts_with(&written) {
                return Err(format!("{message:?} written otherwise: {written:02x?}"));
            }
            self.unread.drain(..written.len());
            let told = self.told.pop_front();
            let (meaning, words) = self.meaning(message)?;
            let told = told.ok_or_else(|| format!("the recording does not tell of {words}"))?;
            words::compare(&words, &told)?;
            all.push(meaning);
        }
        Ok(all)
    }

    fn meaning(&mut self, message: Message) -> Result<(Meaning, Json), String> {
        let Message::Update(update) = message else {
            if let Message::Define(table) = &message {
                self.table = table.id();
                self.tables.insert(table.id(), table.clone());
            }
            let words = words::message(&message);
            return Ok((Meaning::Other(message), words));
        };
        let table = self.tables.get(&self.table).ok_or("an entry of no table")?;
        let entry = Entry::decode(table, &update.body).map_err(|e| e.to_string())?;
        if entry.encode(table).map_err(|e| e.to_string())? != update.body {
            return Err(format!("entry written otherwise: {entry:?}"));
        }
        let last = self.last.entry(self.table).or_default();
        *last = update.id.unwrap_or(last.wrapping_add(1));
        let name = match entry.get(DataType::SERVER_KEY) {
            Some(Datum::Name(name)) => name.clone(),
            _ => NameRef::Nothing,
        };
        let server_key = self.received.resolve(&name).map_err(|e| e.to_string())?;
        if let Some(key) = &server_key {
            let ours = self.sent.refer(key);
            if ours != name {
                return Err(format!("our dictionary says {ours:?}, HAProxy's {name:?}"));
            }
        }
        let words = words::entry(table, *last, &update, &entry, server_key.as_deref());
        Ok((Meaning::Entry { table: self.table, id: *last, update, entry, server_key }, words))
    }
}
