//! Names, limits and clocks of a placer.

use std::sync::LazyLock;
use std::time::Duration;

use balancer_core::WallClock;

use super::PATIENCE;

/// The arguments of a message, as `args NAME=SAMPLE` names them. No two have one name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArgumentNames {
    /// The room key; default `room`.
    pub room: String,
    /// Tags that a server must have, separated by commas; default `tags`.
    pub tags: String,
    /// A tag that a server should have; default `region`.
    pub region: String,
    /// Who asks; default `source`.
    pub source: String,
    /// The number or name of the server that HAProxy's stick table has for the room; default `home`.
    pub home: String,
    /// When HAProxy asked, in milliseconds since the epoch; default `at`.
    pub at: String,
}

impl Default for ArgumentNames {
    fn default() -> Self {
        let [room, tags, region, source, home, at] =
            ["room", "tags", "region", "source", "home", "at"].map(str::to_owned);
        Self { room, tags, region, source, home, at }
    }
}

/// How a [`Placer`](super::Placer) reads messages and answers them.
#[derive(Clone, Debug)]
pub struct PlacerOptions {
    pub(super) message: String,
    pub(super) args: ArgumentNames,
    pub(super) server: String,
    pub(super) why: String,
    pub(super) explanations: usize,
    pub(super) decisions: bool,
    pub(super) patience: Duration,
    pub(super) wall_ms: fn() -> u64,
}

/// The message `place`, the variables `server` and `why`, 4,096 explanations without their candidates.
impl Default for PlacerOptions {
    fn default() -> Self {
        Self {
            message: "place".to_owned(),
            args: ArgumentNames::default(),
            server: "server".to_owned(),
            why: "why".to_owned(),
            explanations: 4096,
            decisions: false,
            patience: PATIENCE,
            wall_ms,
        }
    }
}

/// The system's clock, some milliseconds exact, which is enough beside the patience of a HAProxy.
fn wall_ms() -> u64 {
    static CLOCK: LazyLock<WallClock> = LazyLock::new(WallClock::system);
    CLOCK.now_ms()
}

impl PlacerOptions {
    /// The `spoe-message` that asks for a server; default `place`. Others are not looked at.
    #[must_use]
    pub fn with_message(mut self, name: impl Into<String>) -> Self {
        self.message = name.into();
        self
    }

    /// The names of its arguments.
    #[must_use]
    pub fn with_arguments(mut self, names: ArgumentNames) -> Self {
        self.args = names;
        self
    }

    /// The variables for the server's name and for the number of the explanation, without scope and prefix; default
    /// `server` and `why`. HAProxy drops a variable that its configuration does not name.
    #[must_use]
    pub fn with_variables(mut self, server: impl Into<String>, why: impl Into<String>) -> Self {
        (self.server, self.why) = (server.into(), why.into());
        self
    }

    /// How many explanations are remembered; default 4,096. With 0 no number is told.
    #[must_use]
    pub fn with_explanations(mut self, most: usize) -> Self {
        self.explanations = most;
        self
    }

    /// Whether explanations have every candidate with its terms; default no. It costs microseconds for each query.
    #[must_use]
    pub fn with_decisions(mut self, decisions: bool) -> Self {
        self.decisions = decisions;
        self
    }

    /// How long HAProxy waits for an answer (`timeout processing`); default 50 ms. A question that says to be older is
    /// left alone.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The wall clock in milliseconds since the epoch.
    #[must_use]
    pub fn with_wall_clock(mut self, now: fn() -> u64) -> Self {
        self.wall_ms = now;
        self
    }
}
