use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::peers;
use crate::spoe::{Argument, Frame, Message, Value};

#[cfg(all(feature = "agents", feature = "peers"))]
mod live;
mod recording;

/// All records of a file, and how it ended.
fn read(file: &[u8]) -> Result<(Vec<Record>, Option<u64>), TraceError> {
    let mut reader = TraceReader::new(file)?;
    let mut all = Vec::new();
    while let Some(record) = reader.next_record()? {
        all.push(record);
    }
    Ok((all, reader.cut()))
}

fn write(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, 7);
    records.iter().for_each(|record| record.encode(&mut out));
    out
}

fn play(records: &[Record]) -> (Vec<ReplayLine>, ReplayCounts) {
    let (mut replay, mut lines) = (Replay::new(), Vec::new());
    records.iter().for_each(|record| replay.play(record, &mut |line| lines.push(line)));
    (lines, replay.counts())
}

/// What one connection says in turn.
fn talk(protocol: Protocol, by: Side, said: &[(Side, Vec<u8>)]) -> Vec<Record> {
    let record = |what| Record::new(Duration::from_millis(1), 1, what);
    let opened = Happened::Opened { protocol, by, with: "them".to_owned() };
    let said = said.iter().map(|(side, bytes)| Happened::Said { side: *side, bytes: bytes.clone() });
    std::iter::once(opened).chain(said).chain([Happened::Closed]).map(record).collect()
}

fn happened() -> impl Strategy<Value = Happened> {
    let side = || prop::sample::select(Side::BOTH.to_vec());
    let protocol = prop::sample::select(Protocol::ALL.to_vec());
    prop_oneof![
        (protocol, side(), "\\PC{0,40}").prop_map(|(protocol, by, with)| Happened::Opened { protocol, by, with }),
        (side(), vec(any::<u8>(), 0..300)).prop_map(|(side, bytes)| Happened::Said { side, bytes }),
        Just(Happened::Closed),
        (side(), any::<u64>()).prop_map(|(side, bytes)| Happened::Lost { side, bytes }),
        Just(Happened::Full),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (0..u64::MAX, 0..4_u64, happened());
    vec(record.prop_map(|(at, connection, what)| Record::new(Duration::from_micros(at), connection, what)), 0..12)
}

proptest! {
    #[test]
    fn round_trip(records in records()) {
        let file = write(&records);
        prop_assert_eq!(TraceReader::new(&*file).unwrap().began(), 7);
        prop_assert_eq!(read(&file).unwrap(), (records, None));
    }

    /// A file that was cut off is read up to the cut.
    #[test]
    fn cut_anywhere(records in records(), at in any::<prop::sample::Index>()) {
        let file = write(&records);
        let cut = at.index(file.len() + 1);
        match read(&file[..cut]) {
            Ok((read, left)) => {
                let whole = write(&read).len();
                prop_assert_eq!(&records[..read.len()], &read);
                prop_assert_eq!(left, if cut < whole { left } else { Some(cut - whole).filter(|n| *n > 0).map(|n| n as u64) });
                prop_assert!(cut >= 24 || left.is_some());
            }
            Err(error) => prop_assert!(cut < 16, "{cut}: {error}"),
        }
    }

    /// No bytes make the reader or a decoder panic, whatever the protocol.
    #[test]
    fn any_bytes(records in records(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut file = write(&records);
        for (place, byte) in damage {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let mut reader = TraceReader::new(&*file);
        let mut replay = Replay::new();
        while let Ok(Ok(Some(record))) = reader.as_mut().map(TraceReader::next_record) {
            replay.play(&record, &mut |line| drop((line.to_string(), line.to_json())));
        }
    }

    /// However a conversation is cut, it reads the same.
    #[test]
    fn cuts_change_nothing(
        bytes in vec(any::<u8>(), 0..200), protocol in prop::sample::select(Protocol::ALL.to_vec()), size in 1..9_usize,
    ) {
        let whole = [(Side::Us, b"prompt\nshow info\n".to_vec()), (Side::Haproxy, bytes.clone())];
        let parts: Vec<_> = whole[..1].iter().cloned()
            .chain(bytes.chunks(size).map(|part| (Side::Haproxy, part.to_vec()))).collect();
        let frames = |said: &[(Side, Vec<u8>)]| {
            let (lines, counts) = play(&talk(protocol, Side::Us, said));
            let lines: Vec<_> = lines.into_iter().map(|line| (line.frame, line.fields)).collect();
            (lines, counts.frames, counts.faults)
        };
        prop_assert_eq!(frames(&whole), frames(&parts));
    }
}

#[test]
fn what_is_no_trace() {
    assert!(matches!(read(b""), Err(TraceError::NotATrace)));
    assert!(matches!(read(b"{\"events\": []}\n and so on"), Err(TraceError::NotATrace)));
    let error = read(b"haproxy trace 2\n12345678").unwrap_err();
    assert!(matches!(&error, TraceError::Version { found } if found == "2"), "{error}");
    let mut file = write(&[]);
    file.extend(u32::MAX.to_be_bytes());
    assert!(matches!(read(&file), Err(TraceError::Damaged { offset: 24, .. })));
    let mut file = write(&[Record::new(Duration::ZERO, 1, Happened::Closed)]);
    file.extend([0, 0, 0, 3, 9, 0, 0]);
    assert!(matches!(read(&file), Err(TraceError::Damaged { offset: 31, .. })));
}

#[test]
fn long_names_and_bytes_are_cut() {
    let with = "ü".repeat(2000);
    let opened = Happened::Opened { protocol: Protocol::Peers, by: Side::Us, with };
    let said = Happened::Said { side: Side::Us, bytes: vec![1; 100_000] };
    let (read, _) = read(&write(&[opened, said].map(|what| Record::new(Duration::ZERO, 1, what)))).unwrap();
    assert!(matches!(&read[0].what, Happened::Opened { with, .. } if with.len() == 1024));
    assert!(matches!(&read[1].what, Happened::Said { bytes, .. } if bytes.len() == 65_536));
}

/// Every capture of the repository, as frames.
#[test]
fn captures_play() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/haproxy-control");
    let (mut files, mut frames) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let file: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let records = read_capture(&file).unwrap();
        // As a file they are the same.
        assert_eq!(read(&write(&records)).unwrap(), (records.clone(), None));
        let (lines, counts) = play(&records);
        let entries = file["scenarios"].as_array().into_iter().flatten();
        let entries = entries.flat_map(|scenario| scenario["frames"].as_array().unwrap());
        let expected = entries.filter(|entry| entry["decode_error"].is_string()).count();
        let faults: Vec<_> = lines.iter().filter(|line| line.fault.is_some()).map(ToString::to_string).collect();
        assert_eq!(faults.len(), expected, "{}: {faults:#?}", path.display());
        let told: usize = file["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| event["decoded"].as_array().map_or(0, Vec::len) + usize::from(!event["handshake"].is_null()))
            .sum();
        assert!(told == 0 || counts.frames == told as u64, "{}: {} frames of {told}", path.display(), counts.frames);
        assert!(counts.frames > 90, "{}: {counts:?}", path.display());
        (files, frames) = (files + 1, frames + counts.frames);
    }
    println!("{frames} frames of {files} captures played");
    assert!(files >= 12);
}

#[test]
fn peers_in_words() {
    let hello = peers::Hello::new("lb1", "rust1", 9).to_string();
    let bytes = |hex: &str| capture_bytes(hex);
    let (lines, counts) = play(&talk(
        Protocol::Peers,
        Side::Us,
        &[
            (Side::Us, hello.into_bytes()),
            (Side::Haproxy, b"200\n".to_vec()),
            (Side::Haproxy, bytes("0a82100305726f6f6d730641f1f1fe00f0c40d")),
            (Side::Haproxy, bytes("0a80140000000808726f6f6d2d312d3001050103")),
            (Side::Haproxy, bytes("6d6d310a801000000009")),
            (Side::Haproxy, bytes("08726f6f6d2d312d30010101")),
            (Side::Us, bytes("0a84050300000009")),
            (Side::Haproxy, bytes("0a8003000000")),
        ],
    ));
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "0.001000 #1 peers us: opened with=\"them\"",
            "0.001000 #1 peers us: hello version=\"2.1\" called=\"lb1\" calling=\"rust1\" pid=9",
            "0.001000 #1 peers haproxy: status code=200",
            "0.001000 #1 peers haproxy: define table=\"rooms\" number=3 type=\"string\" key_len=65 expire_ms=30000 \
             store=server_id,server_key",
            "0.001000 #1 peers haproxy: update table=\"rooms\" id=8 key=\"room-1-0\" server_id=1 server_key=\"mm1\"",
            "0.001000 #1 peers haproxy: update table=\"rooms\" id=9 key=\"room-1-0\" server_id=1 server_key=\"mm1\"",
            "0.001000 #1 peers us: ack table=\"rooms\" update=9",
            "0.001000 #1 peers haproxy: not to be read at byte 65: message refused at byte 0: the bytes end within a value",
            "0.001000 #1 peers: closed",
        ]
    );
    assert_eq!((counts.frames, counts.faults), (6, 1));
}

#[test]
fn a_gap_ends_one_side() {
    let mut records = talk(Protocol::AgentCheck, Side::Haproxy, &[(Side::Haproxy, b"mm1 lb1\n".to_vec())]);
    let lost = Happened::Lost { side: Side::Us, bytes: 5 };
    records.insert(2, Record::new(Duration::ZERO, 1, lost));
    records.insert(3, Record::new(Duration::ZERO, 1, Happened::Said { side: Side::Us, bytes: b"garbage".to_vec() }));
    let (lines, counts) = play(&records);
    let frames: Vec<_> = lines.iter().map(|line| line.frame).collect();
    assert_eq!(frames, ["opened", "ask", "lost", "closed"]);
    assert_eq!((counts.lost, counts.unread, counts.faults), (5, 7, 0));
    let only = Replay::new().with_only([Protocol::Peers]);
    let played = std::cell::RefCell::new(only);
    records.iter().for_each(|record| played.borrow_mut().play(record, &mut |line| panic!("{line}")));
}

fn capture_bytes(hex: &str) -> Vec<u8> {
    bytes_of_hex(hex).unwrap()
}
