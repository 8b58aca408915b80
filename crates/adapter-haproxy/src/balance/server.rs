//! Servers of a backend: definition, numbering, the nodes of each on the ring.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::error::SpecError;
use super::hash::{avalanche, xxh32};
use super::version::{RingBase, Version};

/// The most servers of one backend that are modelled.
pub(crate) const MAX_SERVERS: usize = 10_000;

/// What a server's nodes on the consistent ring are derived from: `hash-key`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashKey {
    /// Its id.
    #[default]
    Id,
    /// Its id with the bytes reversed. Since 3.4-dev13.
    Id32,
    /// Its address. Since 3.0.
    Addr,
    /// Its address and port. Since 3.0.
    AddrPort,
    /// Its guid. Since 3.4-dev13.
    Guid,
}

impl HashKey {
    /// The value of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "id32" => Self::Id32,
            "addr" => Self::Addr,
            "addr-port" => Self::AddrPort,
            "guid" => Self::Guid,
            _ => return None,
        })
    }
}

/// What was ordered of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerState {
    /// It takes everything.
    #[default]
    Ready,
    /// No new placements; persistence still goes there.
    Drain,
    /// In maintenance, or found down by its checks: nothing goes there, unless persistence is forced.
    Maint,
}

/// A `server` line as far as the choice looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    pub(crate) name: String,
    pub(crate) id: Option<u32>,
    pub(crate) weight: u16,
    pub(crate) backup: bool,
    pub(crate) state: ServerState,
    pub(crate) addr: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) hash_key: HashKey,
    pub(crate) guid: Option<String>,
    pub(crate) maxconn: u32,
    pub(crate) minconn: u32,
    pub(crate) maxqueue: u32,
    pub(crate) cookie: Option<String>,
    pub(crate) non_stick: bool,
}

impl ServerSpec {
    /// A server of this name: weight 1, no id of its own, no limits.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            weight: 1,
            backup: false,
            state: ServerState::Ready,
            addr: None,
            port: 0,
            hash_key: HashKey::Id,
            guid: None,
            maxconn: 0,
            minconn: 0,
            maxqueue: 0,
            cookie: None,
            non_stick: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `id`: an id of its own. Without one it is numbered by its place.
    #[must_use]
    pub fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// `weight`, 0 to 256; default 1.
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// `backup`.
    #[must_use]
    pub fn backup(mut self) -> Self {
        self.backup = true;
        self
    }

    /// Its state at start; `disabled` is [`ServerState::Maint`].
    #[must_use]
    pub fn state(mut self, state: ServerState) -> Self {
        self.state = state;
        self
    }

    /// Its address and port, for `hash-key addr` and `addr-port`.
    #[must_use]
    pub fn address(mut self, addr: IpAddr, port: u16) -> Self {
        self.addr = Some(addr);
        self.port = port;
        self
    }

    /// `hash-key`.
    #[must_use]
    pub fn hash_key(mut self, key: HashKey) -> Self {
        self.hash_key = key;
        self
    }

    /// `guid`.
    #[must_use]
    pub fn guid(mut self, guid: impl Into<String>) -> Self {
        self.guid = Some(guid.into());
        self
    }

    /// `maxconn`: connections at most; 0 is no limit.
    #[must_use]
    pub fn maxconn(mut self, connections: u32) -> Self {
        self.maxconn = connections;
        self
    }

    /// `minconn`: the limit while the backend has little to do; 0 is that of `maxconn`.
    #[must_use]
    pub fn minconn(mut self, connections: u32) -> Self {
        self.minconn = connections;
        self
    }

    /// `maxqueue`: requests that may wait for it; 0 is no limit.
    #[must_use]
    pub fn maxqueue(mut self, requests: u32) -> Self {
        self.maxqueue = requests;
        self
    }

    /// `cookie`: the value that stands for it.
    #[must_use]
    pub fn cookie(mut self, value: impl Into<String>) -> Self {
        self.cookie = Some(value.into());
        self
    }

    /// `non-stick`: nothing is learnt from its answers.
    #[must_use]
    pub fn non_stick(mut self) -> Self {
        self.non_stick = true;
        self
    }

    /// The number at which its nodes on the ring begin.
    pub(crate) fn node_base(&self, id: u32, base: RingBase) -> u32 {
        let by_id = match base {
            RingBase::Spaced => id.wrapping_mul(4096),
            RingBase::Mixed => avalanche(id),
        };
        // Addresses are read as the machine has them in memory: little-endian on every platform of note.
        let addr = |seed: u32| match self.addr {
            Some(IpAddr::V4(ip)) => Some(avalanche(seed.wrapping_add(u32::from_le_bytes(ip.octets())))),
            Some(IpAddr::V6(ip)) => Some(xxh32(&ip.octets(), seed)),
            None => None,
        };
        let own = match self.hash_key {
            HashKey::Id => None,
            HashKey::Id32 => Some(avalanche(id.swap_bytes())),
            HashKey::Addr => addr(0),
            HashKey::AddrPort => addr(avalanche(u32::from(self.port))),
            HashKey::Guid => self.guid.as_ref().map(|g| xxh32(g.as_bytes(), 0)),
        };
        own.unwrap_or(by_id)
    }

    fn check(&self, version: Version) -> Result<(), SpecError> {
        if self.weight > 256 {
            return Err(SpecError::Range { what: "a weight", value: u64::from(self.weight), range: "0 to 256" });
        }
        if let Some(id) = self.id.filter(|id| !(1..=i32::MAX.unsigned_abs()).contains(id)) {
            return Err(SpecError::Range { what: "an id", value: u64::from(id), range: "1 to 2147483647" });
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "_:.-".contains(c);
        if self.name.is_empty() || !self.name.chars().all(fits) {
            let why = "is no name of a server: letters, digits and _ : . - are";
            return Err(SpecError::Syntax { text: self.name.chars().take(80).collect(), why });
        }
        match self.hash_key {
            HashKey::Addr | HashKey::AddrPort if !version.has_hash_keys() => {
                Err(SpecError::Version { what: "hash-key", version })
            }
            HashKey::Id32 | HashKey::Guid if !version.has_wide_hash_keys() => {
                Err(SpecError::Version { what: "hash-key id32 and guid", version })
            }
            _ => Ok(()),
        }
    }
}

/// Checks the servers of one backend and numbers them.
pub(crate) fn ids(servers: &[&ServerSpec], version: Version) -> Result<Vec<u32>, SpecError> {
    if servers.len() > MAX_SERVERS {
        return Err(SpecError::TooMany { what: "servers", count: servers.len(), max: MAX_SERVERS });
    }
    let mut names = HashSet::new();
    let mut used: HashMap<u32, &ServerSpec> = HashMap::new();
    for s in servers {
        s.check(version)?;
        if !names.insert(&s.name) {
            return Err(SpecError::DuplicateName { name: s.name.clone() });
        }
        if let Some(id) = s.id
            && let Some(first) = used.insert(id, s)
        {
            return Err(SpecError::DuplicateId { id, first: first.name.clone(), second: s.name.clone() });
        }
    }
    // The counter moves with every line, whether or not the line has an id of its own.
    let mut next = 1u32;
    let mut out = Vec::with_capacity(servers.len());
    for s in servers {
        let id = s.id.unwrap_or_else(|| {
            while used.contains_key(&next) {
                next = next.wrapping_add(1).max(1);
            }
            next
        });
        used.insert(id, s);
        out.push(id);
        next = next.wrapping_add(1).max(1);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(explicit: &[Option<u32>]) -> Vec<u32> {
        let servers: Vec<ServerSpec> = explicit
            .iter()
            .enumerate()
            .map(|(i, id)| ServerSpec { id: *id, ..ServerSpec::new(format!("s{i}")) })
            .collect();
        ids(&servers.iter().collect::<Vec<_>>(), Version::release(2, 6, 12)).unwrap()
    }

    #[test]
    fn the_counter_moves_with_every_line() {
        assert_eq!(numbered(&[None, Some(10), None]), [1, 10, 3]);
        assert_eq!(numbered(&[None, None, Some(1), None]), [2, 3, 1, 5]);
    }

    #[test]
    fn what_haproxy_refuses_is_refused() {
        let v = Version::release(2, 6, 12);
        let check = |a: ServerSpec, b: ServerSpec| ids(&[&a, &b], v).unwrap_err().to_string();
        let s = ServerSpec::new;
        assert!(check(s("a"), s("a")).contains("twice"));
        assert!(check(s("a").id(3), s("b").id(3)).contains("both"));
        assert!(check(s("a").weight(257), s("b")).contains("0 to 256"));
        assert!(check(s("a").id(0), s("b")).contains("1 to 2147483647"));
        assert!(check(s("a").id(1 << 31), s("b")).contains("1 to 2147483647"));
        assert!(ids(&[&s("a.B-1_:9").id((1 << 31) - 1)], v).is_ok());
        for name in ["", "a b", "x@y", "ä", "a\n"] {
            assert!(check(s(name), s("b")).contains("no name of a server"), "{name}");
        }
        assert!(check(s("a").hash_key(HashKey::Addr), s("b")).contains("2.6.12"));
    }
}
