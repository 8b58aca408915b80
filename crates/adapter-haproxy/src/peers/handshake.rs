//! The greeting: three lines, and a number for an answer.

use std::fmt;

use thiserror::Error;

/// The longest line of a greeting, in bytes.
pub const MAX_HELLO_LINE: usize = 256;

const PROTOCOL: &str = "HAProxyS";

/// What the calling side says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// The version within 2: timed updates came with 1.
    pub minor: u32,
    /// The peer called.
    pub called: String,
    /// The peer that calls.
    pub calling: String,
    /// Its process.
    pub pid: u32,
    /// Its process among several of one configuration; 1 in all that have one.
    pub relative_pid: u32,
}

impl Hello {
    /// A greeting of version 2.1.
    pub fn new(called: impl Into<String>, calling: impl Into<String>, pid: u32) -> Self {
        Self { minor: 1, called: called.into(), calling: calling.into(), pid, relative_pid: 1 }
    }

    /// Reads a greeting from the front of these bytes, and how long it is; `None` if it is not whole yet.
    ///
    /// # Errors
    /// If it never will be one, with what to answer.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HelloError> {
        let mut rest = bytes;
        let Some(first) = line(&mut rest)? else { return Ok(None) };
        let version = first.strip_prefix(PROTOCOL).and_then(|v| v.strip_prefix(' '));
        let version = version.ok_or(HelloError::new(HelloStatus::PROTOCOL))?;
        let minor = match version.split_once('.') {
            Some(("2", "0")) => 0,
            Some(("2", "1")) => 1,
            _ => return Err(HelloError::new(HelloStatus::VERSION)),
        };
        let Some(called) = line(&mut rest)? else { return Ok(None) };
        let Some(third) = line(&mut rest)? else { return Ok(None) };
        let wrong = HelloError::new(HelloStatus::PROTOCOL);
        let mut words = third.split(' ');
        let (Some(calling), Some(pid), Some(relative)) = (words.next(), words.next(), words.next()) else {
            return Err(wrong);
        };
        let (Ok(pid), Ok(relative_pid)) = (pid.parse(), relative.parse()) else { return Err(wrong) };
        let hello = Self { minor, called: called.to_owned(), calling: calling.to_owned(), pid, relative_pid };
        Ok(Some((hello, bytes.len() - rest.len())))
    }
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a str>, HelloError> {
    let Some(end) = rest.iter().take(MAX_HELLO_LINE).position(|b| *b == b'\n') else {
        return if rest.len() < MAX_HELLO_LINE { Ok(None) } else { Err(HelloError::new(HelloStatus::PROTOCOL)) };
    };
    let (line, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map(Some).map_err(|_| HelloError::new(HelloStatus::PROTOCOL))
}

/// The three lines.
impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { minor, called, calling, pid, relative_pid } = self;
        write!(f, "{PROTOCOL} 2.{minor}\n{called}\n{calling} {pid} {relative_pid}\n")
    }
}

/// What the called side answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HelloStatus(u16);

impl HelloStatus {
    /// Welcome.
    pub const OK: Self = Self(200);
    /// Call again later.
    pub const LATER: Self = Self(300);
    /// Not this protocol.
    pub const PROTOCOL: Self = Self(501);
    /// Not this version: call again with 2.0.
    pub const VERSION: Self = Self(502);
    /// The peer called is somebody else: what HAProxy is named by `localpeer` or `-L` must be what is called.
    pub const WRONG_NAME: Self = Self(503);
    /// The peer calling is not in the `peers` section.
    pub const UNKNOWN_PEER: Self = Self(504);

    /// Its number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Reads an answer from the front of these bytes, and how long it is; `None` if it is not whole yet.
    ///
    /// # Errors
    /// If it never will be one.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HelloError> {
        let mut rest = bytes;
        let Some(line) = line(&mut rest)? else { return Ok(None) };
        let code = line.trim_end().parse().map_err(|_| HelloError::new(Self::PROTOCOL))?;
        Ok(Some((Self(code), bytes.len() - rest.len())))
    }
}

/// The number.
impl fmt::Display for HelloStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A greeting that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no greeting of a peer, answered with {status}: is it a port of a peers section, of version 2?")]
pub struct HelloError {
    status: HelloStatus,
}

impl HelloError {
    fn new(status: HelloStatus) -> Self {
        Self { status }
    }

    /// What to answer.
    pub fn status(&self) -> HelloStatus {
        self.status
    }
}
