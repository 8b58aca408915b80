//! How quickly a million entries go both ways, beside a bare socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::peers::{Hello, NodeEvent, PeerEvent, PeerNode, PeerNodeOptions};
use balancer_core::{BackendId, MemoryOptions, MemoryStore, StickKey, Token, Want};

use super::bare::Bare;
use super::mesh::{Lb, Node, Plan};
use crate::haproxy::Haproxy;
use crate::runtime::live::binaries;

const ENTRIES: usize = 1_000_000;
/// How many bytes are read or written at once.
const READ: usize = 64 * 1024;
/// Each is measured that often, both in turn.
const ROUNDS: usize = 5;
/// How often a request is followed to its entry.
const REQUESTS: usize = 2000;
/// No more than half an hour is left of what lives for an hour: entries are told with their time.
const LIFE: Duration = Duration::from_secs(1800);

fn room(n: usize) -> String {
    format!("conference-room-{n:08}")
}

fn backend(n: usize) -> BackendId {
    format!("mm{}", n % 3 + 1).as_str().into()
}

/// A store that has room for all of them and more.
fn store() -> MemoryStore {
    MemoryStore::new(MemoryOptions::new().capacity(2 * ENTRIES))
}

fn full_store() -> MemoryStore {
    let store = store();
    for n in 0..ENTRIES {
        let want = Want { backend: backend(n), token: Token(n as u64) };
        store.claim_now(&StickKey::new(room(n)).unwrap(), &want, LIFE).unwrap();
    }
    store
}

/// What a node writes to a peer that asks for everything, after the greeting.
fn written(plan: &Plan) -> Vec<u8> {
    let listener = TcpListener::bind(("127.0.0.1", plan.lbs[0].1)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; READ]);
    let mut read = |stream: &mut TcpStream, all: &mut Vec<u8>| {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "closed after {} bytes", all.len());
        all.extend_from_slice(&buffer[..len]);
    };
    let len = loop {
        if let Some((_, len)) = Hello::decode(&all).unwrap() {
            break len;
        }
        read(&mut stream, &mut all);
    };
    drop(all.drain(..len));
    stream.write_all(b"200\n\0\0").unwrap();
    while all.len() < ENTRIES * 30 || !matches!(all[..], [.., 0, 1 | 2]) {
        read(&mut stream, &mut all);
    }
    all
}

/// It has all of them. Its list of tables says so without those who wait for a million lines.
fn known(lb: &Lb) {
    let told = lb.haproxy.order("show table");
    assert!(told.lines().any(|line| line.contains("rooms,") && line.ends_with(&format!("used:{ENTRIES}"))), "{told}");
}

/// How long something took with a HAProxy: by the clock, and without the time in which HAProxy had no processor. What
/// else runs on the machine changes the first.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    own: Duration,
}

struct Watch<'h> {
    haproxy: &'h Haproxy,
    began: Instant,
    queued: Duration,
}

impl<'h> Watch<'h> {
    fn start(haproxy: &'h Haproxy) -> Self {
        Self { haproxy, began: Instant::now(), queued: haproxy.queued() }
    }

    fn stop(&self) -> Took {
        let wall = self.began.elapsed();
        Took { wall, own: wall.saturating_sub(self.haproxy.queued() - self.queued) }
    }
}

/// How long HAProxy takes to know what a bare socket sends; the HAProxy that knows it.
fn bare_teaching(plan: &Plan, binary: &Path, written: &[u8]) -> (Took, Lb) {
    let lb = plan.start(0, binary);
    let watch = Watch::start(&lb.haproxy);
    let mut bare = Bare::greet(plan);
    let mut writer = bare.stream.try_clone().unwrap();
    let taught = std::thread::scope(|scope| {
        // It acknowledges while it listens.
        scope.spawn(move || written.chunks(READ).for_each(|part| writer.write_all(part).unwrap()));
        bare.until(|event| *event == PeerEvent::Taught);
        watch.stop()
    });
    known(&lb);
    (taught, lb)
}

/// The same by a node that has the entries before HAProxy is there.
fn teaching(plan: &Plan, binary: &Path, node: &Node) -> Took {
    let events = Events::of(&node.node);
    let lb = plan.start(0, binary);
    let (took, _) = events.wait(&lb.haproxy, |event| matches!(event, NodeEvent::Taught { .. }));
    known(&lb);
    took
}

/// What happens at a node, and when.
struct Events(std::sync::mpsc::Receiver<(Instant, NodeEvent)>);

impl Events {
    fn of(node: &PeerNode) -> Self {
        let mut events = node.subscribe();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(event) = events.blocking_recv() {
                if sender.send((Instant::now(), event)).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// From the opening of a connection until this happens on it.
    fn wait<'h>(&self, haproxy: &'h Haproxy, so: impl Fn(&NodeEvent) -> bool) -> (Took, Watch<'h>) {
        let mut open: Option<Watch<'h>> = None;
        loop {
            let (at, event) = self.0.recv_timeout(Duration::from_secs(60)).unwrap();
            match (open.take(), &event) {
                (_, NodeEvent::Open { .. }) => open = Some(Watch { began: at, ..Watch::start(haproxy) }),
                (Some(watch), event) if so(event) => return (watch.stop(), watch),
                (Some(_), NodeEvent::Lost { .. }) => panic!("{event}"),
                (watch, _) => open = watch,
            }
        }
    }
}

/// How long HAProxy takes to tell everything to who only takes it.
fn draining(plan: &Plan, lb: &Lb) -> (Took, usize) {
    let mut stream = Bare::greet(plan).stream;
    let (watch, mut buffer, mut all) = (Watch::start(&lb.haproxy), vec![0; READ], 0);
    stream.write_all(&[0, 0]).unwrap();
    loop {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "closed after {all} bytes");
        all += len;
        if all > ENTRIES * 30 && matches!(buffer[..len], [.., 0, 1 | 2]) {
            return (watch.stop(), all);
        }
    }
}

/// How long a node takes to hear all of it, and to have it in the store.
fn learning(plan: &Plan, lb: &Lb) -> (Took, Took, Node) {
    let mut events = None;
    let node = Node::start_with(calling(plan), Plan::table(), Arc::new(store()), |node| {
        events = Some(Events::of(node));
    });
    let events = events.unwrap();
    let (told, watch) = events.wait(&lb.haproxy, |event| matches!(event, NodeEvent::Learnt { .. }));
    while node.table().learned < ENTRIES as u64 {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    (told, watch.stop(), node)
}

fn calling(plan: &Plan) -> PeerNodeOptions {
    PeerNodeOptions::new("rust1").with_peer("lb1", format!("127.0.0.1:{}", plan.lbs[0].1).parse().unwrap())
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The middle one of all rounds.
fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Millions of entries a second.
fn rate(all: &[Took]) -> f64 {
    median(all.iter().map(|took| ENTRIES as f64 / took.wall.as_secs_f64() / 1e6))
}

/// How much of the second's speed the first has, round by round: without the time in which HAProxy had no processor, and
/// by the clock.
fn share(ours: &[Took], other: &[Took]) -> (f64, f64) {
    let both = |time: fn(&Took) -> Duration| {
        median(ours.iter().zip(other).map(|(ours, other)| time(other).as_secs_f64() / time(ours).as_secs_f64() * 100.0))
    };
    (both(|took| took.own), both(|took| took.wall))
}

#[test]
#[ignore = "takes minutes: cargo xtask bench haproxy-peers"]
fn a_million_entries() {
    for binary in binaries() {
        println!("{}", binary.display());
        // A bare socket has a HAProxy of its own: the node calls its peer whenever it is there.
        let (plan, other) = (Plan::new(1, 1), Plan::new(1, 1));
        // What a node holds, before HAProxy is there.
        let before = resident();
        let full = full_store();
        let stored = resident();
        let node = Node::start(calling(&plan), Plan::table(), Arc::new(full));
        while node.table().entries < ENTRIES as u64 {
            std::thread::yield_now();
        }
        let kept = resident();
        println!(
            "memory: {} bytes an entry by the node, {} more by the store",
            (kept - stored) / ENTRIES,
            (stored - before) / ENTRIES
        );
        let written = written(&plan);
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(teaching(&plan, &binary, &node));
            bare.push(bare_teaching(&other, &binary, &written).0);
        }
        let echoed = node.status().peers[0].updates_in;
        node.stop();
        let (taught, by_clock) = share(&ours, &bare);
        println!(
            "taught: {:.2} M entries a second, a bare socket with the same {} bytes {:.2} M: {taught:.0} % ({by_clock:.0} % by \
             the clock); {echoed} came back",
            rate(&ours),
            written.len(),
            rate(&bare),
        );

        let (_, mut lb) = bare_teaching(&other, &binary, &written);
        let (mut told, mut had, mut drained, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (took, all) = draining(&other, &lb);
            drained.push(took);
            bytes = all;
            let (one, two, node) = learning(&other, &lb);
            told.push(one);
            had.push(two);
            node.stop();
        }
        let (received, by_clock) = share(&told, &drained);
        println!(
            "received: {:.2} M entries a second, a client that only drains {:.2} M: {received:.0} % ({by_clock:.0} % by the \
             clock); in the store {:.2} M; {:.1} bytes each",
            rate(&told),
            rate(&drained),
            rate(&had),
            bytes as f64 / ENTRIES as f64,
        );

        let (_, _, node) = learning(&other, &lb);
        let mut times: Vec<Duration> = (0..REQUESTS)
            .map(|n| {
                let (key, began) = (format!("new{n}"), Instant::now());
                let home = lb.home(&key);
                while node.stored(&key).as_deref() != Some(&home) {
                    std::hint::spin_loop();
                }
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("request to entry: p50 {:.0?}, p99 {:.0?}", times[REQUESTS / 2], times[REQUESTS * 99 / 100]);
        node.stop();
        assert!(taught >= 85.0, "taught at {taught:.0} % of a bare socket");
    }
}
