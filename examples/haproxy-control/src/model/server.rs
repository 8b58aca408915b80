//! A `server` line.

use std::net::IpAddr;

use adapter_haproxy::balance::{HashKey, ServerSpec, ServerState};
use adapter_haproxy::{ConfigLine, Word};

use console::Failure;

/// Words of a server line that have a value behind them, besides those that are read.
const WITH_VALUE: &[&str] = &[
    "addr",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "alpn",
    "ca-file",
    "check-alpn",
    "check-proto",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "client-sigalgs",
    "crl-file",
    "crt",
    "curves",
    "downinter",
    "error-limit",
    "fall",
    "fastinter",
    "idle-ping",
    "init-addr",
    "init-state",
    "inter",
    "interface",
    "log-bufsize",
    "log-proto",
    "max-reuse",
    "namespace",
    "npn",
    "observe",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-conn-name",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "port",
    "proto",
    "proxy-v2-options",
    "redir",
    "resolve-net",
    "resolve-opts",
    "resolve-prefer",
    "resolvers",
    "rise",
    "set-proxy-v2-tlv-fmt",
    "shard",
    "sigalgs",
    "slowstart",
    "sni",
    "socks4",
    "source",
    "ssl-max-ver",
    "ssl-min-ver",
    "tcp-md5sig",
    "tcp-ut",
    "track",
    "usesrc",
    "verify",
    "verifyhost",
    "ws",
];

/// A server as far as the choice looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Its name.
    pub(crate) name: String,
    /// Its id, where it has one of its own.
    pub(crate) id: Option<u32>,
    /// Its weight.
    pub(crate) weight: u16,
    /// Its state.
    pub(crate) state: ServerState,
    /// Used only when no other is.
    pub(crate) backup: bool,
    address: Option<(IpAddr, u16)>,
    hash_key: HashKey,
    guid: Option<String>,
    limits: [u32; 3],
    cookie: Option<String>,
    non_stick: bool,
}

impl Server {
    /// A server of weight 1 without anything else.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            weight: 1,
            state: ServerState::Ready,
            backup: false,
            address: None,
            hash_key: HashKey::Id,
            guid: None,
            limits: [0; 3],
            cookie: None,
            non_stick: false,
        }
    }

    /// `NAME`, `NAME:WEIGHT` or `NAME:WEIGHT:ID`.
    pub(super) fn from_option(text: &str) -> Result<Self, Failure> {
        let odd =
            || Failure::usage(format!("--server {text:?} cannot be read")).hint("NAME, NAME:WEIGHT or NAME:WEIGHT:ID");
        let mut parts = text.split(':');
        let mut server = Self::new(parts.next().filter(|name| !name.is_empty()).ok_or_else(odd)?);
        if let Some(weight) = parts.next() {
            server.weight = weight.parse().ok().filter(|weight| *weight <= 256).ok_or_else(odd)?;
        }
        server.id = parts.next().map(|id| id.parse().map_err(|_| odd())).transpose()?;
        if parts.next().is_some() { Err(odd()) } else { Ok(server) }
    }

    /// Name and address of a line; the rest is [applied](Self::apply).
    pub(super) fn from_line(place: &str, line: &ConfigLine) -> Result<Self, Failure> {
        if line.words.len() < 3 {
            return Err(Failure::failed(format!("{place}: a server needs a name and an address")));
        }
        let mut server = Self::new(line.word(1));
        let address = line.word(2).rsplit('@').next().unwrap_or_default();
        let bare = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        server.address = match address.rsplit_once(':') {
            Some((host, port)) => bare(host).zip(port.parse().ok()),
            None => None,
        };
        server.address = server.address.or_else(|| Some((bare(address)?, 0)));
        Ok(server)
    }

    /// Takes in what follows the address, or `default-server`.
    pub(super) fn apply(&mut self, place: &str, words: &[Word]) -> Result<(), Failure> {
        let mut words = words.iter().map(|word| &*word.text);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            let odd = |value: &str| Failure::failed(format!("{place}: {word} {value:?} cannot be read"));
            let number = |value: &str| value.parse::<u32>().map_err(|_| odd(value));
            match word {
                "weight" => {
                    let value = value();
                    self.weight = value.parse().ok().filter(|weight| *weight <= 256).ok_or_else(|| odd(value))?;
                }
                "id" => self.id = Some(number(value())?),
                "minconn" => self.limits[0] = number(value())?,
                "maxconn" => self.limits[1] = number(value())?,
                "maxqueue" => self.limits[2] = number(value())?,
                "cookie" => self.cookie = Some(value().to_owned()),
                "guid" => self.guid = Some(value().to_owned()),
                "hash-key" => {
                    let value = value();
                    self.hash_key = HashKey::by_name(value).ok_or_else(|| odd(value))?;
                }
                "backup" => self.backup = true,
                "no-backup" => self.backup = false,
                "disabled" => self.state = ServerState::Maint,
                "enabled" => self.state = ServerState::Ready,
                "non-stick" => self.non_stick = true,
                "stick" => self.non_stick = false,
                word if WITH_VALUE.contains(&word) => {
                    value();
                }
                _ => {}
            }
        }
        let by_address = matches!(self.hash_key, HashKey::Addr | HashKey::AddrPort);
        if by_address && self.address.is_none() {
            let what = format!("{place}: server {} is hashed by an address that its line does not tell", self.name);
            return Err(Failure::failed(what).hint("write the address into a copy of the file"));
        }
        Ok(())
    }

    /// The server for the predictor.
    pub(super) fn spec(&self) -> ServerSpec {
        let [minconn, maxconn, maxqueue] = self.limits;
        let mut spec = ServerSpec::new(&self.name).weight(self.weight).state(self.state).hash_key(self.hash_key);
        spec = spec.minconn(minconn).maxconn(maxconn).maxqueue(maxqueue);
        if let Some(id) = self.id {
            spec = spec.id(id);
        }
        if let Some((address, port)) = self.address {
            spec = spec.address(address, port);
        }
        if let Some(guid) = &self.guid {
            spec = spec.guid(guid);
        }
        if let Some(cookie) = &self.cookie {
            spec = spec.cookie(cookie);
        }
        spec = if self.backup { spec.backup() } else { spec };
        if self.non_stick { spec.non_stick() } else { spec }
    }
}
