//! Frames, and where they begin and end.

use std::ops::Range;

use thiserror::Error;

use super::asked::Messages;
use super::codec::{Argument, Value};
use super::hello::{AgentHello, Disconnect, HaproxyHello};
use super::status::Status;
use crate::wire::{Reader, WireError, put_bytes, put_varint};

/// The smallest frame size that may be agreed on, in bytes.
pub const MIN_FRAME: u32 = 256;

/// The largest frame that is ever read, in bytes. HAProxy offers 16,380 unless its buffers are larger.
pub const MAX_FRAME: u32 = 1 << 20;

/// The most messages in one query.
pub const MAX_MESSAGES: usize = 256;

/// The most actions in one answer.
pub const MAX_ACTIONS: usize = 256;

/// One message, as `spoe-message` defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Its name.
    pub name: Vec<u8>,
    /// Its arguments in their order, at most 255.
    pub args: Vec<Argument>,
}

impl Message {
    /// A message. Arguments beyond the 255th are left out: a frame cannot count further.
    pub fn new(name: impl Into<Vec<u8>>, mut args: Vec<Argument>) -> Self {
        args.truncate(255);
        Self { name: name.into(), args }
    }

    /// The value of the first argument of this name.
    pub fn arg(&self, name: &str) -> Option<&Value> {
        self.args.iter().find(|a| a.name == name.as_bytes()).map(|a| &a.value)
    }
}

/// How long a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `proc`: as long as the process.
    Process,
    /// `sess`: as long as the client's connection.
    Session,
    /// `txn`: request and response.
    Transaction,
    /// `req`: the request.
    Request,
    /// `res`: the response.
    Response,
}

impl Scope {
    /// What HAProxy's configuration calls it: `proc`, `sess`, `txn`, `req`, `res`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "proc",
            Self::Session => "sess",
            Self::Transaction => "txn",
            Self::Request => "req",
            Self::Response => "res",
        }
    }

    const ALL: [Self; 5] = [Self::Process, Self::Session, Self::Transaction, Self::Request, Self::Response];

    fn code(self) -> u8 {
        match self {
            Self::Process => 0,
            Self::Session => 1,
            Self::Transaction => 2,
            Self::Request => 3,
            Self::Response => 4,
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        let code = reader.u8()?;
        Self::ALL.get(usize::from(code)).copied().ok_or(FrameFault::Scope(code))
    }
}

/// What an agent has HAProxy do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set a variable; it is silently dropped unless HAProxy's configuration names it.
    SetVar {
        /// How long it lives.
        scope: Scope,
        /// Its name, without scope and prefix.
        name: Vec<u8>,
        /// Its value.
        value: Value,
    },
    /// Unset one.
    UnsetVar {
        /// How long it lives.
        scope: Scope,
        /// Its name, without scope and prefix.
        name: Vec<u8>,
    },
}

impl Action {
    /// Sets a variable.
    pub fn set(scope: Scope, name: impl Into<Vec<u8>>, value: Value) -> Self {
        Self::SetVar { scope, name: name.into(), value }
    }

    /// Unsets one.
    pub fn unset(scope: Scope, name: impl Into<Vec<u8>>) -> Self {
        Self::UnsetVar { scope, name: name.into() }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetVar { scope, name, value } => put_set(out, *scope, name, &value.view()),
            Self::UnsetVar { scope, name } => {
                out.extend([2, 2, scope.code()]);
                put_bytes(out, name);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        match (reader.u8()?, reader.u8()?) {
            (1, 3) => {
                let (scope, name) = (Scope::read(reader)?, reader.bytes()?.to_vec());
                Ok(Self::SetVar { scope, name, value: Value::read(reader)?.to_value() })
            }
            (2, 2) => Ok(Self::UnsetVar { scope: Scope::read(reader)?, name: reader.bytes()?.to_vec() }),
            (kind, count) => Err(FrameFault::Action { kind, count }),
        }
    }
}

/// Everything that goes over the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// HAProxy greets.
    HaproxyHello(HaproxyHello),
    /// HAProxy leaves.
    HaproxyDisconnect(Disconnect),
    /// HAProxy asks.
    Notify {
        /// Whose request it is about.
        stream: u64,
        /// Which question of that stream.
        frame: u64,
        /// What is told, and thereby asked.
        messages: Vec<Message>,
    },
    /// The agent greets.
    AgentHello(AgentHello),
    /// The agent leaves.
    AgentDisconnect(Disconnect),
    /// The agent answers.
    Ack {
        /// As in the question.
        stream: u64,
        /// As in the question.
        frame: u64,
        /// What HAProxy shall do; nothing means no opinion.
        actions: Vec<Action>,
    },
}

impl Frame {
    /// The frame with its length in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (kind, stream, frame) = match self {
            Self::HaproxyHello(_) => (1, 0, 0),
            Self::HaproxyDisconnect(_) => (2, 0, 0),
            Self::Notify { stream, frame, .. } => (3, *stream, *frame),
            Self::AgentHello(_) => (101, 0, 0),
            Self::AgentDisconnect(_) => (102, 0, 0),
            Self::Ack { stream, frame, .. } => (103, *stream, *frame),
        };
        put_frame(&mut out, kind, (stream, frame), |out| match self {
            Self::HaproxyHello(hello) => hello.put(out),
            Self::AgentHello(hello) => hello.put(out),
            Self::HaproxyDisconnect(why) | Self::AgentDisconnect(why) => why.put(out),
            Self::Notify { messages, .. } => {
                for message in messages {
                    put_bytes(out, &message.name);
                    let count = u8::try_from(message.args.len()).unwrap_or(u8::MAX);
                    out.push(count);
                    message.args.iter().take(usize::from(count)).for_each(|arg| arg.put(out));
                }
            }
            Self::Ack { actions, .. } => actions.iter().for_each(|action| action.put(out)),
        });
        out
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// If it is none that HAProxy or an agent may send. Fragments are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        Ok(match Incoming::decode(bytes)? {
            Incoming::Notify { stream, frame, messages } => Self::Notify { stream, frame, messages: messages.to_vec() },
            Incoming::Other(frame) => frame,
        })
    }
}

/// Everything that goes over the connection, the messages of a question where they stand.
pub(super) enum Incoming<'a> {
    Notify { stream: u64, frame: u64, messages: Messages<'a> },
    Other(Frame),
}

impl<'a> Incoming<'a> {
    /// As [`Frame::decode`].
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        Self::read(&mut reader).map_err(|fault| FrameError::new(reader.offset(), fault))
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, FrameFault> {
        let kind = reader.u8()?;
        let flags = reader.u32()?;
        let (stream, frame) = (reader.varint()?, reader.varint()?);
        if kind == 0 || flags & FINISHED == 0 || flags & ABORTED != 0 {
            return Err(FrameFault::Fragment);
        }
        if !matches!(kind, 3 | 103) && (stream, frame) != (0, 0) {
            return Err(FrameFault::Ids { stream, frame });
        }
        Ok(Self::Other(match kind {
            1 => Frame::HaproxyHello(HaproxyHello::read(reader)?),
            2 => Frame::HaproxyDisconnect(Disconnect::read(reader)?),
            3 => return Ok(Self::Notify { stream, frame, messages: Messages::read(reader)? }),
            101 => Frame::AgentHello(AgentHello::read(reader)?),
            102 => Frame::AgentDisconnect(Disconnect::read(reader)?),
            103 => {
                let mut actions = Vec::new();
                while !reader.is_empty() {
                    if actions.len() == MAX_ACTIONS {
                        return Err(FrameFault::TooMany("actions"));
                    }
                    actions.push(Action::read(reader)?);
                }
                Frame::Ack { stream, frame, actions }
            }
            other => return Err(FrameFault::FrameType(other)),
        }))
    }
}

/// Appends a frame with its length in front.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: u8, ids: (u64, u64), body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let [a, b, c, d] = FINISHED.to_be_bytes();
    out.extend([0, 0, 0, 0, kind, a, b, c, d]);
    put_varint(out, ids.0);
    put_varint(out, ids.1);
    body(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(front) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *front = len.to_be_bytes();
    }
}

/// Appends the action that sets a variable.
pub(super) fn put_set(out: &mut Vec<u8>, scope: Scope, name: &[u8], value: &Value<&[u8]>) {
    put_set_name(out, scope, name);
    value.put(out);
}

/// Appends what comes before the value in the action that sets a variable.
fn put_set_name(out: &mut Vec<u8>, scope: Scope, name: &[u8]) {
    out.extend([1, 3, scope.code()]);
    put_bytes(out, name);
}

/// What comes before the text in the action that sets a variable to a text.
#[cfg(feature = "agents")]
pub(super) fn set_text(scope: Scope, name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    put_set_name(&mut head, scope, name.as_bytes());
    head.push(8);
    head
}

/// All of it is here.
const FINISHED: u32 = 1;
/// What was sent of it is to be forgotten.
const ABORTED: u32 = 2;

/// Finds frames in a stream of bytes. Keeps no more than what was given and not yet taken.
#[derive(Clone, Debug)]
pub struct FrameCutter {
    bytes: Vec<u8>,
    taken: usize,
    limit: u32,
}

impl FrameCutter {
    /// Frames of up to this many bytes, [`MAX_FRAME`] at most.
    pub fn new(limit: u32) -> Self {
        Self { bytes: Vec::new(), taken: 0, limit: limit.min(MAX_FRAME) }
    }

    /// From now on frames of up to this many bytes.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(MAX_FRAME);
    }

    /// More bytes have come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input().extend_from_slice(bytes);
    }

    /// Where more bytes are to be appended; none may be changed.
    pub(super) fn input(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        &mut self.bytes
    }

    /// The bytes of the next whole frame, without its length.
    ///
    /// # Errors
    /// If it is too long; what follows cannot be told then.
    pub fn cut(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.cut_place()?.and_then(|place| self.bytes.get(place)))
    }

    /// What is at this place of [`cut_place`](Self::cut_place), as long as nothing was pushed since.
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// Where the next whole frame is.
    pub(super) fn cut_place(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let waiting = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((front, rest)) = waiting.split_first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*front);
        if len > self.limit {
            return Err(FrameError::new(0, FrameFault::TooBig { len, limit: self.limit }));
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if rest.len() < len {
            return Ok(None);
        }
        let start = self.taken + 4;
        self.taken = start + len;
        Ok(Some(start..self.taken))
    }

    /// How many bytes wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FrameFault {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("it is one of several fragments: raise max-frame-size or send less")]
    Fragment,
    #[error("{len} bytes are more than the {limit} agreed on: send less or raise max-frame-size")]
    TooBig { len: u32, limit: u32 },
    #[error("nobody sends frames of type {0}")]
    FrameType(u8),
    #[error("nobody sends values of type {0}")]
    ValueType(u8),
    #[error("a number does not fit its type")]
    Number,
    #[error("there is no scope {0}")]
    Scope(u8),
    #[error("there is no action {kind} with {count} arguments")]
    Action { kind: u8, count: u8 },
    #[error("a greeting or farewell belongs to no stream, this one to {stream}/{frame}")]
    Ids { stream: u64, frame: u64 },
    #[error("{0} is missing or not what it should be")]
    Item(&'static str),
    #[error("too many {0}")]
    TooMany(&'static str),
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("frame refused at byte {offset}: {fault}")]
pub struct FrameError {
    offset: usize,
    fault: FrameFault,
}

impl FrameError {
    pub(super) fn new(offset: usize, fault: FrameFault) -> Self {
        Self { offset, fault }
    }

    /// Where in the frame.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What to tell the other side.
    pub fn status(&self) -> Status {
        match self.fault {
            FrameFault::Fragment => Status::FRAGMENTATION,
            FrameFault::TooBig { .. } => Status::TOO_BIG,
            _ => Status::INVALID,
        }
    }
}
