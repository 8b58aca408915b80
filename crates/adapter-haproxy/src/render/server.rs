//! One server line.

use std::net::IpAddr;
use std::time::Duration;

use super::RenderError;
use super::writer::{Writer, host_port, name, solid, time};

/// TLS towards a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerTls {
    /// Plain HTTP.
    None,
    /// TLS, the certificate checked against these authorities and the name asked for.
    Verified {
        /// A file of authorities, or `@system-ca`.
        ca_file: String,
        /// The name sent and checked; the host's name if absent.
        name: Option<String>,
    },
    /// TLS without a look at the certificate: keeps out listeners, not impostors.
    Unverified,
}

/// A program beside the server that says how much it can take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentCheck {
    /// Its address; the server's own if absent.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
    /// How often it is asked; 2 s.
    pub every: Duration,
    /// The line it is sent, without line feed, to know which server is meant.
    pub send: Option<String>,
}

impl AgentCheck {
    /// An agent on the server itself.
    pub const fn new(port: u16) -> Self {
        Self { host: None, port, every: Duration::from_secs(2), send: None }
    }
}

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLine {
    /// Its name.
    pub name: String,
    /// Its address, or a name that may change.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its id, from 1; what tables and hashes know it by. Never give one out again.
    pub id: u32,
    /// Its weight, 0 to 256.
    pub weight: Option<u16>,
    /// The most requests at a time; more wait.
    pub max_connections: Option<u32>,
    /// Checks its health; on.
    pub check: bool,
    /// The value of the backend's cookie that means this server.
    pub cookie: Option<String>,
    /// TLS.
    pub tls: ServerTls,
    /// An agent to ask.
    pub agent: Option<AgentCheck>,
    /// The resolvers section its name is looked up through at run time.
    pub resolvers: Option<String>,
    /// Used only when no other server is up.
    pub backup: bool,
    /// Passes the client's address on by the PROXY protocol.
    pub send_proxy: bool,
}

impl ServerLine {
    /// A checked server that is spoken to in plain HTTP.
    pub fn new(id: u32, name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            id,
            weight: None,
            max_connections: None,
            check: true,
            cookie: None,
            tls: ServerTls::None,
            agent: None,
            resolvers: None,
            backup: false,
            send_proxy: false,
        }
    }

    /// At most that many requests at a time.
    #[must_use]
    pub const fn with_max_connections(mut self, count: u32) -> Self {
        self.max_connections = Some(count);
        self
    }

    /// Known by this value of the cookie.
    #[must_use]
    pub fn with_cookie(mut self, value: impl Into<String>) -> Self {
        self.cookie = Some(value.into());
        self
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        let wrong = |what, value: String, help| RenderError::Value { what, value, help };
        let mut words: Vec<String> = vec![
            "server".into(),
            name("server", &self.name)?.to_owned(),
            host_port(&self.host, self.port)?,
            "id".into(),
            self.id.to_string(),
        ];
        let mut add = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
        if self.id == 0 || self.id > i32::MAX.unsigned_abs() {
            return Err(wrong("server id", self.id.to_string(), "from 1 to 2147483647"));
        }
        if self.check {
            add(&["check"]);
        }
        if let Some(weight) = self.weight {
            if weight > 256 {
                return Err(wrong("weight", weight.to_string(), "0 to 256"));
            }
            add(&["weight", &weight.to_string()]);
        }
        if let Some(count) = self.max_connections {
            add(&["maxconn", &count.to_string()]);
        }
        if let Some(value) = &self.cookie {
            add(&["cookie", name("cookie value", value)?]);
        }
        match &self.tls {
            ServerTls::None => {}
            ServerTls::Unverified => add(&["ssl", "verify", "none"]),
            ServerTls::Verified { ca_file, name: sni } => {
                let sni = sni.as_deref().unwrap_or(&self.host);
                host_port(sni, 443)?;
                add(&["ssl", "verify", "required", "ca-file", solid("ca file", ca_file)?]);
                if sni.parse::<IpAddr>().is_err() {
                    add(&["sni", &format!("str({sni})"), "check-sni", sni, "verifyhost", sni]);
                }
            }
        }
        let mut sent = None;
        if let Some(agent) = &self.agent {
            add(&["agent-check"]);
            if let Some(host) = &agent.host {
                host_port(host, agent.port)?;
                add(&["agent-addr", host]);
            }
            add(&["agent-port", &agent.port.to_string(), "agent-inter", &time("agent interval", agent.every)?]);
            if let Some(send) = &agent.send {
                if send.contains(|c: char| c.is_control()) {
                    return Err(wrong("agent line", send.clone(), "one line without control characters"));
                }
                words.push("agent-send".into());
                sent = Some(words.len());
                words.push(send.clone());
            }
        }
        let mut add = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
        if let Some(resolvers) = &self.resolvers {
            add(&["resolvers", name("resolvers section", resolvers)?]);
        }
        if self.host.parse::<IpAddr>().is_err() {
            // With resolvers the name is looked up once HAProxy runs; else now, and a name unknown is no reason to stop.
            add(&["init-addr", if self.resolvers.is_some() { "last,none" } else { "last,libc,none" }]);
        }
        if self.backup {
            add(&["backup"]);
        }
        if self.send_proxy {
            add(&["send-proxy-v2"]);
        }
        out.line_with_end(words, sent)
    }
}
