//! A BigBlueButton server for tests and benchmarks: it speaks the API, keeps meetings, and misbehaves on command.
//!
//! [`FakeBbb`] listens on a loopback port, checks checksums by itself, answers in the shapes of a real server and lets
//! a test decide when and how it fails: see [`Mode`]. [`FakeBbb::hold`] keeps a single call inside the server, so that
//! a test can put another one in between. Nothing sleeps: what a test waits for is awaited by [`FakeBbb::wait_for`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec, Mode};
//!
//! let fake = FakeBbb::start(FakeOptions::new("s3cret")).await?;
//! fake.put_meeting(MeetingSpec::new("algebra").people(3, 1, 0));
//! assert!(fake.base().ends_with("/bigbluebutton/api"));
//! fake.set_mode_for(&["create"], Mode::failed("tooBusy", "come back later"));
//! assert_eq!(fake.count("create"), 0);
//! # Ok(())
//! # }
//! ```
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use balancer_core::WallClock;
use tokio::net::TcpSocket;

mod calls;
mod connection;
mod hold;
mod inspect;
mod listen;
mod meeting;
mod mode;
mod outside;
mod sign;
mod state;
#[cfg(test)]
mod tests;
mod wire;

pub use hold::Held;
pub use meeting::{FakeMeeting, MeetingSpec};
pub use mode::Mode;
pub use outside::FakeHook;
pub use state::{FakeState, LoggedRequest};

use hold::{Gate, Stage};
use listen::{BACKLOG, Listening, Shared, keep, listen};

/// How a fake is started.
#[derive(Clone, Default)]
pub struct FakeOptions {
    /// The shared secret of the API.
    pub secret: String,
    /// A name for messages; may be empty.
    pub name: String,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The clock that dates meetings; the system's unless told otherwise.
    pub clock: WallClock,
}

impl FakeOptions {
    /// A fake without a name, on a free port.
    pub fn new(secret: impl Into<String>) -> Self {
        Self { secret: secret.into(), ..Self::default() }
    }

    /// Sets the name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock that dates meetings.
    #[must_use]
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

impl fmt::Debug for FakeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeOptions").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Why a fake could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FakeError {
    /// The port cannot be opened.
    #[error("cannot listen on 127.0.0.1:{port}: choose another port, or 0 for a free one")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was waited for did not happen.
    #[error("fake server {name} did not get there within {deadline:?}; it saw {seen}")]
    TimedOut {
        /// Name of the fake.
        name: String,
        /// How long was waited.
        deadline: Duration,
        /// Requests so far, by call.
        seen: String,
    },
}

/// What a server knows after it was stopped and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meetings {
    /// Its meetings go on.
    Keep,
    /// It starts empty.
    Lose,
}

/// A fake BigBlueButton server on 127.0.0.1.
///
/// Dropping it closes the port and cuts every connection.
pub struct FakeBbb {
    shared: Arc<Shared>,
    /// What listens while the port is open.
    port: tokio::sync::Mutex<Option<Listening>>,
    /// Keeps the port for as long as the fake lives: an outgoing connection of somebody else could get it otherwise.
    _kept: Option<TcpSocket>,
}

impl fmt::Debug for FakeBbb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeBbb")
            .field("name", &self.shared.name)
            .field("port", &self.shared.port)
            .finish_non_exhaustive()
    }
}

impl FakeBbb {
    /// Opens the port and serves it on the current runtime.
    ///
    /// # Errors
    ///
    /// [`FakeError::Listen`] when the port is taken.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    pub async fn start(options: FakeOptions) -> Result<Self, FakeError> {
        let failed = |source| FakeError::Listen { port: options.port, source };
        let kept = keep((Ipv4Addr::LOCALHOST, options.port).into()).map_err(failed)?;
        let addr = kept.local_addr().map_err(failed)?;
        let listener = keep(addr).and_then(|socket| socket.listen(BACKLOG)).map_err(failed)?;
        let seed = RandomState::new().build_hasher().finish();
        let shared = Arc::new(Shared::new(options, addr.port(), seed));
        let port = tokio::sync::Mutex::new(Some(listen(listener, Arc::clone(&shared))));
        Ok(Self { shared, port, _kept: Some(kept) })
    }

    /// A fake without a port: calls are put to it by [`Self::perform`]. The same seed gives the same passwords.
    #[must_use]
    pub fn without_port(options: FakeOptions, seed: u64) -> Self {
        let port = options.port;
        Self { shared: Arc::new(Shared::new(options, port, seed)), port: tokio::sync::Mutex::new(None), _kept: None }
    }

    /// Carries out one call at once and returns its document; a redirect returns where it leads to. Modes, delays and
    /// gates do not apply. `None` when the URL is not one of the API.
    #[must_use]
    pub fn perform(&self, url: &str, body: &[u8]) -> Option<String> {
        let (_, rest) = url.split_once("/bigbluebutton/api")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let name = path.trim_matches('/');
        let params: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let given = calls::first(&params, "checksum").unwrap_or_default();
        let trusted = name.is_empty() || sign::matches(name, query.as_bytes(), &self.shared.secret, given);
        let call = calls::Call { name, is_post: !body.is_empty(), params: &params, body, port: self.shared.port };
        let mut state = self.shared.state();
        state.tally(name, trusted);
        if !trusted {
            return Some(calls::failed("checksumError", "Checksums do not match"));
        }
        let answer = call.run(&mut state);
        drop(state);
        self.shared.changed.notify_waiters();
        Some(match answer {
            calls::Answer::Document(text) | calls::Answer::Json(text) | calls::Answer::Redirect(text) => text,
        })
    }

    /// Base URL of the API, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}/bigbluebutton/api", self.shared.port)
    }

    /// The shared secret.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.shared.secret
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The port; it stays the same for the life of the fake.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Address of the port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.shared.port))
    }

    /// Path and query of a call, signed with the secret of this fake (SHA-256): what a front-end would request.
    ///
    /// `query` is taken as it is, already encoded.
    #[must_use]
    pub fn signed_path(&self, call: &str, query: &str) -> String {
        format!("/bigbluebutton/api/{call}?{}", sign::signed_query(call, query, &self.shared.secret))
    }

    // ---- misbehaviour ----

    /// Sets the mode of the whole server. [`Mode::Down`] closes the port, and any other mode opens it again.
    ///
    /// Modes of single calls stay; [`Self::ok`] ends them all.
    ///
    /// # Errors
    ///
    /// [`FakeError::Listen`] when somebody else listens at the port meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the port as it was while the mode is changed; call it again.
    pub async fn set_mode(&self, mode: Mode) -> Result<(), FakeError> {
        let is_down = mode == Mode::Down;
        self.shared.state().rules.whole = mode;
        self.ordered();
        if is_down {
            self.stop().await;
            Ok(())
        } else {
            self.open().await
        }
    }

    /// Sets the mode of these calls alone; the empty name is the version probe.
    pub fn set_mode_for(&self, calls: &[&str], mode: Mode) {
        let mut state = self.shared.state();
        for (call, mode) in calls.iter().zip(std::iter::repeat_n(mode, calls.len())) {
            state.rules.calls.insert((*call).to_owned(), mode);
        }
        drop(state);
        self.ordered();
    }

    /// Waits this long before every such call takes effect; zero ends it.
    pub fn set_delay(&self, call: &str, delay: Duration) {
        self.shared.state().rules.delay.insert(call.to_owned(), delay);
    }

    /// Waits this long after every such call took effect before it is answered; zero ends it.
    pub fn set_late(&self, call: &str, late: Duration) {
        self.shared.state().rules.late.insert(call.to_owned(), late);
    }

    /// Ends every mode, delay and gate, and opens the port if it was closed. Held calls go on being held.
    ///
    /// # Errors
    ///
    /// [`FakeError::Listen`] as in [`Self::set_mode`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::set_mode`].
    pub async fn ok(&self) -> Result<(), FakeError> {
        {
            let mut state = self.shared.state();
            state.rules = mode::Rules::default();
            state.gates.clear();
        }
        self.set_mode(Mode::Ok).await
    }

    /// Keeps the next such call inside the server before it takes effect.
    ///
    /// Delay and mode apply afterwards, as they are then. Two holds on one call keep the next two.
    pub fn hold(&self, call: &str) -> Held {
        self.gate(call, Stage::Before)
    }

    /// Keeps the answer of the next such call: it took effect, and its caller does not know yet.
    pub fn hold_answer(&self, call: &str) -> Held {
        self.gate(call, Stage::Answer)
    }

    fn gate(&self, call: &str, stage: Stage) -> Held {
        let (gate, held) = Gate::new(call, stage);
        self.shared.state().gates.push(gate);
        held
    }

    /// Cuts every open connection; the port stays open.
    pub fn cut_connections(&self) {
        self.shared.cut.send_replace(());
    }

    /// Closes the port and cuts every connection, as a killed server does. Calls under way are lost.
    ///
    /// # Cancel safety
    ///
    /// The port is closed even when the future is dropped, only perhaps later.
    pub async fn stop(&self) {
        let mut port = self.port.lock().await;
        if let Some(Listening { stop, task }) = port.take() {
            drop(stop);
            let _ = task.await;
        }
    }

    /// Opens the port again after [`Self::stop`] or [`Mode::Down`], with or without the meetings, in mode [`Mode::Ok`].
    ///
    /// # Errors
    ///
    /// [`FakeError::Listen`] as in [`Self::set_mode`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the port closed; call it again.
    pub async fn revive(&self, meetings: Meetings) -> Result<(), FakeError> {
        if meetings == Meetings::Lose {
            let mut state = self.shared.state();
            state.meetings.clear();
            state.sessions.clear();
            state.hooks.clear();
        }
        self.set_mode(Mode::Ok).await
    }

    async fn open(&self) -> Result<(), FakeError> {
        let mut port = self.port.lock().await;
        if port.is_none() {
            let bound = keep(self.addr()).and_then(|socket| socket.listen(BACKLOG));
            let listener = bound.map_err(|source| FakeError::Listen { port: self.shared.port, source })?;
            *port = Some(listen(listener, Arc::clone(&self.shared)));
        }
        Ok(())
    }

    fn ordered(&self) {
        self.shared.orders.send_replace(());
    }

    /// Forgets meetings, log and counters, and behaves again: as new.
    ///
    /// # Errors
    ///
    /// [`FakeError::Listen`] as in [`Self::set_mode`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::set_mode`].
    pub async fn reset(&self) -> Result<(), FakeError> {
        {
            let mut state = self.shared.state();
            let clock = state.clock.clone();
            let fresh = FakeState::new(state.chance.next(), clock);
            let (open, connections, log_limit) = (state.open, state.connections, state.log_limit);
            *state = FakeState { open, connections, log_limit, ..fresh };
        }
        self.ok().await
    }
}
