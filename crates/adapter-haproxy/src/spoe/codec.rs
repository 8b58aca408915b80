//! Values with their type.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frame::FrameFault;
use crate::wire::{Reader, put_bytes, put_varint};

/// A value of a message or a variable. Strings are bytes: HAProxy sends what the client sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Value {
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
    String(Vec<u8>),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Value {
    /// Text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into().into_bytes())
    }

    /// The text, if it is text and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
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
                put_bytes(out, bytes);
            }
            Self::Binary(bytes) => {
                out.push(9);
                put_bytes(out, bytes);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        let kind = reader.u8()?;
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
            8 => Self::String(reader.bytes()?.to_vec()),
            9 => Self::Binary(reader.bytes()?.to_vec()),
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
        Ok(Self { name: reader.bytes()?.to_vec(), value: Value::read(reader)? })
    }
}
