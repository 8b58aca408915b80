//! Records, and how they are written.

use std::time::Duration;

use crate::wire::{Reader, WireError, put_varint};

/// The longest record, in bytes, its length not counted.
pub const MAX_RECORD: usize = MAX_BYTES + 64;

/// The most bytes of a conversation in one record.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// The longest name of the other side that is kept, in bytes.
const MAX_WITH: usize = 1024;

/// How every trace begins, but for the version.
pub(super) const MAGIC: &[u8; 14] = b"haproxy trace ";
/// The version, and its end.
pub(super) const VERSION: &[u8; 2] = b"1\n";

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Stick tables.
    Peers,
    /// Requests asked about.
    Spoe,
    /// States and weights of servers.
    AgentCheck,
    /// Orders and questions.
    Runtime,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Peers, Self::Spoe, Self::AgentCheck, Self::Runtime];

    /// Its name: `peers`, `spoe`, `agent-check` or `runtime`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Spoe => "spoe",
            Self::AgentCheck => "agent-check",
            Self::Runtime => "runtime",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Peers => 1,
            Self::Spoe => 2,
            Self::AgentCheck => 3,
            Self::Runtime => 4,
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// HAProxy, or another peer.
    Haproxy,
    /// The one that records.
    Us,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Haproxy, Self::Us];

    /// `haproxy` or `us`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Us => "us",
        }
    }

    pub(super) fn index(self) -> usize {
        usize::from(self == Self::Us)
    }

    fn code(self) -> u8 {
        u8::from(self == Self::Us)
    }

    fn from_code(code: u8) -> Result<Self, &'static str> {
        match code {
            0 => Ok(Self::Haproxy),
            1 => Ok(Self::Us),
            _ => Err("nobody has that side"),
        }
    }
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Happened {
    /// A connection begins.
    Opened {
        /// What is spoken.
        protocol: Protocol,
        /// Who opened it.
        by: Side,
        /// The other side: its name or address; cut at 1,024 bytes.
        with: String,
    },
    /// Bytes, cut anywhere; 65,536 at most.
    Said {
        /// Of whom.
        side: Side,
        /// What.
        bytes: Vec<u8>,
    },
    /// The connection ends.
    Closed,
    /// Bytes that are not in the trace: they came faster than they could be written.
    Lost {
        /// Of whom.
        side: Side,
        /// How many.
        bytes: u64,
    },
    /// The file has its full size; what happened afterwards is not in it.
    Full,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Record {
    /// When, from the beginning of the trace on, to the microsecond.
    pub at: Duration,
    /// Which connection.
    pub connection: u64,
    /// What.
    pub what: Happened,
}

impl Record {
    /// A record.
    pub fn new(at: Duration, connection: u64, what: Happened) -> Self {
        Self { at, connection, what }
    }

    /// Appends it. Bytes beyond 65,536 are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.what {
            Happened::Said { side, bytes } => put_said(out, self.at, self.connection, *side, bytes),
            Happened::Opened { protocol, by, with } => {
                let end = (0..=with.len().min(MAX_WITH)).rev().find(|end| with.is_char_boundary(*end)).unwrap_or(0);
                put(out, 1, self.at, self.connection, |out| {
                    out.extend([protocol.code(), by.code()]);
                    out.extend_from_slice(with.as_bytes().get(..end).unwrap_or_default());
                });
            }
            Happened::Closed => put(out, 4, self.at, self.connection, |_| {}),
            Happened::Lost { side, bytes } => put(out, 5, self.at, self.connection, |out| {
                out.push(side.code());
                put_varint(out, *bytes);
            }),
            Happened::Full => put(out, 6, self.at, self.connection, |_| {}),
        }
    }

    /// Reads one without its length.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let wrong = |_: WireError| "it ends too early";
        let mut reader = Reader::new(bytes);
        let kind = reader.u8().map_err(wrong)?;
        let at = Duration::from_micros(reader.varint().map_err(wrong)?);
        let connection = reader.varint().map_err(wrong)?;
        let what = match kind {
            1 => {
                let (code, by) = (reader.u8().map_err(wrong)?, reader.u8().map_err(wrong)?);
                let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.code() == code);
                let protocol = protocol.ok_or("nobody speaks that protocol")?;
                let with = reader.rest();
                if with.len() > MAX_WITH {
                    return Err("the name of the other side is too long");
                }
                let with = std::str::from_utf8(with).map_err(|_| "the name of the other side is no text")?;
                Happened::Opened { protocol, by: Side::from_code(by)?, with: with.to_owned() }
            }
            2 | 3 => {
                let bytes = reader.rest().to_vec();
                if bytes.len() > MAX_BYTES {
                    return Err("it holds too many bytes");
                }
                Happened::Said { side: if kind == 3 { Side::Us } else { Side::Haproxy }, bytes }
            }
            4 => Happened::Closed,
            5 => {
                let side = Side::from_code(reader.u8().map_err(wrong)?)?;
                Happened::Lost { side, bytes: reader.varint().map_err(wrong)? }
            }
            6 => Happened::Full,
            _ => return Err("no record is of that kind"),
        };
        if reader.is_empty() { Ok(Self { at, connection, what }) } else { Err("something follows its end") }
    }
}

/// Appends how a trace begins, with when that is, in milliseconds since 1970.
pub fn write_header(out: &mut Vec<u8>, began: u64) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(VERSION);
    out.extend(began.to_be_bytes());
}

/// Appends what somebody said.
pub(super) fn put_said(out: &mut Vec<u8>, at: Duration, connection: u64, side: Side, bytes: &[u8]) {
    let kind = 2 + side.code();
    put(out, kind, at, connection, |out| out.extend_from_slice(bytes.get(..MAX_BYTES).unwrap_or(bytes)));
}

fn put(out: &mut Vec<u8>, kind: u8, at: Duration, connection: u64, rest: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0, 0, 0, 0, kind]);
    put_varint(out, u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
    put_varint(out, connection);
    rest(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(front) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *front = len.to_be_bytes();
    }
}
