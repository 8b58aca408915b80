//! Questions where they stand in HAProxy's frames: nothing of them is copied.

use super::codec::{Value, read_argument, skip_argument};
use super::frame::{FrameFault, MAX_MESSAGES, Message};
use crate::wire::Reader;

/// The messages of one question.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Goes over all of them: whoever reads them later meets no fault.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameFault> {
        let bytes = reader.clone().rest();
        let mut count = 0;
        while !reader.is_empty() {
            if count == MAX_MESSAGES {
                return Err(FrameFault::TooMany("messages"));
            }
            let message = AskedMessage::begin(reader)?;
            for _ in 0..message.count {
                skip_argument(reader)?;
            }
            count += 1;
        }
        Ok(Self { bytes })
    }

    /// Messages that were gone over before.
    pub(super) fn known(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes they are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = AskedMessage<'a>> + use<'a> {
        let (mut reader, mut unread) = (Reader::new(self.bytes), 0);
        std::iter::from_fn(move || {
            for _ in 0..std::mem::take(&mut unread) {
                skip_argument(&mut reader).ok()?;
            }
            let message = AskedMessage::begin(&mut reader).ok()?;
            unread = message.count;
            Some(message)
        })
    }

    /// The same, on their own.
    pub fn to_vec(&self) -> Vec<Message> {
        self.iter().map(|message| message.to_message()).collect()
    }
}

/// One message of a question.
#[derive(Clone, Copy, Debug)]
pub struct AskedMessage<'a> {
    name: &'a [u8],
    count: u8,
    /// The arguments, and what comes after them.
    args: &'a [u8],
}

impl<'a> AskedMessage<'a> {
    /// Up to its arguments.
    fn begin(reader: &mut Reader<'a>) -> Result<Self, FrameFault> {
        let (name, count) = (reader.bytes()?, reader.u8()?);
        Ok(Self { name, count, args: reader.clone().rest() })
    }

    /// Its name.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Its arguments in their order: names and values.
    pub fn args(&self) -> impl Iterator<Item = (&'a [u8], Value<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.args);
        (0..self.count).map_while(move |_| read_argument(&mut reader).ok())
    }

    /// The same, on its own.
    pub fn to_message(&self) -> Message {
        let args = self.args().map(|(name, value)| super::Argument::new(name, value.to_value()));
        Message::new(self.name, args.collect())
    }
}
