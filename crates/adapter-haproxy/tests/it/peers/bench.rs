//! How quickly a million entries go both ways, beside a bare socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::peers::{
    DataType, Entry, Key, KeyType, NodeEvent, PeerEvent, PeerNodeOptions, PeerOptions, PeerSession, TableDefinition,
};
use balancer_core::MemoryStore;

use super::mesh::{Lb, Node, Plan};
use crate::runtime::live::binaries;

const ENTRIES: usize = 1_000_000;
/// Each is measured that often, both in turn.
const ROUNDS: usize = 3;

fn room(n: usize) -> String {
    format!("conference-room-{n:08}")
}

/// What a node writes for all of them, after the greeting.
fn lesson() -> Vec<u8> {
    let now = Instant::now();
    let mut ours = PeerSession::connect(PeerOptions::new("rust1").with_learning(false), "lb1", now);
    ours.receive(b"200\n", now);
    drop(ours.take_output());
    let table = TableDefinition::new(1, "rooms", KeyType::String, 65, Duration::from_secs(3600))
        .with_data(DataType::SERVER_ID)
        .with_data(DataType::SERVER_KEY);
    ours.define(table).unwrap();
    for n in 0..ENTRIES {
        let (id, name) = (u32::try_from(n % 3 + 1).unwrap(), format!("mm{}", n % 3 + 1));
        ours.teach(1, &Entry::new(Key::string(room(n))).with_server_id(id), Some(name.as_bytes()), None).unwrap();
    }
    ours.end_lesson(true);
    ours.take_output()
}

/// A bare socket that is let in.
fn greet(plan: &Plan) -> (TcpStream, PeerSession) {
    let now = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", plan.lbs[0].1)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut session = PeerSession::connect(PeerOptions::new("rust1").with_learning(false), "lb1", now);
    stream.write_all(&session.take_output()).unwrap();
    until(&mut stream, &mut session, |event| matches!(event, PeerEvent::Open { .. }));
    (stream, session)
}

/// Reads until this happens.
fn until(stream: &mut TcpStream, session: &mut PeerSession, so: impl Fn(&PeerEvent) -> bool) {
    let mut buffer = [0; 65_536];
    loop {
        while let Some(event) = session.poll_event() {
            if so(&event) {
                return;
            }
            assert!(!matches!(event, PeerEvent::Closed(_)), "{event:?}");
        }
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "closed");
        session.receive(&buffer[..len], Instant::now());
    }
}

fn alone(plan: &Plan, binary: &Path) -> Lb {
    let lb = plan.start(0, binary);
    assert_eq!(lb.haproxy.entries("rooms"), 0);
    lb
}

/// How long HAProxy takes to know what a bare socket sends; the HAProxy that knows it.
fn bare_teaching(plan: &Plan, binary: &Path, lesson: &[u8]) -> (Duration, Lb) {
    let lb = alone(plan, binary);
    let (mut stream, mut session) = greet(plan);
    until(&mut stream, &mut session, |event| *event == PeerEvent::Asked);
    let began = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let took = std::thread::scope(|scope| {
        // It acknowledges while it listens.
        scope.spawn(move || lesson.chunks(65_536).for_each(|part| writer.write_all(part).unwrap()));
        until(&mut stream, &mut session, |event| *event == PeerEvent::Taught);
        began.elapsed()
    });
    assert_eq!(lb.haproxy.entries("rooms"), ENTRIES);
    (took, lb)
}

/// The same by a node that has the entries before HAProxy is there.
fn teaching(plan: &Plan, binary: &Path, node: &Node) -> (Duration, Lb) {
    let mut events = node.node.subscribe();
    let mut wait = |so: &dyn Fn(&NodeEvent) -> bool| loop {
        // It must not take a processor from those who are measured.
        if events.blocking_recv().is_ok_and(|event| so(&event)) {
            return Instant::now();
        }
    };
    let lb = plan.start(0, binary);
    let began = wait(&|event| matches!(event, NodeEvent::Open { .. }));
    let ended = wait(&|event| matches!(event, NodeEvent::Taught { .. }));
    assert_eq!(lb.haproxy.entries("rooms"), ENTRIES);
    (ended - began, lb)
}

/// How long HAProxy takes to tell everything to who only takes it.
fn draining(plan: &Plan) -> (Duration, usize) {
    let (mut stream, _) = greet(plan);
    let (began, mut buffer, mut all) = (Instant::now(), vec![0; 65_536], 0);
    stream.write_all(&[0, 0]).unwrap();
    loop {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "closed after {all} bytes");
        all += len;
        if all > ENTRIES * 30 && matches!(buffer[..len], [.., 0, 1 | 2]) {
            return (began.elapsed(), all);
        }
    }
}

/// How long a node takes to have all of it, and when HAProxy had told it.
fn learning(plan: &Plan) -> (Duration, Duration, Node) {
    let began = Instant::now();
    let node = Node::start(calling(plan), Plan::table(), Arc::new(MemoryStore::default()));
    while node.status().peers[0].lessons_in == 0 {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let told = began.elapsed();
    while node.table().learned < ENTRIES as u64 {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    (told, began.elapsed(), node)
}

fn calling(plan: &Plan) -> PeerNodeOptions {
    PeerNodeOptions::new("rust1").with_peer("lb1", format!("127.0.0.1:{}", plan.lbs[0].1).parse().unwrap())
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn rate(took: Duration) -> f64 {
    ENTRIES as f64 / took.as_secs_f64() / 1e6
}

#[test]
#[ignore = "takes minutes: cargo xtask bench haproxy-peers"]
fn a_million_entries() {
    let lesson = lesson();
    for binary in binaries() {
        println!("{}", binary.display());
        let plan = Plan::new(1, 1);
        // What a node holds, before HAProxy is there.
        let before = resident();
        let store = MemoryStore::default();
        for n in 0..ENTRIES {
            let want = balancer_core::Want {
                backend: format!("mm{}", n % 3 + 1).as_str().into(),
                token: balancer_core::Token(n as u64),
            };
            let key = balancer_core::StickKey::new(room(n)).unwrap();
            store.claim_now(&key, &want, Duration::from_secs(3600)).unwrap();
        }
        let stored = resident();
        let node = Node::start(calling(&plan), Plan::table(), Arc::new(store));
        while node.table().entries < ENTRIES as u64 {
            std::thread::yield_now();
        }
        let kept = resident();
        println!(
            "memory: {} bytes an entry by the node, {} more by the store",
            (kept - stored) / ENTRIES,
            (stored - before) / ENTRIES
        );
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, lb) = teaching(&plan, &binary, &node);
            ours.push(took);
            drop(lb);
        }
        node.stop();
        for _ in 0..ROUNDS {
            bare.push(bare_teaching(&plan, &binary, &lesson).0);
        }
        let (ours, bare) = (median(ours), median(bare));
        let share = bare.as_secs_f64() / ours.as_secs_f64();
        println!(
            "taught: {:.2} M entries a second, a bare socket {:.2} M: {:.0} %",
            rate(ours),
            rate(bare),
            share * 100.0
        );

        let (_, mut lb) = bare_teaching(&plan, &binary, &lesson);
        let (mut told, mut had, mut drained, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (took, all) = draining(&plan);
            drained.push(took);
            bytes = all;
            let (one, two, node) = learning(&plan);
            told.push(one);
            had.push(two);
            node.stop();
        }
        println!(
            "received: {:.2} M entries a second, a client that only drains {:.2} M; in the store {:.2} M; {:.1} bytes each",
            rate(median(told)),
            rate(median(drained)),
            rate(median(had)),
            bytes as f64 / ENTRIES as f64,
        );

        let node = Node::start(calling(&plan), Plan::table(), Arc::new(MemoryStore::default()));
        node.connected();
        let mut times: Vec<Duration> = (0..2000)
            .map(|n| {
                let began = Instant::now();
                let home = lb.home(&format!("new{n}"));
                while node.stored(&format!("new{n}")).as_deref() != Some(&home) {
                    std::hint::spin_loop();
                }
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("request to entry: p50 {:.0?}, p99 {:.0?}", times[1000], times[1980]);
        node.stop();
        assert!(share >= 0.85, "taught at {:.0} % of a bare socket", share * 100.0);
    }
}
