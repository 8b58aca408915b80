//! What one connection needs to know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::jid::BareJid;
use super::sasl::Mechanism;
use super::stream::StreamLimits;

/// A password: cheap to clone, hidden in every output.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl Password {
    /// Wraps a password.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The password itself, for logging in.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who logs in, and which room is joined.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginOptions {
    /// The account, such as `balancer@auth.example.com`.
    pub account: BareJid,
    /// Its password.
    pub password: Password,
    /// The resource to ask for. Default none: the server chooses.
    pub resource: Option<String>,
    /// The room, such as `jvbbrewery@internal.auth.example.com`.
    pub room: BareJid,
    /// The nick in the room.
    pub nick: String,
    /// How many nicks are tried when one is taken: `nick`, `nick-2`, ... Default 8.
    pub nicks: usize,
    /// The weakest login that is accepted. Default PLAIN, which is used over TLS or on the loopback only.
    pub least: Mechanism,
    /// What is read of one stanza.
    pub limits: StreamLimits,
    /// Limit for each step until the room is joined. Default 15 s.
    pub step_timeout: Duration,
    /// Without anything received for so long a ping is sent. Default 10 s.
    pub ping_after: Duration,
    /// Without anything received for so long after a ping the connection counts as lost. Default 10 s.
    pub ping_timeout: Duration,
    /// How long leaving may take. Default 2 s.
    pub leave_timeout: Duration,
}

impl LoginOptions {
    /// This account in this room, by this nick.
    pub fn new(account: BareJid, password: Password, room: BareJid, nick: impl Into<String>) -> Self {
        Self {
            account,
            password,
            resource: None,
            room,
            nick: nick.into(),
            nicks: 8,
            least: Mechanism::Plain,
            limits: StreamLimits::default(),
            step_timeout: Duration::from_secs(15),
            ping_after: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            leave_timeout: Duration::from_secs(2),
        }
    }
}
