//! The definition of a backend: its lines and servers.

use super::algorithm::{Balance, HashType};
use super::chash::Affinity;
use super::engine::Rules;
use super::error::SpecError;
use super::farm::Unit;
use super::hash::HashFunction;
use super::persist::{Condition, PersistRule, StickRule, UseServer};
use super::server::{ServerSpec, ServerState, ids};
use super::stick::TableSpec;
use super::version::{RingBase, Version};
use super::words::words;

/// The most rules of one kind in a backend.
const MAX_RULES: usize = 1_024;
/// The most steps that filling a table may take: servers times the sum of their weights.
const MAX_TABLE: u64 = 1 << 32;

/// A backend as far as the choice of a server looks at it.
///
/// ```
/// use adapter_haproxy::balance::{BackendSpec, Predictor, Request, ServerSpec, Version};
///
/// let mut backend = BackendSpec::new(Version::release(2, 6, 12));
/// backend.line("balance url_param room")?;
/// backend.line("hash-type consistent")?;
/// for name in ["eu-1", "eu-2", "eu-3"] {
///     backend.server(ServerSpec::new(name));
/// }
/// let mut haproxy = Predictor::new(backend)?;
/// let answer = haproxy.route(&Request::get("/join?room=algebra"));
/// println!("{answer}");
/// assert_eq!(answer.server(), Some("eu-3"));
/// # Ok::<(), adapter_haproxy::balance::SpecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BackendSpec {
    pub(crate) version: Version,
    pub(crate) ring_base: Option<RingBase>,
    pub(crate) balance: Balance,
    pub(crate) hash: HashType,
    pub(crate) factor: u32,
    pub(crate) affinity: Affinity,
    pub(crate) all_backups: bool,
    pub(crate) persist: bool,
    pub(crate) redispatch: bool,
    pub(crate) fullconn: u32,
    pub(crate) cookie: Option<String>,
    pub(crate) table: Option<TableSpec>,
    pub(crate) sticks: Vec<StickRule>,
    pub(crate) use_servers: Vec<UseServer>,
    pub(crate) persists: Vec<PersistRule>,
    pub(crate) servers: Vec<ServerSpec>,
}

impl BackendSpec {
    /// A backend without lines and servers.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            ring_base: None,
            balance: Balance::default_of(version),
            hash: HashType::default(),
            factor: 0,
            affinity: Affinity::Always,
            all_backups: false,
            persist: false,
            redispatch: false,
            fullconn: 0,
            cookie: None,
            table: None,
            sticks: Vec::new(),
            use_servers: Vec::new(),
            persists: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// Adds a server behind those that are there. Their order matters.
    pub fn server(&mut self, server: ServerSpec) -> &mut Self {
        self.servers.push(server);
        self
    }

    /// How the ring is numbered, for releases that do not tell ([`Version::ring_base`]).
    pub fn ring_base(&mut self, base: RingBase) -> &mut Self {
        self.ring_base = Some(base);
        self
    }

    /// Takes in one line as it stands in the configuration: `balance`, `hash-type`, `hash-balance-factor`,
    /// `hash-preserve-affinity`, `fullconn`, `cookie`, `stick-table`, `stick`, `use-server`, `force-persist`,
    /// `ignore-persist`, and `option` or `no option` with `allbackups`, `persist` and `redispatch`.
    ///
    /// Servers are added with [`server`](Self::server). Lines without an influence on the choice (timeouts, checks,
    /// logs) are the caller's to leave out: they are refused here like those whose influence is not modelled.
    ///
    /// # Errors
    ///
    /// [`SpecError`]; nothing is changed then.
    pub fn line(&mut self, line: &str) -> Result<(), SpecError> {
        let words = words(line)?;
        let bad = |why| SpecError::Syntax { text: line.chars().take(80).collect(), why };
        let Some((first, rest)) = words.split_first() else { return Ok(()) };
        let number = |range: &'static str, low: u32| match rest {
            [n] => match n.parse::<u32>() {
                Ok(n) if n >= low || n == 0 => Ok(n),
                Ok(n) => Err(SpecError::Range { what: "a value", value: u64::from(n), range }),
                Err(_) => Err(bad("needs a number")),
            },
            _ => Err(bad("needs one number")),
        };
        let full = |n: usize| {
            let too_many = SpecError::TooMany { what: "rules", count: n + 1, max: MAX_RULES };
            if n >= MAX_RULES { Err(too_many) } else { Ok(()) }
        };
        match first.as_str() {
            "balance" => self.balance = Balance::from_words(rest)?,
            "hash-type" => {
                let hash = HashType::from_words(rest)?;
                if hash.function() == HashFunction::None && !self.version.has_function_none() {
                    return Err(SpecError::Version { what: "hash function none", version: self.version });
                }
                self.hash = hash;
            }
            "hash-balance-factor" => self.factor = number("0, or more than 100", 101)?,
            "hash-preserve-affinity" => {
                if !self.version.has_affinity() {
                    return Err(SpecError::Version { what: "hash-preserve-affinity", version: self.version });
                }
                self.affinity = match rest {
                    [one] if one == "always" => Affinity::Always,
                    [one] if one == "maxconn" => Affinity::MaxConn,
                    [one] if one == "maxqueue" => Affinity::MaxQueue,
                    _ => return Err(bad("needs always, maxconn or maxqueue")),
                };
            }
            "fullconn" => self.fullconn = number("1 and more", 1)?,
            "cookie" => {
                let name = rest.first().ok_or_else(|| bad("needs the name of a cookie"))?;
                if rest.iter().any(|w| matches!(w.as_str(), "prefix" | "maxidle" | "maxlife" | "dynamic")) {
                    let what = "prefix, maxidle, maxlife and dynamic".into();
                    return Err(SpecError::Unsupported { text: line.chars().take(80).collect(), what });
                }
                self.cookie = Some(name.clone());
            }
            "stick-table" => self.table = Some(TableSpec::from_words(rest)?),
            "stick" => {
                full(self.sticks.len())?;
                self.sticks.push(StickRule::from_words(rest)?);
            }
            "use-server" => {
                full(self.use_servers.len())?;
                let (server, rest) = rest.split_first().ok_or_else(|| bad("needs the name of a server"))?;
                let condition = Condition::from_words(rest)?;
                self.use_servers.push(UseServer { server: server.clone(), condition });
            }
            "force-persist" | "ignore-persist" => {
                full(self.persists.len())?;
                let condition = Condition::from_words(rest)?;
                self.persists.push(PersistRule { force: first == "force-persist", condition });
            }
            "option" => self.option(line, rest, true)?,
            "no" if rest.first().is_some_and(|w| w == "option") => self.option(line, &rest[1..], false)?,
            _ => {
                let what = format!("the keyword {first}");
                return Err(SpecError::Unsupported { text: line.chars().take(80).collect(), what });
            }
        }
        Ok(())
    }

    fn option(&mut self, line: &str, words: &[String], on: bool) -> Result<(), SpecError> {
        match words.first().map(String::as_str) {
            Some("allbackups") => self.all_backups = on,
            Some("persist") => self.persist = on,
            Some("redispatch") => self.redispatch = on,
            _ => {
                let what = "this option".into();
                return Err(SpecError::Unsupported { text: line.chars().take(80).collect(), what });
            }
        }
        Ok(())
    }

    /// The servers' ids, in order.
    ///
    /// # Errors
    ///
    /// What HAProxy would refuse: names or ids that occur twice, values out of range.
    pub fn ids(&self) -> Result<Vec<u32>, SpecError> {
        ids(&self.servers.iter().collect::<Vec<_>>(), self.version)
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            version: self.version,
            balance: self.balance.clone(),
            hash: self.hash,
            factor: self.factor,
            affinity: self.affinity,
            all_backups: self.all_backups,
        }
    }

    /// Checks everything and numbers the servers.
    pub(crate) fn units(&self) -> Result<Vec<Unit>, SpecError> {
        for rule in &self.use_servers {
            if !self.servers.iter().any(|s| s.name == rule.server) {
                return Err(SpecError::NoServer { name: rule.server.clone() });
            }
        }
        if self.table.is_none() && !self.sticks.is_empty() {
            return Err(SpecError::Syntax { text: "stick".into(), why: "needs a stick-table line" });
        }
        units(&self.rules(), self.ring_base, &self.servers.iter().collect::<Vec<_>>())
    }
}

/// Numbers servers and places them on the ring.
pub(crate) fn units(
    rules: &Rules,
    ring_base: Option<RingBase>,
    servers: &[&ServerSpec],
) -> Result<Vec<Unit>, SpecError> {
    let ids = ids(servers, rules.version)?;
    let on_ring = rules.balance.key().is_some() && rules.hash.is_consistent();
    let base = match ring_base.or(rules.version.ring_base()) {
        Some(base) => base,
        None if on_ring => return Err(SpecError::RingBase { version: rules.version }),
        None => RingBase::Spaced,
    };
    if rules.refuses_weights() {
        let sum: u64 = servers.iter().map(|s| u64::from(s.weight)).sum();
        if sum * servers.len() as u64 > MAX_TABLE {
            let max = usize::try_from(MAX_TABLE / sum.max(1)).unwrap_or(usize::MAX);
            return Err(SpecError::TooMany { what: "servers of such weights", count: servers.len(), max });
        }
    }
    let unit = |(s, id): (&&ServerSpec, u32)| Unit {
        id,
        node_base: s.node_base(id, base),
        backup: s.backup,
        running: s.state == ServerState::Ready,
        sixteenths: u32::from(s.weight) * 16,
        configured: u32::from(s.weight),
        ew: 0,
    };
    Ok(servers.iter().zip(ids).map(unit).collect())
}
