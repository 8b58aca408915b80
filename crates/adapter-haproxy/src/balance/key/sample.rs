//! A typed value of an expression, and its casts.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What an expression gives: HAProxy's sample.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sample {
    /// Text.
    Text(Vec<u8>),
    /// Bytes.
    Binary(Vec<u8>),
    /// A signed number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

impl Sample {
    /// Cast to text. Bytes end at the first NUL.
    pub fn into_text(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text,
            Self::Binary(mut bytes) => {
                let end = bytes.iter().position(|c| *c == 0).unwrap_or(bytes.len());
                bytes.truncate(end);
                bytes
            }
            Self::Integer(n) => n.to_string().into_bytes(),
            Self::Boolean(yes) => vec![if yes { b'1' } else { b'0' }],
            Self::V4(ip) => ip.to_string().into_bytes(),
            Self::V6(ip) => ip.to_string().into_bytes(),
        }
    }

    /// Cast to bytes: numbers have 8, big-endian; addresses 4 or 16, in network order.
    pub fn into_binary(self) -> Vec<u8> {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
            Self::Integer(n) => n.to_be_bytes().to_vec(),
            Self::Boolean(yes) => i64::from(yes).to_be_bytes().to_vec(),
            Self::V4(ip) => ip.octets().to_vec(),
            Self::V6(ip) => ip.octets().to_vec(),
        }
    }

    /// Cast to a number; `None` for text that is empty.
    pub(crate) fn into_integer(self) -> Option<i64> {
        Some(match self {
            Self::Integer(n) => n,
            Self::Boolean(yes) => i64::from(yes),
            Self::V4(ip) => i64::from(u32::from(ip)),
            Self::V6(_) | Self::Binary(_) => return None,
            Self::Text(text) if text.is_empty() => return None,
            Self::Text(text) => crate::balance::hash::number(&text),
        })
    }
}
