//! Teaching where keys are, and nothing else: what a node sends by the million.

use std::time::Duration;

use super::{PeerSession, Stage, TeachError};
use crate::peers::codec::{MAX_MESSAGE, Message};
use crate::peers::dictionary::NameRef;
use crate::peers::entry::EntryError;
use crate::peers::table::{DataType, KeyType};
use crate::wire::{put_bytes, put_varint};

impl PeerSession {
    /// Writes what [`teach`](Self::teach) does for an entry with a server and nothing else, its key given as the bytes on
    /// the wire (text without its length).
    ///
    /// # Errors
    /// If the connection is not open, the table not defined, or the entry does not fit it; nothing is sent then.
    pub(in crate::peers) fn teach_pin(
        &mut self,
        table: u64,
        key: &[u8],
        server_id: u32,
        server_key: &[u8],
        remaining: Option<Duration>,
    ) -> Result<u32, TeachError> {
        if !matches!(self.stage, Stage::Open) {
            return Err(TeachError::NotOpen);
        }
        let lectern = self.lecterns.get_mut(&table).ok_or(TeachError::NoTable { table })?;
        let definition = &lectern.definition;
        if let Some(other) = lectern.other {
            return Err(EntryError::Data(other.name()).into());
        }
        let most = usize::try_from(definition.key_len()).unwrap_or(usize::MAX);
        let text = definition.key_type() == KeyType::String;
        if text && (key.len() >= most || key.contains(&0)) {
            return Err(EntryError::Text { len: key.len(), most: most.saturating_sub(1) }.into());
        }
        if !text && key.len() != most {
            return Err(EntryError::Bytes { len: key.len(), wanted: most }.into());
        }
        let len = key.len() + server_key.len() + 64;
        if len > self.options.max_message.min(MAX_MESSAGE) {
            return Err(TeachError::TooLong { len });
        }
        if self.lectern != Some(table) {
            Message::Define(definition.clone()).encode(&mut self.output);
            self.lectern = Some(table);
        }
        let id = lectern.next;
        lectern.next = id.wrapping_add(1);
        let body = &mut self.scratch;
        body.clear();
        body.extend(id.to_be_bytes());
        let remaining = remaining.filter(|_| self.minor >= 1);
        if let Some(left) = remaining {
            body.extend(u32::try_from(left.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
        }
        if text {
            put_bytes(body, key);
        } else {
            body.extend_from_slice(key);
        }
        if definition.holds(DataType::SERVER_ID) {
            put_varint(body, u64::from(server_id));
        }
        if definition.holds(DataType::SERVER_KEY) {
            match self.told.refer(server_key) {
                // Numbers of names are of one byte.
                NameRef::Known(name) => body.extend([1, name]),
                new => new.put(body),
            }
        }
        self.output.extend([10, if remaining.is_some() { 0x85 } else { 0x80 }]);
        put_bytes(&mut self.output, body);
        Ok(id)
    }
}
