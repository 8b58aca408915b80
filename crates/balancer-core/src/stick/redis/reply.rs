//! What a Redis server answers, free of any client library.

use redis::Value;

/// An answer of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisReply {
    /// Nothing there.
    Nil,
    /// A number.
    Int(i64),
    /// Text or bytes; also `OK` and other plain words.
    Text(Vec<u8>),
    /// Several answers; a map is a list of its keys and values in turn.
    List(Vec<Self>),
}

impl RedisReply {
    /// The number, if it is one or reads as one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(_) => self.as_str()?.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Nil | Self::Int(_) | Self::List(_) => None,
        }
    }

    /// The entries of a list; none for anything else.
    pub fn as_list(&self) -> &[Self] {
        match self {
            Self::List(entries) => entries,
            Self::Nil | Self::Int(_) | Self::Text(_) => &[],
        }
    }

    /// The answer, or the server's words of refusal wherever in it they stand.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::Int(number) => Self::Int(number),
            Value::BulkString(bytes) => Self::Text(bytes),
            Value::SimpleString(text) => Self::Text(text.into_bytes()),
            Value::Okay => Self::Text(b"OK".to_vec()),
            Value::Boolean(truth) => Self::Int(truth.into()),
            Value::Double(number) => Self::Text(number.to_string().into_bytes()),
            Value::VerbatimString { text, .. } => Self::Text(text.into_bytes()),
            Value::Array(values) | Value::Set(values) => {
                Self::List(values.into_iter().map(Self::read).collect::<Result<_, _>>()?)
            }
            Value::Map(pairs) => {
                let flat = pairs.into_iter().flat_map(|(key, value)| [key, value]);
                Self::List(flat.map(Self::read).collect::<Result<_, _>>()?)
            }
            Value::Attribute { data, .. } => Self::read(*data)?,
            // The library paraphrases the codes it knows; these are the server's own words.
            Value::ServerError(error) => {
                return Err(match error.details() {
                    Some(details) => format!("{} {details}", error.code()),
                    None => error.code().to_owned(),
                });
            }
            _ => Self::Nil,
        })
    }
}
