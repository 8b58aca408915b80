//! Agents of many servers on sockets.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::AgentReply;
use crate::listen::{Duplex, ListenAddress, ListenError, ListenSocket, part};
use crate::trace::{Protocol, Recorder, Side, Tape};

/// The longest line that is read to learn which server is meant, in bytes.
const MAX_NAME_LINE: usize = 512;

/// Says how servers are.
pub trait AgentSource: Send + Sync + 'static {
    /// What to tell this HAProxy of this server; `None` for a server that is not known: it is told nothing, and leaves
    /// the server as it is.
    fn reply(&self, server: &str, asker: &str) -> Option<AgentReply>;

    /// It was told.
    fn told(&self, server: &str, asker: &str, reply: &AgentReply);
}

/// Limits of the listeners.
#[derive(Clone, Copy, Debug)]
pub struct AgentCheckOptions {
    connections: usize,
    within: Duration,
    anywhere: bool,
}

/// 1,024 connections at a time, each at most a second.
impl Default for AgentCheckOptions {
    fn default() -> Self {
        Self { connections: 1024, within: Duration::from_secs(1), anywhere: false }
    }
}

impl AgentCheckOptions {
    /// The most connections at a time, at least 1; default 1,024. One more is closed without an answer, which HAProxy
    /// takes for no news.
    #[must_use]
    pub fn with_connections(mut self, most: usize) -> Self {
        self.connections = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Listens at public addresses too, and to callers from there; default no, since nobody is asked who they are. Only
    /// for networks that look public and are not.
    #[must_use]
    pub fn with_anywhere(mut self, allowed: bool) -> Self {
        self.anywhere = allowed;
        self
    }

    /// How long HAProxy may take to say which server it means, and to take the answer; default 1 s.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within.min(Duration::from_secs(3600));
        self
    }
}

#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    unknown: AtomicU64,
    lost: AtomicU64,
    turned_away: AtomicU64,
}

/// What the listeners have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentCheckCounts {
    /// Questions answered.
    pub answered: u64,
    /// Questions about servers nobody knows, or that named none.
    pub unknown: u64,
    /// Answers that nobody waited for.
    pub lost: u64,
    /// Connections for which there was no place.
    pub turned_away: u64,
}

/// Which server a listener speaks for, and to whom.
#[derive(Clone, Debug)]
enum Whose {
    /// Whichever the line names.
    Named,
    /// This one.
    One { server: Arc<str>, asker: Option<Arc<str>> },
}

/// Answers agent checks for many servers: over one listener each, or over one for all that are named by `agent-send`.
///
/// A HAProxy is known by the second word of its line (`agent-send "mm1 lb1\n"`), else by the name given to its listener,
/// else by its address: what was ordered is remembered for each, so two HAProxys of one host must name themselves, or
/// have listeners of their own.
pub struct AgentCheckServer {
    listeners: Vec<(ListenSocket, Whose)>,
    options: AgentCheckOptions,
    source: Arc<dyn AgentSource>,
    tally: Arc<Tally>,
    recorder: Option<Recorder>,
}

impl fmt::Debug for AgentCheckServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentCheckServer").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Reads the figures of listeners, while they run and afterwards.
#[derive(Clone, Debug)]
pub struct AgentCheckCounters(Arc<Tally>);

impl AgentCheckCounters {
    /// The figures now.
    pub fn read(&self) -> AgentCheckCounts {
        AgentCheckCounts {
            answered: self.0.answered.load(Relaxed),
            unknown: self.0.unknown.load(Relaxed),
            lost: self.0.lost.load(Relaxed),
            turned_away: self.0.turned_away.load(Relaxed),
        }
    }
}

impl AgentCheckServer {
    /// Without a listener yet.
    pub fn new(options: AgentCheckOptions, source: Arc<dyn AgentSource>) -> Self {
        Self { listeners: Vec::new(), options, source, tally: Arc::default(), recorder: None }
    }

    /// Keeps what is asked and answered in a trace; default not.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Listens for all servers: the line that HAProxy sends (`agent-send "SERVER HAPROXY\n"`) tells which is meant.
    ///
    /// # Errors
    ///
    /// [`ListenError`] when the address is taken, not to be had, or public.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn listen(&mut self, address: &ListenAddress) -> Result<ListenAddress, ListenError> {
        self.add(address, Whose::Named).await
    }

    /// Takes connections of this socket, as [`listen`](Self::listen) does; who may call was decided when it was bound. Another
    /// one with other options can go on with a clone of it: HAProxy finds nobody gone.
    pub fn listen_on(&mut self, socket: ListenSocket) {
        self.listeners.push((socket, Whose::Named));
    }

    /// Listens for one server, and for one HAProxy if it is given a name.
    ///
    /// # Errors
    ///
    /// As [`listen`](Self::listen).
    ///
    /// # Cancel safety
    ///
    /// As [`listen`](Self::listen).
    pub async fn listen_for(
        &mut self,
        address: &ListenAddress,
        server: &str,
        asker: Option<&str>,
    ) -> Result<ListenAddress, ListenError> {
        self.add(address, Whose::One { server: server.into(), asker: asker.map(Arc::from) }).await
    }

    async fn add(&mut self, address: &ListenAddress, whose: Whose) -> Result<ListenAddress, ListenError> {
        let socket = ListenSocket::bind(address, self.options.anywhere).await?;
        let address = socket.address().clone();
        self.listeners.push((socket, whose));
        Ok(address)
    }

    /// What is done.
    pub fn counters(&self) -> AgentCheckCounters {
        AgentCheckCounters(Arc::clone(&self.tally))
    }

    /// Answers until `shutdown` ends; then nobody new is let in, and who is there is answered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections at once.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { listeners, options, source, tally, recorder } = self;
        let places = Arc::new(Semaphore::new(options.connections));
        let mut connections = JoinSet::new();
        let accept = async {
            let mut next = 0;
            loop {
                // Fair among listeners: each call begins behind the last one served.
                let mut waits: Vec<_> = listeners.iter().map(|(listener, _)| Box::pin(listener.accept())).collect();
                let (at, (stream, from)) = poll_fn(|context| {
                    for step in 0..waits.len() {
                        let at = (next + step) % waits.len();
                        if let Some(wait) = waits.get_mut(at)
                            && let Poll::Ready(accepted) = wait.as_mut().poll(context)
                        {
                            return Poll::Ready((at, accepted));
                        }
                    }
                    Poll::Pending
                })
                .await;
                next = at + 1;
                while connections.try_join_next().is_some() {}
                let Some((_, whose)) = listeners.get(at) else { continue };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tally.turned_away.fetch_add(1, Relaxed);
                    continue;
                };
                let from: Arc<str> = from.map_or_else(|| "unix".into(), |from| from.ip().to_string().into());
                let tape =
                    recorder.as_ref().map(|recorder| recorder.tape(Protocol::AgentCheck, Side::Haproxy, &from, []));
                let (whose, source, tally) = (whose.clone(), Arc::clone(&source), Arc::clone(&tally));
                let visit = Visit { whose, from, source, tally, tape };
                connections.spawn(visit.serve(stream, options.within, place));
            }
        };
        tokio::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => {}
            () = accept => {}
        }
        drop(listeners);
        while connections.join_next().await.is_some() {}
    }
}

/// One connection.
struct Visit {
    whose: Whose,
    from: Arc<str>,
    source: Arc<dyn AgentSource>,
    tally: Arc<Tally>,
    tape: Option<Tape>,
}

impl Visit {
    async fn serve(mut self, mut stream: Box<dyn Duplex>, within: Duration, place: OwnedSemaphorePermit) {
        match timeout(within, self.answer(&mut stream)).await {
            Ok(()) => part(stream).await,
            Err(_) => {
                self.tally.lost.fetch_add(1, Relaxed);
            }
        }
        drop(place);
    }

    async fn answer(&mut self, stream: &mut Box<dyn Duplex>) {
        let line;
        let (server, asker) = match &self.whose {
            Whose::One { server, asker } => (&**server, asker.as_deref().unwrap_or(&self.from)),
            Whose::Named => {
                line = read_line(stream).await.unwrap_or_default();
                if let Some(tape) = &mut self.tape {
                    tape.heard(format!("{line}\n").as_bytes());
                }
                let mut words = line.split_ascii_whitespace();
                (words.next().unwrap_or_default(), words.next().unwrap_or(&self.from))
            }
        };
        let Some(reply) = self.source.reply(server, asker) else {
            self.tally.unknown.fetch_add(1, Relaxed);
            return;
        };
        let said = reply.to_string();
        if let Some(tape) = &mut self.tape {
            tape.said(said.as_bytes());
        }
        // Somebody who hung while HAProxy gave up would else believe that it was heard.
        if is_gone(stream).await || stream.write_all(said.as_bytes()).await.is_err() {
            self.tally.lost.fetch_add(1, Relaxed);
            return;
        }
        self.source.told(server, asker, &reply);
        self.tally.answered.fetch_add(1, Relaxed);
    }
}

/// The first line, without its end; `None` if it has none or is too long.
async fn read_line(stream: &mut Box<dyn Duplex>) -> Option<String> {
    let mut line = Vec::with_capacity(64);
    loop {
        if let Some(end) = line.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            line.truncate(end);
            return String::from_utf8(line).ok();
        }
        if line.len() >= MAX_NAME_LINE || !stream.read_buf(&mut line).await.is_ok_and(|n| n > 0) {
            return None;
        }
    }
}

/// Whether the other side has closed already.
async fn is_gone(stream: &mut Box<dyn Duplex>) -> bool {
    let mut bytes = [0; MAX_NAME_LINE];
    poll_fn(|context| {
        let mut buffer = ReadBuf::new(&mut bytes);
        Poll::Ready(match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => buffer.filled().is_empty(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        })
    })
    .await
}
