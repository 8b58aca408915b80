//! What is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::render::{HaproxyConfig, ServerLine, pin_key};
use crate::runtime::AdminState;

/// A server as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WantedServer {
    /// Its line in the file.
    pub line: ServerLine,
    /// Whether it takes work.
    pub state: AdminState,
    /// How often it is checked, and how many times in a row count as down and as up, if it is checked.
    pub check_times: (Duration, u16, u16),
}

impl WantedServer {
    /// A server at work, checked every 2 s, down after 3 and up after 2 checks.
    pub fn new(line: ServerLine) -> Self {
        Self { line, state: AdminState::Ready, check_times: (Duration::from_secs(2), 3, 2) }
    }

    /// In this state.
    #[must_use]
    pub fn with_state(mut self, state: AdminState) -> Self {
        self.state = state;
        self
    }
}

/// A backend as it is wanted: these servers and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WantedBackend {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<WantedServer>,
    /// Its algorithm is a static one: no server comes or goes without a reload.
    pub fixed: bool,
}

impl WantedBackend {
    /// A backend with an algorithm that allows changes.
    pub fn new(name: impl Into<String>, servers: Vec<WantedServer>) -> Self {
        Self { name: name.into(), servers, fixed: false }
    }
}

/// A map of pinned rooms: these entries and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinMap {
    /// Its file, as the configuration names it.
    pub file: String,
    /// The backend whose servers it names.
    pub backend: String,
    /// Keys, percent-encoded, and servers.
    pub entries: BTreeMap<String, String>,
}

impl PinMap {
    /// An empty map.
    pub fn new(file: impl Into<String>, backend: impl Into<String>) -> Self {
        Self { file: file.into(), backend: backend.into(), entries: BTreeMap::new() }
    }

    /// Pins a room, by its name as people write it.
    #[must_use]
    pub fn with_pin(mut self, room: &str, server: impl Into<String>) -> Self {
        self.entries.insert(pin_key(room), server.into());
        self
    }
}

/// What is wanted of a process. Backends and maps that are not named are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted {
    /// Backends.
    pub backends: Vec<WantedBackend>,
    /// Maps of pins.
    pub pins: Vec<PinMap>,
}

impl Wanted {
    /// These backends.
    pub fn new(backends: Vec<WantedBackend>) -> Self {
        Self { backends, pins: Vec::new() }
    }

    /// The backends of a configuration, all servers at work; no maps.
    pub fn from_config(config: &HaproxyConfig) -> Self {
        let server = |line: &ServerLine, check_times| {
            let line = line.clone();
            WantedServer { line, state: AdminState::Ready, check_times }
        };
        let backends = config.backends.iter().map(|backend| {
            let servers = backend.servers.iter().map(|line| server(line, backend.check_times)).collect();
            WantedBackend::new(backend.name.clone(), servers)
        });
        Self::new(backends.collect())
    }

    /// With this map.
    #[must_use]
    pub fn with_pins(mut self, map: PinMap) -> Self {
        self.pins.push(map);
        self
    }

    /// With every server of this name, in whatever backend, in this state.
    #[must_use]
    pub fn with_state(mut self, server: &str, state: AdminState) -> Self {
        let servers = self.backends.iter_mut().flat_map(|backend| &mut backend.servers);
        servers.filter(|wanted| wanted.line.name == server).for_each(|wanted| wanted.state = state);
        self
    }
}
