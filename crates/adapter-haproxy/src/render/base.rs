//! The global section and the defaults.

use std::time::Duration;

use super::RenderError;
use super::writer::{Writer, name, solid, time};

/// Where HAProxy logs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogTarget {
    /// `stdout`, a socket path, or `host:port` of a syslog server.
    pub address: String,
    /// The format: `raw` for standard output, otherwise HAProxy's own.
    pub format: Option<String>,
    /// The syslog facility.
    pub facility: String,
    /// The lowest level that is logged there.
    pub level: Option<String>,
}

impl LogTarget {
    /// Standard output, as containers want it.
    pub fn stdout() -> Self {
        Self { address: "stdout".into(), format: Some("raw".into()), facility: "local0".into(), level: None }
    }

    /// A syslog socket or server: `/dev/log`, `192.0.2.9:514`.
    pub fn syslog(address: impl Into<String>) -> Self {
        Self { address: address.into(), format: None, facility: "local0".into(), level: None }
    }
}

/// What a control socket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlLevel {
    /// Look at numbers.
    User,
    /// Look at everything, reset counters.
    Operator,
    /// Change servers, tables and maps.
    Admin,
}

/// A socket of the runtime API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlSocket {
    /// The socket's path. There is no password, so no network address is taken.
    pub path: String,
    /// What it allows.
    pub level: ControlLevel,
    /// Hands listeners to a new process.
    pub expose_listeners: bool,
}

impl ControlSocket {
    /// A socket for everything, for its user and group alone (mode 660).
    pub fn admin(path: impl Into<String>) -> Self {
        Self { path: path.into(), level: ControlLevel::Admin, expose_listeners: true }
    }
}

/// The global section.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GlobalSection {
    /// Where to log to; nowhere if empty.
    pub logs: Vec<LogTarget>,
    /// The most connections of the process.
    pub max_connections: Option<u32>,
    /// Threads; HAProxy counts the cores if absent.
    pub threads: Option<u16>,
    /// Control sockets.
    pub sockets: Vec<ControlSocket>,
    /// Changes its root to this folder.
    pub chroot: Option<String>,
    /// Runs as this user and group.
    pub user: Option<(String, String)>,
    /// TLS from 1.2 on, which is the default here.
    pub modern_tls: bool,
    /// Lines taken over as they are.
    pub extra: Vec<String>,
}

impl Default for GlobalSection {
    fn default() -> Self {
        Self {
            logs: vec![LogTarget::stdout()],
            max_connections: None,
            threads: None,
            sockets: Vec::new(),
            chroot: None,
            user: None,
            modern_tls: true,
            extra: Vec::new(),
        }
    }
}

impl GlobalSection {
    pub(super) fn write(&self, out: &mut Writer, local_peer: Option<&str>) -> Result<(), RenderError> {
        out.head("global", None);
        for log in &self.logs {
            let mut words = vec!["log", solid("log target", &log.address)?];
            if let Some(format) = &log.format {
                words.extend(["format", name("log format", format)?]);
            }
            words.push(name("log facility", &log.facility)?);
            words.extend(log.level.as_deref().map(|level| name("log level", level)).transpose()?);
            out.line(words)?;
        }
        if let Some(count) = self.max_connections {
            out.line(["maxconn", &count.to_string()])?;
        }
        if let Some(count) = self.threads {
            out.line(["nbthread", &count.to_string()])?;
        }
        if let Some(folder) = &self.chroot {
            out.line(["chroot", solid("folder", folder)?])?;
        }
        if let Some((user, group)) = &self.user {
            out.line(["user", name("user", user)?])?;
            out.line(["group", name("group", group)?])?;
        }
        if let Some(peer) = local_peer {
            out.line(["localpeer", name("peer", peer)?])?;
        }
        for socket in &self.sockets {
            let path = solid("socket path", &socket.path)?;
            if !path.starts_with('/') {
                let help = "give an absolute path; the control socket knows no password";
                return Err(RenderError::Value { what: "socket path", value: path.to_owned(), help });
            }
            let level = match socket.level {
                ControlLevel::User => "user",
                ControlLevel::Operator => "operator",
                ControlLevel::Admin => "admin",
            };
            let mut words = vec!["stats", "socket", path, "mode", "660", "level", level];
            words.extend(socket.expose_listeners.then_some(["expose-fd", "listeners"]).into_iter().flatten());
            out.line(words)?;
        }
        if !self.sockets.is_empty() {
            out.line(["stats", "timeout", "2m"])?;
        }
        if self.modern_tls {
            out.line(["ssl-default-bind-options", "ssl-min-ver", "TLSv1.2", "no-tls-tickets"])?;
        }
        out.extra(&self.extra)
    }
}

/// How long HAProxy waits for what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For a server to take the connection; 5 s.
    pub connect: Duration,
    /// For a client that says nothing; 50 s, twice what conference clients ping in.
    pub client: Duration,
    /// For a server that says nothing; 50 s.
    pub server: Duration,
    /// For both, once the connection is a websocket; 1 h.
    pub tunnel: Duration,
    /// For a client to send its whole request; 10 s.
    pub http_request: Duration,
    /// For a free place on a server; 10 s.
    pub queue: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            client: Duration::from_secs(50),
            server: Duration::from_secs(50),
            tunnel: Duration::from_secs(3600),
            http_request: Duration::from_secs(10),
            queue: Duration::from_secs(10),
        }
    }
}

/// The defaults of all proxies: HTTP, logged, the client's address passed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DefaultsSection {
    /// The timeouts.
    pub timeouts: Timeouts,
    /// Logs every request; on.
    pub http_log: bool,
    /// Adds the client's address as `X-Forwarded-For`, behind what the client sent itself: the last one is true. On.
    pub forward_for: bool,
    /// The most connections of one frontend.
    pub max_connections: Option<u32>,
    /// Pages for errors: status and file.
    pub error_files: Vec<(u16, String)>,
    /// Lines taken over as they are.
    pub extra: Vec<String>,
}

impl Default for DefaultsSection {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            http_log: true,
            forward_for: true,
            max_connections: None,
            error_files: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl DefaultsSection {
    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        out.head("defaults", None);
        out.line(["mode", "http"])?;
        out.line(["log", "global"])?;
        if self.http_log {
            out.line(["option", "httplog"])?;
        }
        if self.forward_for {
            out.line(["option", "forwardfor"])?;
        }
        let Timeouts { connect, client, server, tunnel, http_request, queue } = self.timeouts;
        let waits = [
            ("connect", connect),
            ("client", client),
            ("server", server),
            ("tunnel", tunnel),
            ("http-request", http_request),
            ("queue", queue),
        ];
        for (what, wait) in waits {
            out.line(["timeout", what, &time("timeout", wait)?])?;
        }
        if let Some(count) = self.max_connections {
            out.line(["maxconn", &count.to_string()])?;
        }
        for (status, file) in &self.error_files {
            out.line(["errorfile", &status.to_string(), solid("error file", file)?])?;
        }
        out.extra(&self.extra)
    }
}
