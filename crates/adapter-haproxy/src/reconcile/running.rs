//! What is running.

use std::collections::{BTreeMap, BTreeSet};

use crate::HaproxyVersion;
use crate::runtime::{MapLine, ServerName, ServerState};

use super::wanted::{Wanted, WantedServer};

/// A process as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub(super) version: HaproxyVersion,
    pub(super) servers: Vec<ServerState>,
    pub(super) backends: BTreeSet<String>,
    pub(super) maps: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) held: BTreeSet<ServerName>,
    pub(super) known: BTreeMap<ServerName, WantedServer>,
}

impl Running {
    /// A process of this release with these servers, as `show servers state` lists them.
    pub fn new(version: HaproxyVersion, servers: Vec<ServerState>) -> Self {
        let backends = servers.iter().map(|server| server.backend.clone()).collect();
        let (maps, held, known) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { version, servers, backends, maps, held, known }
    }

    /// These backends are there too, be they without servers.
    #[must_use]
    pub fn with_backends(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.backends.extend(names);
        self
    }

    /// With the entries of a map, in order: of equal keys the first one counts.
    #[must_use]
    pub fn with_map(mut self, file: impl Into<String>, lines: impl IntoIterator<Item = MapLine>) -> Self {
        let entries = self.maps.entry(file.into()).or_default();
        for line in lines {
            entries.entry(line.key).or_insert(line.value);
        }
        self
    }

    /// These servers were drained or put in maintenance by us: others that are, are left so.
    #[must_use]
    pub fn with_held(mut self, servers: impl IntoIterator<Item = ServerName>) -> Self {
        self.held.extend(servers);
        self
    }

    /// This is what was applied last. HAProxy does not show all settings of a server (intervals of checks, cookies,
    /// limits, agents): a change of those is only found against what was applied. Without it they are taken to agree.
    #[must_use]
    pub fn with_applied(mut self, applied: &Wanted) -> Self {
        for backend in &applied.backends {
            for server in &backend.servers {
                if let Ok(name) = ServerName::new(&backend.name, &server.line.name) {
                    self.known.insert(name, server.clone());
                }
            }
        }
        self
    }

    /// Its release.
    pub fn version(&self) -> HaproxyVersion {
        self.version
    }

    /// Its servers.
    pub fn servers(&self) -> &[ServerState] {
        &self.servers
    }
}

/// Why a server is not at work, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    Ready,
    Drain,
    Maint,
    /// Not by an order, so none ends it.
    Imposed(&'static str),
}

impl Now {
    pub(super) fn of(server: &ServerState) -> Self {
        // 4 stays behind on a server that the file disables, whatever is ordered later; 1 tells whether it is so.
        if server.admin & 1 != 0 {
            Self::Maint
        } else if server.admin & 2 != 0 {
            Self::Imposed("it is in maintenance with the server it tracks")
        } else if server.admin & 32 != 0 {
            Self::Imposed("its name has no address")
        } else if server.admin & 8 != 0 {
            Self::Drain
        } else if server.admin & 16 != 0 {
            Self::Imposed("it is drained with the server it tracks")
        } else {
            Self::Ready
        }
    }
}
