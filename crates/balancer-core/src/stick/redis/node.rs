//! One Redis server: its connections, and what is sent over them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::greet::{Login, greet};
use super::options::{Address, Place, RedisOptions};
use super::reply::RedisReply;
use super::trouble::{self, Kind, Trouble};
use crate::stick::StickError;

/// What every connection of a link needs.
pub(super) struct Settings {
    pub(super) options: RedisOptions,
    /// Grows with every connection made or lost.
    pub(super) generation: AtomicU64,
    #[cfg(feature = "redis-tls")]
    tls: Option<super::tls::Tls>,
}

impl Settings {
    pub(super) fn new(options: RedisOptions) -> Result<Self, StickError> {
        options.validate()?;
        #[cfg(feature = "redis-tls")]
        let tls = match &options.place {
            Place::Server(Address::Unix(_)) => None,
            _ if options.tls => Some(super::tls::Tls::new(&options)?),
            _ => None,
        };
        Ok(Self {
            options,
            generation: AtomicU64::new(0),
            #[cfg(feature = "redis-tls")]
            tls,
        })
    }

    /// How long connecting to one server may take. It may use the time of an answer, but must leave the caller time to
    /// hear the likely cause, and where others are asked first, leave them theirs.
    pub(super) fn waits(&self) -> Duration {
        let tenths = if matches!(self.options.place, Place::Server(_)) { 8 } else { 3 };
        self.options.connect_timeout.min(self.options.response_timeout * tenths / 10)
    }

    /// When a question on the way to a call must be answered, connecting included.
    #[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
    pub(super) fn aside(&self) -> Instant {
        Instant::now() + self.waits() * 3 / 2
    }

    fn turn(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Any server with data.
    Data,
    /// One that says it is a master.
    #[cfg(feature = "redis-sentinel")]
    Master,
    #[cfg(feature = "redis-sentinel")]
    Sentinel,
}

/// An answer to one command, or the server's words of refusal.
pub(super) type Said = Result<RedisReply, String>;

pub(super) struct Node {
    settings: Arc<Settings>,
    address: Address,
    role: Role,
    lanes: Box<[Lane]>,
    next: AtomicUsize,
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
struct EndNote(Arc<AtomicBool>, Arc<Settings>);

impl Drop for EndNote {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.turn();
    }
}

impl Lane {
    fn ready(&self) -> Option<Arc<Live>> {
        self.live.load_full().filter(|live| !live.ended.load(Ordering::Acquire))
    }

    #[cfg(feature = "redis-sentinel")]
    fn ended(&self) -> bool {
        self.live.load().as_ref().is_some_and(|live| live.ended.load(Ordering::Acquire))
    }
}

impl Node {
    pub(super) fn new(settings: Arc<Settings>, address: Address, role: Role) -> Self {
        let lanes = (0..settings.options.connections).map(|_| Lane::default()).collect();
        Self { settings, address, role, lanes, next: AtomicUsize::new(0) }
    }

    #[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a pipeline, once, over one connection; connects when there is none.
    ///
    /// An error of the kind `Dropped` says that the commands may or may not have run.
    pub(super) async fn attempt(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Said>, Trouble> {
        // To whole milliseconds, as it was set.
        let waits = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let waits = Duration::from_millis(u64::try_from(waits.as_millis()).unwrap_or(u64::MAX));
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        let live = match timeout_at(deadline, self.live(lane)).await {
            Ok(live) => live?,
            Err(_) => return Err(trouble::connect(&self.address, None, waits)),
        };
        let mut connection = live.connection.clone();
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let trouble = match timeout_at(deadline, sent).await {
            Ok(Ok(values)) => {
                let said: Vec<Said> = values.into_iter().map(RedisReply::read).collect();
                let elsewhere =
                    |words: &String| trouble::server(words).is_some_and(|trouble| trouble.kind == Kind::Elsewhere);
                if said.iter().filter_map(|said| said.as_ref().err()).any(elsewhere) {
                    self.forget(lane, &live);
                }
                return Ok(said);
            }
            Ok(Err(error)) => trouble::answer(&error),
            Err(_) => trouble::silence(waits),
        };
        if !matches!(trouble.kind, Kind::Refused | Kind::NoScript) {
            self.forget(lane, &live);
        }
        Err(trouble)
    }

    /// Uses this connection no more.
    fn forget(&self, lane: &Lane, live: &Arc<Live>) {
        live.ended.store(true, Ordering::Release);
        // That a master was lost must be seen until it is looked for anew.
        if matches!(self.role, Role::Data) {
            lane.live.compare_and_swap(live, None);
        }
    }

    /// Whether this is a master whose connection was lost: who the master is must be asked again, as the same server
    /// may come back without knowing that it was replaced.
    #[cfg(feature = "redis-sentinel")]
    pub(super) fn lost(&self) -> bool {
        self.role == Role::Master && self.lanes.iter().any(Lane::ended)
    }

    /// Connects if there is no connection yet.
    #[cfg(feature = "redis-sentinel")]
    pub(super) async fn reach_out(&self) -> Result<(), Trouble> {
        let Some(lane) = self.lanes.first() else { return Ok(()) };
        self.live(lane).await.map(drop)
    }

    async fn live(&self, lane: &Lane) -> Result<Arc<Live>, Trouble> {
        if let Some(live) = lane.ready() {
            return Ok(live);
        }
        #[cfg(feature = "redis-sentinel")]
        if self.lost() {
            return Err(Trouble::new(Kind::Unwelcome, "the connection to the master was lost"));
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
        // Where the server may change, the caller looks for it again instead.
        let most = match self.settings.options.place {
            Place::Server(_) => self.settings.options.connect_tries,
            #[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
            _ => 1,
        };
        let mut tries = 1;
        loop {
            match self.connect().await {
                Ok(live) => {
                    let live = Arc::new(live);
                    lane.live.store(Some(Arc::clone(&live)));
                    *last = None;
                    return Ok(live);
                }
                Err(trouble) if trouble.kind == Kind::Unwelcome && tries < most => {
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
        let waits = self.settings.waits();
        let deadline = Instant::now() + waits;
        match &self.address {
            Address::Tcp { host, port } => {
                let found = timeout_at(deadline, lookup_host((host.as_str(), *port))).await;
                let found = found.map_err(|_| trouble::lookup(None))?;
                let addresses: Vec<SocketAddr> = found.map_err(|error| trouble::lookup(Some(&error)))?.collect();
                let stream = self.reach(&addresses, deadline, waits).await?;
                let _ = stream.set_nodelay(true);
                #[cfg(feature = "redis-tls")]
                if let Some(tls) = &self.settings.tls {
                    let secured = timeout_at(deadline, tls.wrap(host, stream)).await;
                    let secured = secured.map_err(|_| trouble::no_tls(waits))??;
                    return self.begin(secured, deadline, waits).await;
                }
                self.begin(stream, deadline, waits).await
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let reached = timeout_at(deadline, tokio::net::UnixStream::connect(path)).await;
                let reached = reached.map_err(|_| trouble::connect(&self.address, None, waits))?;
                let stream = reached.map_err(|error| trouble::connect(&self.address, Some(&error), waits))?;
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
            Some(error) => trouble::connect(&self.address, error.as_ref(), waits),
        })
    }

    async fn begin<S>(&self, mut stream: S, deadline: Instant, waits: Duration) -> Result<Live, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let login = match self.role {
            #[cfg(feature = "redis-sentinel")]
            Role::Sentinel => Login::sentinel(&self.settings.options),
            _ => Login::data(&self.settings.options),
        };
        let greeted = timeout_at(deadline, greet(&mut stream, login)).await;
        greeted.map_err(|_| trouble::greeting(waits))??;
        // All waiting is bounded here, not inside the connection.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = made.map_err(|error| trouble::answer(&error))?;
        let ended = Arc::new(AtomicBool::new(false));
        let note = EndNote(Arc::clone(&ended), Arc::clone(&self.settings));
        tokio::spawn(async move {
            let _note = note;
            driver.await;
        });
        #[cfg(feature = "redis-sentinel")]
        if self.role == Role::Master {
            let asked = timeout_at(deadline, master(connection.clone())).await;
            asked.map_err(|_| trouble::greeting(waits))??;
        }
        self.settings.turn();
        Ok(Live { connection, ended })
    }
}

/// Fails unless the server says that it is a master.
#[cfg(feature = "redis-sentinel")]
async fn master(mut connection: MultiplexedConnection) -> Result<(), Trouble> {
    let asked = connection.send_packed_command(&redis::cmd("ROLE")).await.map_err(|error| trouble::answer(&error))?;
    let reply = RedisReply::read(asked).map_err(|words| trouble::said(&words))?;
    match reply.as_list().first().and_then(RedisReply::as_str) {
        Some("master") => Ok(()),
        Some(role) => {
            let role: String = role.chars().take(20).collect();
            Err(Trouble::new(Kind::Elsewhere, format!("it says that it is no master but a {role}")))
        }
        None => Err(Trouble::new(Kind::Corrupt, "its answer to ROLE cannot be read")),
    }
}
