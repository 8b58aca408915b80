//! Where requests are sent: balance, stickiness, health, servers.

use std::time::Duration;

use super::frontend::{map_path, variable_name};
use super::server::ServerLine;
use super::spoe::Offload;
use super::table::{StickRule, StickTable};
use super::writer::{Writer, format_text, header_text, name, solid, time};
use super::{HaproxyConfig, RenderError};

/// The header that carries the room to `balance hdr` where `balance hash` is not there yet.
const KEY_HEADER: &str = "X-Balancer-Key";

/// How a server is chosen for what is not stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConn,
    /// The first that has room.
    First,
    /// By the client's address, consistently.
    Source,
    /// By a variable the frontend has set, consistently: `room` for `txn.room`. Everybody of one room comes to one
    /// server, even before any table knows the room.
    Variable(String),
}

/// Stickiness by a cookie that HAProxy sets itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CookieStick {
    /// The cookie's name.
    pub name: String,
    /// Only for HTTPS, not for scripts.
    pub secure: bool,
}

impl CookieStick {
    /// A cookie of that name, inserted for clients without one and hidden from servers.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), secure: false }
    }
}

/// An HTTP request that tells whether a server is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpCheck {
    /// The path.
    pub path: String,
    /// The host asked for.
    pub host: Option<String>,
    /// Statuses that are well: `200-399`.
    pub statuses: String,
}

impl HttpCheck {
    /// GET this path and expect a status from 200 to 399.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), host: None, statuses: "200-399".into() }
    }
}

/// Sends a key to the server a map file names, before any other choice; the runtime API changes it without a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UseServer {
    /// The variable with the key: `room` for `txn.room`.
    pub variable: String,
    /// The map file, as [`pin_map`](super::pin_map) writes it.
    pub file: String,
    /// Pinned keys stay on their server even when HAProxy sees it down: an error rather than another server, until
    /// whoever keeps the map has moved them. Together with `redispatch` switched off nobody but the map moves a key.
    pub hold: bool,
}

impl UseServer {
    /// Looks the variable up in that file.
    pub fn pinned(variable: impl Into<String>, file: impl Into<String>) -> Self {
        Self { variable: variable.into(), file: file.into(), hold: false }
    }
}

/// A backend.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackendSection {
    /// Its name.
    pub name: String,
    /// How a server is chosen for what is not stuck.
    pub balance: Balance,
    /// With a hash: no server takes more than this share of the mean, in percent (over 100).
    pub balance_factor: Option<u16>,
    /// Its own stick table.
    pub table: Option<StickTable>,
    /// The peers section that shares its own table.
    pub peers: Option<String>,
    /// A table of a peers section instead, as `SECTION/NAME`.
    pub shared_table: Option<String>,
    /// What is stuck by what.
    pub sticks: Vec<StickRule>,
    /// Stickiness by cookie.
    pub cookie: Option<CookieStick>,
    /// An agent that chooses servers.
    pub offload: Option<Offload>,
    /// Pins of single keys.
    pub pins: Option<UseServer>,
    /// The health check; a TCP connect if absent.
    pub check: Option<HttpCheck>,
    /// How often servers are checked, and how many times in a row count as down and as up: 2 s, 3, 2.
    pub check_times: (Duration, u16, u16),
    /// Tries another server when one does not take the connection.
    pub redispatch: bool,
    /// From how many requests on a server's limit is reached in full.
    pub full_connections: Option<u32>,
    /// Headers set on requests: name and text.
    pub headers: Vec<(String, String)>,
    /// Its servers.
    pub servers: Vec<ServerLine>,
    /// Lines taken over as they are, before pins and servers.
    pub extra: Vec<String>,
}

impl BackendSection {
    /// A backend without servers.
    pub fn new(name: impl Into<String>, balance: Balance) -> Self {
        Self {
            name: name.into(),
            balance,
            balance_factor: None,
            table: None,
            peers: None,
            shared_table: None,
            sticks: Vec::new(),
            cookie: None,
            offload: None,
            pins: None,
            check: None,
            check_times: (Duration::from_secs(2), 3, 2),
            redispatch: true,
            full_connections: None,
            headers: Vec::new(),
            servers: Vec::new(),
            extra: Vec::new(),
        }
    }

    pub(super) fn write(&self, out: &mut Writer, config: &HaproxyConfig) -> Result<(), RenderError> {
        self.check_servers(config)?;
        out.head("backend", Some(name("backend", &self.name)?));
        self.write_balance(out)?;
        self.write_sticks(out, config)?;
        if let Some(cookie) = &self.cookie {
            let mut words = vec!["cookie", name("cookie", &cookie.name)?, "insert", "indirect", "nocache"];
            words.extend(cookie.secure.then_some(["httponly", "secure"]).into_iter().flatten());
            out.line(words)?;
        }
        for (header, text) in &self.headers {
            out.line(["http-request", "set-header", name("header", header)?, &header_text(text)?])?;
        }
        if let Some(check) = &self.check {
            write_check(check, out)?;
        }
        if self.redispatch {
            out.line(["option", "redispatch"])?;
        }
        if let Some(count) = self.full_connections {
            out.line(["fullconn", &count.to_string()])?;
        }
        out.extra(&self.extra)?;
        if let Some(offload) = &self.offload {
            offload.write(out, config, self.rooms_table(&offload.room))?;
        }
        if let Some(pins) = &self.pins {
            let key = format!("var({}),url_enc,map({})", variable_name(&pins.variable)?, map_path(&pins.file)?);
            if pins.hold {
                out.line(["force-persist", "if", "{", &key, "-m", "found", "}"])?;
            }
            out.line(["use-server", &format!("%[{key}]"), "if", "{", &key, "-m", "found", "}"])?;
        }
        let (every, fall, rise) = self.check_times;
        let (every, fall, rise) = (time("check interval", every)?, fall.max(1).to_string(), rise.max(1).to_string());
        out.line(["default-server", "inter", &every, "fall", &fall, "rise", &rise])?;
        for server in &self.servers {
            server.write(out)?;
        }
        Ok(())
    }

    /// The table that knows where rooms are, by the variable that names them, if it has one.
    pub(super) fn rooms_table(&self, room: &str) -> Option<&str> {
        let of_rooms = self.sticks.iter().any(|rule| match rule {
            StickRule::Variable(key) | StickRule::StoredWhen { key, .. } => key == room,
            StickRule::Source => false,
        });
        let own = self.table.as_ref().map(|_| self.name.as_str());
        self.shared_table.as_deref().or(own).filter(|_| of_rooms)
    }

    fn check_servers(&self, config: &HaproxyConfig) -> Result<(), RenderError> {
        super::once("server", self.servers.iter().map(|server| &server.name))?;
        let ids: Vec<String> = self.servers.iter().map(|server| server.id.to_string()).collect();
        super::once("server id", ids.iter())?;
        for server in &self.servers {
            if self.cookie.is_some() && server.cookie.is_none() && !server.backup {
                let (what, value) = ("server without cookie value", server.name.clone());
                return Err(RenderError::Value { what, value, help: "give it one, or nobody is kept on it" });
            }
            if let Some(wanted) = &server.resolvers
                && !config.resolvers.iter().any(|known| known.name == *wanted)
            {
                let (user, name) = (format!("server {}", server.name), wanted.clone());
                return Err(RenderError::Unknown { user, what: "resolvers section", name });
            }
        }
        Ok(())
    }

    fn write_balance(&self, out: &mut Writer) -> Result<(), RenderError> {
        let hashed = match &self.balance {
            Balance::RoundRobin => out.line(["balance", "roundrobin"]).map(|()| false)?,
            Balance::LeastConn => out.line(["balance", "leastconn"]).map(|()| false)?,
            Balance::First => out.line(["balance", "first"]).map(|()| false)?,
            Balance::Source => out.line(["balance", "source"]).map(|()| true)?,
            Balance::Variable(variable) => {
                let key = format!("var({})", variable_name(variable)?);
                if out.version.has(2, 6) {
                    out.line(["balance", "hash", &key])?;
                } else {
                    out.line(["http-request", "set-header", KEY_HEADER, &format!("%[{key}]")])?;
                    out.line(["balance", &format!("hdr({KEY_HEADER})")])?;
                }
                true
            }
        };
        if hashed {
            out.line(["hash-type", "consistent"])?;
        }
        match self.balance_factor.filter(|_| hashed) {
            Some(factor) if factor > 100 => out.line(["hash-balance-factor", &factor.to_string()]),
            Some(factor) => {
                let help = "over 100 percent of the mean";
                Err(RenderError::Value { what: "balance factor", value: factor.to_string(), help })
            }
            None => Ok(()),
        }
    }

    fn write_sticks(&self, out: &mut Writer, config: &HaproxyConfig) -> Result<(), RenderError> {
        let user = || format!("backend {}", self.name);
        if let Some(table) = &self.table {
            let mut words = vec!["stick-table".to_owned()];
            words.extend(table.words()?);
            if let Some(peers) = &self.peers {
                if !config.peers.iter().any(|known| known.name == *peers) {
                    return Err(RenderError::Unknown { user: user(), what: "peers section", name: peers.clone() });
                }
                words.extend(["peers".to_owned(), peers.clone()]);
            }
            out.line(words)?;
        }
        if let Some(shared) = &self.shared_table {
            let known = config.peers.iter().any(|peers| {
                let tables = peers.tables.iter().map(|(table, _)| format!("{}/{table}", peers.name));
                tables.into_iter().any(|table| table == *shared)
            });
            if !known {
                return Err(RenderError::Unknown { user: user(), what: "table", name: shared.clone() });
            }
        } else if self.table.is_none() && !self.sticks.is_empty() {
            return Err(RenderError::Unknown { user: user(), what: "table", name: "(none given)".into() });
        }
        self.sticks.iter().try_for_each(|rule| rule.write(out, self.shared_table.as_deref()))
    }
}

fn write_check(check: &HttpCheck, out: &mut Writer) -> Result<(), RenderError> {
    out.line(["option", "httpchk"])?;
    let path = format_text(solid("path", &check.path)?);
    if !path.starts_with('/') {
        return Err(RenderError::Value { what: "path", value: path, help: "begin it with /" });
    }
    let mut words = vec!["http-check", "send", "meth", "GET", "uri", &path, "ver", "HTTP/1.1"];
    let host = check.host.as_deref().unwrap_or("localhost");
    super::writer::host_port(host, 80)?;
    words.extend(["hdr", "Host", host]);
    out.line(words)?;
    let plain = check.statuses.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b',');
    if check.statuses.is_empty() || !plain {
        let help = "statuses and ranges: 200-299,304";
        return Err(RenderError::Value { what: "statuses", value: check.statuses.clone(), help });
    }
    out.line(["http-check", "expect", "status", &check.statuses])
}
