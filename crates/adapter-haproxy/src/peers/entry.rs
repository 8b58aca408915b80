//! Keys and data of one entry.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::codec::{PeersError, PeersFault};
use super::dictionary::NameRef;
use super::table::{DataKind, DataType, KeyType, TableDefinition};
use crate::wire::{Reader, put_bytes, put_varint};

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A number; HAProxy shows negative ones as what is left of 2^32.
    Integer(u32),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// Text, without a NUL, as bytes.
    String(Vec<u8>),
    /// Bytes, exactly as many as the table says.
    Binary(Vec<u8>),
}

impl Key {
    /// Text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into().into_bytes())
    }

    fn put(&self, table: &TableDefinition, out: &mut Vec<u8>) -> Result<(), EntryError> {
        let len = usize::try_from(table.key_len()).unwrap_or(usize::MAX);
        let start = out.len();
        match (self, table.key_type()) {
            (Self::String(text), KeyType::String) => {
                if text.len() >= len || text.contains(&0) {
                    return Err(EntryError::Text { len: text.len(), most: len.saturating_sub(1) });
                }
                put_bytes(out, text);
                return Ok(());
            }
            (Self::Integer(n), KeyType::Integer) => out.extend(n.to_be_bytes()),
            (Self::Ipv4(address), KeyType::Ipv4) => out.extend(address.octets()),
            (Self::Ipv6(address), KeyType::Ipv6) => out.extend(address.octets()),
            // Keys of odd lengths are read as bytes, and written so again.
            (Self::Binary(bytes), kind) if kind != KeyType::String => out.extend_from_slice(bytes),
            _ => return Err(EntryError::KeyType(table.key_type())),
        }
        match out.len() - start {
            n if n == len => Ok(()),
            n => Err(EntryError::Bytes { len: n, wanted: len }),
        }
    }

    fn read(table: &TableDefinition, reader: &mut Reader<'_>) -> Result<Self, PeersFault> {
        if table.key_type() == KeyType::String {
            return Ok(Self::String(reader.bytes()?.to_vec()));
        }
        let bytes = reader.take(usize::try_from(table.key_len()).unwrap_or(usize::MAX))?;
        let known = match table.key_type() {
            KeyType::Integer => bytes.try_into().ok().map(|b| Self::Integer(u32::from_be_bytes(b))),
            KeyType::Ipv4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Self::Ipv4(b.into())),
            KeyType::Ipv6 => <[u8; 16]>::try_from(bytes).ok().map(|b| Self::Ipv6(b.into())),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Self::Binary(bytes.to_vec())))
    }
}

/// A rate: what happened in the current period and in the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Rate {
    /// How long ago the current period began, in milliseconds. More than two periods means that nothing happened
    /// lately; a rate never used has an absurd age.
    pub age: u64,
    /// Events in the current period.
    pub current: u64,
    /// Events in the period before.
    pub previous: u64,
}

impl Rate {
    /// A rate.
    pub fn new(age: u64, current: u64, previous: u64) -> Self {
        Self { age, current, previous }
    }

    fn put(self, out: &mut Vec<u8>) {
        for value in [self.age, self.current, self.previous] {
            put_varint(out, value);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, PeersFault> {
        Ok(Self { age: reader.varint()?, current: reader.varint()?, previous: reader.varint()? })
    }
}

/// One datum of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Datum {
    /// A number.
    Number(u64),
    /// A rate.
    Rate(Rate),
    /// An array of numbers.
    Numbers(Vec<u64>),
    /// An array of rates.
    Rates(Vec<Rate>),
    /// A name.
    Name(NameRef),
}

/// An entry as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    key: Key,
    data: Vec<(DataType, Datum)>,
    /// Data of types that came after this was written.
    newer: Vec<u8>,
}

impl Entry {
    /// An entry without data.
    pub fn new(key: Key) -> Self {
        Self { key, data: Vec::new(), newer: Vec::new() }
    }

    /// With this datum.
    #[must_use]
    pub fn with(mut self, data: DataType, datum: Datum) -> Self {
        self.data.retain(|(known, _)| *known != data);
        self.data.push((data, datum));
        self.data.sort_by_key(|(known, _)| *known);
        self
    }

    /// With the number of the server it is stuck to; 0 is none.
    #[must_use]
    pub fn with_server_id(self, id: u32) -> Self {
        self.with(DataType::SERVER_ID, Datum::Number(u64::from(id)))
    }

    /// As it is, but nothing said of the server's name.
    pub(super) fn without_name(mut self) -> Self {
        self.data.retain(|(data, _)| *data != DataType::SERVER_KEY);
        self
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its key, without the rest.
    pub fn into_key(self) -> Key {
        self.key
    }

    /// What is known of this type.
    pub fn get(&self, data: DataType) -> Option<&Datum> {
        self.data.iter().find(|(known, _)| *known == data).map(|(_, datum)| datum)
    }

    /// The number of the server it is stuck to, if the table stores it; 0 is none.
    pub fn server_id(&self) -> Option<u64> {
        match self.get(DataType::SERVER_ID) {
            Some(Datum::Number(id)) => Some(*id),
            _ => None,
        }
    }

    /// All data, in the order they are written.
    pub fn data(&self) -> impl Iterator<Item = (DataType, &Datum)> {
        self.data.iter().map(|(data, datum)| (*data, datum))
    }

    /// The body of an update of this table.
    ///
    /// # Errors
    /// If the entry does not fit the table.
    pub fn encode(&self, table: &TableDefinition) -> Result<Vec<u8>, EntryError> {
        let mut out = Vec::new();
        self.key.put(table, &mut out)?;
        for data in table.data() {
            let count = usize::try_from(table.count(data)).unwrap_or(usize::MAX);
            match (data.kind(), self.get(data)) {
                (DataKind::Number, Some(Datum::Number(n))) => put_varint(&mut out, *n),
                (DataKind::Rate, Some(Datum::Rate(rate))) => rate.put(&mut out),
                (DataKind::Numbers, Some(Datum::Numbers(all))) if all.len() == count => {
                    all.iter().for_each(|n| put_varint(&mut out, *n));
                }
                (DataKind::Rates, Some(Datum::Rates(all))) if all.len() == count => {
                    all.iter().for_each(|rate| rate.put(&mut out));
                }
                (DataKind::Name, Some(Datum::Name(name))) => name.put(&mut out),
                (DataKind::Name, None) => NameRef::Nothing.put(&mut out),
                _ => return Err(EntryError::Data(data.name())),
            }
        }
        out.extend_from_slice(&self.newer);
        Ok(out)
    }

    /// Reads the body of an update of this table. Names stay numbers until
    /// [`NamesReceived`](super::NamesReceived) resolves them.
    ///
    /// # Errors
    /// If it is too short, or a number in it is none.
    pub fn decode(table: &TableDefinition, body: &[u8]) -> Result<Self, PeersError> {
        let mut reader = Reader::new(body);
        Self::read(table, &mut reader).map_err(|fault| PeersError::new(reader.offset(), fault))
    }

    fn read(table: &TableDefinition, reader: &mut Reader<'_>) -> Result<Self, PeersFault> {
        let key = Key::read(table, reader)?;
        let mut all = Vec::new();
        for data in table.data() {
            let count = table.count(data);
            let datum = match data.kind() {
                DataKind::Number => Datum::Number(reader.varint()?),
                DataKind::Rate => Datum::Rate(Rate::read(reader)?),
                DataKind::Numbers => Datum::Numbers((0..count).map(|_| reader.varint()).collect::<Result<_, _>>()?),
                DataKind::Rates => Datum::Rates((0..count).map(|_| Rate::read(reader)).collect::<Result<_, _>>()?),
                DataKind::Name => Datum::Name(NameRef::read(reader)?),
            };
            all.push((data, datum));
        }
        Ok(Self { key, data: all, newer: reader.rest().to_vec() })
    }
}

/// An entry that does not fit its table.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// Text that HAProxy would cut.
    #[error("a key of {len} bytes is text for keys of up to {most} bytes without NUL: shorten it as HAProxy would")]
    Text {
        /// Its length in bytes.
        len: usize,
        /// The longest.
        most: usize,
    },
    /// A key of another length.
    #[error("a key of {len} bytes in a table of keys of {wanted} bytes")]
    Bytes {
        /// Its length in bytes.
        len: usize,
        /// The length.
        wanted: usize,
    },
    /// A key of another type.
    #[error("the key is not of the table's type {0:?}")]
    KeyType(KeyType),
    /// A datum is missing, or of another kind.
    #[error("the table stores {0}: give it as the table defines it")]
    Data(&'static str),
}
