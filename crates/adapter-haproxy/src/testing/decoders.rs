//! Everything that reads what others wrote, made to read anything.
//!
//! Each function takes any bytes and ends by a panic where a promise is broken: what was read is written as it was,
//! however the bytes are cut the same is read, nothing is kept beyond the bytes that came, and nothing panics of itself.
//! Fuzzers drive them, and tests with mangled recordings.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::peers::{
    DataType, Entry, Hello, HelloStatus, KeyType, Message, MessageCutter, NamesReceived, PeerEvent, PeerOptions,
    PeerSession, PeersError, TableDefinition,
};
use crate::runtime::{
    CliSocket, Command, Decoder, Framing, Info, MapHit, MapInfo, MapLine, PeersSection, Piece, Processes,
    ReloadOutcome, ServerConns, ServerState, ServerStatus, Session, SessionLimits, SessionLine, StatTable, TableInfo,
    TableReader, TypedField, TypedStat, WeightInForce,
};
use crate::spoe::{AgentOptions, AgentSession, Event, Frame, FrameCutter, HaproxyHello, MAX_FRAME};
use crate::trace::{Happened, Protocol, Record, Replay, Side, TraceReader, read_capture, write_header};
use crate::{AgentReply, ConfigFile, Doctor, HaproxyVersion, apply_edits};

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// They were read.
    Read,
    /// They were refused, at least in part.
    Refused,
}

impl From<bool> for Outcome {
    fn from(read: bool) -> Self {
        if read { Self::Read } else { Self::Refused }
    }
}

/// One of the functions, by its name.
pub type Target = (&'static str, fn(&[u8]) -> Outcome);

/// All of them.
pub const TARGETS: [Target; 12] = [
    ("peers_codec", peers_codec),
    ("peers_session", peers_session),
    ("spoe_frame", spoe_frame),
    ("spoe_session", spoe_session),
    ("agent_line", agent_line),
    ("runtime_answers", runtime_answers),
    ("runtime_session", runtime_session),
    ("stats_csv", stats_csv),
    ("config", config),
    ("trace", trace),
    ("trace_masks", trace_masks),
    ("capture", capture),
];

/// The bytes as they are, and in small pieces.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let size = data.first().map_or(1, |byte| usize::from(byte % 13) + 1);
    // A thousand pieces at most: they are read one by one.
    data.chunks(size.max(data.len() / 1000))
}

fn same<T: PartialEq + Debug>(whole: &T, pieces: &T) {
    assert!(whole == pieces, "cut they read otherwise:\n{whole:?}\n{pieces:?}");
}

/// The messages in these bytes, and why there are no more.
fn messages_of(parts: &mut dyn Iterator<Item = &[u8]>) -> (Vec<Message>, Option<PeersError>) {
    let (mut cutter, mut all, mut given) = (MessageCutter::default(), Vec::new(), 0);
    for part in parts {
        cutter.push(part);
        given += part.len();
        loop {
            match cutter.cut() {
                Ok(None) => break,
                Ok(Some(message)) => all.push(message),
                Err(error) => return (all, Some(error)),
            }
        }
        assert!(cutter.pending() <= given, "more is kept than was given");
    }
    (all, None)
}

/// Messages, entries and greetings of peers.
pub fn peers_codec(data: &[u8]) -> Outcome {
    let _ = (Hello::decode(data), HelloStatus::decode(data));
    let whole = messages_of(&mut std::iter::once(data));
    same(&whole, &messages_of(&mut pieces(data)));
    let (messages, fault) = whole;
    let (mut written, mut names) = (Vec::new(), NamesReceived::new());
    let mut table = TableDefinition::new(1, "t", KeyType::String, 65, Duration::from_secs(30))
        .with_data(DataType::SERVER_ID)
        .with_data(DataType::SERVER_KEY);
    for message in &messages {
        message.encode(&mut written);
        match message {
            Message::Define(defined) => table = defined.clone(),
            Message::Update(update) => {
                if let Ok(entry) = Entry::decode(&table, &update.body) {
                    for (_, datum) in entry.data() {
                        if let crate::peers::Datum::Name(name) = datum {
                            let _ = names.resolve(name);
                        }
                    }
                    // Keys that HAProxy would cut are read and not written.
                    if let Ok(body) = entry.encode(&table) {
                        assert!(body == update.body, "written otherwise: {entry:?}");
                    }
                }
            }
            _ => {}
        }
    }
    // Parameters of a table in another order are read, and written in theirs.
    same(&(messages, None), &messages_of(&mut std::iter::once(&*written)));
    fault.is_none().into()
}

/// A connection of peers, at its beginning and when it is open.
pub fn peers_session(data: &[u8]) -> Outcome {
    let now = Instant::now();
    let hear = |greeting: &[u8], parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut session = PeerSession::accept(PeerOptions::new("b"), vec!["a".to_owned()], now);
        session.receive(greeting, now);
        let before = session.output_len();
        let mut given = greeting.len();
        for part in parts {
            session.receive(part, now);
            given += part.len();
            assert!(session.pending() <= given, "more is kept than was given");
        }
        assert!(session.output_len() - before <= 8 * data.len() + 64, "more is said than was heard");
        session.tick(now + Duration::from_secs(60));
        let events: Vec<PeerEvent> = std::iter::from_fn(|| session.poll_event()).collect();
        (events, session.is_over())
    };
    let mut fine = false;
    for greeting in [&b""[..], b"HAProxyS 2.1\nb\na 1 1\n"] {
        let whole = hear(greeting, &mut std::iter::once(data));
        same(&whole, &hear(greeting, &mut pieces(data)));
        fine |= whole.0.len() > 2;
    }
    let mut calling = PeerSession::connect(PeerOptions::new("a"), "b", now);
    calling.receive(data, now);
    fine.into()
}

/// Frames between HAProxy and an agent.
pub fn spoe_frame(data: &[u8]) -> Outcome {
    let _ = Frame::decode(data);
    let frames = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let (mut cutter, mut all) = (FrameCutter::new(MAX_FRAME), Vec::new());
        for part in parts {
            cutter.push(part);
            loop {
                match cutter.cut() {
                    Ok(None) => break,
                    Ok(Some(frame)) => all.push(Frame::decode(frame)),
                    Err(error) => return (all, Some(error)),
                }
            }
        }
        (all, None)
    };
    let whole = frames(&mut std::iter::once(data));
    same(&whole, &frames(&mut pieces(data)));
    for frame in whole.0.iter().flatten() {
        let written = frame.encode();
        let again = written.get(4..).map(Frame::decode);
        assert!(again.as_ref() == Some(&Ok(frame.clone())), "read otherwise: {frame:?} {again:?}");
    }
    (whole.1.is_none() && !whole.0.is_empty() && whole.0.iter().all(Result::is_ok)).into()
}

/// A connection of HAProxy with an agent, before and after the greeting.
pub fn spoe_session(data: &[u8]) -> Outcome {
    let hello = Frame::HaproxyHello(HaproxyHello::new(16_380)).encode();
    let hear = |greeting: &[u8], parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut session = AgentSession::new(AgentOptions::default());
        session.receive(greeting);
        for part in parts {
            session.receive(part);
        }
        assert!(session.pending() <= data.len() + greeting.len(), "more is kept than was given");
        let events: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
        for event in &events {
            if let Event::Query { ticket, .. } = event {
                let _ = session.answer(*ticket, Vec::new());
            }
        }
        assert!(session.take_output().len() <= 400 + 8 * data.len(), "more is said than was heard");
        (events, session.is_over())
    };
    let mut fine = false;
    for greeting in [&b""[..], &hello] {
        let whole = hear(greeting, &mut std::iter::once(data));
        same(&whole, &hear(greeting, &mut pieces(data)));
        fine |= whole.0.iter().any(|event| matches!(event, Event::Query { .. }));
    }
    fine.into()
}

/// The line of an agent check, both ways.
pub fn agent_line(data: &[u8]) -> Outcome {
    let Ok(said) = AgentReply::parse(data) else { return Outcome::Refused };
    let line = said.to_string();
    assert!(line.ends_with('\n') && line.lines().count() == 1, "not one line: {line:?}");
    let again = AgentReply::parse(line.as_bytes());
    let words = |said: &AgentReply| {
        (said.health(), said.admin(), said.percent(), said.limit(), said.reason().map(str::to_owned))
    };
    assert!(again.as_ref().is_ok_and(|again| words(again) == words(&said)), "read otherwise: {said:?} {again:?}");
    assert!(said.weight(256).is_none_or(|weight| weight <= 256));
    said.unknown().or(said.refused()).is_none().into()
}

/// Answers of a runtime socket, each as every answer there is.
pub fn runtime_answers(data: &[u8]) -> Outcome {
    let text = &*String::from_utf8_lossy(data);
    let mut reader = TableReader::default();
    let entries = text.lines().filter(|line| reader.read(line).is_ok()).count();
    let read = [
        Info::parse(text).is_ok(),
        CliSocket::parse_all(text).is_ok(),
        text.parse::<WeightInForce>().is_ok(),
        TypedField::parse_info(text).is_ok(),
        ServerState::parse_all(text).is_ok(),
        ServerConns::parse_all(text).is_ok(),
        MapInfo::parse_all(text).is_ok(),
        MapLine::parse_all(text).is_ok(),
        text.parse::<MapHit>().is_ok(),
        TableInfo::parse_all(text).is_ok(),
        PeersSection::parse_all(text).is_ok(),
        SessionLine::parse_all(text).is_ok(),
        Processes::parse(text).is_ok(),
        text.parse::<ReloadOutcome>().is_ok(),
        entries > 0,
    ];
    let _ = ServerStatus::of(text);
    let _ = Command::raw(text);
    read.contains(&true).into()
}

/// Statistics, as CSV and typed.
pub fn stats_csv(data: &[u8]) -> Outcome {
    let text = &*String::from_utf8_lossy(data);
    let table = StatTable::parse(text);
    for row in table.iter().flat_map(StatTable::rows) {
        let _ = (row.status().is_draining(), row.kind());
    }
    (table.is_ok() | TypedStat::parse(text).is_ok()).into()
}

/// A runtime socket, with commands under way.
pub fn runtime_session(data: &[u8]) -> Outcome {
    for framing in [Framing::Prompt, Framing::Close] {
        let answers = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let (mut decoder, mut all) = (Decoder::new(framing, 1 << 20), Vec::new());
            let mut sink = |piece: Piece<'_>| match piece {
                Piece::Line(line) => all.push(Some(line.to_vec())),
                Piece::End { .. } => all.push(None),
            };
            for part in parts {
                if decoder.read(part, &mut sink).is_err() {
                    return (all, false, false);
                }
            }
            let whole = decoder.close(&mut sink);
            (all, true, whole)
        };
        let whole = answers(&mut std::iter::once(data));
        if whole.1 {
            same(&whole, &answers(&mut pieces(data)));
        }
    }
    let limits = SessionLimits::default();
    let mut session = Session::new(Framing::Prompt, limits);
    for command in [Command::show_level(), Command::show_version(), Command::show_servers_state()] {
        session.submit("", &command);
    }
    let (mut seen, mut sent) = (0, 0);
    sent += session.transmit().len();
    session.transmitted(sent);
    let mut fine = true;
    for part in pieces(data) {
        fine = fine
            && session
                .receive(part, &mut |event| {
                    if let crate::runtime::SessionEvent::Line(line) = event {
                        seen += line.len();
                    }
                })
                .is_ok();
    }
    assert!(seen <= data.len(), "more is told than was heard");
    let _ = session.closed(&mut |_| {});
    fine.into()
}

/// A configuration: printed as it was, and cured.
pub fn config(data: &[u8]) -> Outcome {
    let Ok(file) = ConfigFile::parse("x.cfg", data) else { return Outcome::Refused };
    assert!(file.print() == data, "not printed as it was");
    let doctor = Doctor::new(HaproxyVersion::new(2, 6)).with_host_name("lb1");
    let found = doctor.check(std::slice::from_ref(&file));
    for fix in found.iter().filter_map(|finding| finding.fix.as_ref()) {
        // What is added may make it too large.
        let _ = apply_edits(data, &fix.edits);
    }
    let _ = doctor.cure(&file);
    Outcome::Read
}

/// A trace, and what is in it as every protocol.
pub fn trace(data: &[u8]) -> Outcome {
    let mut fine = false;
    if let Ok(mut reader) = TraceReader::new(data) {
        let (mut replay, mut written) = (Replay::new(), Vec::new());
        write_header(&mut written, reader.began());
        fine = loop {
            match reader.next_record() {
                Ok(None) => break true,
                Ok(Some(record)) => {
                    record.encode(&mut written);
                    replay.play(&record, &mut |line| drop((line.to_string(), line.to_json())));
                }
                Err(_) => break false,
            }
        };
        let left = reader.cut().unwrap_or(0);
        assert!(reader.offset() + left <= u64::try_from(data.len()).unwrap_or(u64::MAX));
        let headed = data.len() >= 24;
        assert!(!headed || data.starts_with(&written), "records are written otherwise");
    }
    for protocol in Protocol::ALL {
        let mut replay = Replay::new();
        let mut play = |what| replay.play(&Record::new(Duration::ZERO, 1, what), &mut |line| drop(line.to_string()));
        play(Happened::Opened { protocol, by: Side::Us, with: "x".to_owned() });
        play(Happened::Said { side: Side::Us, bytes: b"prompt\nshow info\n".to_vec() });
        let parts = data.chunks(data.len() / 16 + 1);
        parts.for_each(|part| play(Happened::Said { side: Side::Haproxy, bytes: part.to_vec() }));
        play(Happened::Closed);
    }
    fine.into()
}

/// What is masked in traces: no byte more or less, however the bytes are cut.
pub fn trace_masks(data: &[u8]) -> Outcome {
    let clear: Arc<BTreeSet<String>> = Arc::new(["room", "rooms"].map(str::to_owned).into());
    for protocol in Protocol::ALL {
        let keep = |parts: &mut dyn Iterator<Item = &[u8]>| {
            crate::trace::masked(protocol, Side::Haproxy, clear.clone(), parts)
        };
        let whole = keep(&mut std::iter::once(data));
        assert_eq!(whole.len(), data.len(), "{protocol:?}");
        if protocol != Protocol::Runtime {
            same(&whole, &keep(&mut pieces(data)));
        }
    }
    Outcome::Read
}

/// A recording in JSON.
pub fn capture(data: &[u8]) -> Outcome {
    let Ok(file) = serde_json::from_slice::<Value>(data) else { return Outcome::Refused };
    let Ok(records) = read_capture(&file) else { return Outcome::Refused };
    let mut replay = Replay::new();
    records.iter().for_each(|record| replay.play(record, &mut |line| drop(line.to_string())));
    Outcome::Read
}
