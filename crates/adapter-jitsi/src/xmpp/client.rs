//! The client: connects, logs in, joins, and comes back after whatever happens.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use rustls::crypto::SecureRandom;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::backoff::{Backoff, later};
use super::error::XmppError;
use super::login::LoginOptions;
use super::session::{Channel, Session};
use super::tls::TlsRoots;
use super::watch::{BreweryEvent, Patience, Watch};

mod drive;

use drive::{Turn, drive};

/// How many events wait for the reader of a feed before the connection is not read any further.
const FEED: usize = 1024;

/// Where a brewery is and how it is watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// `host:port` of the XMPP server. Default: the account's domain, port 5222.
    pub server: String,
    /// Roots for STARTTLS. Without them the connection is unencrypted, and made to the loopback only.
    pub roots: Option<TlsRoots>,
    /// The login and the room.
    pub login: LoginOptions,
    /// When bridges count as silent or gone.
    pub patience: Patience,
    /// Limit for connecting, and for sending. Default 10 s.
    pub io_timeout: Duration,
    /// Waits between tries. Default from 1 s to 30 s.
    pub retry: Backoff,
    /// Waits after what somebody has to mend first: wrong password, bad certificate, no such room. Default from 10 s
    /// to 5 min; the first is short because a room may only be missing until the focus has made it.
    pub retry_lasting: Backoff,
    /// A connection that lasted in the room for so long starts the waits anew. Default 30 s.
    pub settled: Duration,
}

impl ClientOptions {
    /// The defaults for this login.
    pub fn new(login: LoginOptions) -> Self {
        let seconds = Duration::from_secs;
        Self {
            server: format!("{}:5222", login.account.domain()),
            roots: None,
            login,
            patience: Patience::default(),
            io_timeout: seconds(10),
            retry: Backoff { first: seconds(1), cap: seconds(30) },
            retry_lasting: Backoff { first: seconds(10), cap: seconds(300) },
            settled: seconds(30),
        }
    }
}

/// What is told to a running client.
#[derive(Debug)]
#[cfg_attr(not(feature = "testing"), allow(dead_code))]
pub(crate) enum Command {
    /// What our presence carries from now on.
    Publish(String),
    /// How we answer health checks.
    Health(Option<bool>),
}

/// The events of a brewery, in order. Dropping it ends the client.
#[derive(Debug)]
pub struct BreweryFeed(mpsc::Receiver<BreweryEvent>);

impl BreweryFeed {
    /// The next event; `None` when the client has ended.
    ///
    /// # Cancel safety
    ///
    /// No event is lost.
    pub async fn next(&mut self) -> Option<BreweryEvent> {
        self.0.recv().await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<BreweryEvent> {
        self.0.try_recv().ok()
    }
}

/// Watches one brewery for as long as it runs.
///
/// A lost connection is made again by itself, with growing waits; see [`BreweryEvent`] for what is told. A reader that
/// does not keep up holds the connection back, never memory: at most 1024 events wait.
///
/// # Examples
///
/// ```no_run
/// use adapter_jitsi::{BareJid, BreweryClient, BreweryEvent, ClientOptions, LoginOptions, Password, TlsRoots};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let account = BareJid::new("balancer@auth.meet.example.com")?;
/// let room = BareJid::new("jvbbrewery@internal.auth.meet.example.com")?;
/// let login = LoginOptions::new(account, Password::new("its password"), room, "balancer-1");
/// let mut options = ClientOptions::new(login);
/// options.server = "xmpp.example.com:5222".to_owned();
/// options.roots = Some(TlsRoots::from_pem(&std::fs::read("auth.meet.example.com.crt")?)?);
///
/// let (client, mut feed) = BreweryClient::new(options);
/// tokio::spawn(client.run(std::future::pending()));
/// while let Some(event) = feed.next().await {
///     match event {
///         BreweryEvent::BridgeSeen { occupant, stanza, .. } => println!("{occupant}: {} bytes", stanza.len()),
///         BreweryEvent::BridgeLeft { occupant, reason } => println!("{occupant}: {reason}"),
///         BreweryEvent::Refused { why, retry } => println!("{why}; next try in {retry:?}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct BreweryClient {
    options: ClientOptions,
    watch: Watch,
    events: mpsc::Sender<BreweryEvent>,
    commands: Option<mpsc::Receiver<Command>>,
    payload: String,
    health: Option<bool>,
    random: &'static dyn SecureRandom,
}

impl fmt::Debug for BreweryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreweryClient").field("options", &self.options).finish_non_exhaustive()
    }
}

impl BreweryClient {
    /// A client and the feed of its events. Nothing happens before [`run`](Self::run).
    pub fn new(options: ClientOptions) -> (Self, BreweryFeed) {
        let (events, feed) = mpsc::channel(FEED);
        let client = Self {
            watch: Watch::new(options.patience),
            options,
            events,
            commands: None,
            payload: String::new(),
            health: None,
            random: rustls::crypto::ring::default_provider().secure_random,
        };
        (client, BreweryFeed(feed))
    }

    /// Takes orders, for those who publish something themselves.
    #[cfg(feature = "testing")]
    pub(crate) fn with_commands(
        mut self,
        payload: String,
        health: Option<bool>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        (self.payload, self.health, self.commands) = (payload, health, Some(commands));
        self
    }

    /// Connects and stays connected until `stop` is done or the feed is dropped; then it leaves the room politely,
    /// within [`LoginOptions::leave_timeout`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts the connection: the room sees us leave at once.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (mut tries, mut lasting_tries) = (0, 0);
        loop {
            let mut joined = None;
            let why = self.connection(stop.as_mut(), &mut joined).await;
            if matches!(why, XmppError::Left) || self.events.is_closed() {
                return;
            }
            if joined.is_some_and(|joined: Instant| joined.elapsed() >= self.options.settled) {
                (tries, lasting_tries) = (0, 0);
            }
            let (backoff, count) = if why.is_lasting() {
                (self.options.retry_lasting, &mut lasting_tries)
            } else {
                (self.options.retry, &mut tries)
            };
            let retry = backoff.delay(*count, u64::from_le_bytes(random(self.random)));
            *count = count.saturating_add(1);
            warn!(room = %self.options.login.room, %why, ?retry, "no connection to the brewery");
            let now = Instant::now();
            self.watch.lost(&why, retry, now.into_std());
            let told = tokio::select! {
                told = self.tell() => told,
                () = stop.as_mut() => return,
            };
            if !told || !self.pause(later(now.into_std(), retry).into(), stop.as_mut()).await {
                return;
            }
        }
    }

    /// Waits; `false` when told to stop.
    async fn pause(&mut self, until: Instant, mut stop: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                () = stop.as_mut() => return false,
                () = self.events.closed() => return false,
                command = order(&mut self.commands) => match command {
                    Some(command) => self.note(command),
                    None => return false,
                },
            }
        }
    }

    fn note(&mut self, command: Command) {
        match command {
            Command::Publish(payload) => self.payload = payload,
            Command::Health(health) => self.health = health,
        }
    }

    /// Hands the events over; `false` when nobody takes them any more.
    async fn tell(&mut self) -> bool {
        while let Some(event) = self.watch.poll() {
            if self.events.send(event).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Hands over what fits, for there is no time to wait.
    fn tell_now(&mut self) {
        while let Some(event) = self.watch.poll() {
            if self.events.try_send(event).is_err() {
                return;
            }
        }
    }

    async fn connection(
        &mut self,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
        joined: &mut Option<Instant>,
    ) -> XmppError {
        let connecting = self.connect();
        let mut stream = tokio::select! {
            stream = connecting => match stream {
                Ok(stream) => stream,
                Err(error) => return error,
            },
            () = stop.as_mut() => return XmppError::Left,
            () = self.events.closed() => return XmppError::Left,
        };
        let channel = if self.options.roots.is_some() { Channel::StartTls } else { Channel::Loopback };
        let login = self.options.login.clone();
        let domain = login.account.domain().to_owned();
        let now = Instant::now().into_std();
        let mut session = Session::new(login, channel, random(self.random), &self.payload, now);
        session.set_health(self.health);
        debug!(%domain, "connected");
        match drive(self, &mut stream, &mut session, stop.as_mut(), joined).await {
            Turn::Ended(error) => error,
            Turn::StartTls => {
                let Some(roots) = self.options.roots.clone() else { return XmppError::NoTls };
                let securing = timeout(self.options.io_timeout, roots.secure(stream, &domain));
                let secured = tokio::select! {
                    secured = securing => secured,
                    () = stop.as_mut() => return XmppError::Left,
                    () = self.events.closed() => return XmppError::Left,
                };
                let mut stream = match secured {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return error,
                    Err(_) => return XmppError::Timeout { step: "starting tls" },
                };
                session.secured(Instant::now().into_std());
                info!(%domain, "secured");
                match drive(self, &mut stream, &mut session, stop, joined).await {
                    Turn::Ended(error) => error,
                    Turn::StartTls => XmppError::NoTls,
                }
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, XmppError> {
        let server = self.options.server.clone();
        let refused = |why: String| XmppError::Connect { server: server.clone(), why };
        let connecting = async {
            let addresses: Vec<SocketAddr> =
                lookup_host(&server).await.map_err(|error| refused(error.to_string()))?.take(16).collect();
            if self.options.roots.is_none() && addresses.iter().any(|address| !address.ip().is_loopback()) {
                return Err(XmppError::NotLoopback { server: server.clone() });
            }
            let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| refused(error.to_string()))?;
            stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
            Ok(stream)
        };
        match timeout(self.options.io_timeout, connecting).await {
            Ok(stream) => stream,
            Err(_) => Err(refused("no answer in time".to_owned())),
        }
    }
}

/// The next command; waits for ever where none are taken.
async fn order(commands: &mut Option<mpsc::Receiver<Command>>) -> Option<Command> {
    match commands {
        Some(commands) => commands.recv().await,
        None => std::future::pending().await,
    }
}

fn random<const N: usize>(source: &dyn SecureRandom) -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness the login would be weaker; the system gives it or nothing works at all.
    if source.fill(&mut bytes).is_err() {
        warn!("the system gives no random numbers");
    }
    bytes
}

#[cfg(test)]
mod tests;
