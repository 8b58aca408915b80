//! Where a Redis server is and how to talk to it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::stick::StickError;

const DEFAULT_PORT: u16 = 6379;
/// The longest time-out: longer ones are mistakes, and sums of them could overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// How many sentinels or nodes may be named.
const MOST_SERVERS: usize = 32;

/// A password: never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
            }
        }
    }

    fn validate(&self) -> Result<(), StickError> {
        let Self::Tcp { host, .. } = self else { return Ok(()) };
        if host.is_empty()
            || host.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '/' | ','))
        {
            return Err(config("Redis host", "must be a host name or an address"));
        }
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return Err(config(
                &format!("Redis host {host}"),
                "is an address to listen on; name the one that clients reach",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How the server that takes the calls is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is this one.
    Server(Address),
    /// Sentinels know which one is the master of this name.
    #[cfg(feature = "redis-sentinel")]
    Sentinels { sentinels: Vec<Address>, master: String },
    /// Each key has its own, which any node can tell.
    #[cfg(feature = "redis-cluster")]
    Cluster(Vec<Address>),
}

#[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
fn listed(addresses: &[Address]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
fn gather<H: Into<String>>(servers: impl IntoIterator<Item = (H, u16)>) -> Vec<Address> {
    servers.into_iter().map(|(host, port)| Address::Tcp { host: host.into(), port }).collect()
}

/// Settings of a [`RedisLink`](super::RedisLink).
///
/// Made from a URL ([`from_url`](Self::from_url)) or piece by piece. Nothing is connected or checked until the link
/// is made. The password never shows in `Debug`, errors or logs.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    pub(super) place: Place,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: u32,
    pub(super) namespace: String,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) connect_tries: u32,
    pub(super) connections: usize,
    #[cfg(feature = "redis-sentinel")]
    pub(super) sentinel_username: Option<String>,
    #[cfg(feature = "redis-sentinel")]
    pub(super) sentinel_password: Option<Secret>,
    #[cfg(feature = "redis-tls")]
    pub(super) tls: bool,
    #[cfg(feature = "redis-tls")]
    pub(super) ca_file: Option<PathBuf>,
}

impl RedisOptions {
    pub(super) fn at(place: Place) -> Self {
        Self {
            place,
            username: None,
            password: None,
            db: 0,
            namespace: "balancer".to_owned(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
            connect_tries: 3,
            connections: 1,
            #[cfg(feature = "redis-sentinel")]
            sentinel_username: None,
            #[cfg(feature = "redis-sentinel")]
            sentinel_password: None,
            #[cfg(feature = "redis-tls")]
            tls: false,
            #[cfg(feature = "redis-tls")]
            ca_file: None,
        }
    }

    /// A server at a host name or address, port 6379.
    pub fn new(host: impl Into<String>) -> Self {
        Self::at(Place::Server(Address::Tcp { host: host.into(), port: DEFAULT_PORT }))
    }

    /// A server at a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Server(Address::Unix(path.into())))
    }

    /// The master of this name, as these sentinels (host and port, usually 26379) know it.
    ///
    /// User name, password and database are those of the master; the sentinels' own are set by
    /// [`sentinel_username`](Self::sentinel_username) and [`sentinel_password`](Self::sentinel_password). TLS, where
    /// asked for, is spoken to all of them.
    #[cfg(feature = "redis-sentinel")]
    pub fn sentinel<H: Into<String>>(master: impl Into<String>, sentinels: impl IntoIterator<Item = (H, u16)>) -> Self {
        Self::at(Place::Sentinels { sentinels: gather(sentinels), master: master.into() })
    }

    /// A Redis Cluster: some of its nodes (host and port), which know the others.
    #[cfg(feature = "redis-cluster")]
    pub fn cluster<H: Into<String>>(nodes: impl IntoIterator<Item = (H, u16)>) -> Self {
        Self::at(Place::Cluster(gather(nodes)))
    }

    /// The port, as a number or as text; by default 6379.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] when it is not a number of 1 to 65535, the server is at a Unix socket, or several are
    /// named, each with its port.
    pub fn port(mut self, port: impl fmt::Display) -> Result<Self, StickError> {
        let text = port.to_string();
        match &mut self.place {
            Place::Server(Address::Tcp { port, .. }) => *port = parse_port(&text)?,
            Place::Server(Address::Unix(_)) => {
                return Err(config("Redis port", "a Unix socket has none; leave it out"));
            }
            #[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
            _ => return Err(config("Redis port", "each of several servers is named with its own; leave it out")),
        }
        Ok(self)
    }

    /// The user of an access control list; by default the server's default user.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into()).filter(|name| !name.is_empty());
        self
    }

    /// The password; an empty one is none.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into()).filter(|text| !text.is_empty()).map(Secret);
        self
    }

    /// The number of the database, by default 0.
    #[must_use]
    pub fn db(mut self, db: u32) -> Self {
        self.db = db;
        self
    }

    /// What every key begins with, by default `balancer`: 1 to 128 bytes without braces, spaces or control characters.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The longest one attempt to connect may take, name lookup and greeting included; by default 2 s, at
    /// most an hour.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The longest wait for any answer, connecting included; by default 5 s, at most an hour.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How often one call tries to connect where a connection is refused, by default 3 (within 0.3 s).
    #[must_use]
    pub fn connect_tries(mut self, tries: u32) -> Self {
        self.connect_tries = tries;
        self
    }

    /// How many connections share the calls, 1 to 64, by default 1: one carries any number of calls at once.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Speaks TLS to the server, as `rediss://` does. Needs the feature `redis-tls`.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Trusts the certificates of this PEM file, and no others, for TLS. Default: the system's.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The user at the sentinels, by default none. Only for [`sentinel`](Self::sentinel).
    #[cfg(feature = "redis-sentinel")]
    #[must_use]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_username = Some(username.into()).filter(|name| !name.is_empty());
        self
    }

    /// The password of the sentinels, by default none; that of the master is not sent to them. Only for
    /// [`sentinel`](Self::sentinel).
    #[cfg(feature = "redis-sentinel")]
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(password.into()).filter(|text| !text.is_empty()).map(Secret);
        self
    }

    /// The server as shown in messages: no secret in it.
    pub fn target(&self) -> String {
        match &self.place {
            Place::Server(address) => format!("redis {address}"),
            #[cfg(feature = "redis-sentinel")]
            Place::Sentinels { sentinels, master } => {
                format!("redis master {master:?} by the sentinels {}", listed(sentinels))
            }
            #[cfg(feature = "redis-cluster")]
            Place::Cluster(nodes) => format!("redis cluster {}", listed(nodes)),
        }
    }

    fn addresses(&self) -> &[Address] {
        match &self.place {
            Place::Server(address) => std::slice::from_ref(address),
            #[cfg(feature = "redis-sentinel")]
            Place::Sentinels { sentinels, .. } => sentinels,
            #[cfg(feature = "redis-cluster")]
            Place::Cluster(nodes) => nodes,
        }
    }

    pub(super) fn is_local(&self) -> bool {
        self.addresses().iter().all(Address::is_local)
    }

    /// Every secret, to be taken out of messages.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let secrets = self.password.iter();
        #[cfg(feature = "redis-sentinel")]
        let secrets = secrets.chain(&self.sentinel_password);
        secrets
    }

    fn validate_place(&self) -> Result<(), StickError> {
        let addresses = self.addresses();
        if addresses.is_empty() || addresses.len() > MOST_SERVERS {
            return Err(config(&format!("{} Redis servers", addresses.len()), "must be 1 to 32"));
        }
        addresses.iter().try_for_each(Address::validate)?;
        #[cfg(feature = "redis-sentinel")]
        if self.sentinel_username.is_some() && self.sentinel_password.is_none() {
            return Err(config("Redis sentinel user name", "needs a password beside it"));
        }
        #[cfg(feature = "redis-sentinel")]
        if let Place::Sentinels { master, .. } = &self.place {
            if master.is_empty() || master.len() > 128 || master.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                return Err(config(
                    "Redis master name",
                    "must be 1 to 128 bytes without spaces or control characters, as in `sentinel monitor NAME`",
                ));
            }
        } else if self.sentinel_password.is_some() {
            return Err(config("Redis sentinel password", "is for sentinels, and none is named"));
        }
        #[cfg(feature = "redis-cluster")]
        if matches!(self.place, Place::Cluster(_)) && self.db != 0 {
            return Err(config(&format!("Redis database {}", self.db), "a cluster has database 0 only; leave it out"));
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), StickError> {
        let namespace = &self.namespace;
        let unfit = |c: char| c == '{' || c == '}' || c.is_whitespace() || c.is_control();
        if namespace.is_empty() || namespace.len() > 128 || namespace.contains(unfit) {
            return Err(config(
                &format!("Redis namespace {namespace:?}"),
                "must be 1 to 128 bytes without braces, spaces or control characters",
            ));
        }
        self.validate_place()?;
        if self.username.is_some() && self.password.is_none() {
            return Err(config("Redis user name", "needs a password beside it"));
        }
        if self.connect_timeout.is_zero() || self.response_timeout.is_zero() {
            return Err(config("Redis time-out", "must be longer than nothing"));
        }
        if self.connect_timeout > LONGEST_TIMEOUT || self.response_timeout > LONGEST_TIMEOUT {
            return Err(config("Redis time-out", "must be at most an hour"));
        }
        if self.connections == 0 || self.connections > 64 {
            return Err(config(&format!("{} Redis connections", self.connections), "must be 1 to 64"));
        }
        Ok(())
    }
}

pub(super) fn parse_port(text: &str) -> Result<u16, StickError> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        // The text is not repeated: in a broken URL it may be part of a password.
        _ => Err(config(
            "Redis port",
            "must be a number of 1 to 65535 (in a URL, write special characters of the password as %XX)",
        )),
    }
}

pub(super) fn config(what: &str, why: &str) -> StickError {
    StickError::Config { what: what.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_have_bounds() {
        let with = |connect, response| RedisOptions::new("h").connect_timeout(connect).response_timeout(response);
        let second = Duration::from_secs(1);
        assert!(with(second, second).validate().is_ok());
        for wrong in [Duration::ZERO, Duration::MAX] {
            assert!(with(second, wrong).validate().is_err(), "{wrong:?}");
            assert!(with(wrong, second).validate().is_err(), "{wrong:?}");
        }
    }
}
