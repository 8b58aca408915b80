//! Messages, and where they begin and end.

use thiserror::Error;

use super::table::TableDefinition;
use crate::wire::{Reader, WireError, put_bytes, put_varint};

/// The longest message read unless told otherwise, in bytes: HAProxy's own buffer.
pub const MAX_MESSAGE: usize = 16_384;

/// A word about the exchange itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Tell me everything.
    ResyncRequest,
    /// That was everything.
    ResyncFinished,
    /// That was all I know, which may not be everything.
    ResyncPartial,
    /// Heard, whichever of the two it was.
    ResyncConfirm,
    /// Still here.
    Heartbeat,
}

impl Control {
    const ALL: [Self; 5] =
        [Self::ResyncRequest, Self::ResyncFinished, Self::ResyncPartial, Self::ResyncConfirm, Self::Heartbeat];

    fn code(self) -> u8 {
        match self {
            Self::ResyncRequest => 0,
            Self::ResyncFinished => 1,
            Self::ResyncPartial => 2,
            Self::ResyncConfirm => 3,
            Self::Heartbeat => 4,
        }
    }
}

/// The last word before a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Complaint {
    /// A message was not as it should be.
    Protocol,
    /// A message was too long.
    TooLong,
}

/// An entry that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Update {
    /// Its number; absent if it is the one after the last.
    pub id: Option<u32>,
    /// What is left of its life, in milliseconds; absent if it lives as long as the table says.
    pub remaining: Option<u32>,
    /// Key and data, as the [definition](TableDefinition) of its table says.
    pub body: Vec<u8>,
}

impl Update {
    /// An update.
    pub fn new(id: Option<u32>, remaining: Option<u32>, body: Vec<u8>) -> Self {
        Self { id, remaining, body }
    }

    fn kind(&self) -> u8 {
        match (self.id, self.remaining) {
            (Some(_), None) => 0x80,
            (None, None) => 0x81,
            (Some(_), Some(_)) => 0x85,
            (None, Some(_)) => 0x86,
        }
    }
}

/// Everything that goes over the connection after the greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// About the exchange.
    Control(Control),
    /// The last word.
    Error(Complaint),
    /// What follows is about this table, which is defined so.
    Define(TableDefinition),
    /// What follows is about this table, which was defined before. HAProxy understands it and never sends it.
    Switch {
        /// The sender's number of the table.
        table: u64,
    },
    /// An entry of the table spoken of.
    Update(Update),
    /// Everything up to there has arrived.
    Ack {
        /// The table, by the number its sender gave it.
        table: u64,
        /// The number of the last update.
        update: u32,
    },
    /// Something newer; ignored, but for the class 255, which nobody may use.
    Unknown {
        /// Its class.
        class: u8,
        /// Its type.
        kind: u8,
        /// Its content, if its type is 128 or above.
        payload: Vec<u8>,
    },
}

impl Message {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        let (class, kind) = match self {
            Self::Control(control) => return out.extend([0, control.code()]),
            Self::Error(Complaint::Protocol) => return out.extend([1, 0]),
            Self::Error(Complaint::TooLong) => return out.extend([1, 1]),
            Self::Unknown { class, kind, .. } if *kind < 128 => return out.extend([*class, *kind]),
            Self::Unknown { class, kind, payload: content } => {
                payload.extend_from_slice(content);
                (*class, *kind)
            }
            Self::Define(table) => {
                table.put(&mut payload);
                (10, 0x82)
            }
            Self::Switch { table } => {
                put_varint(&mut payload, *table);
                (10, 0x83)
            }
            Self::Ack { table, update } => {
                put_varint(&mut payload, *table);
                payload.extend(update.to_be_bytes());
                (10, 0x84)
            }
            Self::Update(update) => {
                payload.extend(update.id.into_iter().flat_map(u32::to_be_bytes));
                payload.extend(update.remaining.into_iter().flat_map(u32::to_be_bytes));
                payload.extend_from_slice(&update.body);
                (10, update.kind())
            }
        };
        out.extend([class, kind]);
        put_bytes(out, &payload);
    }

    fn decode(class: u8, kind: u8, payload: &[u8]) -> Result<Self, PeersError> {
        let mut reader = Reader::new(payload);
        Self::read(class, kind, &mut reader).map_err(|fault| PeersError::new(reader.offset(), fault))
    }

    fn read(class: u8, kind: u8, reader: &mut Reader<'_>) -> Result<Self, PeersFault> {
        let message = match (class, kind) {
            (0, 0..=4) => {
                let known = Control::ALL.get(usize::from(kind)).copied();
                Self::Control(known.unwrap_or(Control::Heartbeat))
            }
            (1, 0) => Self::Error(Complaint::Protocol),
            (1, 1) => Self::Error(Complaint::TooLong),
            (10, 0x80 | 0x81 | 0x85 | 0x86) => {
                let id = if matches!(kind, 0x80 | 0x85) { Some(reader.u32()?) } else { None };
                let remaining = if matches!(kind, 0x85 | 0x86) { Some(reader.u32()?) } else { None };
                Self::Update(Update { id, remaining, body: reader.rest().to_vec() })
            }
            (10, 0x82) => Self::Define(TableDefinition::read(reader)?),
            (10, 0x83) => Self::Switch { table: reader.varint()? },
            (10, 0x84) => Self::Ack { table: reader.varint()?, update: reader.u32()? },
            _ => Self::Unknown { class, kind, payload: reader.rest().to_vec() },
        };
        if reader.is_empty() { Ok(message) } else { Err(PeersFault::Excess) }
    }
}

/// A message where it lies in the bytes.
#[derive(Clone, Debug)]
pub(super) struct Found {
    class: u8,
    kind: u8,
    payload: std::ops::Range<usize>,
}

#[cfg(feature = "peers")]
impl Found {
    /// Whether it is about an entry, and whether it says its number and what is left of its life.
    pub(super) fn update(&self) -> Option<(bool, bool)> {
        match (self.class, self.kind) {
            (10, 0x80) => Some((true, false)),
            (10, 0x81) => Some((false, false)),
            (10, 0x85) => Some((true, true)),
            (10, 0x86) => Some((false, true)),
            _ => None,
        }
    }
}

/// Finds messages in a stream of bytes. Keeps no more than what was given and not yet taken.
#[derive(Clone, Debug)]
pub struct MessageCutter {
    bytes: Vec<u8>,
    taken: usize,
    limit: usize,
}

/// Messages of up to [`MAX_MESSAGE`] bytes.
impl Default for MessageCutter {
    fn default() -> Self {
        Self::new(MAX_MESSAGE)
    }
}

impl MessageCutter {
    /// Messages of up to this many bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), taken: 0, limit }
    }

    /// More bytes have come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// If there is none to be made of the bytes; what follows cannot be trusted then.
    pub fn cut(&mut self) -> Result<Option<Message>, PeersError> {
        let Some(found) = self.find()? else { return Ok(None) };
        let message = Message::decode(found.class, found.kind, self.payload(&found))?;
        self.skip(&found);
        Ok(Some(message))
    }

    /// Where the next whole message is; it is not taken yet.
    pub(super) fn find(&self) -> Result<Option<Found>, PeersError> {
        let mut reader = Reader::new(self.bytes.get(self.taken..).unwrap_or_default());
        let Ok([class, kind]) = reader.array() else { return Ok(None) };
        let mut len = 0;
        if kind >= 128 {
            len = match reader.varint() {
                Ok(len) => usize::try_from(len).unwrap_or(usize::MAX),
                Err(WireError::Truncated) => return Ok(None),
                Err(fault) => return Err(PeersError::new(reader.offset(), fault.into())),
            };
            if len > self.limit {
                return Err(PeersError::new(reader.offset(), PeersFault::TooLong { len, limit: self.limit }));
            }
        }
        let from = self.taken + reader.offset();
        Ok(reader.take(len).is_ok().then_some(Found { class, kind, payload: from..from + len }))
    }

    /// Its payload.
    pub(super) fn payload(&self, found: &Found) -> &[u8] {
        self.bytes.get(found.payload.clone()).unwrap_or_default()
    }

    /// It is taken.
    pub(super) fn skip(&mut self, found: &Found) {
        self.taken = found.payload.end;
    }

    /// How many bytes wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum PeersFault {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{len} bytes are more than {limit}: raise the limit to the tune.bufsize of the other side")]
    TooLong { len: usize, limit: usize },
    #[error("something follows its end")]
    Excess,
    #[error("a table's name is no text")]
    TableName,
    #[error("an array of {0} elements is too long")]
    Array(u64),
    #[error("the number of a name is {0}: it must be 1 to 128")]
    NameId(u64),
    #[error("name {0} was never told")]
    NameUnknown(u8),
    #[error("an entry of no table")]
    NoTable,
    #[error("more than {0} tables")]
    TooManyTables(usize),
    #[error("class 255 is for nobody")]
    Reserved,
}

/// Bytes that are no message, or one that makes no sense where it stands.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("message refused at byte {offset}: {fault}")]
pub struct PeersError {
    offset: usize,
    fault: PeersFault,
}

impl PeersError {
    pub(super) fn new(offset: usize, fault: PeersFault) -> Self {
        Self { offset, fault }
    }

    /// Where in the message.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What to tell the other side.
    pub fn complaint(&self) -> Complaint {
        match self.fault {
            PeersFault::TooLong { .. } => Complaint::TooLong,
            _ => Complaint::Protocol,
        }
    }
}

impl From<PeersFault> for PeersError {
    fn from(fault: PeersFault) -> Self {
        Self::new(0, fault)
    }
}
