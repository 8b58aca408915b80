use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::Reader;

fn greeted(options: AgentOptions, hello: HaproxyHello) -> (AgentSession, Vec<Event>, Vec<u8>) {
    let mut session = AgentSession::new(options);
    session.receive(&Frame::HaproxyHello(hello).encode());
    let events = std::iter::from_fn(|| session.poll_event()).collect();
    let output = session.take_output();
    (session, events, output)
}

fn sent(output: &[u8]) -> Vec<Frame> {
    let mut cutter = FrameCutter::new(MAX_FRAME);
    cutter.push(output);
    std::iter::from_fn(|| cutter.cut().unwrap().map(|frame| Frame::decode(frame).unwrap())).collect()
}

fn refusal(mut session: AgentSession, bytes: &[u8]) -> Status {
    session.receive(bytes);
    assert!(session.is_over());
    let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
    let Some(Event::Refused { status, .. }) = events.last() else { panic!("{events:?}") };
    let frames = sent(&session.take_output());
    assert_eq!(frames.last(), Some(&Frame::AgentDisconnect(Disconnect::new(*status))));
    *status
}

fn open() -> AgentSession {
    greeted(AgentOptions::default(), HaproxyHello::new(16_380)).0
}

#[test]
fn greetings() {
    for (hello, status) in [
        (HaproxyHello { versions: Some("1.0, 3.0".to_owned()), ..HaproxyHello::new(16_380) }, 8),
        (HaproxyHello { versions: None, ..HaproxyHello::new(16_380) }, 5),
        (HaproxyHello { max_frame_size: None, ..HaproxyHello::new(16_380) }, 6),
        (HaproxyHello::new(255), 9),
    ] {
        let session = AgentSession::new(AgentOptions::default());
        assert_eq!(refusal(session, &Frame::HaproxyHello(hello).encode()), Status::new(status));
    }
    let hello = HaproxyHello { versions: Some("1.0, 2.0".to_owned()), ..HaproxyHello::new(1000) };
    let (session, events, output) = greeted(AgentOptions::default(), hello.clone());
    assert!(!session.is_over());
    assert_eq!(events, [Event::Hello(hello)]);
    assert_eq!(sent(&output), [Frame::AgentHello(AgentHello::new(1000, Some("pipelining".to_owned())))]);

    let check = HaproxyHello { health_check: Some(true), ..HaproxyHello::new(16_380) };
    let (session, events, output) = greeted(AgentOptions::default(), check);
    assert!(session.is_over());
    assert_eq!((events.as_slice(), sent(&output).len()), (&[Event::HealthCheck][..], 1));
}

#[test]
fn queries_are_answered_once_in_any_order() {
    let mut session = open();
    let ask = |stream| Frame::Notify {
        stream,
        frame: 1,
        messages: vec![Message::new("place", vec![Argument::new("room", Value::string("a"))])],
    };
    let bytes: Vec<u8> = [ask(1), ask(2)].iter().flat_map(Frame::encode).collect();
    for byte in bytes {
        session.receive(&[byte]);
    }
    let tickets: Vec<Ticket> = std::iter::from_fn(|| session.poll_event())
        .map(|event| match event {
            Event::Query { ticket, messages } => {
                assert_eq!(messages[0].arg("room").and_then(Value::as_str), Some("a"));
                ticket
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let action = vec![Action::set(Scope::Transaction, "server", Value::string("mm2"))];
    session.answer(tickets[1], action.clone()).unwrap();
    assert!(session.answer(tickets[1], action.clone()).is_err());
    let long = vec![Action::set(Scope::Process, "x", Value::Binary(vec![0; 16_380]))];
    assert!(matches!(session.answer(tickets[0], long), Err(AnswerError::TooBig { .. })));
    session.answer(tickets[0], vec![]).unwrap();
    assert_eq!(
        sent(&session.take_output()),
        [Frame::Ack { stream: 2, frame: 1, actions: action }, Frame::Ack { stream: 1, frame: 1, actions: vec![] }]
    );
    assert_eq!(session.open_queries(), 0);

    session.receive(&Frame::HaproxyDisconnect(Disconnect::new(Status::NORMAL)).encode());
    assert_eq!(session.poll_event(), Some(Event::Left(Disconnect::new(Status::NORMAL))));
    assert!(session.is_over());
}

#[test]
fn refusals() {
    let mut fragment = Frame::Notify { stream: 1, frame: 1, messages: vec![] }.encode();
    fragment[8] = 0;
    assert_eq!(refusal(open(), &fragment), Status::FRAGMENTATION);
    fragment[8] = 3;
    assert_eq!(refusal(open(), &fragment), Status::FRAGMENTATION);
    assert_eq!(refusal(open(), &16_381_u32.to_be_bytes()), Status::TOO_BIG);
    assert_eq!(refusal(open(), &[0, 0, 0, 0]), Status::INVALID);
    let again = Frame::HaproxyHello(HaproxyHello::new(16_380)).encode();
    assert_eq!(refusal(open(), &again), Status::INVALID);
    let ask = Frame::Notify { stream: 1, frame: 1, messages: vec![] }.encode();
    assert_eq!(refusal(AgentSession::new(AgentOptions::default()), &ask), Status::INVALID);
    assert_eq!(refusal(open(), &[ask.clone(), ask.clone()].concat()), Status::INVALID);
    let narrow = greeted(AgentOptions::default().with_open_queries(1), HaproxyHello::new(16_380)).0;
    let other = Frame::Notify { stream: 2, frame: 1, messages: vec![] }.encode();
    assert_eq!(refusal(narrow, &[ask, other].concat()), Status::RESOURCES);
}

fn message(reader: &mut Reader<'_>) -> Option<Message> {
    let (name, count) = (reader.bytes().ok()?.to_vec(), reader.u8().ok()?);
    let args = (0..count).map(|_| Argument::read(reader).ok()).collect::<Option<_>>()?;
    Some(Message { name, args })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::Uint32),
        any::<i64>().prop_map(Value::Int64),
        any::<u64>().prop_map(Value::Uint64),
        any::<std::net::Ipv4Addr>().prop_map(Value::Ipv4),
        any::<std::net::Ipv6Addr>().prop_map(Value::Ipv6),
        vec(any::<u8>(), 0..300).prop_map(Value::String),
        vec(any::<u8>(), 0..300).prop_map(Value::Binary),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let name = || vec(any::<u8>(), 0..20);
    let scope =
        prop::sample::select(vec![Scope::Process, Scope::Session, Scope::Transaction, Scope::Request, Scope::Response]);
    let argument = (name(), value()).prop_map(|(name, value)| Argument::new(name, value));
    let message = (name(), vec(argument, 0..5)).prop_map(|(name, args)| Message::new(name, args));
    let action = prop_oneof![
        (scope.clone(), name(), value()).prop_map(|(scope, name, value)| Action::set(scope, name, value)),
        (scope, name()).prop_map(|(scope, name)| Action::unset(scope, name)),
    ];
    let text = || proptest::option::of("\\PC{0,40}");
    let hello = (text(), proptest::option::of(any::<u32>()), text(), text(), any::<Option<bool>>()).prop_map(
        |(versions, max_frame_size, capabilities, engine_id, health_check)| {
            Frame::HaproxyHello(HaproxyHello { versions, max_frame_size, capabilities, engine_id, health_check })
        },
    );
    let leave = (any::<u32>(), "\\PC{0,40}").prop_map(|(n, text)| Disconnect::new(Status::new(n)).with_message(text));
    prop_oneof![
        hello,
        (any::<u32>(), text()).prop_map(|(size, text)| Frame::AgentHello(AgentHello::new(size, text))),
        leave.clone().prop_map(Frame::HaproxyDisconnect),
        leave.prop_map(Frame::AgentDisconnect),
        (any::<u64>(), any::<u64>(), vec(message, 0..5)).prop_map(|(stream, frame, messages)| Frame::Notify {
            stream,
            frame,
            messages
        }),
        (any::<u64>(), any::<u64>(), vec(action, 0..5)).prop_map(|(stream, frame, actions)| Frame::Ack {
            stream,
            frame,
            actions
        }),
    ]
}

proptest! {
    #[test]
    fn round_trip(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(sent(&bytes), [frame]);
        // Cut anywhere, it is the same.
        prop_assert_eq!(crate::testing::decoders::spoe_frame(&bytes), crate::testing::decoders::Outcome::Read);
        crate::testing::decoders::spoe_session(&bytes);
    }

    /// No bytes make it panic, and none make it keep more than they are.
    #[test]
    fn any_bytes(frame in frame(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut in any::<prop::sample::Index>()) {
        let mut bytes = frame.encode();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = Frame::decode(&bytes[4..]);
        let _ = Frame::decode(&bytes[..cut.index(bytes.len())]);
        let mut session = open();
        for part in bytes.chunks(7) {
            session.receive(part);
        }
        prop_assert!(session.pending() <= bytes.len());
        prop_assert!(session.take_output().len() < 100);
    }

    /// Read where they stand, questions are what they are when copied, and nothing that is wrong is passed over.
    #[test]
    fn questions_where_they_stand(
        messages in vec((vec(any::<u8>(), 0..9), vec((vec(any::<u8>(), 0..9), value()), 0..5)), 0..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let messages = messages.into_iter().map(|(name, args)| {
            Message::new(name, args.into_iter().map(|(name, value)| Argument::new(name, value)).collect())
        });
        let frame = Frame::Notify { stream: 1, frame: 1, messages: messages.collect() };
        let mut bytes = frame.encode().split_off(11);
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        let mut reader = Reader::new(&bytes);
        let mut copied = Some(Vec::new());
        while !reader.is_empty() && copied.is_some() {
            let message = message(&mut reader);
            copied = copied.zip(message).map(|(mut copied, message)| {
                copied.push(message);
                copied
            });
        }
        let standing = asked::Messages::read(&mut Reader::new(&bytes)).ok();
        prop_assert_eq!(standing.map(|messages| messages.to_vec()), copied);
    }

    #[test]
    fn replies(frame in frame(), name in "[a-z]{1,9}", text in ".{0,40}", n: u64) {
        if let Frame::Ack { actions, .. } = frame {
            let reply = Reply::from(&*actions);
            prop_assert_eq!((reply.len(), reply.is_empty()), (actions.len(), actions.is_empty()));
            prop_assert_eq!(reply.to_actions(), actions);
        }
        let told = Reply::new().with_text(Scope::Transaction, &name, &text);
        prop_assert_eq!(told.to_actions(), [Action::set(Scope::Transaction, name, Value::string(text))]);
        for n in [n, n >> 40, 0, u64::MAX] {
            let decimal = reply::Decimal::of(n);
            prop_assert_eq!(std::str::from_utf8(decimal.digits()), Ok(&*n.to_string()));
        }
    }

    #[test]
    fn no_bytes_at_all_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Frame::decode(&bytes);
        let mut session = AgentSession::new(AgentOptions::default());
        session.receive(&bytes);
    }
}
