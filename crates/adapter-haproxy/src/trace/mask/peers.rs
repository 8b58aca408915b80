//! What peers tell: keys of tables that are not ours are hidden.

use std::collections::BTreeMap;

use super::{Clear, Cut, Frames, fill};
use crate::peers::{KeyType, MAX_HELLO_LINE, MAX_TABLES, Message, MessageCutter};
use crate::spoe::MAX_FRAME;
use crate::trace::Side;
use crate::wire::{Reader, WireError};

/// Keys of all tables but these.
#[derive(Debug)]
pub(in crate::trace) struct PeersMask {
    frames: Frames,
    stream: Stream,
}

/// What is known of what a peer says.
#[derive(Debug)]
struct Stream {
    clear: Clear,
    /// Lines of the greeting that are still to come, and whether the first one is.
    lines: u8,
    begun: bool,
    by: Side,
    tables: BTreeMap<u64, Table>,
    current: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Table {
    clear: bool,
    text: bool,
    key_len: usize,
}

impl PeersMask {
    pub(in crate::trace) fn new(clear: Clear, by: Side) -> Self {
        let lines = if by == Side::Us { 1 } else { 3 };
        let stream = Stream { clear, lines, begun: false, by, tables: BTreeMap::new(), current: None };
        Self { frames: Frames::default(), stream }
    }

    pub(super) fn heard(&mut self, bytes: &mut Vec<u8>) {
        let stream = &mut self.stream;
        self.frames.pass(bytes, |waiting| stream.cut(waiting));
    }

    pub(super) fn rest(&mut self) -> Vec<u8> {
        // Class, type and the first byte of the length.
        self.frames.rest(3)
    }
}

impl Stream {
    fn cut(&mut self, waiting: &mut [u8]) -> Cut {
        if self.lines > 0 {
            return self.line(waiting);
        }
        let mut reader = Reader::new(waiting);
        let Ok([class, kind]) = reader.array() else { return Cut::More };
        if kind < 128 {
            return Cut::Frame(2);
        }
        let len = match reader.varint() {
            Ok(len) if len <= u64::from(MAX_FRAME) => usize::try_from(len).unwrap_or(usize::MAX),
            Err(WireError::Truncated) => return Cut::More,
            _ => return Cut::Broken(reader.offset()),
        };
        let start = reader.offset();
        let end = start + len;
        let Some(message) = waiting.get_mut(..end) else { return Cut::More };
        let from = self.hidden(class, kind, message, start);
        if let Some((from, to)) = from {
            fill(message, from..to);
        }
        Cut::Frame(end)
    }

    fn line(&mut self, waiting: &[u8]) -> Cut {
        let Some(end) = waiting.iter().take(MAX_HELLO_LINE).position(|byte| *byte == b'\n') else {
            return if waiting.len() < MAX_HELLO_LINE { Cut::More } else { Cut::Broken(0) };
        };
        let line = waiting.get(..end).unwrap_or_default();
        let greeting = match self.by {
            Side::Us => line.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\r'),
            Side::Haproxy => self.begun || line.starts_with(b"HAProxyS "),
        };
        if !greeting {
            return Cut::Broken(0);
        }
        (self.begun, self.lines) = (true, self.lines - 1);
        Cut::Frame(end + 1)
    }

    /// What of a message is to be hidden, its payload beginning there.
    fn hidden(&mut self, class: u8, kind: u8, message: &[u8], start: usize) -> Option<(usize, usize)> {
        let mut reader = Reader::new(message.get(start..).unwrap_or_default());
        let end = message.len();
        match (class, kind) {
            (10, 0x80 | 0x81 | 0x85 | 0x86) => {
                let fixed = if kind == 0x81 { 0 } else { 4 } + if kind == 0x85 { 4 } else { 0 };
                let table = self.current.and_then(|id| self.tables.get(&id));
                if table.is_some_and(|table| table.clear) {
                    return None;
                }
                let key = table.ok_or(WireError::Truncated).and_then(|table| {
                    reader.take(fixed)?;
                    let len = match table.text {
                        true => usize::try_from(reader.varint()?).map_err(|_| WireError::Truncated)?,
                        false => table.key_len,
                    };
                    let at = start + reader.offset();
                    reader.take(len).map(|_| (at, at + len))
                });
                Some(key.unwrap_or((start + reader.offset(), end)))
            }
            (10, 0x82) => {
                let mut cutter = MessageCutter::new(message.len());
                cutter.push(message);
                let Ok(Some(Message::Define(table))) = cutter.cut() else { return Some((start, end)) };
                self.current = Some(table.id());
                if self.tables.len() < MAX_TABLES || self.tables.contains_key(&table.id()) {
                    let key_len = usize::try_from(table.key_len()).unwrap_or(usize::MAX);
                    let clear = self.clear.contains(table.name());
                    self.tables.insert(table.id(), Table { clear, text: table.key_type() == KeyType::String, key_len });
                }
                None
            }
            (10, 0x83) => {
                self.current = reader.varint().ok();
                None
            }
            (10, 0x84) => None,
            _ => Some((start, end)),
        }
    }
}
