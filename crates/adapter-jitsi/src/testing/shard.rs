//! The parts of a shard as its health is asked of them: a web server, an XMPP server and a focus.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ShardAddresses;

/// The longest request that is read.
const MAX_REQUEST: usize = 16 * 1024;

/// How a part behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// As it should.
    #[default]
    Well,
    /// It answers with this status; an XMPP server ends the stream with an error.
    Fails(u16),
    /// It takes connections and says nothing, as a stopped process does.
    Hangs,
    /// Nobody listens.
    Gone,
    /// It answers with bytes that are no protocol.
    Garbage,
}

/// A part of a [`ShardStandIn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The web server.
    Web,
    /// The XMPP server's BOSH port.
    Bosh,
    /// The XMPP server's port for clients.
    Xmpp,
    /// The focus.
    Focus,
}

const PARTS: [Part; 4] = [Part::Web, Part::Bosh, Part::Xmpp, Part::Focus];

/// What the focus tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FocusFigures {
    /// The JIDs of its rooms.
    pub rooms: Vec<String>,
    /// Participants in all of them.
    pub participants: u64,
    /// The corrected stress of each operational bridge; from 0.8 on it is overloaded.
    pub stress: Vec<f64>,
    /// Further bridges, not operational.
    pub failed: usize,
    /// Whether `/debug` and what is below it is open.
    pub debug: bool,
}

impl Default for FocusFigures {
    fn default() -> Self {
        Self { rooms: Vec::new(), participants: 0, stress: vec![0.1, 0.1], failed: 0, debug: true }
    }
}

#[derive(Debug, Default)]
struct State {
    behaviours: [watch::Sender<Behaviour>; 4],
    figures: Mutex<FocusFigures>,
    name: String,
}

impl State {
    fn figures(&self) -> MutexGuard<'_, FocusFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One Jitsi without rooms and media: its parts answer what real ones do when they are asked how they are, on four
/// ports of the loopback. All pages say its name, in the header `X-Jitsi-Shard` too.
///
/// Dropping it ends all of it.
#[derive(Debug)]
pub struct ShardStandIn {
    state: Arc<State>,
    ports: [SocketAddr; 4],
    _serving: JoinSet<()>,
}

impl ShardStandIn {
    /// Starts one of this name.
    ///
    /// # Errors
    ///
    /// When no port is free.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends what was started.
    pub async fn start(name: &str) -> std::io::Result<Self> {
        let state = Arc::new(State { name: name.to_owned(), ..State::default() });
        let mut serving = JoinSet::new();
        let mut ports = Vec::new();
        for (at, part) in PARTS.into_iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            ports.push(listener.local_addr()?);
            let on = state.behaviours[at].subscribe();
            serving.spawn(serve(listener, part, Arc::clone(&state), on));
        }
        let ports = [ports[0], ports[1], ports[2], ports[3]];
        Ok(Self { state, ports, _serving: serving })
    }

    /// Where its parts are asked.
    pub fn addresses(&self) -> ShardAddresses {
        let [web, bosh, xmpp, focus] = self.ports.map(|port| Some(port.to_string()));
        ShardAddresses { web, bosh, xmpp, focus }
    }

    /// Where the web server listens.
    pub fn web(&self) -> SocketAddr {
        self.ports[0]
    }

    /// Makes a part behave like this from the next connection on; one that hangs is let go of.
    pub fn behave(&self, part: Part, as_: Behaviour) {
        for (known, behaviour) in PARTS.iter().zip(&self.state.behaviours) {
            if *known == part {
                behaviour.send_replace(as_);
            }
        }
    }

    /// Makes all parts behave like this.
    pub fn behave_all(&self, as_: Behaviour) {
        PARTS.into_iter().for_each(|part| self.behave(part, as_));
    }

    /// Changes what the focus tells.
    pub fn change<T>(&self, change: impl FnOnce(&mut FocusFigures) -> T) -> T {
        change(&mut self.state.figures())
    }
}

async fn serve(listener: TcpListener, part: Part, state: Arc<State>, mut on: watch::Receiver<Behaviour>) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    // While nobody listens at the port it is bound all the same, so that no outgoing connection gets it.
    let mut kept = None;
    let mut connections = JoinSet::new();
    loop {
        let now = *on.borrow_and_update();
        match (now, listener.is_some()) {
            (Behaviour::Gone, true) => {
                listener = None;
                kept = keep(address);
                connections.abort_all();
            }
            (Behaviour::Gone, false) | (_, true) => {}
            (_, false) => {
                listener = kept.take().or_else(|| keep(address)).and_then(|socket| socket.listen(128).ok());
                if listener.is_none() {
                    // Somebody else has the port, or has not let go of it yet.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            }
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok((stream, _)) = accepted => {
                // It may have been told otherwise while nobody came.
                let (now, state, behaviour) = (*on.borrow(), Arc::clone(&state), on.clone());
                if now != Behaviour::Gone {
                    connections.spawn(answer(stream, part, now, state, behaviour));
                }
            }
            changed = on.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
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

/// What goes wrong on a connection is the client's business.
async fn answer(
    mut stream: TcpStream,
    part: Part,
    now: Behaviour,
    state: Arc<State>,
    mut on: watch::Receiver<Behaviour>,
) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    let end: &[u8] = if part == Part::Xmpp { b">" } else { b"\r\n\r\n" };
    loop {
        if now == Behaviour::Hangs {
            // Until it behaves otherwise.
            let _ = on.wait_for(|other| *other != now).await;
            return None;
        }
        while !request.windows(end.len()).any(|window| window == end) {
            let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
            request.extend_from_slice(&buffer[..length]);
            if request.len() > MAX_REQUEST {
                return None;
            }
        }
        let text = match (now, part) {
            (Behaviour::Garbage, _) => "\u{1}\u{2} nothing of this is a protocol\r\n\r\n".to_owned(),
            (Behaviour::Fails(_), Part::Xmpp) => return None,
            (_, Part::Xmpp) => "<?xml version='1.0'?><stream:stream id='1' from='meet.example' version='1.0' \
                 xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><stream:features/>"
                .to_owned(),
            (Behaviour::Fails(status), _) => page(&state.name, status, "text/plain", "it fails as it was told\n"),
            _ => {
                let line = String::from_utf8_lossy(&request).into_owned();
                let path = line.split_ascii_whitespace().nth(1).unwrap_or_default();
                told(part, path.split('?').next().unwrap_or_default(), &state)
            }
        };
        stream.write_all(text.as_bytes()).await.ok()?;
        if part == Part::Xmpp {
            // The stream stays open for as long as the client wants.
            while stream.read(&mut buffer).await.ok()? > 0 {}
            return None;
        }
        if now == Behaviour::Garbage || String::from_utf8_lossy(&request).to_ascii_lowercase().contains(": close") {
            return stream.shutdown().await.ok();
        }
        request.clear();
    }
}

fn told(part: Part, path: &str, state: &State) -> String {
    let name = &state.name;
    let json = |value: serde_json::Value| page(name, 200, "application/json", &value.to_string());
    let missing = || page(name, 404, "text/plain", "there is nothing here\n");
    match (part, path) {
        // The application is one page, whatever the path.
        (Part::Web, _) => page(name, 200, "text/html", &format!("<!doctype html><title>{name}</title>\n")),
        (Part::Bosh, "/http-bind") => {
            page(name, 200, "text/html", "<p>It works! Now point your BOSH client to this URL.</p>\n")
        }
        (Part::Focus, "/about/health") => page(name, 200, "text/plain", ""),
        (Part::Focus, "/stats") => {
            let figures = state.figures();
            let bridges = figures.stress.len();
            json(serde_json::json!({
                "conferences": figures.rooms.len(),
                "participants": figures.participants,
                "bridge_selector": {
                    "bridge_count": bridges + figures.failed,
                    "operational_bridge_count": bridges,
                    "in_shutdown_bridge_count": 0,
                    "lost_bridges": 0,
                },
            }))
        }
        (Part::Focus, path) if path.starts_with("/debug") && !state.figures().debug => missing(),
        (Part::Focus, "/debug") => {
            let figures = state.figures();
            let failed = std::iter::repeat_n(None, figures.failed);
            let all = figures.stress.iter().copied().map(Some).chain(failed).enumerate().map(|(n, stress)| {
                let bridge = serde_json::json!({
                    "corrected-stress": stress.unwrap_or_default(),
                    "drain": false,
                    "operational": stress.is_some(),
                    "overloaded": stress.is_some_and(|stress| stress >= 0.8),
                });
                (format!("jvbbrewery@internal.auth.meet.example/jvb{}", n + 1), bridge)
            });
            let all: serde_json::Map<String, serde_json::Value> = all.collect();
            json(serde_json::json!({ "bridge_selector": { "bridge": all } }))
        }
        (Part::Focus, "/debug/conferences") => json(serde_json::json!(state.figures().rooms)),
        _ => missing(),
    }
}

fn page(name: &str, status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nX-Jitsi-Shard: {name}\r\n\r\n{body}"
    )
}
