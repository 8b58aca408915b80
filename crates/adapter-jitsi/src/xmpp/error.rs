//! Why a connection to an XMPP server ended.

use super::leave::LeaveReason;
use super::sasl::SaslError;
use super::stanza::StanzaError;
use super::stream::StreamError;

/// Why a connection ended or did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmppError {
    /// No connection.
    #[error("cannot connect to {server}: {why}")]
    Connect {
        /// Where to.
        server: String,
        /// What the system says.
        why: String,
    },
    /// Unencrypted connections are made to this machine only.
    #[error("{server} is not on the loopback: without tls only the own machine is spoken to; give roots for starttls")]
    NotLoopback {
        /// Where to.
        server: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {domain} is not trusted: {why}; check the roots and the names in the certificate")]
    Certificate {
        /// The name it must have.
        domain: String,
        /// What is wrong.
        why: String,
    },
    /// TLS did not come about for another reason.
    #[error("tls with {domain}: {why}")]
    Tls {
        /// The server's name.
        domain: String,
        /// What is wrong.
        why: String,
    },
    /// The server offers no STARTTLS, or refuses it.
    #[error("the server offers no starttls; switch it on there")]
    NoTls,
    /// The login failed.
    #[error(transparent)]
    Login(#[from] SaslError),
    /// No resource was bound.
    #[error("the server binds no resource: {condition}")]
    Bind {
        /// The server's condition.
        condition: String,
    },
    /// The room was not joined.
    #[error("cannot join {room}: {condition}{}", hint(condition))]
    Join {
        /// The room.
        room: String,
        /// The server's condition.
        condition: String,
    },
    /// We were removed from the room.
    #[error("removed from {room}: {reason}")]
    Removed {
        /// The room.
        room: String,
        /// How.
        reason: LeaveReason,
    },
    /// The server closed the stream.
    #[error("the server closed the stream: {condition}")]
    Closed {
        /// Its condition, `closed` without one.
        condition: String,
    },
    /// What came is no stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A stanza that only ends the stream.
    #[error(transparent)]
    Stanza(#[from] StanzaError),
    /// The server does what the protocol does not allow here.
    #[error("unexpected from the server while {step}: {what}")]
    Unexpected {
        /// What we were at.
        step: &'static str,
        /// What came.
        what: String,
    },
    /// A step took too long.
    #[error("no answer while {step}")]
    Timeout {
        /// What we were at.
        step: &'static str,
    },
    /// The connection broke.
    #[error("connection lost: {why}")]
    Lost {
        /// What the system says.
        why: String,
    },
    /// We left as told.
    #[error("left as told")]
    Left,
}

fn hint(condition: &str) -> &'static str {
    match condition {
        "conflict" => " (every nick given is taken: give another)",
        "not-allowed" => " (the room does not exist and we may not create it, or we may not enter)",
        "forbidden" => " (banned there)",
        "registration-required" => " (members only: make the account a member)",
        "not-authorized" => " (the room has a password)",
        "remote-server-not-found" | "remote-server-timeout" | "item-not-found" | "gone" => {
            " (no such room service: check the address of the room)"
        }
        "service-unavailable" => " (no such room service, or the room is full)",
        _ => "",
    }
}

impl XmppError {
    /// Whether trying again soon is of no use: somebody has to change something first.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::NotLoopback { .. } | Self::Certificate { .. } | Self::NoTls | Self::Login(_) | Self::Bind { .. } => {
                true
            }
            Self::Join { condition, .. } => condition != "remote-server-timeout" && condition != "resource-constraint",
            Self::Removed { reason, .. } => matches!(reason, LeaveReason::Banned | LeaveReason::Kicked),
            _ => false,
        }
    }
}
