//! How a fake misbehaves, and for which calls.
use std::collections::BTreeMap;
use std::time::Duration;

/// How the fake answers.
///
/// A mode holds for the whole server ([`super::FakeBbb::set_mode`]) or for one call ([`super::FakeBbb::set_mode_for`]);
/// the one of the call wins. Every mode except [`Self::Ok`], [`Self::Slow`], [`Self::Drip`], [`Self::Cut`],
/// [`Self::Truncated`], [`Self::Huge`] and [`Self::Full`] answers before the checksum is looked at and before the call
/// does anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Answers as a healthy server does.
    #[default]
    Ok,
    /// The port is closed and every connection is cut. For one call: the connection is closed without an answer.
    Down,
    /// The connection is reset (RST) once the request has been read.
    Reset,
    /// The right answer, this much later. The call takes effect after the wait.
    Slow(Duration),
    /// Reads the request and never answers; the connection is closed when the caller gives up or the mode changes.
    Hang,
    /// The right answer, a byte at a time with this pause between two bytes (zero is allowed).
    Drip(Duration),
    /// The head and half of the body of the right answer, then the connection closes. The call took effect.
    Cut,
    /// A whole HTTP answer that carries the first half of the right document. The call took effect.
    Truncated,
    /// HTTP 200 with bytes that are neither XML nor UTF-8.
    Garbage,
    /// The HTTP 502 page of a proxy in front of a dead server.
    Html502,
    /// HTTP 500 with a word of plain text.
    Http500,
    /// HTTP 200 without a body.
    Empty,
    /// A well-formed document without `returncode`.
    NoReturnCode,
    /// A failure document with this key and message.
    Failed {
        /// Text of `messageKey`.
        key: String,
        /// Text of `message`.
        message: String,
    },
    /// A failure document without key and message.
    FailedNoKey,
    /// The right answer with this many bytes of padding in an extra element (at most 1 GiB).
    Huge(usize),
    /// `create` of a new meeting fails with `tooManyMeetings`; everything else works, and so does a repeated create.
    Full,
}

impl Mode {
    /// A failure document with this key and message.
    pub fn failed(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { key: key.into(), message: message.into() }
    }
}

/// The orders that are in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) whole: Mode,
    pub(super) calls: BTreeMap<String, Mode>,
    pub(super) delay: BTreeMap<String, Duration>,
    pub(super) late: BTreeMap<String, Duration>,
}

impl Rules {
    pub(super) fn mode(&self, call: &str) -> &Mode {
        if self.calls.is_empty() {
            return &self.whole;
        }
        self.calls.get(call).unwrap_or(&self.whole)
    }

    pub(super) fn delay(&self, call: &str) -> Option<Duration> {
        self.delay.get(call).copied().filter(|wait| !wait.is_zero())
    }

    pub(super) fn late(&self, call: &str) -> Option<Duration> {
        self.late.get(call).copied().filter(|wait| !wait.is_zero())
    }
}
