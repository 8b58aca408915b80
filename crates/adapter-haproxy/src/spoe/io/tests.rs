use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::spoe::{Argument, Event, FrameCutter, HaproxyHello, MAX_FRAME, Scope, Value};

/// How long anything may take that is waited for.
const MINUTE: Duration = Duration::from_secs(60);

/// Answers with the room's name behind `on-`; `slow` rooms when told to, `never` rooms never, `long` ones with too much.
#[derive(Default)]
struct Echo {
    go: Notify,
    ended: AtomicU64,
    ending: Notify,
}

#[async_trait]
impl Answer for Echo {
    async fn answer(self: Arc<Self>, query: Query) -> Vec<Action> {
        let room = query.messages[0].arg("room").and_then(Value::as_str).unwrap_or_default();
        match room {
            "slow" => self.go.notified().await,
            "soon" => tokio::task::yield_now().await,
            "never" => std::future::pending().await,
            "long" => return vec![Action::set(Scope::Process, "x", Value::Binary(vec![0; 20_000]))],
            _ => {}
        }
        self.ended.fetch_add(1, SeqCst);
        self.ending.notify_one();
        vec![Action::set(Scope::Transaction, "server", Value::string(format!("on-{room}")))]
    }
}

/// A HAProxy that says what it is told to.
struct Haproxy<S> {
    stream: S,
    cutter: FrameCutter,
}

impl<S: Duplex> Haproxy<S> {
    fn new(stream: S) -> Self {
        Self { stream, cutter: FrameCutter::new(MAX_FRAME) }
    }

    async fn send(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.cutter.cut().unwrap() {
                return Some(Frame::decode(frame).unwrap());
            }
            let n = timeout(Duration::from_secs(100), self.stream.read(&mut buffer)).await.unwrap().unwrap();
            if n == 0 {
                return None;
            }
            self.cutter.push(&buffer[..n]);
        }
    }

    async fn greet(&mut self) {
        let mut hello = HaproxyHello::new(16_380);
        hello.engine_id = Some("engine-1".to_owned());
        self.send(&[Frame::HaproxyHello(hello)]).await;
        assert!(matches!(self.next().await, Some(Frame::AgentHello(_))));
    }

    async fn farewell(&mut self) -> Option<Status> {
        match self.next().await {
            Some(Frame::AgentDisconnect(why)) => Some(why.status),
            None => None,
            other => panic!("{other:?}"),
        }
    }
}

fn ask(stream: u64, room: &str) -> Frame {
    let message = Message::new("place", vec![Argument::new("room", Value::string(room))]);
    Frame::Notify { stream, frame: 1, messages: vec![message] }
}

fn answered(stream: u64, room: &str) -> Frame {
    let server = Value::string(format!("on-{room}"));
    Frame::Ack { stream, frame: 1, actions: vec![Action::set(Scope::Transaction, "server", server)] }
}

fn nothing(stream: u64) -> Frame {
    Frame::Ack { stream, frame: 1, actions: Vec::new() }
}

struct Running {
    address: std::net::SocketAddr,
    counters: Arc<AgentCounters>,
    echo: Arc<Echo>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(options: AgentServerOptions) -> Self {
        // A port that nobody else is given once it is free again.
        let local = format!("127.0.0.1:{}", real_servers::free_port()).parse().unwrap();
        Self::on(ListenSocket::bind(&local, false).await.unwrap(), options)
    }

    fn on(socket: ListenSocket, options: AgentServerOptions) -> Self {
        let echo = Arc::new(Echo::default());
        let server = AgentServer::on(socket, options, echo.clone());
        let ListenAddress::Tcp(address) = *server.address() else { panic!() };
        let (counters, (stop, stopped)) = (server.counters(), oneshot::channel());
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { address, counters, echo, stop, task }
    }

    async fn connect(&self) -> Haproxy<TcpStream> {
        Haproxy::new(TcpStream::connect(self.address).await.unwrap())
    }

    async fn greeted(&self) -> Haproxy<TcpStream> {
        let mut haproxy = self.connect().await;
        haproxy.greet().await;
        haproxy
    }
}

/// Those who are slow to greet are waited for.
fn patient() -> AgentServerOptions {
    AgentServerOptions::default().with_hello(MINUTE)
}

#[tokio::test]
async fn queries_over_one_connection_are_answered_as_they_are_ready() {
    let agent = Running::start(patient().with_processing(Duration::from_secs(5))).await;
    let mut haproxy = agent.greeted().await;
    haproxy.send(&[ask(1, "never"), ask(2, "a"), ask(3, "soon"), ask(4, "long")]).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(haproxy.next().await.unwrap());
    }
    assert_eq!(seen[0], answered(2, "a"));
    assert!(seen.contains(&answered(3, "soon")) && seen.contains(&nothing(4)), "{seen:?}");
    assert_eq!(seen[3], nothing(1)); // its time was up
    // In pieces.
    for byte in ask(5, "b").encode() {
        haproxy.stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(haproxy.next().await, Some(answered(5, "b")));
    haproxy.send(&[Frame::HaproxyDisconnect(Disconnect::new(Status::NORMAL))]).await;
    assert_eq!(haproxy.farewell().await, Some(Status::NORMAL));
    assert_eq!(haproxy.next().await, None);
    let counts = agent.counters.read();
    assert_eq!((counts.opinions, counts.without_opinion, counts.late, counts.too_long), (3, 2, 1, 1));
    assert_eq!(counts.left, [(0, 1)].into());
    assert_eq!(counts.engines["engine-1"], EngineCounts { connections: 1, queries: 5 });
}

#[tokio::test]
async fn what_is_late_gets_no_opinion_and_is_ended_all_the_same() {
    let options = patient().with_processing(Duration::from_millis(20)).with_longest_answer(MINUTE);
    let agent = Running::start(options).await;
    let mut haproxy = agent.greeted().await;
    haproxy.send(&[ask(1, "slow")]).await;
    assert_eq!(haproxy.next().await, Some(nothing(1)));
    assert_eq!(agent.echo.ended.load(SeqCst), 0);
    drop(haproxy); // gone, and still
    agent.echo.go.notify_one();
    timeout(MINUTE, agent.echo.ending.notified()).await.unwrap();
    assert_eq!((agent.echo.ended.load(SeqCst), agent.counters.read().late), (1, 1));
}

#[tokio::test]
async fn limits_hold() {
    let options = patient().with_connections(1).with_running(1);
    let agent = Running::start(options.with_processing(Duration::from_millis(100))).await;
    let mut first = agent.greeted().await;
    assert_eq!(agent.connect().await.farewell().await, Some(Status::RESOURCES));
    first.send(&[ask(1, "never"), ask(2, "never")]).await;
    assert_eq!((first.next().await, first.next().await), (Some(nothing(2)), Some(nothing(1))));
    // A fragment is refused with its status, and the place is free again.
    let mut fragment = ask(3, "a").encode();
    fragment[8] = 0;
    first.stream.write_all(&fragment).await.unwrap();
    assert_eq!(first.farewell().await, Some(Status::FRAGMENTATION));
    assert_eq!(first.next().await, None);
    drop(first);
    let mut next = loop {
        let mut next = agent.connect().await;
        next.send(&[Frame::HaproxyHello(HaproxyHello::new(16_380))]).await;
        match next.next().await {
            Some(Frame::AgentHello(_)) => break next,
            _ => tokio::task::yield_now().await,
        }
    };
    next.stream.write_all(&17_000_u32.to_be_bytes()).await.unwrap();
    assert_eq!(next.farewell().await, Some(Status::TOO_BIG));
    let counts = agent.counters.read();
    assert_eq!((counts.overloaded, counts.refused), (1, [(3, 1), (10, 1)].into()));
    assert!(counts.turned_away >= 1);
}

#[tokio::test]
async fn silence_is_ended() {
    let within = Duration::from_millis(30);
    let hasty = Running::start(AgentServerOptions::default().with_hello(within)).await;
    assert_eq!(hasty.connect().await.farewell().await, Some(Status::TIMEOUT));
    let agent = Running::start(patient().with_idle(within)).await;
    assert_eq!(agent.greeted().await.farewell().await, Some(Status::TIMEOUT));
    assert_eq!((hasty.counters.read().silent, agent.counters.read().silent), (1, 1));
}

#[tokio::test]
async fn an_agent_that_ends_answers_first_and_says_so() {
    let agent = Running::start(patient().with_processing(Duration::from_secs(10))).await;
    let (mut quiet, mut busy) = (agent.greeted().await, agent.greeted().await);
    busy.send(&[ask(1, "slow"), ask(2, "a")]).await;
    assert_eq!(busy.next().await, Some(answered(2, "a")));
    agent.stop.send(()).unwrap();
    // Nobody new is let in: it is ending.
    while TcpStream::connect(agent.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    agent.echo.go.notify_one();
    assert_eq!(busy.next().await, Some(answered(1, "slow")));
    assert_eq!(busy.farewell().await, Some(Status::NORMAL));
    assert_eq!(quiet.farewell().await, Some(Status::NORMAL));
    drop((quiet, busy));
    agent.task.await.unwrap();
    assert_eq!(agent.counters.read().open, 0);
    assert!(TcpStream::connect(agent.address).await.is_err());
}

#[tokio::test]
async fn who_calls_between_two_agents_of_a_socket_is_answered_by_the_second() {
    let options = patient().with_processing(Duration::from_secs(10));
    let socket = ListenSocket::bind(&"127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let first = Running::on(socket.clone(), options.clone());
    let mut haproxy = first.greeted().await;
    first.stop.send(()).unwrap();
    assert_eq!(haproxy.farewell().await, Some(Status::NORMAL));
    drop(haproxy);
    first.task.await.unwrap();
    let mut between = Haproxy::new(TcpStream::connect(first.address).await.unwrap());
    let second = Running::on(socket, options);
    between.greet().await;
    between.send(&[ask(1, "a")]).await;
    assert_eq!(between.next().await, Some(answered(1, "a")));
    assert_eq!((first.counters.read().accepted, second.counters.read().accepted), (1, 1));
}

#[tokio::test]
async fn health_checks_and_unix_sockets() {
    let folder = crate::testing::Folder::new("spoe");
    let path = folder.join("spoe.sock");
    let address = ListenAddress::Unix(path.clone());
    let server = AgentServer::bind(&address, patient(), Arc::new(Echo::default())).await.unwrap();
    let counters = server.counters();
    let task = tokio::spawn(server.run(std::future::pending()));
    let mut check = Haproxy::new(UnixStream::connect(&path).await.unwrap());
    let mut hello = HaproxyHello::new(16_380);
    hello.health_check = Some(true);
    check.send(&[Frame::HaproxyHello(hello)]).await;
    assert!(matches!(check.next().await, Some(Frame::AgentHello(_))));
    assert_eq!(check.next().await, None);
    assert_eq!(counters.read().health_checks, 1);
    task.abort();
    let _ = task.await;
    assert!(!path.exists());
}

#[tokio::test]
async fn garbage_ends_a_connection_and_nothing_else() {
    let agent = Running::start(patient()).await;
    let mut haproxy = agent.greeted().await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0, 0, 0, 3, 1, 2, 3], &[255; 64]] {
        let mut other = agent.connect().await;
        other.stream.write_all(garbage).await.unwrap();
        assert!(other.farewell().await.is_some());
    }
    haproxy.send(&[ask(1, "a")]).await;
    assert_eq!(haproxy.next().await, Some(answered(1, "a")));
    // A session tells what happened, in case somebody asks it without a socket.
    let mut session = crate::spoe::AgentSession::new(AgentOptions::default());
    session.receive(&[0; 64]);
    assert!(matches!(session.poll_event(), Some(Event::Refused { .. })));
}
