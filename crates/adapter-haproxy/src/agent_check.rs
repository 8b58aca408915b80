//! The line an agent answers to HAProxy's agent check, both ways.
//!
//! HAProxy asks an agent for one line of words about a server. Each word touches its own attribute and no other: `up`
//! ends neither a drain nor a weight of zero, so an agent says state, weight and limit every time. `ready` is the
//! dangerous one: it lifts what an operator ordered as well. [`AgentOrders`] keeps who ordered what, and chooses the
//! word that leaves the operator's order alone.

#[cfg(feature = "agents")]
mod io;
mod orders;
#[cfg(feature = "agents")]
mod pool;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

#[cfg(feature = "agents")]
pub use io::{AgentCheckCounters, AgentCheckCounts, AgentCheckOptions, AgentCheckServer, AgentSource};
pub use orders::{AgentOrders, Order, ReadyRule};
#[cfg(feature = "agents")]
pub use pool::{PoolAgent, PoolAgentOptions};

/// The longest line read, in bytes: HAProxy's own buffer.
pub const MAX_AGENT_LINE: usize = 16_384;

/// The longest reason written, in bytes: HAProxy shows no more.
pub const MAX_AGENT_REASON: usize = 100;

/// The greatest weight that means anything, in percent: above it HAProxy counts no further.
const MAX_PERCENT: u16 = 25_600;

/// What an agent holds of the server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentHealth {
    /// `up`: it works. Ends no drain, no maintenance and no weight of zero.
    Up,
    /// `down`.
    Down,
    /// `fail`: down, since something is wrong with it.
    Fail,
    /// `stopped`: down, since somebody stopped it.
    Stopped,
}

impl AgentHealth {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Fail => "fail",
            Self::Stopped => "stopped",
        }
    }

    /// Whether new work may go there.
    pub fn is_up(self) -> bool {
        self == Self::Up
    }
}

/// What an agent orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentAdmin {
    /// `ready`: lifts drain and maintenance, an operator's too.
    Ready,
    /// `drain`: keep what is stuck, take nothing new. Ends a maintenance, an operator's too.
    Drain,
    /// `maint`: take nothing.
    Maint,
}

impl AgentAdmin {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// One answer of an agent: what it says and, when read, what HAProxy would have complained about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReply {
    health: Option<AgentHealth>,
    admin: Option<AgentAdmin>,
    percent: Option<u16>,
    limit: Option<u32>,
    reason: Option<String>,
    unknown: Option<String>,
    refused: Option<String>,
}

impl AgentReply {
    /// An answer that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says this of the health.
    #[must_use]
    pub fn with_health(mut self, health: AgentHealth) -> Self {
        self.health = Some(health);
        self
    }

    /// Orders this; [`AgentOrders::word`] chooses it.
    #[must_use]
    pub fn with_admin(mut self, admin: Option<AgentAdmin>) -> Self {
        self.admin = admin;
        self
    }

    /// Sets the weight, in percent of the **configured** one. HAProxy caps the product at 256.
    #[must_use]
    pub fn with_percent(mut self, percent: u16) -> Self {
        self.percent = Some(percent.min(MAX_PERCENT));
        self
    }

    /// Raises the weight where HAProxy would make 0 of it, given the one configured: it counts in whole weights and rounds
    /// down, so 60 % of 1 is 0, and a server of weight 0 gets nothing new though its status says `UP`. `0%` itself stays,
    /// since somebody means it.
    #[must_use]
    pub fn with_some_weight(mut self, configured: u16) -> Self {
        if configured > 0 {
            self.percent =
                self.percent.map(|percent| if percent > 0 { percent.max(100_u16.div_ceil(configured)) } else { 0 });
        }
        self
    }

    /// Sets the most connections; 0 is no limit.
    #[must_use]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit.min(i32::MAX.unsigned_abs()));
        self
    }

    /// Says why; HAProxy shows it with a server that is not up. Control characters become blanks, and what is longer
    /// than [`MAX_AGENT_REASON`] is cut.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        let clean = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut clean: String = clean.skip_while(|c| c.is_whitespace()).collect();
        let ends = clean.char_indices().map(|(start, c)| start + c.len_utf8());
        clean.truncate(ends.take_while(|end| *end <= MAX_AGENT_REASON).last().unwrap_or(0));
        let clean = clean.trim();
        self.reason = (!clean.is_empty()).then(|| clean.to_owned());
        self
    }

    /// What it says of the health.
    pub fn health(&self) -> Option<AgentHealth> {
        self.health
    }

    /// What it orders.
    pub fn admin(&self) -> Option<AgentAdmin> {
        self.admin
    }

    /// The weight, in percent of the configured one.
    pub fn percent(&self) -> Option<u16> {
        self.percent
    }

    /// The weight HAProxy would use where this one is configured; 256 at most.
    pub fn weight(&self, configured: u16) -> Option<u16> {
        let product = u32::from(configured) * u32::from(self.percent?) / 100;
        Some(u16::try_from(product.min(256)).unwrap_or(256))
    }

    /// The most connections; 0 is no limit.
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Why, in words.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The first word that means nothing; HAProxy reports it as an error of the agent and heeds the others.
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// The first word that looks like a weight or a limit and is none; it changes nothing.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Reads the answer of an agent, from its first byte to the end of the connection. What follows the first line is
    /// not looked at.
    ///
    /// # Errors
    /// If there is no whole line, as HAProxy needs one; the server's state then stays as it is.
    pub fn parse(bytes: &[u8]) -> Result<Self, AgentLineError> {
        let seen = bytes.get(..MAX_AGENT_LINE).unwrap_or(bytes);
        let Some(end) = seen.iter().position(|b| matches!(b, b'\n' | b'\r' | 0)) else {
            return Err(match bytes.len() {
                0 => AgentLineError::Empty,
                n if n > MAX_AGENT_LINE => AgentLineError::TooLong,
                _ => AgentLineError::Incomplete,
            });
        };
        if bytes.get(end) == Some(&0) {
            return Err(AgentLineError::Nul { offset: end });
        }
        let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        let mut said = Self::new();
        let mut rest = line.as_ref();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(reason) = rest.strip_prefix('#') {
                return Ok(said.with_reason(reason));
            }
            let (word, after) = rest.split_at(rest.find([' ', '\t', ',']).unwrap_or(rest.len()));
            if word.is_empty() {
                return Ok(said);
            }
            said.hear(word);
            rest = after;
        }
    }

    fn hear(&mut self, word: &str) {
        match word.to_ascii_lowercase().as_str() {
            "up" => self.health = Some(AgentHealth::Up),
            "down" => self.health = Some(AgentHealth::Down),
            "fail" => self.health = Some(AgentHealth::Fail),
            "stopped" => self.health = Some(AgentHealth::Stopped),
            "ready" => self.admin = Some(AgentAdmin::Ready),
            "drain" => self.admin = Some(AgentAdmin::Drain),
            "maint" => self.admin = Some(AgentAdmin::Maint),
            lower => {
                if let Some(number) = lower.strip_prefix("maxconn:") {
                    self.limit = self.number(word, number).map(|n| n.min(i32::MAX.unsigned_abs()));
                } else if lower.starts_with(|c: char| c.is_ascii_digit()) && lower.contains('%') {
                    let number = lower.strip_suffix('%').unwrap_or(lower);
                    self.percent = self.number(word, number).map(|n| u16::try_from(n).map_or(MAX_PERCENT, capped));
                } else if self.unknown.is_none() {
                    self.unknown = Some(shown(word));
                }
            }
        }
    }

    /// A number of digits only; one beyond all bounds counts as the greatest.
    fn number(&mut self, word: &str, digits: &str) -> Option<u32> {
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Some(digits.parse().unwrap_or(u32::MAX));
        }
        if self.refused.is_none() {
            self.refused = Some(shown(word));
        }
        None
    }
}

fn capped(percent: u16) -> u16 {
    percent.min(MAX_PERCENT)
}

fn shown(word: &str) -> String {
    word.chars().take(MAX_AGENT_REASON).collect()
}

/// The line, with its line feed.
impl fmt::Display for AgentReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::with_capacity(6);
        words.extend(self.health.map(|h| h.word().to_owned()));
        words.extend(self.admin.map(|a| a.word().to_owned()));
        words.extend(self.percent.map(|p| format!("{p}%")));
        words.extend(self.limit.map(|n| format!("maxconn:{n}")));
        words.extend(self.reason.as_ref().map(|r| format!("# {r}")));
        writeln!(f, "{}", words.join(" "))
    }
}

/// What came is no answer of an agent: HAProxy reports it and leaves the server as it is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentLineError {
    /// Nothing came.
    #[error("the agent closed without an answer: answer one line that ends with a line feed")]
    Empty,
    /// No line end.
    #[error("the agent's line has no end: end it with a line feed")]
    Incomplete,
    /// Too long.
    #[error("the agent's line is longer than {MAX_AGENT_LINE} bytes: shorten its reason")]
    TooLong,
    /// A NUL byte.
    #[error("byte {offset} of the agent's line is NUL: send text only")]
    Nul {
        /// Where.
        offset: usize,
    },
}
