//! Recorded connections through the codec.

use std::path::Path;
use std::time::{Duration, Instant};

use adapter_jitsi::{
    Action, BareJid, BreweryEvent, Channel, Element, LoginOptions, Password, Patience, Scope, Session, StreamItem,
    StreamLimits, StreamReader, Watch, XmppError,
};
use serde_json::Value;

use super::vectors::own;

/// Whether a file is one of ours.
pub(crate) fn knows(name: &str) -> bool {
    name.starts_with("xmpp-session-")
}

/// Reads a recorded connection; gives how many stanzas and heads were checked.
pub(crate) fn check(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    if name.ends_with(".xml") {
        return whole(text.trim_end());
    }
    let mut count = 0;
    let mut reader = [StreamReader::new(StreamLimits::default()), StreamReader::new(StreamLimits::default())];
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let piece = line["xml"].as_str().unwrap();
        if name.ends_with("-all.jsonl") {
            // Logged by a library, several clients in one list: single stanzas, heads by a name that is none.
            count += single(piece);
        } else {
            let reader = &mut reader[usize::from(line["dir"] == "s2c")];
            reader.push(piece.as_bytes());
            let items = drain(reader);
            assert!(items.iter().map(bytes).collect::<Vec<_>>().concat() == piece.as_bytes(), "{piece}");
            count += items.len();
        }
    }
    count
}

/// One direction as it went over the wire, read whole, in portions, and byte by byte.
fn whole(text: &str) -> usize {
    let read = |portion: usize| {
        let mut reader = StreamReader::new(StreamLimits::default());
        let mut items = Vec::new();
        for portion in text.as_bytes().chunks(portion) {
            reader.push(portion);
            items.extend(drain(&mut reader));
        }
        items
    };
    let items = read(usize::MAX);
    let again = items.iter().map(bytes).collect::<Vec<_>>().concat();
    assert!(again == text.as_bytes(), "{}", String::from_utf8_lossy(&again));
    for portion in [1, 7, 100, 1500] {
        assert!(read(portion) == items, "in portions of {portion}");
    }
    let mut scope = Scope::default();
    for item in &items {
        match item {
            StreamItem::Head(head) => scope = Element::parse_head(head).unwrap().1,
            StreamItem::Stanza(stanza) => drop(Element::parse(stanza, &scope).unwrap()),
            StreamItem::Close => {}
            StreamItem::Skipped { .. } => panic!("a recorded stanza was skipped"),
        }
    }
    items.len()
}

/// All items so far. A stream begins anew behind a login, in both directions.
fn drain(reader: &mut StreamReader) -> Vec<StreamItem> {
    let mut items = Vec::new();
    while let Some(item) = reader.take().unwrap() {
        if let StreamItem::Stanza(stanza) = &item
            && (stanza.starts_with(b"<success") || stanza.starts_with(b"<response"))
        {
            reader.restart();
        }
        items.push(item);
    }
    items
}

fn bytes(item: &StreamItem) -> &[u8] {
    match item {
        StreamItem::Head(bytes) | StreamItem::Stanza(bytes) => bytes,
        StreamItem::Close => b"</stream:stream>",
        StreamItem::Skipped { .. } => b"",
    }
}

fn single(piece: &str) -> usize {
    let piece = piece
        .replace("stream:stream:", "stream:")
        .replace("<stream:stream xmlns=\"http", "<stream:stream xmlns:stream=\"http");
    if piece.starts_with("<stream:stream") {
        Element::parse_head(piece.as_bytes()).unwrap();
    } else if !piece.starts_with("</") {
        let mut reader = StreamReader::new(StreamLimits::default());
        reader.push(b"<stream:stream>");
        reader.push(piece.as_bytes());
        let items = drain(&mut reader);
        assert_eq!(items.get(1).map(bytes), Some(piece.as_bytes()), "{piece}");
        Element::parse(piece.as_bytes(), &Scope::default()).unwrap();
    }
    1
}

/// What a session answers and a watch tells when a server says again what it said then. The login is ours: the
/// recorded one depends on a password and on chance.
fn replay(user: &str, nick: &str) -> (Vec<Element>, Vec<String>) {
    let file = own().join(format!("xmpp-session-plain-{nick}.jsonl"));
    let room = BareJid::new("jvbbrewery@internal.auth.meet.test").unwrap();
    let account = BareJid::new(&format!("{user}@auth.meet.test")).unwrap();
    let login = LoginOptions::new(account, Password::new("x"), room, nick);
    let start = Instant::now();
    let payload = "<stats xmlns='http://jitsi.org/protocol/colibri'/>";
    let mut session = Session::new(login, Channel::Loopback, [1; 18], payload, start);
    let mut watch = Watch::new(Patience::default());
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    let text = std::fs::read_to_string(file).unwrap();
    let mut now = start;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["dir"] != "s2c" {
            continue;
        }
        now = start + Duration::from_secs_f64(line["t"].as_f64().unwrap());
        let piece = line["xml"].as_str().unwrap();
        if piece.starts_with("<success") {
            continue;
        }
        // Only PLAIN is offered, and it succeeds at once.
        let piece = piece.replace("<mechanism>SCRAM-SHA-1</mechanism>", "");
        let piece = if piece.starts_with("<challenge") {
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned()
        } else if let Some((_, rest)) = piece.split_once("<iq id='").and_then(|(_, rest)| rest.split_once('\'')) {
            format!("<iq id='bind'{rest}")
        } else {
            piece
        };
        while watch.deadline().is_some_and(|due| due <= now) {
            watch.tick(watch.deadline().unwrap());
        }
        session.receive(piece.as_bytes(), now);
        while let Some(action) = session.poll() {
            match action {
                Action::Send(bytes) if !bytes.starts_with(b"<?xml") && !bytes.starts_with(b"</") => {
                    sent.push(Element::parse(&bytes, &Scope::default()).unwrap());
                }
                Action::Send(_) => {}
                Action::Signal(signal) => watch.signal(signal, now),
                other => assert!(
                    matches!(
                        other,
                        Action::End(XmppError::Closed { .. } | XmppError::Left | XmppError::Removed { .. })
                    ),
                    "{other:?}"
                ),
            }
        }
    }
    watch.tick(now + Duration::from_secs(1));
    while let Some(event) = watch.poll() {
        told.push(match event {
            BreweryEvent::BridgeSeen { occupant, replayed, .. } => {
                format!("{}{}", occupant.nick(), if replayed { " again" } else { "" })
            }
            BreweryEvent::BridgeLeft { occupant, reason } => format!("{} {reason}", occupant.nick()),
            BreweryEvent::Resynced { present, .. } => format!("in the room with {}", present.len()),
            other => panic!("{other:?}"),
        });
    }
    (sent, told)
}

#[test]
fn a_recorded_server_is_answered_and_understood() {
    let (sent, told) = replay("focus", "focus");
    let names: Vec<&str> = sent.iter().map(Element::name).collect();
    assert_eq!(names, ["auth", "iq", "presence"]);
    assert_eq!(sent[2].attribute("to"), Some("jvbbrewery@internal.auth.meet.test/focus"));
    assert!(sent[2].child("x", "http://jabber.org/protocol/muc").is_some());
    // jvb1 and jvb2 join, jvb1 publishes load, drain and shutdown; a clone of it comes and goes unseen.
    println!("focus: {told:?}");
    assert_eq!(told.first().map(String::as_str), Some("in the room with 0"));
    assert_eq!(told.iter().filter(|it| *it == "jvb2").count(), 1);
    assert!(told.iter().filter(|it| *it == "jvb1").count() >= 4);
    assert_eq!(told[told.len() - 2..], ["jvb1 left", "jvb2 left"]);
    // jvb2 came second and was told of jvb1 when it joined.
    let (_, told) = replay("jvb", "jvb2");
    println!("jvb2: {told:?}");
    assert_eq!(told[..2], ["jvb1 again", "in the room with 1"]);
    let (_, told) = replay("jvb", "jvb1");
    println!("jvb1: {told:?}");
    assert_eq!(told.first().map(String::as_str), Some("in the room with 0"));
}

#[test]
fn recorded_connections_are_read_byte_for_byte() {
    let mut total = 0;
    for entry in std::fs::read_dir(own()).unwrap() {
        let path = entry.unwrap().path();
        if knows(path.file_name().unwrap().to_str().unwrap()) {
            let count = check(&path);
            println!("{}: {count} heads, stanzas and ends", path.file_name().unwrap().display());
            total += count;
        }
    }
    println!("{total} in all");
    assert!(total > 100, "{total}");
}
