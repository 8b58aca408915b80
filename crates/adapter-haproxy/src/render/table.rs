//! Stick tables, the peers that share them, resolvers.

use std::time::Duration;

use super::RenderError;
use super::frontend::variable_name;
use super::writer::{Writer, host_port, name, solid, time};

/// What the entries of a table are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TableKey {
    /// Text, at most this many bytes of it.
    Text(u16),
    /// An address of either kind.
    Address,
}

/// A stick table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StickTable {
    /// Its key.
    pub key: TableKey,
    /// How many entries it holds; full, the oldest go.
    pub entries: u32,
    /// How long an entry lives after its last use.
    pub expire: Duration,
}

impl StickTable {
    /// Rooms by name: 100,000 names of 1024 bytes at most, kept for 8 h after the last request.
    pub const fn rooms() -> Self {
        Self { key: TableKey::Text(1024), entries: 100_000, expire: Duration::from_secs(8 * 3600) }
    }

    /// Clients by address: 200,000, kept for half an hour.
    pub const fn sources() -> Self {
        Self { key: TableKey::Address, entries: 200_000, expire: Duration::from_secs(1800) }
    }

    pub(super) fn words(&self) -> Result<Vec<String>, RenderError> {
        let mut words = vec!["type".to_owned()];
        match self.key {
            TableKey::Text(len) if len > 0 => words.extend(["string".into(), "len".into(), len.to_string()]),
            TableKey::Text(_) => {
                let help = "at least one byte";
                return Err(RenderError::Value { what: "key length", value: "0".into(), help });
            }
            TableKey::Address => words.push("ipv6".into()),
        }
        if self.entries == 0 {
            let help = "at least one entry";
            return Err(RenderError::Value { what: "table size", value: "0".into(), help });
        }
        words.extend(["size".into(), self.entries.to_string(), "expire".into(), time("expire", self.expire)?]);
        Ok(words)
    }
}

/// Keeps requests of one key on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StickRule {
    /// By a variable the frontend has set: `room` for `txn.room`.
    Variable(String),
    /// By a variable; requests follow an entry always and make one only when this other variable is set as well.
    StoredWhen {
        /// The variable with the key.
        key: String,
        /// The variable that allows a new entry.
        when: String,
    },
    /// By the client's address. Everybody behind one address goes to one server.
    Source,
}

impl StickRule {
    pub(super) fn write(&self, out: &mut Writer, table: Option<&str>) -> Result<(), RenderError> {
        let shared = |words: &[&str]| {
            let table = table.map(|table| ["table", table]).into_iter().flatten();
            words.iter().copied().chain(table).map(str::to_owned).collect::<Vec<_>>()
        };
        let key = |variable: &str| Ok::<_, RenderError>(format!("var({})", variable_name(variable)?));
        match self {
            Self::Source => out.line_meant(shared(&["stick", "on", "src"]), "BLC-H046"),
            Self::Variable(variable) => out.line(shared(&["stick", "on", &key(variable)?])),
            Self::StoredWhen { key: stored, when } => {
                let stored = key(stored)?;
                out.line(shared(&["stick", "match", &stored]))?;
                let mut words = shared(&["stick", "store-request", &stored]);
                words.extend(["if", "{", &key(when)?, "-m", "found", "}"].map(str::to_owned));
                out.line(words)
            }
        }
    }
}

/// Another HAProxy, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerLine {
    /// Its name: what it calls itself.
    pub name: String,
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl PeerLine {
    /// A peer.
    pub fn new(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), host: host.into(), port }
    }
}

/// Certificates of a HAProxy among peers: both sides show one of the authority. All members need theirs, controllers too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeersTls {
    /// The file with this host's certificate and its key.
    pub certificate: String,
    /// The file with the authority of all members.
    pub authority: String,
}

impl PeersTls {
    /// From these files.
    pub fn new(certificate: impl Into<String>, authority: impl Into<String>) -> Self {
        Self { certificate: certificate.into(), authority: authority.into() }
    }

    fn words(&self) -> Result<[&str; 7], RenderError> {
        let (certificate, authority) =
            (solid("certificate file", &self.certificate)?, solid("authority file", &self.authority)?);
        Ok(["ssl", "crt", certificate, "ca-file", authority, "verify", "required"])
    }
}

/// HAProxys that share tables. With itself alone, its tables survive reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeersSection {
    /// Its name.
    pub name: String,
    /// Which of the members this host is; written to the global section, so that the host's name does not matter.
    pub local: Option<String>,
    /// All members, this host among them; the same list on all of them.
    pub members: Vec<PeerLine>,
    /// Tables of the section itself, by name; used as `SECTION/NAME`.
    pub tables: Vec<(String, StickTable)>,
    /// What they speak within TLS with; in clear text without.
    pub tls: Option<PeersTls>,
}

impl PeersSection {
    /// A section; `local` is the name of this host among the members.
    pub fn new(name: impl Into<String>, local: impl Into<String>, members: Vec<PeerLine>) -> Self {
        Self { name: name.into(), local: Some(local.into()), members, tables: Vec::new(), tls: None }
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        out.head("peers", Some(name("peers section", &self.name)?));
        if self.members.len() == 1 {
            // Reloads are what it is there for.
            out.meant("BLC-H051");
        }
        super::once("peer", self.members.iter().map(|peer| &peer.name))?;
        super::once("table", self.tables.iter().map(|(name, _)| name))?;
        if let Some(local) = self.local.as_ref().filter(|local| !self.members.iter().any(|peer| peer.name == **local)) {
            let user = format!("peers {}", self.name);
            return Err(RenderError::Unknown { user, what: "local peer", name: local.clone() });
        }
        match &self.tls {
            None => {
                for peer in &self.members {
                    out.line(["peer", name("peer", &peer.name)?, &host_port(&peer.host, peer.port)?])?;
                }
            }
            Some(tls) => self.write_tls(out, tls)?,
        }
        for (table, rules) in &self.tables {
            let front = ["table".to_owned(), name("table", table)?.to_owned()];
            out.line(front.into_iter().chain(rules.words()?))?;
        }
        Ok(())
    }

    /// Only a `bind` line and `server` lines take words about TLS; which of them is this host must be said then.
    fn write_tls(&self, out: &mut Writer, tls: &PeersTls) -> Result<(), RenderError> {
        let Some(own) = self.members.iter().find(|peer| self.local.as_ref() == Some(&peer.name)) else {
            let (user, name) = (format!("TLS of peers {}", self.name), String::new());
            return Err(RenderError::Unknown { user, what: "local peer", name });
        };
        let words = tls.words()?;
        out.line(["bind", &host_port(&own.host, own.port)?].into_iter().chain(words))?;
        for peer in &self.members {
            let called = name("peer", &peer.name)?;
            if peer.name == own.name {
                out.line(["server", called])?;
            } else {
                out.line(["server", called, &host_port(&peer.host, peer.port)?].into_iter().chain(words))?;
            }
        }
        Ok(())
    }
}

/// Where names are looked up at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolversSection {
    /// Its name.
    pub name: String,
    /// Name servers: address and port. Without any, those of the host.
    pub servers: Vec<(String, u16)>,
    /// How long an answer is taken for true; 10 s.
    pub hold: Duration,
}

impl ResolversSection {
    /// The name servers of the host.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), servers: Vec::new(), hold: Duration::from_secs(10) }
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        out.head("resolvers", Some(name("resolvers section", &self.name)?));
        if self.servers.is_empty() {
            out.line(["parse-resolv-conf"])?;
        }
        for (at, (host, port)) in self.servers.iter().enumerate() {
            if host.parse::<std::net::IpAddr>().is_err() {
                let help = "give an IP address";
                return Err(RenderError::Value { what: "name server", value: host.clone(), help });
            }
            out.line(["nameserver", &format!("ns{}", at + 1), &host_port(host, *port)?])?;
        }
        out.line(["hold", "valid", &time("hold", self.hold)?])
    }
}
