//! Our side of agent checks, SPOP and the peers protocol, with a real HAProxy at the other end.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_haproxy::peers::{Entry, Key, PeerEvent, PeerOptions, PeerSession, TableDefinition};
use adapter_haproxy::spoe::{Action, AgentOptions, AgentSession, Event, Scope, Value};
use adapter_haproxy::{AgentHealth, AgentOrders, AgentReply, Order};

use crate::haproxy::{Haproxy, MINUTE, Place, binary, free_port, until};
use crate::responder;

const NAMES: [&str; 3] = ["mm1", "mm2", "mm3"];

/// A frontend of this port before three servers in `rooms`.
fn config(place: &Place, front: &str, rooms: &str, more: &str) -> String {
    let ports = responder::start(NAMES.map(str::to_owned));
    let servers: String =
        NAMES.iter().zip(ports).map(|(name, port)| format!(" server {name} 127.0.0.1:{port}\n")).collect();
    format!(
        "global\n nbthread 1\n localpeer lb1\n stats socket {} level admin\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         frontend fe\n bind 127.0.0.1:{}\n{front} default_backend rooms\n\
         backend rooms\n balance roundrobin\n{rooms}{servers}{more}",
        place.socket(),
        place.port,
    )
}

/// A peer of a HAProxy, and all that happened to it.
struct Peer {
    session: PeerSession,
    stream: TcpStream,
    events: Vec<PeerEvent>,
    /// Of these, the first of the last turn.
    turned: usize,
}

impl Peer {
    fn call(port: u16) -> Self {
        let session = PeerSession::connect(PeerOptions::new("rust1"), "lb1", Instant::now());
        Self::new(session, TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    fn new(session: PeerSession, stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { session, stream, events: Vec::new(), turned: 0 }
    }

    /// Reads and writes once; what happened by that.
    fn turn(&mut self) -> &[PeerEvent] {
        self.try_turn().unwrap();
        &self.events[self.turned..]
    }

    /// The same, unless the connection has ended.
    fn try_turn(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.session.take_output())?;
        self.turned = self.events.len();
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(std::io::Error::other(format!("closed after {:?}", self.events))),
            Ok(n) => self.session.receive(&buffer[..n], Instant::now()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
        self.session.tick(Instant::now());
        let session = &mut self.session;
        self.events.extend(std::iter::from_fn(|| session.poll_event()));
        if self.events[self.turned..].contains(&PeerEvent::Asked) {
            self.session.end_lesson(true);
        }
        self.stream.write_all(&self.session.take_output())
    }

    /// Whether the connection lives for so long with nothing to say.
    fn keeps(&mut self, quiet: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < quiet {
            if self.try_turn().is_err() || self.session.is_over() {
                return false;
            }
        }
        true
    }

    /// Reads and writes until this has happened.
    fn until(&mut self, what: &str, so: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        let end = Instant::now() + MINUTE;
        loop {
            if let Some(found) = self.turn().iter().find(|event| so(event)) {
                return found.clone();
            }
            assert!(Instant::now() < end, "{what}: not after {:?}", self.events);
        }
    }

    fn table(&self, name: &str) -> TableDefinition {
        let found = self.events.iter().find_map(|event| match event {
            PeerEvent::Table(table) if table.name() == name => Some(table.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no table {name} in {:?}", self.events))
    }
}

fn learned(room: &'static str) -> impl Fn(&PeerEvent) -> bool {
    move |event| matches!(event, PeerEvent::Learned { entry, .. } if *entry.key() == Key::string(room))
}

#[test]
fn a_peer_learns_and_teaches() {
    let Some((path, _)) = binary() else { return };
    let (place, port) = (Place::new(), free_port());
    let text = config(
        &place,
        "",
        " stick-table type string len 64 size 10k expire 1h peers lb\n stick on url_param(roomId)\n",
        &format!(
            "peers lb\n bind 127.0.0.1:{port}\n server lb1\n server rust1 127.0.0.1:{}\n\
             backend numbers\n stick-table type ipv6 size 1k expire 1m peers lb store gpc(3),gpc_rate(2,10s),gpt(2)\n",
            free_port()
        ),
    );
    let mut haproxy = Haproxy::run(&path, place, &text);
    let before = haproxy.ask("GET", "/?roomId=before", &[], "");

    // Everything there is, then what happens.
    let mut peer = Peer::call(port);
    peer.until("the end of the lesson", |event| matches!(event, PeerEvent::Learnt { .. }));
    let known = peer.events.iter().find(|event| learned("before")(event)).expect("the entry of before").clone();
    let PeerEvent::Learned { server_key, remaining, lesson: true, .. } = known else { panic!("{known:?}") };
    assert_eq!(server_key, Some(before.into_bytes()));
    assert!(remaining.is_some_and(|left| left <= Duration::from_secs(3600)));
    let numbers = peer.table("numbers");
    assert_eq!(numbers.data().map(|data| numbers.count(data)).collect::<Vec<_>>(), [2, 3, 2]);
    let now = haproxy.ask("GET", "/?roomId=now", &[], "");
    let PeerEvent::Learned { server_key, lesson, .. } = peer.until("the entry of now", learned("now")) else {
        unreachable!()
    };
    assert_eq!((server_key, lesson), (Some(now.into_bytes()), false));

    // Rooms go where the peer says, by name; an empty name lets HAProxy choose again.
    let table = peer.table("rooms").with_id(7);
    peer.session.define(table).unwrap();
    for name in NAMES {
        let entry = |room: String| Entry::new(Key::string(room)).with_server_id(0);
        for i in 0..3 {
            peer.session.teach(7, &entry(format!("{name}-{i}")), Some(name.as_bytes()), None).unwrap();
        }
    }
    let short = Entry::new(Key::string("short")).with_server_id(2);
    let last = peer.session.teach(7, &short, None, Some(Duration::from_secs(600))).unwrap();
    peer.until(
        "the last acknowledgement",
        |event| matches!(event, PeerEvent::Acknowledged { table: 7, update } if *update == last),
    );
    for name in NAMES {
        for i in 0..3 {
            assert_eq!(haproxy.ask("GET", &format!("/?roomId={name}-{i}"), &[], ""), name);
        }
    }
    let told = haproxy.order("show table rooms key short");
    let left = told.split("exp=").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|ms| ms.parse::<u64>().ok());
    assert!(left.is_some_and(|ms| ms <= 600_000), "{told}");
    assert_eq!(haproxy.ask("GET", "/?roomId=short", &[], ""), "mm2"); // by its number

    // Longer than HAProxy bears silence: our heartbeats and its own keep both sides. One that is late because a process
    // stood still ends the connection, and another one is tried.
    let kept = (0..9).any(|_| {
        let quiet = peer.keeps(Duration::from_secs(7));
        if !quiet {
            peer = Peer::call(port);
            peer.until("the end of the lesson", |event| matches!(event, PeerEvent::Learnt { .. }));
        }
        quiet
    });
    assert!(kept, "no connection outlives silence");
    haproxy.ask("GET", "/?roomId=late", &[], "");
    peer.until("the entry of late", learned("late"));
}

#[test]
fn a_peer_is_called() {
    let Some((path, _)) = binary() else { return };
    let (place, listener) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let text = config(
        &place,
        "",
        " stick-table type string len 64 size 10k expire 1h peers lb\n stick on url_param(roomId)\n",
        &format!(
            "peers lb\n bind 127.0.0.1:{}\n server lb1\n server rust1 127.0.0.1:{}\n",
            free_port(),
            listener.local_addr().unwrap().port()
        ),
    );
    let mut haproxy = Haproxy::run(&path, place, &text);
    let (stream, _) = listener.accept().unwrap();
    let session = PeerSession::accept(PeerOptions::new("rust1"), vec!["lb1".to_owned()], Instant::now());
    let mut peer = Peer::new(session, stream);
    peer.until("the end of the lesson", |event| matches!(event, PeerEvent::Learnt { .. }));
    assert_eq!(peer.events[0], PeerEvent::Open { peer: "lb1".to_owned(), minor: 1 });
    haproxy.ask("GET", "/?roomId=now", &[], "");
    peer.until("the entry of now", learned("now"));

    // An empty name lets HAProxy choose again.
    let table = peer.table("rooms").with_id(1);
    peer.session.define(table).unwrap();
    for (name, shown) in [("mm3", "server_key=mm3"), ("", "server_key=")] {
        let entry = Entry::new(Key::string("pinned")).with_server_id(0);
        let id = peer.session.teach(1, &entry, Some(name.as_bytes()), None).unwrap();
        peer.until(
            "the acknowledgement",
            |event| matches!(event, PeerEvent::Acknowledged { table: 1, update } if *update == id),
        );
        let told = haproxy.order("show table rooms key pinned");
        assert!(told.contains(shown) && (!name.is_empty() || !told.contains("mm3")), "{told}");
    }
}

/// An agent that chooses the server of each room, on threads of its own.
fn agent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    let mut session = AgentSession::new(AgentOptions::default());
    let mut buffer = [0; 4096];
    while !session.is_over() {
        let Some(n) = stream.read(&mut buffer).ok().filter(|n| *n > 0) else { return };
        session.receive(&buffer[..n]);
        while let Some(event) = session.poll_event() {
            let Event::Query { ticket, messages } = event else { continue };
            let room = messages[0].arg("room").and_then(Value::as_str).unwrap_or_default();
            let choice = room.split('-').next().filter(|name| NAMES.contains(name));
            let set = |name| Action::set(Scope::Transaction, "server", Value::string(name));
            session.answer(ticket, choice.map(set).into_iter().collect()).unwrap();
        }
        if stream.write_all(&session.take_output()).is_err() {
            return;
        }
    }
}

#[test]
fn an_agent_chooses_servers() {
    let Some((path, _)) = binary() else { return };
    let place = Place::new();
    let spoe = place.path("spoe.conf");
    std::fs::write(
        &spoe,
        "[placement]\nspoe-agent placement\n messages place\n option var-prefix lb\n option set-on-error err\n \
         timeout hello 30s\n timeout idle 30s\n timeout processing 30s\n use-backend agents\n\
         spoe-message place\n args room=url_param(roomId) src=src\n \
         event on-frontend-http-request if { url_param(roomId) -m found }\n",
    )
    .unwrap();
    let front =
        format!(" filter spoe engine placement config {spoe}\n http-response set-header x-err %[var(txn.lb.err)]\n");
    let agents = format!(
        "backend agents\n mode tcp\n timeout connect 30s\n timeout server 3m\n option spop-check\n \
         server a1 127.0.0.1:{} check inter 5s fastinter 200ms\n",
        agent()
    );
    let by_agent = " use-server %[var(txn.lb.server)] if { var(txn.lb.server) -m found }\n";
    let text = config(&place, &front, by_agent, &agents);
    let mut haproxy = Haproxy::run(&path, place, &text);
    let passed = |row: &str| row.starts_with("agents,a1,") && row.contains("L7OK,");
    until("the health check passes", || haproxy.order("show stat").lines().any(passed));
    for i in 0..50 {
        let name = NAMES[i * 7 % 3];
        assert_eq!(haproxy.ask("GET", &format!("/?roomId={name}-{i}"), &[], ""), name);
    }
    // No opinion: HAProxy goes round.
    let free: Vec<_> = (0..3).map(|_| haproxy.ask("GET", "/?roomId=x", &[], "")).collect();
    assert!(NAMES.iter().all(|name| free.iter().any(|seen| seen == name)), "{free:?}");
}

#[test]
fn an_agent_check_keeps_the_operators_order() {
    let Some((path, _)) = binary() else { return };
    // What the agent wants, and what it may say.
    let state = Arc::new(Mutex::new((None, AgentOrders::default(), 100_u16)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::clone(&state);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut state = told.lock().unwrap();
            let word = state.1.word(state.0);
            let reply = AgentReply::new().with_health(AgentHealth::Up).with_admin(word).with_percent(state.2);
            if stream.write_all(reply.with_limit(30).to_string().as_bytes()).is_ok() {
                state.1.sent(word);
            }
        }
    });
    let server = responder::start(["s1".to_owned()])[0];
    let line = format!("server s1 127.0.0.1:{server} weight 100 agent-check agent-port {port} agent-inter 50ms");
    let haproxy = Haproxy::start(&path, &[line]);
    let status = |wanted: &str| until(wanted, || haproxy.status("b", "s1") == wanted);
    let weight = |percent: u16| {
        state.lock().unwrap().2 = percent;
        until("the weight", || haproxy.order("get weight b/s1").starts_with(&format!("{percent} ")));
    };
    weight(75);
    // An agent says once that it drains no more; HAProxy, should it have stood still just then, has not heard it.
    let lifted = (0..9).any(|_| {
        state.lock().unwrap().0 = Some(Order::Drain);
        status("DRAIN (agent)");
        state.lock().unwrap().0 = None;
        let end = Instant::now() + Duration::from_secs(5);
        while haproxy.status("b", "s1") != "no check" && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        haproxy.status("b", "s1") == "no check"
    });
    assert!(lifted, "the drain is not lifted");

    state.lock().unwrap().1.set_operator(Some(Order::Maint));
    haproxy.order("set server b/s1 state maint");
    state.lock().unwrap().0 = Some(Order::Drain);
    // Two more changes of the weight prove that the agent has been heard meanwhile.
    weight(50);
    weight(60);
    assert_eq!(haproxy.status("b", "s1"), "MAINT");
    state.lock().unwrap().0 = None;
    weight(70);
    weight(80);
    assert_eq!(haproxy.status("b", "s1"), "MAINT");
    state.lock().unwrap().1.set_operator(None);
    haproxy.order("set server b/s1 state ready");
    status("no check");
}
