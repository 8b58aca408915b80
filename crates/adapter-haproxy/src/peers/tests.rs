use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

#[cfg(feature = "peers")]
use super::session::{HeardPin, HeardPins};
use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn rooms(id: u64) -> TableDefinition {
    TableDefinition::new(id, "rooms", KeyType::String, 65, Duration::from_secs(30))
        .with_data(DataType::SERVER_ID)
        .with_data(DataType::SERVER_KEY)
}

fn entry(room: &str, server: u32) -> Entry {
    Entry::new(Key::string(room)).with_server_id(server)
}

fn written(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut cutter = MessageCutter::default();
    cutter.push(bytes);
    let all = std::iter::from_fn(|| cutter.cut().unwrap()).collect();
    assert_eq!(cutter.pending(), 0);
    all
}

fn events(session: &mut PeerSession) -> Vec<PeerEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Everything written by either is read by the other, in pieces of so many bytes.
fn exchange(a: &mut PeerSession, b: &mut PeerSession, now: Instant, piece: usize) {
    loop {
        let (to_b, to_a) = (a.take_output(), b.take_output());
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        to_b.chunks(piece).for_each(|part| b.receive(part, now));
        to_a.chunks(piece).for_each(|part| a.receive(part, now));
    }
}

fn pair(now: Instant) -> (PeerSession, PeerSession) {
    let mut a = PeerSession::connect(PeerOptions::new("a").with_learning(false), "b", now);
    let mut b = PeerSession::accept(PeerOptions::new("b").with_learning(false), vec!["a".to_owned()], now);
    exchange(&mut a, &mut b, now, 1000);
    assert!(a.is_open() && b.is_open());
    (a, b)
}

#[test]
fn known_bytes() {
    assert_eq!(hex(&written(&Message::Define(rooms(3)))), "0a82100305726f6f6d730641f1f1fe00f0c40d");
    let now = Instant::now();
    let (mut a, _) = pair(now);
    events(&mut a);
    a.define(rooms(3)).unwrap();
    a.teach(3, &entry("room-1-0", 1), Some(b"mm1"), None).unwrap();
    a.take_output();
    a.teach(3, &entry("room-1-0", 1), Some(b"mm1"), None).unwrap();
    assert_eq!(hex(&a.take_output()), "0a801000000002".to_owned() + "08726f6f6d2d312d3001" + "0101");
}

#[test]
fn a_lesson() {
    let now = Instant::now();
    for piece in [1, 7, 1000] {
        let mut a = PeerSession::connect(PeerOptions::new("a").with_pid(9), "b", now);
        let mut b = PeerSession::accept(PeerOptions::new("b").with_learning(false), vec!["a".to_owned()], now);
        exchange(&mut a, &mut b, now, piece);
        assert_eq!(events(&mut b), [PeerEvent::Open { peer: "a".to_owned(), minor: 1 }, PeerEvent::Asked]);
        b.define(rooms(7)).unwrap();
        let left = Some(Duration::from_millis(1500));
        assert_eq!(b.teach(7, &entry("r1", 1), Some(b"mm1"), left), Ok(1));
        assert_eq!(b.teach(7, &entry("r2", 2), None, None), Ok(2));
        assert_eq!(b.teach(7, &entry("r1", 1), Some(b"mm1"), None), Ok(3));
        b.end_lesson(true);
        exchange(&mut a, &mut b, now, piece);
        let learned: Vec<_> = events(&mut a)
            .into_iter()
            .filter_map(|event| match event {
                PeerEvent::Learned { entry, server_key, remaining, lesson: true, table: 7 } => {
                    let Key::String(key) = entry.key().clone() else { panic!() };
                    Some((key, entry.server_id(), server_key, remaining))
                }
                _ => None,
            })
            .collect();
        assert_eq!(
            learned,
            [
                (b"r1".to_vec(), Some(1), Some(b"mm1".to_vec()), left),
                (b"r2".to_vec(), Some(2), None, None),
                (b"r1".to_vec(), Some(1), Some(b"mm1".to_vec()), None),
            ]
        );
        let heard = events(&mut b);
        assert!(heard.contains(&PeerEvent::Taught) && heard.contains(&PeerEvent::Acknowledged { table: 7, update: 3 }));
    }
}

#[test]
fn greetings() {
    let now = Instant::now();
    for (greeting, status) in [
        ("HAProxyS 2.1\nb\na 1 1\n", 200),
        ("HAProxyS 2.0\nb\na 1 1\n", 200),
        ("HAProxyS 2.2\nb\na 1 1\n", 502),
        ("HAProxyS 3.0\n", 502),
        ("HAProxyS x\n", 502),
        ("GET / HTTP/1.0\n", 501),
        ("HAProxyS 2.1\nc\na 1 1\n", 503),
        ("HAProxyS 2.1\nb\nx 1 1\n", 504),
        ("HAProxyS 2.1\nb\na\n", 501),
    ] {
        let mut b = PeerSession::accept(PeerOptions::new("b").with_learning(false), vec!["a".to_owned()], now);
        greeting.as_bytes().chunks(3).for_each(|part| b.receive(part, now));
        assert_eq!(b.take_output(), format!("{status}\n").as_bytes(), "{greeting:?}");
        assert_eq!(b.is_over(), status != 200);
    }
    let mut endless = PeerSession::accept(PeerOptions::new("b"), vec![], now);
    endless.receive(&[b'x'; 1000], now);
    assert!(endless.is_over());

    let mut a = PeerSession::connect(PeerOptions::new("a"), "b", now);
    a.receive(b"502\n", now);
    assert_eq!(events(&mut a), [PeerEvent::Closed(CloseReason::Refused(HelloStatus::VERSION))]);
}

#[test]
fn version_2_0_knows_no_remaining_time() {
    let now = Instant::now();
    let mut a = PeerSession::connect(PeerOptions::new("a").with_minor(0).with_learning(false), "b", now);
    a.receive(b"200\n", now);
    a.define(rooms(1)).unwrap();
    a.take_output();
    a.teach(1, &entry("r", 1), None, Some(Duration::from_secs(1))).unwrap();
    let sent = messages(&a.take_output());
    assert!(matches!(&sent[1], Message::Update(Update { id: Some(1), remaining: None, .. })));
}

#[test]
fn silence_and_heartbeats() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let later = now + Duration::from_secs(3);
    assert_eq!(a.deadline(), Some(later));
    a.tick(later);
    let beat = a.take_output();
    assert_eq!(beat, [0, 4]);
    b.receive(&beat, later);
    events(&mut a);
    a.tick(now + Duration::from_secs(5));
    assert_eq!(events(&mut a), [PeerEvent::Closed(CloseReason::Silent)]);
    b.tick(now + Duration::from_secs(5));
    assert!(b.is_open());
    assert_eq!(a.deadline(), None);
}

#[test]
fn odd_acknowledgements_are_none() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.define(rooms(1)).unwrap();
    a.teach(1, &entry("r", 1), None, None).unwrap();
    a.teach(1, &entry("r", 2), None, None).unwrap();
    events(&mut a);
    for (update, heard) in [(0x0200_0000, false), (3, false), (0, false), (2, true), (1, false), (2, false)] {
        a.receive(&written(&Message::Ack { table: 1, update }), now);
        assert_eq!(!events(&mut a).is_empty(), heard, "{update}");
    }
    a.receive(&written(&Message::Ack { table: 9, update: 1 }), now);
    assert_eq!(events(&mut a), []);
}

#[test]
fn what_is_refused() {
    let now = Instant::now();
    let define = written(&Message::Define(rooms(1)));
    let update = |tail: &[u8]| {
        let body = [&[0, 0, 0, 1, 1, b'r', 1], tail].concat();
        [define.clone(), vec![10, 0x80, u8::try_from(body.len()).unwrap()], body].concat()
    };
    for (bytes, complaint) in [
        (vec![10, 0x80, 5, 0, 0, 0, 1, 0], Complaint::Protocol), // of no table
        (update(&[1, 0]), Complaint::Protocol),                  // name 0
        (update(&[1, 129]), Complaint::Protocol),                // name 129
        (update(&[1, 5]), Complaint::Protocol),                  // a name never told
        (update(&[9, 1, 1, b'x']), Complaint::Protocol),         // more announced than there is
        (vec![255, 1], Complaint::Protocol),
        (vec![10, 0x83, 1, 9], Complaint::Protocol),
        (vec![10, 0x80, 0xFF, 0xFF, 0xFF, 0x0F], Complaint::TooLong),
    ] {
        let (mut a, _) = pair(now);
        a.receive(&bytes, now);
        assert_eq!(messages(&a.take_output()).last(), Some(&Message::Error(complaint)), "{}", hex(&bytes));
        assert!(a.is_over());
    }
    // What was taken before is acknowledged, and nothing else.
    let (mut a, _) = pair(now);
    a.receive(&[update(&[0]), vec![10, 0x81, 5, 1, b'r', 1, 1, 5]].concat(), now);
    let ack = Message::Ack { table: 1, update: 1 };
    assert_eq!(messages(&a.take_output()), [Message::Error(Complaint::Protocol), ack]);
    let (mut a, _) = pair(now);
    a.receive(&[7, 1, 7, 200, 2, 1, 2, 0, 9, 10, 0x99, 0], now); // newer than we are
    assert!(a.is_open());
    a.receive(&update(&[0]), now); // nothing said of the name
    assert!(a.is_open());
    assert!(matches!(events(&mut a).last(), Some(PeerEvent::Learned { server_key: None, .. })));
    a.receive(&[1, 0], now);
    assert_eq!(events(&mut a), [PeerEvent::Closed(CloseReason::Complained(Complaint::Protocol))]);
}

#[test]
fn what_cannot_be_taught() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.define(rooms(1)).unwrap();
    let long = entry(&"x".repeat(65), 1);
    assert_eq!(a.teach(2, &entry("r", 1), None, None), Err(TeachError::NoTable { table: 2 }));
    assert!(matches!(a.teach(1, &long, None, None), Err(TeachError::Entry(EntryError::Text { len: 65, most: 64 }))));
    assert!(matches!(a.teach(1, &entry("a\0b", 1), None, None), Err(TeachError::Entry(_))));
    let bare = Entry::new(Key::string("r"));
    assert!(matches!(a.teach(1, &bare, None, None), Err(TeachError::Entry(EntryError::Data("server_id")))));
    let number = Entry::new(Key::Integer(1)).with_server_id(1);
    assert!(matches!(a.teach(1, &number, None, None), Err(TeachError::Entry(EntryError::KeyType(_)))));
    assert!(matches!(a.teach(1, &entry("r", 1), Some(&[b'x'; 16_384]), None), Err(TeachError::TooLong { .. })));
    assert!(a.take_output().is_empty());
}

#[test]
fn names_stay_within_their_numbers() {
    let (mut sent, mut received) = (NamesSent::new(), NamesReceived::new());
    for i in 0..1000 {
        let name = format!("mm{}", i % 300).into_bytes();
        let told = sent.refer(&name);
        let (NameRef::New(id, _) | NameRef::Known(id)) = &told else { panic!() };
        assert!((1..=DICTIONARY_LEN).contains(id));
        assert_eq!(received.resolve(&told), Ok(Some(name.clone())));
        assert_eq!(sent.refer(&name), NameRef::Known(*id));
    }
}

fn all_data() -> impl Strategy<Value = (TableDefinition, Entry)> {
    let key = prop_oneof![
        any::<u32>().prop_map(|n| (KeyType::Integer, 4, Key::Integer(n))),
        any::<std::net::Ipv4Addr>().prop_map(|a| (KeyType::Ipv4, 4, Key::Ipv4(a))),
        any::<std::net::Ipv6Addr>().prop_map(|a| (KeyType::Ipv6, 16, Key::Ipv6(a))),
        vec(1..=255_u8, 0..300).prop_map(|b| (KeyType::String, 301, Key::String(b))),
        vec(any::<u8>(), 0..20).prop_map(|b| (KeyType::Binary, b.len(), Key::Binary(b))),
    ];
    let rate = || (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(a, b, c)| Rate::new(a, b, c));
    let name = prop_oneof![
        Just(NameRef::Nothing),
        (1..=DICTIONARY_LEN).prop_map(NameRef::Known),
        (1..=DICTIONARY_LEN, vec(any::<u8>(), 0..300)).prop_map(|(id, name)| NameRef::New(id, name)),
    ];
    let values = (any::<u64>(), rate(), vec(any::<u64>(), 0..9), vec(rate(), 0..9), name);
    (any::<u64>(), "\\PC{0,30}", key, 0..1_u64 << 27, 0..u64::from(u32::MAX), values).prop_map(
        |(id, name, (kind, len, key), bits, ms, values)| {
            let period = Duration::from_millis(ms);
            let mut table = TableDefinition::new(id, name, kind, len.try_into().unwrap(), period);
            let mut entry = Entry::new(key);
            for data in (0..27).filter(|bit| bits >> bit & 1 == 1).filter_map(DataType::by_number) {
                let (number, rate, numbers, rates, name) = values.clone();
                (table, entry) = match data.kind() {
                    DataKind::Number => (table.with_data(data), entry.with(data, Datum::Number(number))),
                    DataKind::Name => (table.with_data(data), entry.with(data, Datum::Name(name))),
                    DataKind::Rate => (table.with_rate(data, period), entry.with(data, Datum::Rate(rate))),
                    DataKind::Numbers => {
                        let count = numbers.len().try_into().unwrap();
                        (table.with_array(data, count, period), entry.with(data, Datum::Numbers(numbers)))
                    }
                    DataKind::Rates => {
                        let count = rates.len().try_into().unwrap();
                        (table.with_array(data, count, period), entry.with(data, Datum::Rates(rates)))
                    }
                };
            }
            (table, entry)
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        prop::sample::select(vec![
            Control::ResyncRequest,
            Control::ResyncFinished,
            Control::ResyncPartial,
            Control::ResyncConfirm,
            Control::Heartbeat,
        ])
        .prop_map(Message::Control),
        prop::sample::select(vec![Complaint::Protocol, Complaint::TooLong]).prop_map(Message::Error),
        all_data().prop_map(|(table, _)| Message::Define(table)),
        any::<u64>().prop_map(|table| Message::Switch { table }),
        (any::<u64>(), any::<u32>()).prop_map(|(table, update)| Message::Ack { table, update }),
        (any::<Option<u32>>(), any::<Option<u32>>(), vec(any::<u8>(), 0..300))
            .prop_map(|(id, remaining, body)| Message::Update(Update { id, remaining, body })),
        (11..255_u8, 128..=255_u8, vec(any::<u8>(), 0..300)).prop_map(|(class, kind, payload)| Message::Unknown {
            class,
            kind,
            payload
        }),
    ]
}

proptest! {
    #[test]
    fn every_message(all in vec(message(), 0..5)) {
        let bytes: Vec<u8> = all.iter().flat_map(written).collect();
        prop_assert_eq!(messages(&bytes), all);
        // Cut anywhere, it is the same.
        prop_assert_eq!(crate::testing::decoders::peers_codec(&bytes), crate::testing::decoders::Outcome::Read);
        crate::testing::decoders::peers_session(&bytes);
    }

    #[test]
    fn every_entry((table, entry) in all_data()) {
        let body = entry.encode(&table).unwrap();
        prop_assert_eq!(Entry::decode(&table, &body).unwrap(), entry);
        for cut in 0..body.len() {
            let _ = Entry::decode(&table, &body[..cut]);
        }
    }

    /// No bytes make a session panic, and none make it keep or send more than they are.
    #[test]
    fn any_bytes(all in vec(message(), 0..4), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), noise in vec(any::<u8>(), 0..200)) {
        let mut bytes: Vec<u8> = all.iter().flat_map(written).chain(noise).collect();
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        let now = Instant::now();
        let (mut a, _) = pair(now);
        let mut fresh = PeerSession::accept(PeerOptions::new("b"), vec![], now);
        for part in bytes.chunks(9) {
            a.receive(part, now);
            fresh.receive(part, now);
        }
        prop_assert!(a.pending() <= bytes.len() && fresh.pending() <= bytes.len());
        prop_assert!(a.output_len() <= 8 * bytes.len() + 8);
        let _ = HelloStatus::decode(&bytes);
    }
}

#[cfg(feature = "peers")]
proptest! {
    /// The quick way of teaching writes what the general one does, or refuses what it refuses.
    #[test]
    fn both_ways_of_teaching_are_one(
        pins in vec((vec(any::<u8>(), 0..80), 0_u32..300, "[a-c]{0,3}", proptest::option::of(0_u64..100_000)), 1..40),
        kind in 0_usize..3,
        bits in 1_u64..4,
    ) {
        let now = Instant::now();
        let (mut quick, _) = pair(now);
        let (mut general, _) = pair(now);
        let kind = [KeyType::String, KeyType::Binary, KeyType::Ipv4][kind];
        let mut table = TableDefinition::new(1, "t", kind, 33, Duration::from_secs(60));
        for (bit, data) in [(1, DataType::SERVER_ID), (2, DataType::SERVER_KEY)] {
            if bits & bit != 0 {
                table = table.with_data(data);
            }
        }
        quick.define(table.clone()).unwrap();
        general.define(table).unwrap();
        for (key, id, name, left) in pins {
            let left = left.map(Duration::from_millis);
            let entry = match kind {
                KeyType::Ipv4 => <[u8; 4]>::try_from(&*key).map_or(Key::Binary(key.clone()), |ip| Key::Ipv4(ip.into())),
                KeyType::String => Key::String(key.clone()),
                _ => Key::Binary(key.clone()),
            };
            let entry = Entry::new(entry).with_server_id(id);
            let (one, other) =
                (quick.teach_pin(1, &key, id, name.as_bytes(), left), general.teach(1, &entry, Some(name.as_bytes()), left));
            prop_assert_eq!(one, other);
            prop_assert_eq!(quick.take_output(), general.take_output());
        }
    }

    /// The quick way of hearing says what the general one does, and answers the same, whatever comes.
    #[test]
    fn both_ways_of_hearing_are_one(
        tables in vec(all_data(), 1..4),
        more in vec(message(), 0..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        piece in 1_usize..400,
    ) {
        let mut bytes = Vec::new();
        let updates = [(Some(7), None), (None, Some(1000)), (None, None)];
        for ((table, entry), other) in tables.into_iter().zip(more.iter().map(Some).chain(std::iter::repeat(None))) {
            let body = entry.encode(&table).unwrap();
            bytes.extend(written(&Message::Define(table)));
            for (id, remaining) in updates {
                bytes.extend(written(&Message::Update(Update::new(id, remaining, body.clone()))));
            }
            bytes.extend(other.map(written).unwrap_or_default());
        }
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let now = Instant::now();
        let (mut quick, _) = pair(now);
        let (mut general, _) = pair(now);
        events(&mut quick);
        events(&mut general);
        let mut pins = HeardPins::default();
        for part in bytes.chunks(piece) {
            quick.feed(part, now);
            general.receive(part, now);
            let mut expected = events(&mut general).into_iter();
            loop {
                pins.clear();
                let event = quick.advance(&mut pins, now);
                let all = pins.tables().flat_map(|(table, pins)| pins.map(move |pin| (table, pin)));
                for (of, pin) in all {
                    let Some(PeerEvent::Learned { table, entry, server_key, remaining, .. }) = expected.next() else {
                        panic!("{pin:?} was not told");
                    };
                    let id = entry.server_id().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
                    let key = match entry.into_key() {
                        Key::String(bytes) | Key::Binary(bytes) => bytes,
                        Key::Integer(n) => n.to_be_bytes().to_vec(),
                        Key::Ipv4(ip) => ip.octets().to_vec(),
                        Key::Ipv6(ip) => ip.octets().to_vec(),
                    };
                    let remaining = remaining.map(|left| u32::try_from(left.as_millis()).unwrap());
                    prop_assert_eq!((of, pin.name.map(|name| pins.name(name))), (table, server_key.as_deref()));
                    prop_assert_eq!(pin, HeardPin { key: &key, server_id: id, name: pin.name, remaining });
                }
                match (event, expected.next()) {
                    (None, None) => break,
                    // Where in a message a fault is said to be differs.
                    (Some(PeerEvent::Closed(_)), Some(PeerEvent::Closed(_))) => {}
                    (one, other) => prop_assert_eq!(one, other),
                }
            }
            prop_assert_eq!(quick.take_output(), general.take_output());
            prop_assert_eq!(quick.is_over(), general.is_over());
        }
    }
}
