//! Traces, played against the decoders.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::record::{Happened, Protocol, Record, Side};

mod agent_check;
mod peers;
mod runtime;
mod spoe;

use agent_check::AgentTalk;
use peers::PeersTalk;
use runtime::RuntimeTalk;
use spoe::SpoeTalk;
#[cfg(test)]
pub(crate) use spoe::{text as spoe_text, value as spoe_value};

/// The most connections that are followed at once.
pub const MAX_TRACED: usize = 65_536;

/// One frame of a conversation, or what happened to it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReplayLine {
    /// When its last byte came, from the beginning of the trace on.
    pub at: Duration,
    /// Which connection.
    pub connection: u64,
    /// What is spoken there; absent where the trace does not tell.
    pub protocol: Option<Protocol>,
    /// Who said it; absent where nobody did.
    pub side: Option<Side>,
    /// Where it begins in what this side said on the connection.
    pub offset: u64,
    /// What it is.
    pub frame: &'static str,
    /// What it tells.
    pub fields: Vec<Field>,
    /// Why it is none, if it is none: what follows of this side on this connection is not read.
    pub fault: Option<String>,
}

/// A name, a value, and how the value is written for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    name: &'static str,
    value: Value,
    text: Option<String>,
}

impl Field {
    pub(super) fn new(name: &'static str, value: impl Into<Value>) -> Self {
        Self { name, value: value.into(), text: None }
    }

    /// Written otherwise for people.
    pub(super) fn written(name: &'static str, value: Value, text: String) -> Self {
        Self { name, value, text: Some(text) }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its value.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// `room="a"`; a text of its own stands without its name.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.text, &self.value) {
            (Some(text), _) => f.write_str(text),
            // Nothing in it steers a terminal.
            (None, Value::String(text)) => write!(f, "{}={text:?}", self.name),
            (None, value) => write!(f, "{}={value}", self.name),
        }
    }
}

impl ReplayLine {
    /// All of it as one object.
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
        put("at", json!(self.at.as_secs_f64()));
        put("connection", json!(self.connection));
        put("protocol", json!(self.protocol.map(Protocol::name)));
        put("from", json!(self.side.map(Side::name)));
        put("offset", json!(self.offset));
        put("frame", json!(self.frame));
        self.fields.iter().for_each(|field| put(field.name, field.value.clone()));
        if let Some(fault) = &self.fault {
            put("fault", json!(fault));
        }
        Value::Object(all)
    }
}

/// The time in seconds, the connection, the protocol, who said it, and what.
impl fmt::Display for ReplayLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} #{}", self.at.as_secs_f64(), self.connection)?;
        if let Some(protocol) = self.protocol {
            write!(f, " {}", protocol.name())?;
        }
        if let Some(side) = self.side {
            write!(f, " {}", side.name())?;
        }
        write!(f, ": {}", self.frame)?;
        for field in &self.fields {
            write!(f, " {field}")?;
        }
        match &self.fault {
            Some(fault) => write!(f, " at byte {}: {fault}", self.offset),
            None => Ok(()),
        }
    }
}

/// What was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayCounts {
    /// Records of the trace.
    pub records: u64,
    /// Connections.
    pub connections: u64,
    /// Frames, commands, lines and answers that were read.
    pub frames: u64,
    /// What could not be read: one for each side of a connection at most.
    pub faults: u64,
    /// Bytes that could not be read, or were not tried after a fault or a gap.
    pub unread: u64,
    /// Bytes that are not in the trace.
    pub lost: u64,
}

/// What a decoder makes of bytes: frames with their place, or why there are none.
pub(super) struct Told {
    /// Where it begins, among the bytes of this side.
    pub(super) offset: u64,
    pub(super) frame: &'static str,
    pub(super) fields: Vec<Field>,
}

/// Why bytes cannot be read, and where.
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) why: String,
}

/// How what one protocol says is read.
pub(super) trait Talk: fmt::Debug {
    /// Bytes of one side; everything it told is at the sink before a fault is.
    fn take(&mut self, side: Side, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault>;

    /// No more will come.
    fn end(&mut self, _sink: &mut dyn FnMut(Side, Told)) {}

    /// How many bytes of a side wait for the rest of their frame.
    fn waiting(&self, side: Side) -> usize;
}

#[derive(Debug)]
struct Connection {
    protocol: Protocol,
    talk: Box<dyn Talk + Send>,
    /// Whether a side cannot be read any more.
    dead: [bool; 2],
}

/// Plays records against the decoders. Pure; memory is bounded by the connections that are open and their longest frames.
#[derive(Debug, Default)]
pub struct Replay {
    only: Option<BTreeSet<Protocol>>,
    connections: HashMap<u64, Connection>,
    counts: ReplayCounts,
}

impl Replay {
    /// Of every protocol.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only of these protocols; default all.
    #[must_use]
    pub fn with_only(mut self, protocols: impl IntoIterator<Item = Protocol>) -> Self {
        self.only = Some(protocols.into_iter().collect());
        self
    }

    /// What was played so far.
    pub fn counts(&self) -> ReplayCounts {
        self.counts
    }

    /// Plays one record; each frame that ends in it is a line.
    pub fn play(&mut self, record: &Record, sink: &mut dyn FnMut(ReplayLine)) {
        self.counts.records += 1;
        let mut line = ReplayLine {
            at: record.at,
            connection: record.connection,
            protocol: self.connections.get(&record.connection).map(|connection| connection.protocol),
            side: None,
            offset: 0,
            frame: "full",
            fields: Vec::new(),
            fault: None,
        };
        match &record.what {
            Happened::Opened { protocol, by, with } => {
                self.close(record, sink);
                line.protocol = Some(*protocol);
                if self.only.as_ref().is_some_and(|only| !only.contains(protocol)) {
                    return;
                }
                self.counts.connections += 1;
                if self.connections.len() >= MAX_TRACED {
                    self.counts.faults += 1;
                    line.fault = Some(format!("more than {MAX_TRACED} connections at once: it is not followed"));
                } else {
                    let (protocol, dead) = (*protocol, [false; 2]);
                    let talk: Box<dyn Talk + Send> = match protocol {
                        Protocol::Peers => Box::new(PeersTalk::new(*by)),
                        Protocol::Spoe => Box::new(SpoeTalk::new()),
                        Protocol::AgentCheck => Box::new(AgentTalk::default()),
                        Protocol::Runtime => Box::new(RuntimeTalk::default()),
                    };
                    self.connections.insert(record.connection, Connection { protocol, talk, dead });
                }
                (line.frame, line.side) = ("opened", Some(*by));
                line.fields = vec![Field::new("with", with.as_str())];
                sink(line);
            }
            Happened::Said { side, bytes } => self.say(*side, bytes, &line, sink),
            Happened::Lost { side, bytes } => {
                let Some(connection) = self.connections.get_mut(&record.connection) else { return };
                self.counts.lost = self.counts.lost.saturating_add(*bytes);
                if let Some(dead) = connection.dead.get_mut(side.index()) {
                    *dead = true;
                }
                (line.frame, line.side) = ("lost", Some(*side));
                line.fields = vec![Field::new("bytes", *bytes)];
                sink(line);
            }
            Happened::Closed => {
                if self.connections.contains_key(&record.connection) {
                    self.close(record, sink);
                    line.frame = "closed";
                    sink(line);
                }
            }
            Happened::Full => sink(line),
        }
    }

    fn say(&mut self, side: Side, bytes: &[u8], line: &ReplayLine, sink: &mut dyn FnMut(ReplayLine)) {
        let Some(connection) = self.connections.get_mut(&line.connection) else { return };
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(dead) = connection.dead.get_mut(side.index()) else { return };
        if *dead {
            self.counts.unread = self.counts.unread.saturating_add(len);
            return;
        }
        let mut frames = 0;
        let taken = connection.talk.take(side, bytes, &mut |told| {
            frames += 1;
            let Told { offset, frame, fields } = told;
            sink(ReplayLine { side: Some(side), offset, frame, fields, ..line.clone() });
        });
        self.counts.frames += frames;
        if let Err(Fault { offset, why }) = taken {
            *dead = true;
            self.counts.faults += 1;
            let waiting = u64::try_from(connection.talk.waiting(side)).unwrap_or(u64::MAX);
            self.counts.unread = self.counts.unread.saturating_add(waiting);
            let fault = Some(why);
            sink(ReplayLine { side: Some(side), offset, frame: "not to be read", fault, ..line.clone() });
        }
    }

    /// What a connection leaves behind.
    fn close(&mut self, record: &Record, sink: &mut dyn FnMut(ReplayLine)) {
        let Some(mut connection) = self.connections.remove(&record.connection) else { return };
        let Connection { protocol, talk, dead } = &mut connection;
        let line = |side, told: Told| ReplayLine {
            at: record.at,
            connection: record.connection,
            protocol: Some(*protocol),
            side: Some(side),
            offset: told.offset,
            frame: told.frame,
            fields: told.fields,
            fault: None,
        };
        let mut frames = 0;
        talk.end(&mut |side, told| {
            if dead.get(side.index()) == Some(&false) {
                frames += 1;
                sink(line(side, told));
            }
        });
        self.counts.frames += frames;
        for side in Side::BOTH {
            let waiting = talk.waiting(side);
            if waiting > 0 && dead.get(side.index()) == Some(&false) {
                let bytes = u64::try_from(waiting).unwrap_or(u64::MAX);
                self.counts.unread = self.counts.unread.saturating_add(bytes);
                let fields = vec![Field::new("bytes", bytes)];
                sink(line(side, Told { offset: 0, frame: "broken off", fields }));
            }
        }
    }
}
