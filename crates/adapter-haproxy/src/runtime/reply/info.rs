//! Who answers.

use std::str::FromStr;
use std::time::Duration;

use super::super::error::ReplyError;
use super::super::session::Level;
use super::{number, numbered};
use crate::HaproxyVersion;

/// The answer to `show info`: names and values, in the order of this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    fields: Vec<(String, String)>,
}

impl Info {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line that is not `Name: value`, or without a `Version` and a `Pid`.
    pub fn parse(text: &str) -> Result<Self, ReplyError> {
        let mut fields = Vec::new();
        for (n, line) in numbered(text) {
            let Some((name, value)) = line.split_once(':') else {
                return Err(ReplyError::new(n, line, "Name: value"));
            };
            fields.push((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
        }
        let this = Self { fields };
        for needed in ["Version", "Pid"] {
            if this.field(needed).is_none() {
                return Err(ReplyError::new(
                    1,
                    text.lines().next().unwrap_or_default(),
                    "Version and Pid among the names",
                ));
            }
        }
        Ok(this)
    }

    /// One value, by its name in HAProxy.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All names and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// One value that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// The release and build, as HAProxy writes it.
    pub fn version_text(&self) -> &str {
        self.field("Version").unwrap_or_default()
    }

    /// The release; 2.6 if it cannot be read.
    pub fn version(&self) -> HaproxyVersion {
        self.version_text().parse().unwrap_or_default()
    }

    /// The process number.
    pub fn pid(&self) -> u32 {
        self.field("Pid").and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// For how long it has run, in whole seconds.
    pub fn uptime(&self) -> Duration {
        Duration::from_secs(self.number("Uptime_sec").unwrap_or(0))
    }

    /// When it started, in seconds since 1970. From 2.6 on.
    pub fn started(&self) -> Option<u64> {
        self.number("Start_time_sec")
    }

    /// Whether it is on its way out: it takes no new connections, another process may already be there.
    pub fn is_stopping(&self) -> bool {
        self.number("Stopping").is_some_and(|n| n != 0)
    }
}

/// The answer to `get weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightInForce {
    /// The weight now.
    pub now: u32,
    /// The weight of the configuration.
    pub initial: u32,
}

/// Reads `30 (initial 100)`.
impl FromStr for WeightInForce {
    type Err = ReplyError;

    fn from_str(text: &str) -> Result<Self, ReplyError> {
        let text = text.trim();
        let what = "N (initial N)";
        let error = || ReplyError::new(1, text, what);
        let (now, rest) = text.split_once(" (initial ").ok_or_else(error)?;
        let initial = rest.strip_suffix(')').ok_or_else(error)?;
        Ok(Self { now: number(now, 1, text, what)?, initial: number(initial, 1, text, what)? })
    }
}

/// One line of `show cli sockets`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CliSocket {
    /// The address, as in `unix@/run/lb/admin.sock`.
    pub address: String,
    /// What it may do.
    pub level: Level,
    /// Which processes: `all`.
    pub processes: String,
}

impl CliSocket {
    /// Reads the answer to `show cli sockets`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line without three words.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        let mut out = Vec::new();
        for (n, line) in numbered(text) {
            if n == 1 && line.starts_with("# socket lvl processes") {
                continue;
            }
            let mut words = line.rsplitn(3, ' ');
            let (Some(processes), Some(level), Some(address)) = (words.next(), words.next(), words.next()) else {
                return Err(ReplyError::new(n, line, "address level processes"));
            };
            let level = level.parse().map_err(|_| ReplyError::new(n, line, "address level processes"))?;
            out.push(Self { address: address.to_owned(), level, processes: processes.to_owned() });
        }
        Ok(out)
    }
}
