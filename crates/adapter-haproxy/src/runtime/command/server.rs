//! Commands about servers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::HaproxyVersion;

use super::{Command, CommandError, Expect, Level, ServerName, word_of};

/// The largest weight.
const MAX_WEIGHT: u64 = 256;

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// Takes new work.
    Ready,
    /// Keeps what sticks to it, takes nothing else.
    Drain,
    /// Takes nothing; its checks pause.
    Maint,
}

/// What the checks are made to have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Up.
    Up,
    /// Up, taking no new work (`NOLB`).
    Stopping,
    /// Down.
    Down,
}

/// What the agent is made to have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Up.
    Up,
    /// Down.
    Down,
}

/// A weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightChange {
    /// 0 to 256.
    Absolute(u16),
    /// Of the weight in the configuration; 0 to 256 times it. A static algorithm takes 0 and 100 only, and anything
    /// between for 100.
    Percent(u16),
}

impl Command {
    /// Orders a server's admin state. A server that an agent put in maintenance stays so until the agent or this says
    /// `Ready`.
    pub fn set_state(server: &ServerName, state: AdminState) -> Self {
        let word = match state {
            AdminState::Ready => "ready",
            AdminState::Drain => "drain",
            AdminState::Maint => "maint",
        };
        Self::order(format!("set server {server} state {word}"))
    }

    /// Sets a weight. An agent-check sets it again at its next run: pause it first.
    ///
    /// # Errors
    ///
    /// [`CommandError::Range`] above 256 (absolute) or 25600 %.
    pub fn set_weight(server: &ServerName, weight: WeightChange) -> Result<Self, CommandError> {
        let (value, max, sign) = match weight {
            WeightChange::Absolute(n) => (u64::from(n), MAX_WEIGHT, ""),
            WeightChange::Percent(n) => (u64::from(n), MAX_WEIGHT * 100, "%"),
        };
        if value > max {
            return Err(CommandError::Range { what: "weight", value, min: 0, max });
        }
        Ok(Self::order(format!("set server {server} weight {value}{sign}")))
    }

    /// Asks for a weight.
    pub fn get_weight(server: &ServerName) -> Self {
        Self::read(format!("get weight {server}"))
    }

    /// Moves a server to another address. The port stays if none is given.
    pub fn set_address(server: &ServerName, address: IpAddr, port: Option<u16>) -> Self {
        let port = port.map(|p| format!(" port {p}")).unwrap_or_default();
        Self::new(format!("set server {server} addr {address}{port}"), Expect::Address, Level::Admin)
    }

    /// Moves a server's checks to another address. 3.x refuses a plain address.
    pub fn set_check_address(server: &ServerName, address: IpAddr, port: Option<u16>) -> Self {
        let port = port.map(|p| format!(" port {p}")).unwrap_or_default();
        Self::order(format!("set server {server} check-addr {address}{port}"))
    }

    /// Moves a server's checks to another port.
    pub fn set_check_port(server: &ServerName, port: u16) -> Self {
        Self::order(format!("set server {server} check-port {port}"))
    }

    /// Orders what the checks found, until their next run.
    pub fn set_health(server: &ServerName, health: HealthState) -> Self {
        let word = match health {
            HealthState::Up => "up",
            HealthState::Stopping => "stopping",
            HealthState::Down => "down",
        };
        Self::order(format!("set server {server} health {word}"))
    }

    /// Orders what the agent said, until its next run.
    pub fn set_agent(server: &ServerName, agent: AgentState) -> Self {
        let word = if agent == AgentState::Up { "up" } else { "down" };
        Self::order(format!("set server {server} agent {word}"))
    }

    /// Moves the agent to another address.
    pub fn set_agent_address(server: &ServerName, address: IpAddr) -> Self {
        Self::order(format!("set server {server} agent-addr {address}"))
    }

    /// Moves the agent to another port.
    pub fn set_agent_port(server: &ServerName, port: u16) -> Self {
        Self::order(format!("set server {server} agent-port {port}"))
    }

    /// What is sent to the agent. A line feed at its end can be written in the configuration only.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the text is empty or has control characters.
    pub fn set_agent_send(server: &ServerName, text: &str) -> Result<Self, CommandError> {
        word_of("text for the agent", text)?;
        Self::order(format!("set server {server} agent-send")).word(text).fits()
    }

    /// The name a server's address is resolved from; it needs `resolvers` on the server line.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if this is no host name.
    pub fn set_fqdn(server: &ServerName, name: &str) -> Result<Self, CommandError> {
        super::check_name("host name", name)?;
        Self::order(format!("set server {server} fqdn {name}")).fits()
    }

    /// Switches TLS towards a server; its line or `default-server` must have TLS settings.
    pub fn set_ssl(server: &ServerName, on: bool) -> Self {
        Self::order(format!("set server {server} ssl {}", if on { "on" } else { "off" }))
    }

    /// The most connections a server takes at once; 0 is without limit.
    pub fn set_maxconn(server: &ServerName, connections: u32) -> Self {
        Self::order(format!("set maxconn server {server} {connections}"))
    }

    /// The most connections a frontend takes at once.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if this is no name.
    pub fn set_frontend_maxconn(frontend: &str, connections: u32) -> Result<Self, CommandError> {
        super::check_name("frontend", frontend)?;
        Self::order(format!("set maxconn frontend {frontend} {connections}")).fits()
    }

    /// Takes a server out of maintenance: the word of old for `state ready`, which every release knows.
    pub fn enable_server(server: &ServerName) -> Self {
        Self::order(format!("enable server {server}"))
    }

    /// Puts a server in maintenance.
    pub fn disable_server(server: &ServerName) -> Self {
        Self::order(format!("disable server {server}"))
    }

    /// Starts or pauses a server's checks.
    pub fn enable_health(server: &ServerName, on: bool) -> Self {
        Self::order(format!("{} health {server}", if on { "enable" } else { "disable" }))
    }

    /// Starts or pauses a server's agent-check. Pausing what is not configured is no error.
    pub fn enable_agent(server: &ServerName, on: bool) -> Self {
        Self::order(format!("{} agent {server}", if on { "enable" } else { "disable" }))
    }

    /// Ends every session of a server. Idle connections to it are no sessions.
    pub fn shutdown_server_sessions(server: &ServerName) -> Self {
        Self::order(format!("shutdown sessions server {server}"))
    }

    /// Ends one session, by the pointer that `show sess` prints.
    ///
    /// # Errors
    ///
    /// [`CommandError`] unless this is `0x` and hexadecimal digits.
    pub fn shutdown_session(pointer: &str) -> Result<Self, CommandError> {
        let digits = pointer.strip_prefix("0x").unwrap_or_default();
        if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            let why = "a session is named by its pointer, as show sess prints it";
            return Err(CommandError::Reserved { what: "session", text: super::shown(pointer), why });
        }
        Ok(Self::order(format!("shutdown session {pointer}")))
    }

    /// Adds a server, in maintenance.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent, or this release does not take one of them.
    pub fn add_server(server: &AddServer, version: HaproxyVersion) -> Result<Self, CommandError> {
        server.command(version)
    }

    /// Deletes a server, which must be in maintenance and without connections.
    pub fn del_server(server: &ServerName) -> Self {
        Self::says(format!("del server {server}"), &["Server deleted."])
    }
}

/// A server to add at run time. It is not in the configuration: write it there too, or a reload forgets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddServer {
    name: ServerName,
    address: SocketAddr,
    id: u32,
    words: Vec<(&'static str, Option<String>)>,
    more: Vec<String>,
    check: bool,
    agent: bool,
    cookie: bool,
}

impl AddServer {
    /// A server at this address.
    ///
    /// The id must never have been used in this backend: HAProxy itself gives a freed id to the next server, and stick
    /// tables that hold the id then lead to another machine. [`ServerIds`](crate::runtime::ServerIds) gives ids out.
    pub fn new(name: ServerName, address: SocketAddr, id: u32) -> Self {
        let (words, more) = (Vec::new(), Vec::new());
        Self { name, address, id, words, more, check: false, agent: false, cookie: false }
    }

    /// The server.
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether checks are to be started.
    pub fn is_checked(&self) -> bool {
        self.check
    }

    /// Whether an agent-check is to be started.
    pub fn has_agent(&self) -> bool {
        self.agent
    }

    fn with(mut self, word: &'static str, value: Option<String>) -> Self {
        self.words.push((word, value));
        self
    }

    /// The weight, 0 to 256. HAProxy's default is 1.
    #[must_use]
    pub fn weight(self, weight: u16) -> Self {
        self.with("weight", Some(weight.to_string()))
    }

    /// The most connections at once. Default: no limit.
    #[must_use]
    pub fn maxconn(self, connections: u32) -> Self {
        self.with("maxconn", Some(connections.to_string()))
    }

    /// With health checks at this interval, which `enable health` then starts.
    #[must_use]
    pub fn check(mut self, every: Duration) -> Self {
        self.check = true;
        self.with("check", None).with("inter", Some(format!("{}ms", every.as_millis())))
    }

    /// Checks in a row that bring it up and down. HAProxy's default is 2 and 3.
    #[must_use]
    pub fn rise_fall(self, rise: u32, fall: u32) -> Self {
        self.with("rise", Some(rise.to_string())).with("fall", Some(fall.to_string()))
    }

    /// With an agent-check at this port and interval, which `enable agent` then starts.
    #[must_use]
    pub fn agent_check(mut self, port: u16, every: Duration) -> Self {
        self.agent = true;
        self.with("agent-check", None)
            .with("agent-port", Some(port.to_string()))
            .with("agent-inter", Some(format!("{}ms", every.as_millis())))
    }

    /// The time over which its weight grows after it came up.
    #[must_use]
    pub fn slowstart(self, over: Duration) -> Self {
        self.with("slowstart", Some(format!("{}ms", over.as_millis())))
    }

    /// Takes work only when no other server can.
    #[must_use]
    pub fn backup(self) -> Self {
        self.with("backup", None)
    }

    /// The value of its cookie. HAProxy 2.8 and later.
    #[must_use]
    pub fn cookie(mut self, value: &str) -> Self {
        self.cookie = true;
        self.with("cookie", Some(value.to_owned()))
    }

    /// Passes the client's address on in the PROXY protocol, version 2.
    #[must_use]
    pub fn send_proxy_v2(self) -> Self {
        self.with("send-proxy-v2", None)
    }

    /// With TLS, verified against this file of authorities, or not verified at all.
    #[must_use]
    pub fn tls(self, authorities: Option<&str>) -> Self {
        let this = self.with("ssl", None);
        match authorities {
            Some(file) => this.with("verify", Some("required".into())).with("ca-file", Some(file.into())),
            None => this.with("verify", Some("none".into())),
        }
    }

    /// One more word of a server line. `resolvers` and `init-addr` are refused by every release.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.more.push(word.to_owned());
        self
    }

    fn command(&self, version: HaproxyVersion) -> Result<Command, CommandError> {
        if self.id == 0 {
            return Err(CommandError::Range { what: "server id", value: 0, min: 1, max: u64::from(u32::MAX >> 1) });
        }
        if !version.has(2, 6) {
            let remedy = "write the server into the configuration and reload";
            return Err(CommandError::TooOld {
                what: "adding a server at run time",
                needs: HaproxyVersion::new(2, 6),
                has: version,
                remedy,
            });
        }
        if self.cookie && !version.has(2, 8) {
            return Err(CommandError::TooOld {
                what: "a cookie on a server added at run time",
                needs: HaproxyVersion::new(2, 8),
                has: version,
                remedy: "use a dynamic cookie (cookie … dynamic, dynamic-cookie-key), or reload",
            });
        }
        let address = match self.address {
            SocketAddr::V4(v4) => v4.to_string(),
            SocketAddr::V6(v6) => format!("[{}]:{}", v6.ip(), v6.port()),
        };
        let line = format!("add server {} {address} id {}", self.name, self.id);
        let mut command = Command::says(line, &["New server registered."]);
        for (word, value) in &self.words {
            command = command.word(word);
            if let Some(value) = value {
                word_of(word, value)?;
                command = command.word(value);
            }
        }
        for word in &self.more {
            word_of("server keyword", word)?;
            command = command.word(word);
        }
        command.fits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let name = ServerName::new("rooms", "mm1").unwrap();
        let weight = |w| Command::set_weight(&name, w).map(|c| c.line().to_owned());
        assert_eq!(weight(WeightChange::Percent(50)).unwrap(), "set server rooms/mm1 weight 50%");
        assert!(weight(WeightChange::Absolute(257)).is_err());
        let add = AddServer::new(name.clone(), "[::1]:80".parse().unwrap(), 7)
            .weight(20)
            .check(Duration::from_secs(1))
            .word("pool-max-conn")
            .word("0");
        assert_eq!(
            Command::add_server(&add, HaproxyVersion::new(2, 6)).unwrap().line(),
            "add server rooms/mm1 [::1]:80 id 7 weight 20 check inter 1000ms pool-max-conn 0"
        );
        let cookie = add.cookie("c;1");
        assert!(matches!(Command::add_server(&cookie, HaproxyVersion::new(2, 6)), Err(CommandError::TooOld { .. })));
        assert!(Command::add_server(&cookie, HaproxyVersion::new(2, 8)).unwrap().line().contains("cookie c\\;1"));
        let zero = AddServer::new(name, "127.0.0.1:80".parse().unwrap(), 0);
        assert!(Command::add_server(&zero, HaproxyVersion::new(2, 8)).is_err());
        assert!(Command::shutdown_session("0x12;x").is_err());
    }
}
