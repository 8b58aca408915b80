//! A server with rooms.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::encode_base64;
use super::message::Message;
use crate::room::{Affinity, Request, RequestKind, RoomRule, classify};

/// So long a room lives after the last person has left, as rooms of edumeet do.
const LINGER: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// The most rooms of one server.
const MAX_ROOMS: usize = 100_000;
/// The answer to who joins, up to the proof.
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";
/// What every server of websockets appends to a key.
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A room as its server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomFigures {
    /// Its key: tenant and name, or the name alone.
    pub room: String,
    /// People in it now: open connections.
    pub people: usize,
    /// Requests that came for it since it was opened.
    pub requests: u64,
}

/// A server that keeps rooms in its memory: the room of a request as [`classify`] sees it, opened by the first request
/// that may place a room, closed 10 s after the last person has left.
///
/// A request with `Upgrade` joins: after `101` the connection holds a place in the room until either side closes it, and
/// whatever comes over it goes back, byte for byte: the handshake is that of a websocket, frames there are none. The first
/// line says the server, the room and how many people are in it, in JSON, as the answer to every other request of a room
/// does. `/metrics` answers in the words of edumeet, `/rooms.json` with all rooms, anything else with the server's name.
///
/// Dropping it is dying.
#[derive(Debug)]
pub struct RoomServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    port: Mutex<Port>,
    runtime: Handle,
}

/// What is done at its port.
#[derive(Debug)]
enum Port {
    Open(JoinHandle<()>),
    /// It is bound, so that no outgoing connection gets it meanwhile, and not listened at.
    Kept(JoinHandle<Option<TcpSocket>>),
    Closed,
}

#[derive(Debug)]
struct Shared {
    name: String,
    rule: RoomRule,
    state: Mutex<State>,
    hanging: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    rooms: BTreeMap<String, Room>,
    /// How often it has died: people of an earlier life leave nothing.
    life: u64,
    draining: bool,
    sick: bool,
    refused: u64,
}

#[derive(Debug)]
struct Room {
    people: usize,
    requests: u64,
    /// When it was last used, if nobody is in it.
    empty_since: Option<Instant>,
}

impl State {
    /// Closes the rooms that nobody came back to.
    fn sweep(&mut self) {
        self.rooms.retain(|_, room| room.people > 0 || room.empty_since.is_some_and(|since| since.elapsed() < LINGER));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomServer {
    /// A server on a free port of the loopback.
    ///
    /// # Errors
    ///
    /// No port can be had.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves nothing behind.
    pub async fn start(name: impl Into<String>, rule: RoomRule) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (hanging, _) = watch::channel(false);
        let shared = Shared { name: name.into(), rule, state: Mutex::default(), hanging };
        let (shared, address) = (Arc::new(shared), listener.local_addr()?);
        let port = Mutex::new(Port::Open(tokio::spawn(accept(listener, Arc::clone(&shared)))));
        Ok(Self { shared, address, port, runtime: Handle::current() })
    }

    fn port(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its rooms, by name.
    pub fn rooms(&self) -> Vec<RoomFigures> {
        self.shared.figures()
    }

    /// How many people are in its rooms.
    pub fn people(&self) -> usize {
        self.shared.state().rooms.values().map(|room| room.people).sum()
    }

    /// How often a new room was refused while it drained.
    pub fn refused(&self) -> u64 {
        self.shared.state().refused
    }

    /// Whether it is there: neither dead nor hanging.
    pub fn is_alive(&self) -> bool {
        matches!(&*self.port(), Port::Open(task) if !task.is_finished()) && !*self.shared.hanging.borrow()
    }

    /// Takes no room it does not have (503), or takes them again.
    pub fn drain(&self, on: bool) {
        self.shared.state().draining = on;
    }

    /// Answers requests of no room with 500 or as before: what a check sees, while its rooms go on.
    pub fn set_healthy(&self, on: bool) {
        self.shared.state().sick = !on;
    }

    /// Answers nothing although connections are taken, as a stopped process; or goes on where it was.
    pub fn hang(&self, on: bool) {
        self.shared.hanging.send_replace(on);
    }

    /// Dies: nobody listens, all connections are cut, its rooms are forgotten.
    pub fn die(&self) {
        let mut port = self.port();
        match std::mem::replace(&mut *port, Port::Closed) {
            Port::Open(accepting) => {
                accepting.abort();
                let address = self.address;
                *port = Port::Kept(self.runtime.spawn(async move {
                    // It ends as it was told to.
                    let _ = accepting.await;
                    keep(address)
                }));
            }
            other => *port = other,
        }
        drop(port);
        let mut state = self.shared.state();
        state.rooms.clear();
        state.life += 1;
    }

    /// Comes back at the same address, with no rooms.
    ///
    /// # Errors
    ///
    /// Another process has taken the port.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stays dead.
    pub async fn revive(&self) -> io::Result<()> {
        self.die();
        let port = std::mem::replace(&mut *self.port(), Port::Closed);
        let kept = if let Port::Kept(keeping) = port { keeping.await.ok().flatten() } else { None };
        let listener = match kept {
            Some(socket) => socket.listen(BACKLOG)?,
            None => TcpListener::bind(self.address).await?,
        };
        self.shared.hanging.send_replace(false);
        *self.port() = Port::Open(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
        Ok(())
    }
}

impl Drop for RoomServer {
    fn drop(&mut self) {
        if let Port::Open(accepting) = &*self.port() {
            accepting.abort();
        }
    }
}

/// Binds an address without listening there: who connects is refused.
fn keep(address: SocketAddr) -> Option<TcpSocket> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(address).ok()?;
    Some(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        // Whoever it was has gone.
                        let _ = shared.serve(stream).await;
                    });
                }
                // Too many open files, perhaps: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The proof that a websocket's key was read.
fn accepts(key: &str) -> String {
    encode_base64(&Sha1::digest(format!("{key}{WEBSOCKET}")))
}

/// A place in a room, given back when dropped.
struct Place<'s> {
    shared: &'s Shared,
    room: String,
    life: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.life == self.life
            && let Some(room) = state.rooms.get_mut(&self.room)
        {
            room.people = room.people.saturating_sub(1);
            room.empty_since = (room.people == 0).then(Instant::now);
        }
    }
}

/// What a room is asked for, and what comes of it.
enum Entered<'s> {
    /// The people now in it, and a place for who joins.
    Room(usize, Option<Place<'s>>),
    /// It is not here, and this server takes no new one.
    Refused,
}

impl Shared {
    fn figures(&self) -> Vec<RoomFigures> {
        let mut state = self.state();
        state.sweep();
        let figures =
            |(room, it): (&String, &Room)| RoomFigures { room: room.clone(), people: it.people, requests: it.requests };
        state.rooms.iter().map(figures).collect()
    }

    fn enter(&self, key: &str, joins: bool) -> Entered<'_> {
        let mut state = self.state();
        state.sweep();
        if !state.rooms.contains_key(key) && (state.draining || state.rooms.len() >= MAX_ROOMS) {
            state.refused += 1;
            return Entered::Refused;
        }
        let life = state.life;
        let new = || Room { people: 0, requests: 0, empty_since: None };
        let room = state.rooms.entry(key.to_owned()).or_insert_with(new);
        room.requests += 1;
        room.people += usize::from(joins);
        room.empty_since = (room.people == 0).then(Instant::now);
        Entered::Room(room.people, joins.then(|| Place { shared: self, room: key.to_owned(), life }))
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(message) = Message::read(&mut stream).await? {
            self.awake().await;
            let mut words = message.start.split(|&byte| byte == b' ');
            let method = words.next().map(String::from_utf8_lossy).unwrap_or_default();
            let target = words.next().unwrap_or_default();
            let headers = message.headers();
            let request = Request::new(&method, target).with_headers(&headers).with_body(&message.body);
            let seen = classify(&self.rule, &request);
            let joins = message.header("upgrade").is_some();
            let places = seen.affinity() == Affinity::Pin && seen.kind != RequestKind::Logout;
            let answer = match seen.key().filter(|_| places) {
                None => self.plain(target),
                Some(key) => match self.enter(&key, joins) {
                    Entered::Refused => self.answer("503 Service Unavailable", "text/plain", "it drains\n"),
                    Entered::Room(people, None) => self.answer("200 OK", "application/json", &self.about(&key, people)),
                    Entered::Room(people, Some(place)) => {
                        let proof = accepts(message.header("sec-websocket-key").unwrap_or_default());
                        let answer = format!("{SWITCHED}{proof}\r\n\r\n{}\n", self.about(&key, people));
                        stream.get_mut().write_all(answer.as_bytes()).await?;
                        return self.hold(stream, place).await;
                    }
                },
            };
            stream.get_mut().write_all(answer.as_bytes()).await?;
        }
        Ok(())
    }

    /// Sends back what comes, until nothing does.
    async fn hold(&self, mut stream: BufReader<TcpStream>, _place: Place<'_>) -> io::Result<()> {
        let mut bytes = [0; 1024];
        loop {
            let count = stream.read(&mut bytes).await?;
            self.awake().await;
            if count == 0 {
                return Ok(());
            }
            stream.get_mut().write_all(&bytes[..count]).await?;
        }
    }

    /// Waits while it hangs.
    async fn awake(&self) {
        // The sender lives as long as we do.
        let _ = self.hanging.subscribe().wait_for(|hanging| !hanging).await;
    }

    /// What belongs to no room.
    fn plain(&self, target: &[u8]) -> String {
        if self.state().sick {
            return self.answer("500 Internal Server Error", "text/plain", "it is not well\n");
        }
        match target {
            b"/rooms.json" => {
                let rooms = self.figures().into_iter();
                let rooms = rooms.map(|it| serde_json::json!({ "name": it.room, "people": it.people }));
                self.answer("200 OK", "application/json", &serde_json::Value::from_iter(rooms).to_string())
            }
            b"/metrics" => {
                let rooms = self.figures();
                let mut text = format!("# TYPE edumeet_rooms gauge\nedumeet_rooms {}\n", rooms.len());
                text.push_str("# TYPE edumeet_peers gauge\n");
                for room in rooms {
                    let name = room.room.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                    text.push_str(&format!("edumeet_peers{{room_id=\"{name}\"}} {}\n", room.people));
                }
                self.answer("200 OK", "text/plain; version=0.0.4", &text)
            }
            _ => self.answer("200 OK", "text/plain", &format!("{}\n", self.name)),
        }
    }

    /// What is said of a room.
    fn about(&self, room: &str, people: usize) -> String {
        serde_json::json!({ "server": self.name, "room": room, "people": people }).to_string()
    }

    fn answer(&self, status: &str, kind: &str, body: &str) -> String {
        let (length, name) = (body.len(), &self.name);
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nX-Server: {name}\r\n\r\n{body}"
        )
    }
}
