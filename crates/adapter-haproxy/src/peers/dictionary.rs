//! Names that are told once per connection and direction, then called by their number.

use std::collections::HashMap;

use super::codec::PeersFault;
use crate::wire::{Reader, put_bytes, put_varint};

/// How many names a direction of a connection remembers; their numbers are 1 to 128. HAProxy 2.6 crashes on others.
pub const DICTIONARY_LEN: u8 = 128;

/// A name as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NameRef {
    /// Nothing is said: the name that is there stays.
    Nothing,
    /// The name told before under this number.
    Known(u8),
    /// A name, from now on under this number.
    New(u8, Vec<u8>),
}

impl NameRef {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut inner = Vec::new();
        match self {
            Self::Nothing => {}
            Self::Known(id) => put_varint(&mut inner, u64::from(*id)),
            Self::New(id, name) => {
                put_varint(&mut inner, u64::from(*id));
                put_bytes(&mut inner, name);
            }
        }
        put_bytes(out, &inner);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PeersFault> {
        Ok(match NameSeen::read(reader)? {
            NameSeen::Nothing => Self::Nothing,
            NameSeen::Known(id) => Self::Known(id),
            NameSeen::New(id, name) => Self::New(id, name.to_vec()),
        })
    }
}

/// A name where it lies in the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameSeen<'a> {
    Nothing,
    Known(u8),
    New(u8, &'a [u8]),
}

impl<'a> NameSeen<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, PeersFault> {
        let mut inner = Reader::new(reader.bytes()?);
        if inner.is_empty() {
            return Ok(Self::Nothing);
        }
        let id = inner.varint()?;
        let id = u8::try_from(id).ok().filter(|id| (1..=DICTIONARY_LEN).contains(id)).ok_or(PeersFault::NameId(id))?;
        if inner.is_empty() {
            return Ok(Self::Known(id));
        }
        let name = inner.bytes()?;
        if inner.is_empty() { Ok(Self::New(id, name)) } else { Err(PeersFault::Excess) }
    }
}

/// The names told by the other side.
#[derive(Clone, Debug, Default)]
pub struct NamesReceived {
    /// By their numbers.
    names: Vec<Option<Vec<u8>>>,
}

impl NamesReceived {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name meant, if one is.
    ///
    /// # Errors
    /// If its number is none, or was never given a name.
    pub fn resolve(&mut self, name: &NameRef) -> Result<Option<Vec<u8>>, super::PeersError> {
        let seen = match name {
            NameRef::Nothing => NameSeen::Nothing,
            NameRef::Known(id) => NameSeen::Known(*id),
            NameRef::New(id, name) => NameSeen::New(*id, name),
        };
        Ok(self.look_up(seen)?.map(<[u8]>::to_vec))
    }

    /// The same, where it is kept.
    pub(super) fn look_up(&mut self, name: NameSeen<'_>) -> Result<Option<&[u8]>, PeersFault> {
        let id = match name {
            NameSeen::Nothing => return Ok(None),
            NameSeen::Known(id) => id,
            NameSeen::New(id, name) => {
                if !(1..=DICTIONARY_LEN).contains(&id) {
                    return Err(PeersFault::NameId(u64::from(id)));
                }
                if self.names.len() <= usize::from(id) {
                    self.names.resize(usize::from(id) + 1, None);
                }
                if let Some(place) = self.names.get_mut(usize::from(id)) {
                    *place = Some(name.to_vec());
                }
                id
            }
        };
        let known = self.names.get(usize::from(id)).and_then(Option::as_deref);
        known.map(Some).ok_or(PeersFault::NameUnknown(id))
    }
}

/// The names told to the other side. The oldest gives way when there is no number left.
#[derive(Clone, Debug, Default)]
pub struct NamesSent {
    ids: HashMap<Vec<u8>, u8>,
    names: Vec<Vec<u8>>,
    oldest: usize,
}

impl NamesSent {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How to write this name now.
    pub fn refer(&mut self, name: &[u8]) -> NameRef {
        if let Some(id) = self.ids.get(name) {
            return NameRef::Known(*id);
        }
        let place = if self.names.len() < usize::from(DICTIONARY_LEN) {
            self.names.push(name.to_vec());
            self.names.len() - 1
        } else {
            let place = self.oldest;
            self.oldest = (place + 1) % self.names.len();
            if let Some(old) = self.names.get_mut(place) {
                self.ids.remove(&std::mem::replace(old, name.to_vec()));
            }
            place
        };
        let id = u8::try_from(place + 1).unwrap_or(DICTIONARY_LEN);
        self.ids.insert(name.to_vec(), id);
        NameRef::New(id, name.to_vec())
    }
}
