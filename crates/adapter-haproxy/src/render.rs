//! A typed configuration and its text.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::config::ConfigError;
use crate::version::HaproxyVersion;

mod backend;
mod base;
mod condition;
mod edumeet;
mod frontend;
mod jitsi;
mod pins;
mod samples;
mod server;
mod spoe;
mod table;
#[cfg(test)]
mod tests;
mod users;
mod writer;

pub use backend::{BackendSection, Balance, CookieStick, HttpCheck, UseServer};
pub use base::{ControlLevel, ControlSocket, DefaultsSection, GlobalSection, LogTarget, Timeouts};
pub use condition::{Acl, Condition};
pub use edumeet::EdumeetCluster;
pub use frontend::{Bind, BindTls, FrontendSection, SetVar, UseBackend};
pub use jitsi::JitsiShards;
pub use pins::{pin_key, pin_map, unpin_key};
pub use samples::{cookie_sample, source_sample};
pub use server::{AgentCheck, ServerLine, ServerTls};
pub use spoe::{AgentPlace, AgentsSection, Offload, OnNoAnswer};
pub use table::{PeerLine, PeersSection, PeersTls, ResolversSection, StickRule, StickTable, TableKey};
pub use users::{StatsPage, User, Userlist};

use writer::Writer;

/// The oldest version that is rendered for: before it too much is missing.
pub const OLDEST_RENDERED: HaproxyVersion = HaproxyVersion::new(2, 4);

/// Why a configuration cannot be written.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenderError {
    /// A name HAProxy would not take.
    #[error("{what} {name:?} cannot be a name: use letters, digits and - _ . : (128 at most)")]
    Name {
        /// What it would have named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value that cannot stand where it should.
    #[error("{what} {value:?} is not possible: {help}")]
    Value {
        /// What it is.
        what: &'static str,
        /// The value; never a password.
        value: String,
        /// What would be.
        help: &'static str,
    },
    /// Something used that is not defined.
    #[error("{user} uses {what} {name}, which is not there: add it or correct the name")]
    Unknown {
        /// Who uses it.
        user: String,
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Two things of one name, or one id.
    #[error("{what} {name} is there twice: give each its own")]
    Twice {
        /// What they are.
        what: &'static str,
        /// The name or id.
        name: String,
    },
    /// Needs a newer HAProxy.
    #[error("{what} needs HAProxy {since}, this is for {version}")]
    TooNew {
        /// What it is.
        what: &'static str,
        /// Since when it is there.
        since: HaproxyVersion,
        /// The version asked for.
        version: HaproxyVersion,
    },
    /// A word that no quoting can carry.
    #[error(transparent)]
    Word(#[from] ConfigError),
}

/// A whole configuration, for one version of HAProxy. The order of servers is kept; every section is written with the
/// names given here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HaproxyConfig {
    /// The version it is for, at least [`OLDEST_RENDERED`].
    pub version: HaproxyVersion,
    /// The global section.
    pub global: GlobalSection,
    /// The defaults of all proxies.
    pub defaults: DefaultsSection,
    /// Users for the statistics page.
    pub userlists: Vec<Userlist>,
    /// Other HAProxys that share tables.
    pub peers: Vec<PeersSection>,
    /// Where names are looked up at run time.
    pub resolvers: Vec<ResolversSection>,
    /// Where clients come in.
    pub frontends: Vec<FrontendSection>,
    /// Where they are sent.
    pub backends: Vec<BackendSection>,
    /// Agents that choose the servers of backends, each a backend of its own.
    pub agents: Vec<AgentsSection>,
    /// Statistics pages, each with a listener of its own.
    pub stats: Vec<StatsPage>,
}

impl HaproxyConfig {
    /// An empty configuration with safe defaults: logs to standard output, HTTP, all timeouts.
    pub fn new(version: HaproxyVersion) -> Self {
        Self {
            version,
            global: GlobalSection::default(),
            defaults: DefaultsSection::default(),
            userlists: Vec::new(),
            peers: Vec::new(),
            resolvers: Vec::new(),
            frontends: Vec::new(),
            backends: Vec::new(),
            agents: Vec::new(),
            stats: Vec::new(),
        }
    }

    /// Writes the configuration file. The same configuration always gives the same text.
    ///
    /// # Errors
    ///
    /// [`RenderError`], naming what cannot be written: a bad name, something missing, something there twice, something
    /// this version does not know.
    pub fn render(&self) -> Result<String, RenderError> {
        if self.version < OLDEST_RENDERED {
            let (since, version) = (OLDEST_RENDERED, self.version);
            return Err(RenderError::TooNew { what: "a rendered configuration", since, version });
        }
        self.names()?;
        let mut out = Writer::new(self.version);
        let local = self.peers.iter().find_map(|peers| peers.local.as_deref());
        self.global.write(&mut out, local)?;
        self.defaults.write(&mut out)?;
        for list in &self.userlists {
            list.write(&mut out)?;
        }
        for peers in &self.peers {
            peers.write(&mut out)?;
        }
        for resolvers in &self.resolvers {
            resolvers.write(&mut out)?;
        }
        for frontend in &self.frontends {
            frontend.write(&mut out, self)?;
        }
        for backend in &self.backends {
            backend.write(&mut out, self)?;
        }
        for page in &self.stats {
            page.write(&mut out, self)?;
        }
        if !self.agents.is_empty() {
            // What the defaults above say of requests is not for them.
            out.head("defaults", None);
            out.line(["mode", "tcp"])?;
        }
        for agents in &self.agents {
            agents.write(&mut out)?;
        }
        Ok(out.finish())
    }

    fn names(&self) -> Result<(), RenderError> {
        once("userlist", self.userlists.iter().map(|list| &list.name))?;
        once("peers section", self.peers.iter().map(|peers| &peers.name))?;
        once("resolvers section", self.resolvers.iter().map(|resolvers| &resolvers.name))?;
        for frontend in &self.frontends {
            writer::name("frontend", &frontend.name)?;
        }
        for backend in &self.backends {
            writer::name("backend", &backend.name)?;
        }
        let fronts = self.frontends.iter().map(|frontend| &frontend.name);
        let backs = self.backends.iter().map(|backend| &backend.name);
        let agents = self.agents.iter().map(|agents| &agents.name);
        once("engine", self.backends.iter().filter_map(|backend| Some(&backend.offload.as_ref()?.engine)))?;
        once("proxy", fronts.chain(backs).chain(agents).chain(self.stats.iter().map(|page| &page.name)))?;
        let locals: BTreeSet<&str> = self.peers.iter().filter_map(|peers| peers.local.as_deref()).collect();
        match locals.iter().nth(1) {
            Some(other) => Err(RenderError::Value {
                what: "local peer",
                value: (*other).to_owned(),
                help: "one host has one name in all peers sections",
            }),
            None => Ok(()),
        }
    }

    fn backend_named(&self, user: &str, name: &str) -> Result<(), RenderError> {
        if self.backends.iter().any(|backend| backend.name == name) {
            return Ok(());
        }
        Err(RenderError::Unknown { user: user.to_owned(), what: "backend", name: name.to_owned() })
    }
}

/// Refuses what occurs twice.
fn once<'a>(what: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), RenderError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(RenderError::Twice { what, name: name.clone() });
        }
    }
    Ok(())
}
