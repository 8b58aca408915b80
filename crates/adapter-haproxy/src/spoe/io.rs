//! An agent on a socket: connections, deadlines, limits, figures.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::asked::Messages;
use super::frame::{Action, Frame, Message};
use super::hello::Disconnect;
use super::reply::Reply;
use super::session::AgentOptions;
use super::status::Status;
use crate::listen::{Duplex, ListenAddress, ListenError, ListenSocket, part};
use crate::trace::{Protocol, Recorder, Side};

mod connection;
mod counts;
#[cfg(test)]
mod tests;

use connection::Connection;
pub use counts::{AgentCounters, AgentCounts, EngineCounts};

/// No wait is longer: clocks end somewhere.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// One question of a HAProxy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Query {
    /// Which engine of which process asks; HAProxy makes it up anew at each start.
    pub engine: Option<Arc<str>>,
    /// What it tells.
    pub messages: Vec<Message>,
    /// Until when an answer is of use. What comes later is thrown away, so undo then what was done for it.
    pub deadline: Instant,
}

impl Query {
    /// A question to be answered until then.
    pub fn new(messages: Vec<Message>, deadline: Instant) -> Self {
        Self { engine: None, messages, deadline }
    }
}

/// The same where it stands in HAProxy's frame.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// Which engine of which process asks.
    pub engine: Option<&'a Arc<str>>,
    /// What it tells.
    pub messages: Messages<'a>,
    /// Until when an answer is of use.
    pub deadline: Instant,
}

impl Asked<'_> {
    /// The same, on its own.
    pub fn to_query(&self) -> Query {
        Query { engine: self.engine.cloned(), messages: self.messages.to_vec(), deadline: self.deadline }
    }
}

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Answers questions.
#[async_trait]
pub trait Answer: Send + Sync + 'static {
    /// What HAProxy shall do; nothing means no opinion.
    ///
    /// # Cancel safety
    ///
    /// Not dropped when the deadline passes: it runs on, for [ten seconds](AgentServerOptions::with_longest_answer) at
    /// most, so that it can undo what came too late.
    async fn answer(self: Arc<Self>, query: Query) -> Vec<Action>;

    /// The same for a question where it stands, which is what an agent is asked by. Unless it is written anew, the
    /// question is copied and [answered](Self::answer).
    ///
    /// # Cancel safety
    ///
    /// As [`answer`](Self::answer).
    fn answer_asked(self: Arc<Self>, asked: &Asked<'_>) -> Answering {
        let answer = self.answer(asked.to_query());
        Box::pin(async move { Reply::from(answer.await) })
    }

    /// Answers at once where nothing has to be waited for: whether `reply`, which is empty before, is the answer. If not,
    /// the question is asked [again](Self::answer_asked), so leave nothing behind. An agent is asked this first; unless
    /// it is written anew, nothing is answered at once.
    fn answer_at_once(&self, _asked: &Asked<'_>, _reply: &mut Reply) -> bool {
        false
    }
}

/// All of these in turn, for an agent that serves several engines: each answers the messages it knows.
#[async_trait]
impl<A: Answer + ?Sized> Answer for Vec<Arc<A>> {
    async fn answer(self: Arc<Self>, query: Query) -> Vec<Action> {
        let mut actions = Vec::new();
        for one in self.iter() {
            actions.extend(Arc::clone(one).answer(query.clone()).await);
        }
        actions
    }
}

/// Limits of an agent.
#[derive(Clone, Debug)]
pub struct AgentServerOptions {
    session: AgentOptions,
    connections: usize,
    running: usize,
    hello: Duration,
    idle: Duration,
    processing: Duration,
    longest: Duration,
    write: Duration,
    anywhere: bool,
    recorder: Option<Recorder>,
}

/// 1,024 connections, 4,096 answers on the way, 1 s for a greeting, 1 h of silence, 40 ms for an answer.
impl Default for AgentServerOptions {
    fn default() -> Self {
        Self {
            session: AgentOptions::default(),
            connections: 1024,
            running: 4096,
            hello: Duration::from_secs(1),
            idle: Duration::from_secs(3600),
            processing: Duration::from_millis(40),
            longest: Duration::from_secs(10),
            write: Duration::from_secs(5),
            anywhere: false,
            recorder: None,
        }
    }
}

impl AgentServerOptions {
    /// What each connection offers: frame size, pipelining, open queries.
    #[must_use]
    pub fn with_session(mut self, session: AgentOptions) -> Self {
        self.session = session;
        self
    }

    /// The most connections, at least 1; default 1,024. One more is told so ([`Status::RESOURCES`]) and closed. HAProxy
    /// before 3.1 opens one for each request that waits at the same time.
    #[must_use]
    pub fn with_connections(mut self, most: usize) -> Self {
        self.connections = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The most answers that wait for something (a stick table far away) at a time, at least 1; default 4,096. One more
    /// query gets no opinion at once.
    #[must_use]
    pub fn with_running(mut self, most: usize) -> Self {
        self.running = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a greeting may take; default 1 s.
    #[must_use]
    pub fn with_hello(mut self, within: Duration) -> Self {
        self.hello = within.min(MONTH);
        self
    }

    /// How long nothing may come over a connection; default 1 h. Keep it above HAProxy's `timeout idle` (2.6, 2.8) or
    /// `timeout server` (3.1 on), so that HAProxy is the one to end connections it does not need.
    #[must_use]
    pub fn with_idle(mut self, within: Duration) -> Self {
        self.idle = within.min(MONTH);
        self
    }

    /// How long an answer may take; default 40 ms. Then "no opinion" is said in its place. Keep it below HAProxy's
    /// `timeout processing` (50 ms as rendered): an answer after that helps nobody, and HAProxy counts an error.
    #[must_use]
    pub fn with_processing(mut self, within: Duration) -> Self {
        self.processing = within.min(MONTH);
        self
    }

    /// Listens at public addresses too, and to callers from there; default no, since nobody is asked who they are. Only
    /// for networks that look public and are not.
    #[must_use]
    pub fn with_anywhere(mut self, allowed: bool) -> Self {
        self.anywhere = allowed;
        self
    }

    /// How long an answer that is late already may go on; default 10 s. It is dropped then.
    #[must_use]
    pub fn with_longest_answer(mut self, within: Duration) -> Self {
        self.longest = within.min(MONTH);
        self
    }

    /// Keeps what is said and heard in a trace; default not. Text that no placer looks at is masked.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }
}

/// What all connections of an agent share.
struct Shared {
    options: AgentServerOptions,
    answer: Arc<dyn Answer>,
    counters: Arc<AgentCounters>,
    running: Arc<Semaphore>,
}

/// An agent that listens.
///
/// ```no_run
/// use std::sync::Arc;
/// use adapter_haproxy::spoe::{Action, AgentServer, AgentServerOptions, Answer, Query, Scope, Value};
///
/// struct Fixed;
///
/// #[async_trait::async_trait]
/// impl Answer for Fixed {
///     async fn answer(self: Arc<Self>, query: Query) -> Vec<Action> {
///         let known = query.messages.iter().any(|message| message.arg("room").is_some());
///         known.then(|| Action::set(Scope::Transaction, "server", Value::string("mm1"))).into_iter().collect()
///     }
/// }
///
/// # async fn example() -> Result<(), adapter_haproxy::ListenError> {
/// let agent = AgentServer::bind(&"127.0.0.1:9600".parse()?, AgentServerOptions::default(), Arc::new(Fixed)).await?;
/// agent.run(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
pub struct AgentServer {
    socket: ListenSocket,
    shared: Arc<Shared>,
}

impl fmt::Debug for AgentServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentServer").field("address", self.socket.address()).finish_non_exhaustive()
    }
}

impl AgentServer {
    /// Listens; connections are taken once it [runs](Self::run).
    ///
    /// # Errors
    ///
    /// [`ListenError`] when the address is taken, not to be had, or public.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn bind(
        address: &ListenAddress,
        options: AgentServerOptions,
        answer: Arc<dyn Answer>,
    ) -> Result<Self, ListenError> {
        Ok(Self::on(ListenSocket::bind(address, options.anywhere).await?, options, answer))
    }

    /// Takes connections of this socket once it [runs](Self::run); who may call was decided when it was bound. An agent
    /// with other options can go on with a clone of it: HAProxy finds nobody gone.
    pub fn on(socket: ListenSocket, options: AgentServerOptions, answer: Arc<dyn Answer>) -> Self {
        let running = Arc::new(Semaphore::new(options.running));
        Self { socket, shared: Arc::new(Shared { options, answer, counters: Arc::default(), running }) }
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> &ListenAddress {
        self.socket.address()
    }

    /// What it has done so far; stays readable while it runs and afterwards.
    pub fn counters(&self) -> Arc<AgentCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until `shutdown` ends. Then nobody new is let in, open queries are answered within their time, and each
    /// HAProxy is told that the agent leaves, upon which it asks nothing more here.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections at once; queries that wait then cost HAProxy its timeout.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { socket, shared } = self;
        let places = Arc::new(Semaphore::new(shared.options.connections));
        let (leave, leaving) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = connections.join_next(), if !connections.is_empty() => {}
                (stream, from) = socket.accept() => {
                    shared.counters.accepted();
                    match Arc::clone(&places).try_acquire_owned() {
                        Ok(place) => {
                            let from = from.map_or_else(|| "unix".to_owned(), |from| from.to_string());
                            connections.spawn(serve(stream, from, Arc::clone(&shared), leaving.clone(), place))
                        }
                        Err(_) => connections.spawn(turn_away(stream, Arc::clone(&shared))),
                    };
                }
            }
        }
        drop(socket);
        let _ = leave.send(true);
        let Shared { options, .. } = &*shared;
        let grace = options.processing.saturating_add(options.write).saturating_add(Duration::from_secs(1));
        let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    }
}

async fn serve(
    stream: Box<dyn Duplex>,
    from: String,
    shared: Arc<Shared>,
    leaving: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    shared.counters.opened();
    let recorder = shared.options.recorder.as_ref();
    let tape = recorder.map(|recorder| recorder.tape(Protocol::Spoe, Side::Haproxy, &from, []));
    Connection::new(stream, Arc::clone(&shared), tape).run(leaving).await;
    shared.counters.closed();
    drop(place);
}

/// Says that there is no place, and closes.
async fn turn_away(mut stream: Box<dyn Duplex>, shared: Arc<Shared>) {
    shared.counters.turned_away();
    let farewell = Frame::AgentDisconnect(Disconnect::new(Status::RESOURCES)).encode();
    let told = tokio::io::AsyncWriteExt::write_all(&mut stream, &farewell);
    if timeout(shared.options.write, told).await.is_ok_and(|written| written.is_ok()) {
        part(stream).await;
    }
}
