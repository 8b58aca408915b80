//! Connections to one Redis server, shared by everything that talks to it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::greet::greet;
use super::options::{Address, RedisOptions};
use super::reply::RedisReply;
use super::trouble::{self, Kind, Trouble};
use crate::stick::StickError;

/// A Lua script that a server runs as one step.
///
/// It must name every key it touches among its `KEYS`, all with one hash tag.
#[derive(Clone, Debug)]
pub struct RedisScript {
    code: Arc<str>,
    sha: Arc<str>,
}

impl RedisScript {
    /// Wraps the code.
    pub fn new(code: impl Into<Arc<str>>) -> Self {
        let code = code.into();
        let sha: String = Sha1::digest(code.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { code, sha: sha.into() }
    }
}

/// A few connections to one Redis server, shared by any number of callers; clones share them too.
///
/// Connects when first used and again whenever the connection is lost. No call takes longer than the response
/// time-out. A call under which the connection broke is sent once more, hence may run twice at the server.
#[derive(Clone)]
pub struct RedisLink {
    inner: Arc<Inner>,
}

struct Inner {
    options: RedisOptions,
    lanes: Box<[Lane]>,
    turn: AtomicUsize,
    warning: Option<String>,
    #[cfg(feature = "redis-tls")]
    tls: Option<super::tls::Tls>,
}

#[derive(Default)]
struct Lane {
    live: ArcSwapOption<Live>,
    /// Held while connecting; keeps when and why the last attempt failed.
    connecting: Mutex<Option<(Instant, Trouble)>>,
}

struct Live {
    connection: MultiplexedConnection,
    ended: Arc<AtomicBool>,
}

/// Says that the task behind a connection is gone, however it went.
struct EndNote(Arc<AtomicBool>);

impl Drop for EndNote {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl RedisLink {
    /// Checks the settings; connects when first used, which must be inside a tokio runtime.
    ///
    /// Warns in the log, once, when the server is not on this machine and no password is set.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] naming the setting.
    pub fn new(options: RedisOptions) -> Result<Self, StickError> {
        options.validate()?;
        let warning = (options.password.is_none() && !options.is_local()).then(|| {
            format!(
                "{} is not on this machine and has no password: anybody who reaches its port can move and delete \
                 rooms; set a password, or let a firewall admit these hosts only",
                options.target()
            )
        });
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        let lanes = (0..options.connections).map(|_| Lane::default()).collect();
        #[cfg(feature = "redis-tls")]
        let tls = match &options.address {
            Address::Tcp { host, .. } if options.tls => Some(super::tls::Tls::new(&options, host)?),
            _ => None,
        };
        let inner = Inner {
            options,
            lanes,
            turn: AtomicUsize::new(0),
            warning,
            #[cfg(feature = "redis-tls")]
            tls,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is unsafe about these settings, if anything.
    pub fn warning(&self) -> Option<&str> {
        self.inner.warning.as_deref()
    }

    /// What every key of this link begins with.
    pub fn namespace(&self) -> &str {
        &self.inner.options.namespace
    }

    /// The server as shown in messages: no secret in it.
    pub fn target(&self) -> String {
        self.inner.options.target()
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn ping(&self) -> Result<(), StickError> {
        self.call(&["PING"]).await.map(drop)
    }

    /// Sends one command: its name and arguments.
    ///
    /// # Errors
    ///
    /// [`StickError::Lost`] without contact or answer in time, [`StickError::Refused`] with the server's words,
    /// [`StickError::Corrupt`] when it does not speak the protocol.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the command may or may not run.
    pub async fn call<A: AsRef<[u8]> + Sync>(&self, command: &[A]) -> Result<RedisReply, StickError> {
        let command = pack(command);
        self.one(&command).await.map_err(|trouble| self.error(trouble))
    }

    /// Sends several commands at once, and returns an answer for each; others may run between them.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call), for the first command that fails; the others may have run.
    ///
    /// # Cancel safety
    ///
    /// When dropped, some, all or none of the commands may run.
    pub async fn pipeline<A: AsRef<[u8]> + Sync>(&self, commands: &[Vec<A>]) -> Result<Vec<RedisReply>, StickError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(pack(command));
        }
        self.many(&pipeline).await.map_err(|trouble| self.error(trouble))
    }

    /// Runs a script in one round trip; one more when the server does not know it yet.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// When dropped, the script may or may not run.
    pub async fn script<K, A>(&self, script: &RedisScript, keys: &[K], args: &[A]) -> Result<RedisReply, StickError>
    where
        K: AsRef<[u8]> + Sync,
        A: AsRef<[u8]> + Sync,
    {
        let known = invoke("EVALSHA", &script.sha, keys, args);
        let mut reply = self.one(&known).await;
        if matches!(&reply, Err(trouble) if trouble.kind == Kind::NoScript) {
            reply = self.one(&invoke("EVAL", &script.code, keys, args)).await;
        }
        reply.map_err(|trouble| self.error(trouble))
    }

    /// Runs one script several times in one round trip; two more when the server does not know it yet.
    ///
    /// # Errors
    ///
    /// As for [`pipeline`](Self::pipeline).
    ///
    /// # Cancel safety
    ///
    /// When dropped, some, all or none of the runs may happen.
    pub async fn scripts<K, A>(
        &self,
        script: &RedisScript,
        runs: &[(Vec<K>, Vec<A>)],
    ) -> Result<Vec<RedisReply>, StickError>
    where
        K: AsRef<[u8]> + Sync,
        A: AsRef<[u8]> + Sync,
    {
        let mut pipeline = Pipeline::with_capacity(runs.len());
        for (keys, args) in runs {
            pipeline.add_command(invoke("EVALSHA", &script.sha, keys, args));
        }
        let mut replies = self.many(&pipeline).await;
        if matches!(&replies, Err(trouble) if trouble.kind == Kind::NoScript) {
            // With several connections behind a proxy the load may land elsewhere; then the error stands.
            replies = match self.one(&pack(&["SCRIPT", "LOAD", &script.code])).await {
                Ok(_) => self.many(&pipeline).await,
                Err(trouble) => Err(trouble),
            };
        }
        replies.map_err(|trouble| self.error(trouble))
    }

    pub(super) fn error(&self, trouble: Trouble) -> StickError {
        trouble.into_error(&self.inner.options)
    }

    async fn one(&self, command: &Cmd) -> Result<RedisReply, Trouble> {
        let send = |mut connection: MultiplexedConnection| async move {
            connection.send_packed_command(command).await.map(|value| vec![value])
        };
        let reply = self.send(send).await?.pop();
        reply.ok_or_else(|| Trouble::new(Kind::Corrupt, "no answer where one was announced"))
    }

    async fn many(&self, pipeline: &Pipeline) -> Result<Vec<RedisReply>, Trouble> {
        let send = |mut connection: MultiplexedConnection| async move {
            connection.send_packed_commands(pipeline, 0, pipeline.len()).await
        };
        if pipeline.is_empty() { Ok(Vec::new()) } else { self.send(send).await }
    }

    async fn send<F, Fut>(&self, send: F) -> Result<Vec<RedisReply>, Trouble>
    where
        F: Fn(MultiplexedConnection) -> Fut,
        Fut: Future<Output = redis::RedisResult<Vec<Value>>>,
    {
        let inner = &*self.inner;
        let waits = inner.options.response_timeout;
        let began = Instant::now();
        let deadline = began + waits;
        let lane = &inner.lanes[inner.turn.fetch_add(1, Ordering::Relaxed) % inner.lanes.len()];
        let mut again = true;
        loop {
            let live = match timeout_at(deadline, inner.live(lane)).await {
                Ok(live) => live?,
                Err(_) => return Err(trouble::connect(&inner.options, None, waits)),
            };
            let trouble = match timeout_at(deadline, send(live.connection.clone())).await {
                Ok(Ok(values)) => match values.into_iter().map(RedisReply::read).collect::<Result<Vec<_>, _>>() {
                    Ok(replies) => return Ok(replies),
                    Err(error) => trouble::answer(&error.into()),
                },
                Ok(Err(error)) => trouble::answer(&error),
                Err(_) => trouble::silence(waits),
            };
            if !matches!(trouble.kind, Kind::Refused | Kind::NoScript) {
                lane.forget(&live);
            }
            if trouble.kind != Kind::Dropped || !std::mem::take(&mut again) {
                return Err(trouble);
            }
        }
    }
}

impl Lane {
    fn ready(&self) -> Option<Arc<Live>> {
        self.live.load_full().filter(|live| !live.ended.load(Ordering::Acquire))
    }

    /// Uses this connection no more.
    fn forget(&self, live: &Arc<Live>) {
        live.ended.store(true, Ordering::Release);
        self.live.compare_and_swap(live, None);
    }
}

impl Inner {
    async fn live(&self, lane: &Lane) -> Result<Arc<Live>, Trouble> {
        if let Some(live) = lane.ready() {
            return Ok(live);
        }
        let began = Instant::now();
        let mut last = lane.connecting.lock().await;
        if let Some(live) = lane.ready() {
            return Ok(live);
        }
        // An attempt that failed while we waited for our turn would fail for us too.
        if let Some((when, trouble)) = &*last
            && *when >= began
        {
            return Err(trouble.clone());
        }
        let mut tries = 1;
        loop {
            match self.connect().await {
                Ok(live) => {
                    let live = Arc::new(live);
                    lane.live.store(Some(Arc::clone(&live)));
                    *last = None;
                    return Ok(live);
                }
                Err(trouble) if trouble.kind == Kind::Unwelcome && tries < self.options.connect_tries => {
                    sleep(Duration::from_millis(100) * tries).await;
                    tries += 1;
                }
                Err(trouble) => {
                    *last = Some((Instant::now(), trouble.clone()));
                    return Err(trouble);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Live, Trouble> {
        // Connecting may use the time of an answer, but must leave the caller time to hear the likely cause.
        let waits = self.options.connect_timeout.min(self.options.response_timeout * 4 / 5);
        let deadline = Instant::now() + waits;
        match &self.options.address {
            Address::Tcp { host, port } => {
                let found = timeout_at(deadline, lookup_host((host.as_str(), *port))).await;
                let found = found.map_err(|_| trouble::lookup(None))?;
                let addresses: Vec<SocketAddr> = found.map_err(|error| trouble::lookup(Some(&error)))?.collect();
                let stream = self.reach(&addresses, deadline, waits).await?;
                let _ = stream.set_nodelay(true);
                #[cfg(feature = "redis-tls")]
                if let Some(tls) = &self.tls {
                    let secured = timeout_at(deadline, tls.wrap(stream)).await;
                    let secured = secured.map_err(|_| trouble::no_tls(waits))??;
                    return self.begin(secured, deadline, waits).await;
                }
                self.begin(stream, deadline, waits).await
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let reached = timeout_at(deadline, tokio::net::UnixStream::connect(path)).await;
                let reached = reached.map_err(|_| trouble::connect(&self.options, None, waits))?;
                let stream = reached.map_err(|error| trouble::connect(&self.options, Some(&error), waits))?;
                self.begin(stream, deadline, waits).await
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Trouble::new(Kind::Lost, "this system has no Unix sockets; use redis://")),
        }
    }

    /// Tries each address of a name, and gives each its share of the time.
    async fn reach(&self, addresses: &[SocketAddr], deadline: Instant, waits: Duration) -> Result<TcpStream, Trouble> {
        let mut failed: Option<Option<io::Error>> = None;
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            let now = Instant::now();
            let share = now + deadline.saturating_duration_since(now) / left.max(1);
            left -= 1;
            match timeout_at(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = Some(Some(error)),
                Err(_) => failed = Some(None),
            }
        }
        Err(match failed {
            None => trouble::lookup(Some(&io::Error::other("no address of that name"))),
            Some(error) => trouble::connect(&self.options, error.as_ref(), waits),
        })
    }

    async fn begin<S>(&self, mut stream: S, deadline: Instant, waits: Duration) -> Result<Live, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let greeted = timeout_at(deadline, greet(&mut stream, &self.options)).await;
        greeted.map_err(|_| trouble::greeting(waits))??;
        // All waiting is bounded here, not inside the connection.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = made.map_err(|error| trouble::answer(&error))?;
        let ended = Arc::new(AtomicBool::new(false));
        let note = EndNote(Arc::clone(&ended));
        tokio::spawn(async move {
            let _note = note;
            driver.await;
        });
        Ok(Live { connection, ended })
    }
}

fn pack<A: AsRef<[u8]>>(words: &[A]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}

fn invoke<K: AsRef<[u8]>, A: AsRef<[u8]>>(verb: &str, script: &str, keys: &[K], args: &[A]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(verb).arg(script).arg(keys.len());
    for key in keys {
        command.arg(key.as_ref());
    }
    for arg in args {
        command.arg(arg.as_ref());
    }
    command
}
