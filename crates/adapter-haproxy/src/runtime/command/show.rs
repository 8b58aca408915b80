//! Commands that look.

use super::{Command, CommandError, Expect, Level, backend_word, word_of};

/// Which lines of the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatKinds {
    /// Frontends, backends and servers.
    All,
    /// Frontends.
    Frontends,
    /// Backends.
    Backends,
    /// Servers.
    Servers,
}

impl StatKinds {
    fn mask(self) -> u8 {
        match self {
            Self::All => 7,
            Self::Frontends => 1,
            Self::Backends => 2,
            Self::Servers => 4,
        }
    }
}

/// Whose statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatScope<'a> {
    /// Everybody's.
    Everything,
    /// One proxy's.
    Proxy(&'a str),
}

impl Command {
    /// The release.
    pub fn show_version() -> Self {
        Self::read("show version")
    }

    /// The process.
    pub fn show_info() -> Self {
        Self::read("show info")
    }

    /// The processes of a master.
    #[cfg_attr(not(feature = "runtime"), allow(dead_code))]
    pub(in crate::runtime) fn show_processes() -> Self {
        Self::read("show proc")
    }

    /// The process, with types.
    pub fn show_info_typed() -> Self {
        Self::read("show info typed")
    }

    /// The level of this socket.
    pub fn show_level() -> Self {
        Self::read("show cli level")
    }

    /// The sockets there are.
    pub fn show_cli_sockets() -> Self {
        Self::read("show cli sockets").at(Level::Operator)
    }

    /// Statistics as a table.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the proxy's name is none.
    pub fn show_stat(scope: StatScope<'_>, kinds: StatKinds) -> Result<Self, CommandError> {
        Self::stat(scope, kinds, "")
    }

    /// Statistics with types, one figure a line. Some ten times longer.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the proxy's name is none.
    pub fn show_stat_typed(scope: StatScope<'_>, kinds: StatKinds) -> Result<Self, CommandError> {
        Self::stat(scope, kinds, " typed")
    }

    fn stat(scope: StatScope<'_>, kinds: StatKinds, form: &str) -> Result<Self, CommandError> {
        let proxy = match scope {
            StatScope::Everything => "-1",
            StatScope::Proxy(name) => {
                super::check_name("proxy", name)?;
                name
            }
        };
        Self::read(format!("show stat {proxy} {} -1{form}", kinds.mask())).fits()
    }

    /// The names of the backends.
    pub fn show_backends() -> Self {
        Self::read("show backend")
    }

    /// The state of every server, in the form of a state file.
    pub fn show_servers_state() -> Self {
        Self::read("show servers state")
    }

    /// The state of the servers of one backend.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if this is no name.
    pub fn show_servers_state_of(backend: &str) -> Result<Self, CommandError> {
        backend_word(backend)?;
        Self::read(format!("show servers state {backend}")).fits()
    }

    /// The connections to the servers of one backend.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if this is no name.
    pub fn show_servers_conn_of(backend: &str) -> Result<Self, CommandError> {
        backend_word(backend)?;
        Self::read(format!("show servers conn {backend}")).fits()
    }

    /// The peers.
    pub fn show_peers() -> Self {
        Self::read("show peers")
    }

    /// The sessions, one a line.
    pub fn show_sessions() -> Self {
        Self::read("show sess").at(Level::Operator)
    }

    /// Requests and answers that broke the protocol.
    pub fn show_errors() -> Self {
        Self::read("show errors").at(Level::Operator)
    }

    /// What was logged at the start.
    pub fn show_startup_logs() -> Self {
        Self::read("show startup-logs").at(Level::Operator)
    }

    /// One variable of the environment. The whole environment is not offered: it may hold secrets.
    ///
    /// # Errors
    ///
    /// [`CommandError`] unless the name has letters, digits and underscores only.
    pub fn show_env(variable: &str) -> Result<Self, CommandError> {
        if variable.is_empty() {
            return Err(CommandError::Empty { what: "variable" });
        }
        if let Some(found) = variable.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_')) {
            return Err(CommandError::Character {
                what: "variable",
                text: super::shown(variable),
                found,
                why: "no variable's name may have",
            });
        }
        Self::read(format!("show env {variable}")).at(Level::Operator).fits()
    }

    /// Sets the counters to zero; all of them, or the maxima.
    pub fn clear_counters(all: bool) -> Self {
        let line = if all { "clear counters all" } else { "clear counters" };
        Self::new(line, Expect::Silence, if all { Level::Admin } else { Level::Operator })
    }

    /// One more thing to show that this crate has no constructor for, such as `activity`.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if it is more than one word after `show`, or has characters that cannot be sent.
    pub fn show(what: &str) -> Result<Self, CommandError> {
        word_of("thing to show", what)?;
        Self::read("show").at(Level::Operator).word(what).fits()
    }
}
