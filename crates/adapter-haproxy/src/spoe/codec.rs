//! Values with their type.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frame::FrameFault;
use crate::wire::{Reader, put_bytes, put_varint};

/// A value of a message or a variable. Strings are bytes: HAProxy sends what the client sent. They are owned, or, in what
/// is read where it stands, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Value<T = Vec<u8>> {
    /// A sample that was not there.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A number of 32 bits.
    Int32(i32),
    /// A number of 32 bits, not negative.
    Uint32(u32),
    /// A number of 64 bits; HAProxy's own.
    Int64(i64),
    /// A number of 64 bits, not negative.
    Uint64(u64),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// Text.
    String(T),
    /// Bytes.
    Binary(T),
}

impl Value {
    /// Text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into().into_bytes())
    }

    /// The same, borrowed.
    pub fn view(&self) -> Value<&[u8]> {
        self.with(Vec::as_slice)
    }
}

impl<T> Value<T> {
    /// The same with other bytes.
    fn with<'a, U>(&'a self, bytes: impl FnOnce(&'a T) -> U) -> Value<U> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int32(n) => Value::Int32(*n),
            Self::Uint32(n) => Value::Uint32(*n),
            Self::Int64(n) => Value::Int64(*n),
            Self::Uint64(n) => Value::Uint64(*n),
            Self::Ipv4(address) => Value::Ipv4(*address),
            Self::Ipv6(address) => Value::Ipv6(*address),
            Self::String(text) => Value::String(bytes(text)),
            Self::Binary(binary) => Value::Binary(bytes(binary)),
        }
    }

    /// The number, if it is one, of whichever size.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::Int32(n) => Some(n.into()),
            Self::Uint32(n) => Some(n.into()),
            Self::Int64(n) => Some(n.into()),
            Self::Uint64(n) => Some(n.into()),
            _ => None,
        }
    }
}

impl<T: AsRef<[u8]>> Value<T> {
    /// The text, if it is text and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes.as_ref()).ok(),
            _ => None,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Bool(truth) => out.push(1 | (u8::from(*truth) << 4)),
            Self::Int32(n) => {
                out.push(2);
                put_varint(out, i64::from(*n).cast_unsigned());
            }
            Self::Uint32(n) => {
                out.push(3);
                put_varint(out, u64::from(*n));
            }
            Self::Int64(n) => {
                out.push(4);
                put_varint(out, n.cast_unsigned());
            }
            Self::Uint64(n) => {
                out.push(5);
                put_varint(out, *n);
            }
            Self::Ipv4(address) => {
                out.push(6);
                out.extend(address.octets());
            }
            Self::Ipv6(address) => {
                out.push(7);
                out.extend(address.octets());
            }
            Self::String(bytes) => {
                out.push(8);
                put_bytes(out, bytes.as_ref());
            }
            Self::Binary(bytes) => {
                out.push(9);
                put_bytes(out, bytes.as_ref());
            }
        }
    }
}

impl<'a> Value<&'a [u8]> {
    /// The same on its own.
    pub fn to_value(self) -> Value {
        self.with(|bytes| bytes.to_vec())
    }

    /// The text, if it is text and UTF-8, for as long as the frame is there.
    #[cfg(feature = "agents")]
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameFault> {
        let kind = reader.u8()?;
        // What HAProxy sends most.
        match kind & 0x0F {
            0 => Ok(Self::Null),
            4 => Ok(Self::Int64(reader.varint()?.cast_signed())),
            8 => Ok(Self::String(reader.bytes()?)),
            _ => Self::read_rest(kind, reader),
        }
    }

    /// Goes over one, and finds every fault that [`read`](Self::read) does.
    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), FrameFault> {
        let kind = reader.u8()?;
        match kind & 0x0F {
            0 | 1 => {}
            4 | 5 => _ = reader.varint()?,
            8 | 9 => _ = reader.bytes()?,
            _ => _ = Self::read_rest(kind, reader)?,
        }
        Ok(())
    }

    /// What comes after the byte that says what it is.
    fn read_rest(kind: u8, reader: &mut Reader<'a>) -> Result<Self, FrameFault> {
        Ok(match kind & 0x0F {
            0 => Self::Null,
            1 => Self::Bool(kind & 0x10 != 0),
            2 => {
                let wide = reader.varint()?;
                // A negative number is sent as 64 bits; one of 32 bits is understood as well.
                let narrow = u32::try_from(wide).ok().map(u32::cast_signed);
                let narrow = narrow.or_else(|| i32::try_from(wide.cast_signed()).ok());
                Self::Int32(narrow.ok_or(FrameFault::Number)?)
            }
            3 => Self::Uint32(u32::try_from(reader.varint()?).map_err(|_| FrameFault::Number)?),
            4 => Self::Int64(reader.varint()?.cast_signed()),
            5 => Self::Uint64(reader.varint()?),
            6 => Self::Ipv4(reader.array::<4>()?.into()),
            7 => Self::Ipv6(reader.array::<16>()?.into()),
            8 => Self::String(reader.bytes()?),
            9 => Self::Binary(reader.bytes()?),
            other => return Err(FrameFault::ValueType(other)),
        })
    }
}

/// A value with its name; an argument that was given none has an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Argument {
    /// The name in `args name=fetch`.
    pub name: Vec<u8>,
    /// What the fetch gave.
    pub value: Value,
}

impl Argument {
    /// A named value.
    pub fn new(name: impl Into<Vec<u8>>, value: Value) -> Self {
        Self { name: name.into(), value }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.name);
        self.value.put(out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        let (name, value) = read_argument(reader)?;
        Ok(Self { name: name.to_vec(), value: value.to_value() })
    }
}

/// Goes over a name and a value.
#[inline]
pub(super) fn skip_argument(reader: &mut Reader<'_>) -> Result<(), FrameFault> {
    reader.bytes()?;
    Value::skip(reader)
}

/// A name and a value where they stand.
#[inline(always)]
pub(super) fn read_argument<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Value<&'a [u8]>), FrameFault> {
    Ok((reader.bytes()?, Value::read(reader)?))
}
