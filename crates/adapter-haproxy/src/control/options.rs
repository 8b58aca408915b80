//! What is controlled, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::runtime::Client;

use super::mode::Mode;

/// Who says that a server is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decide {
    /// HAProxy: every process that answers sees it down. Where some do and some do not, our own probes decide, if there
    /// are any; otherwise nothing is done. Of a server that HAProxy does not check our own probes decide.
    #[default]
    Haproxy,
    /// Our own probes alone.
    Probes,
    /// HAProxy or our own probes.
    Either,
    /// HAProxy and our own probes.
    Both,
}

/// How a room gets a new home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    /// As `balance hash` with `hash-type consistent` chooses it. All processes, and HAProxy itself, choose the same.
    #[default]
    Hash,
    /// The server with the fewest rooms for its weight. HAProxy chooses otherwise in the moment between a server's death
    /// and the new pins: hold the pins, or a room that is asked for just then can be split. The same goes for a backend
    /// whose hash has a limit (`hash-balance-factor`), and for any other algorithm.
    Least,
}

/// What is controlled, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ControlOptions {
    /// The backend whose servers have the rooms.
    pub backend: String,
    /// Other backends with servers of the same names, drained and stopped along with it.
    pub with: Vec<String>,
    /// Where the places of rooms are written. Default: in a map.
    pub mode: Mode,
    /// The map in which `use-server` looks rooms up, as the configuration names it; with [`Mode::Map`] only.
    pub map: String,
    /// The stick table of room names. Default `None`: the backend's, if it has one. Empty: none.
    pub table: Option<String>,
    /// How long a room that nobody uses stays where it is: the `expire` of the table. Default 8 h.
    pub ttl: Duration,
    /// A room unused for so long is not waited for when a server drains. Default 10 min.
    pub idle: Duration,
    /// How a room gets a new home.
    pub placing: Placing,
    /// Who says that a server is down.
    pub decide: Decide,
    /// Down for so long, a server's rooms move. Default 0: as soon as it is down.
    pub grace: Duration,
    /// How often processes are looked at. Default 1 s.
    pub every: Duration,
    /// How often tables and maps are read, at most; less often where that takes more than a fifth of the time. Default
    /// 1 s.
    pub learn: Duration,
    /// How often the whole store is read. Default 60 s.
    pub resync: Duration,
}

impl ControlOptions {
    /// The rooms of this backend, by this map.
    pub fn new(backend: impl Into<String>, map: impl Into<String>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            backend: backend.into(),
            with: Vec::new(),
            mode: Mode::Map,
            map: map.into(),
            table: None,
            ttl: 8 * 3600 * second,
            idle: 600 * second,
            placing: Placing::default(),
            decide: Decide::default(),
            grace: Duration::ZERO,
            every: second,
            learn: second,
            resync: 60 * second,
        }
    }

    /// The rooms of this backend, whose places are written elsewhere than in a map.
    pub fn without_map(backend: impl Into<String>, mode: Mode) -> Self {
        Self { mode, ..Self::new(backend, "") }
    }

    /// Whether there is a map to be kept.
    pub(super) fn has_map(&self) -> bool {
        self.mode == Mode::Map
    }

    /// Backends in which a server is ordered about.
    pub(super) fn backends(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.backend).chain(&self.with).map(String::as_str)
    }

    /// How long the store keeps what it is told: somewhat longer than the table, unless it is one with the table.
    pub(super) fn store_ttl(&self) -> Duration {
        if self.mode == Mode::Peers {
            return self.ttl;
        }
        self.ttl.saturating_add(self.ttl / 8)
    }
}

/// One HAProxy.
#[derive(Debug)]
pub struct ControlledProcess {
    /// How it is called in status and events.
    pub name: String,
    /// Its runtime socket, of level admin.
    pub client: Client,
    /// Its map file as seen from here, kept up to date so that a restart reads the pins. `None`: not written.
    pub pins_file: Option<PathBuf>,
}

impl ControlledProcess {
    /// A process whose map file is not written.
    pub fn new(name: impl Into<String>, client: Client) -> Self {
        Self { name: name.into(), client, pins_file: None }
    }

    /// Writes its map file.
    #[must_use]
    pub fn with_pins_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pins_file = Some(path.into());
        self
    }
}
