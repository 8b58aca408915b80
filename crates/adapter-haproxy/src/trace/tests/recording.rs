//! Recorders: what they keep, what they leave out, and what happens when it is too much.

use super::*;

/// A file in memory.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Memory {
    pub(super) fn read(&self) -> Vec<Record> {
        read(&self.0.lock().unwrap()).unwrap().0
    }

    /// What was kept of a side.
    fn said(&self, of: Side) -> Vec<u8> {
        let said = self.read().into_iter().filter_map(|record| match record.what {
            Happened::Said { side, bytes } if side == of => Some(bytes),
            _ => None,
        });
        said.flatten().collect()
    }
}

pub(super) fn recorder() -> (Recorder, Memory) {
    let memory = Memory::default();
    (Recorder::to(memory.clone(), RecorderOptions::default()).unwrap(), memory)
}

/// What is kept of these bytes, given in pieces of this size.
fn kept(protocol: Protocol, by: Side, tables: &[&str], bytes: &[u8], size: usize) -> Vec<u8> {
    let (recorder, memory) = recorder();
    let mut tape = recorder.tape(protocol, by, "them", tables.iter().copied());
    bytes.chunks(size).for_each(|part| tape.heard(part));
    drop(tape);
    recorder.finish();
    memory.said(Side::Haproxy)
}

fn notify(args: &[(&str, Value)]) -> Vec<u8> {
    let args = args.iter().map(|(name, value)| Argument::new(*name, value.clone())).collect();
    Frame::Notify { stream: 1, frame: 1, messages: vec![Message::new("place", args)] }.encode()
}

#[test]
fn what_is_said_is_kept() {
    let (recorder, memory) = recorder();
    let mut tape = recorder.tape(Protocol::AgentCheck, Side::Haproxy, "127.0.0.1", []);
    tape.heard(b"mm1 lb1\n");
    tape.said(b"up 50%\n");
    tape.said(b"");
    drop(tape);
    let counts = recorder.finish();
    assert_eq!((counts.connections, counts.bytes, counts.lost, counts.fault), (1, 15, 0, None));
    let (lines, counts) = play(&memory.read());
    let frames: Vec<_> = lines.iter().map(|line| line.frame).collect();
    assert_eq!((frames, counts.faults), (vec!["opened", "ask", "reply", "closed"], 0));
}

#[test]
fn text_for_agents_is_masked_but_for_what_places() {
    let args = [
        ("room", Value::string("algebra")),
        ("cookie", Value::string("session=geheim")),
        ("src", Value::Ipv4([127, 0, 0, 1].into())),
        ("body", Value::Binary(b"geheim".to_vec())),
        ("n", Value::Int32(-5)),
    ];
    let sent = [notify(&args), notify(&args)].concat();
    for size in [1, 7, 1000] {
        let kept = kept(Protocol::Spoe, Side::Haproxy, &[], &sent, size);
        assert_eq!(kept.len(), sent.len());
        let text = String::from_utf8_lossy(&kept);
        assert!(text.contains("algebra") && !text.contains("geheim"), "{text}");
        let records = talk(Protocol::Spoe, Side::Haproxy, &[(Side::Haproxy, kept)]);
        let (lines, counts) = play(&records);
        assert_eq!((counts.frames, counts.faults), (2, 0));
        let line = lines[1].to_string();
        assert!(line.contains("cookie=\"**************\", src=\"127.0.0.1\", body=\"******\", n=-5"), "{line}");
    }
    // Cut off, or no frames at all: what nobody can read is nobody's business.
    for sent in [&sent[..40], b"GET /?token=geheim HTTP/1.1\r\nCookie: geheim\r\n"] {
        let kept = kept(Protocol::Spoe, Side::Haproxy, &[], sent, 5);
        assert!(kept.len() == sent.len() && !String::from_utf8_lossy(&kept).contains("geheim"));
    }
}

#[test]
fn keys_of_other_tables_are_masked() {
    let mut sent = peers::Hello::new("rust1", "lb1", 9).to_string().into_bytes();
    for (id, name, key) in [(1, "rooms", "algebra"), (2, "visits", "geheim"), (1, "rooms", "physics")] {
        let table = peers::TableDefinition::new(id, name, peers::KeyType::String, 65, Duration::from_secs(9))
            .with_data(peers::DataType::SERVER_ID);
        let entry = peers::Entry::new(peers::Key::string(key)).with_server_id(3).encode(&table).unwrap();
        peers::Message::Define(table).encode(&mut sent);
        for (update, left) in [(Some(1), None), (None, Some(1000)), (Some(3), Some(1000)), (None, None)] {
            peers::Message::Update(peers::Update::new(update, left, entry.clone())).encode(&mut sent);
        }
    }
    for size in [1, 11, 10_000] {
        let kept = kept(Protocol::Peers, Side::Haproxy, &["rooms"], &sent, size);
        assert_eq!(kept.len(), sent.len());
        let (lines, counts) = play(&talk(Protocol::Peers, Side::Haproxy, &[(Side::Haproxy, kept)]));
        assert_eq!((counts.frames, counts.faults), (1 + 3 * 5, 0));
        let keys: Vec<_> = lines.iter().flat_map(|line| &line.fields).filter(|field| field.name() == "key").collect();
        let keys: Vec<_> = keys.iter().filter_map(|field| field.value().as_str()).collect();
        assert_eq!(keys, [["algebra"; 4], ["******"; 4], ["physics"; 4]].concat());
    }
    let other = b"GET / HTTP/1.1\r\nCookie: geheim\r\n\r\n";
    assert_eq!(kept(Protocol::Peers, Side::Haproxy, &["rooms"], other, 9), [b'*'; 34]);
}

#[test]
fn private_commands_and_their_answers_are_masked() {
    let (recorder, memory) = recorder();
    let mut tape = recorder.tape(Protocol::Runtime, Side::Us, "/run/a.sock", []);
    tape.said(b"prompt\nset severity-output number\n");
    tape.heard(b"\n> \n> ");
    for (said, heard) in [
        ("show info\n", "Name: HAProxy\n\n> "),
        ("set ssl cert /etc/a.pem <<\ngeheim\n\n", "> geheim\n\n> "),
        ("@1 show env\n", "TOKEN=geheim\n\n> "),
        ("show stat\n", "# pxname\n\n> "),
    ] {
        tape.said(said.as_bytes());
        tape.heard(heard.as_bytes());
    }
    drop(tape);
    recorder.finish();
    let (heard, said) = (memory.said(Side::Haproxy), memory.said(Side::Us));
    let (heard, said) = (String::from_utf8(heard).unwrap(), String::from_utf8(said).unwrap());
    assert_eq!(heard, "\n> \n> Name: HAProxy\n\n> > ******\n\n> ************\n\n> # pxname\n\n> ");
    assert!(said.starts_with("prompt\nset severity-output number\nshow info\nset ssl "), "{said}");
    assert!(!said.contains("geheim") && !said.contains("a.pem") && said.ends_with("@1 show env\nshow stat\n"));
}

#[test]
fn a_full_file_ends_with_a_whole_record_that_says_so() {
    let memory = Memory::default();
    let options = RecorderOptions::default().with_max_bytes(5000);
    let recorder = Recorder::to(memory.clone(), options).unwrap();
    let mut tape = recorder.tape(Protocol::AgentCheck, Side::Haproxy, "them", []);
    (0..100).for_each(|_| tape.heard(&[b'x'; 100]));
    drop(tape);
    let counts = recorder.finish();
    assert!(counts.full && counts.lost > 0 && counts.bytes + counts.lost == 10_000, "{counts:?}");
    let records = memory.read();
    assert_eq!(records.last().map(|record| &record.what), Some(&Happened::Full));
    assert!(memory.0.lock().unwrap().len() <= 5000);
}

#[test]
fn who_is_slow_loses_bytes_and_is_told() {
    /// Writes once it may.
    struct Slow(mpsc::Receiver<()>, Memory);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Once the sender is gone there is no waiting.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let (go, wait) = mpsc::channel();
    let memory = Memory::default();
    let recorder = Recorder::to(Slow(wait, memory.clone()), RecorderOptions::default().with_queue(0)).unwrap();
    let mut tape = recorder.tape(Protocol::AgentCheck, Side::Haproxy, "them", []);
    let mut said = 0;
    while recorder.counts().lost == 0 {
        tape.said(&[b'x'; 60_000]);
        said += 60_000;
    }
    drop(go);
    while recorder.counts().bytes < said {
        tape.said(b"y");
        said = if recorder.counts().bytes > 0 { 0 } else { said };
    }
    drop(tape);
    let counts = recorder.finish();
    let lost: u64 = memory
        .read()
        .iter()
        .map(|record| match record.what {
            Happened::Lost { side: Side::Us, bytes } => bytes,
            _ => 0,
        })
        .sum();
    assert_eq!(lost, counts.lost);
}

#[test]
fn a_broken_disk_is_said() {
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let recorder = Recorder::to(Broken, RecorderOptions::default()).unwrap();
    let tape = recorder.tape(Protocol::AgentCheck, Side::Haproxy, "them", []);
    drop(tape);
    assert!(recorder.finish().fault.is_some());
}

#[test]
fn a_file_is_its_owners_and_replaces_none() {
    let folder = crate::testing::Folder::new("trace");
    let path = folder.join("a.trace");
    for _ in 0..3 {
        drop(Recorder::create(&path, RecorderOptions::default()).unwrap());
    }
    let mut names: Vec<_> = std::fs::read_dir(&*folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.trace", "a.trace.old"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read(&path).unwrap().len(), 24);
    assert!(Recorder::create(&folder, RecorderOptions::default()).is_err());
}
