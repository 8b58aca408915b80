//! Greetings and farewells: lists of named values.

use super::codec::{Argument, Value};
use super::frame::FrameFault;
use super::status::Status;
use crate::wire::Reader;

/// The most named values in a greeting.
const MAX_ITEMS: usize = 64;

/// HAProxy's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HaproxyHello {
    /// The versions it speaks, separated by commas; absent if it named none.
    pub versions: Option<String>,
    /// The largest frame it takes, in bytes; absent if it named none.
    pub max_frame_size: Option<u32>,
    /// What it can do beyond the ordinary, separated by commas; absent if it did not say.
    pub capabilities: Option<String>,
    /// Which engine of which process asks; absent in health checks.
    pub engine_id: Option<String>,
    /// A health check: greet and be gone. Absent otherwise.
    pub health_check: Option<bool>,
}

impl HaproxyHello {
    /// An ordinary greeting, as of 3.1 and later.
    pub fn new(max_frame_size: u32) -> Self {
        Self {
            versions: Some("2.0".to_owned()),
            max_frame_size: Some(max_frame_size),
            capabilities: Some("pipelining".to_owned()),
            engine_id: None,
            health_check: None,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let text = |text: &Option<String>| text.clone().map(Value::string);
        put_all(
            out,
            [
                ("supported-versions", text(&self.versions)),
                ("max-frame-size", self.max_frame_size.map(Value::Uint32)),
                ("capabilities", text(&self.capabilities)),
                ("engine-id", text(&self.engine_id)),
                ("healthcheck", self.health_check.map(Value::Bool)),
            ],
        );
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        let mut hello =
            Self { versions: None, max_frame_size: None, capabilities: None, engine_id: None, health_check: None };
        read_all(reader, |name, value| {
            match (name, value) {
                (b"supported-versions", value) => hello.versions = Some(text(value)?),
                (b"max-frame-size", value) => hello.max_frame_size = Some(number(&value)?),
                (b"capabilities", value) => hello.capabilities = Some(text(value)?),
                (b"engine-id", value) => hello.engine_id = Some(text(value)?),
                (b"healthcheck", Value::Bool(truth)) => hello.health_check = Some(truth),
                (b"healthcheck", _) => return Err(FrameFault::Item("healthcheck")),
                _ => {}
            }
            Ok(())
        })?;
        Ok(hello)
    }
}

/// An agent's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentHello {
    /// The version it speaks.
    pub version: String,
    /// The largest frame it takes, in bytes.
    pub max_frame_size: u32,
    /// What it can do beyond the ordinary; every HAProxy takes a greeting without.
    pub capabilities: Option<String>,
}

impl AgentHello {
    /// A greeting of version 2.0.
    pub fn new(max_frame_size: u32, capabilities: Option<String>) -> Self {
        Self { version: "2.0".to_owned(), max_frame_size, capabilities }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_all(
            out,
            [
                ("version", Some(Value::string(&*self.version))),
                ("max-frame-size", Some(Value::Uint32(self.max_frame_size))),
                ("capabilities", self.capabilities.clone().map(Value::string)),
            ],
        );
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        let (mut version, mut size, mut capabilities) = (None, None, None);
        read_all(reader, |name, value| {
            match name {
                b"version" => version = Some(text(value)?),
                b"max-frame-size" => size = Some(number(&value)?),
                b"capabilities" => capabilities = Some(text(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self {
            version: version.ok_or(FrameFault::Item("version"))?,
            max_frame_size: size.ok_or(FrameFault::Item("max-frame-size"))?,
            capabilities,
        })
    }
}

/// A farewell of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnect {
    /// Why.
    pub status: Status,
    /// Why, in words.
    pub message: String,
}

impl Disconnect {
    /// A farewell in the usual words.
    pub fn new(status: Status) -> Self {
        Self { status, message: status.text().to_owned() }
    }

    /// In other words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_all(
            out,
            [
                ("status-code", Some(Value::Uint32(self.status.code()))),
                ("message", Some(Value::string(&*self.message))),
            ],
        );
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameFault> {
        let (mut status, mut message) = (None, None);
        read_all(reader, |name, value| {
            match name {
                b"status-code" => status = Some(Status::new(number(&value)?)),
                b"message" => message = Some(text(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self {
            status: status.ok_or(FrameFault::Item("status-code"))?,
            message: message.ok_or(FrameFault::Item("message"))?,
        })
    }
}

fn put_all<const N: usize>(out: &mut Vec<u8>, items: [(&str, Option<Value>); N]) {
    for (name, value) in items {
        if let Some(value) = value {
            Argument::new(name, value).put(out);
        }
    }
}

fn read_all(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(&[u8], Value) -> Result<(), FrameFault>,
) -> Result<(), FrameFault> {
    let mut count = 0;
    while !reader.is_empty() {
        count += 1;
        if count > MAX_ITEMS {
            return Err(FrameFault::TooMany("named values"));
        }
        let Argument { name, value } = Argument::read(reader)?;
        each(&name, value)?;
    }
    Ok(())
}

fn text(value: Value) -> Result<String, FrameFault> {
    match value {
        Value::String(bytes) => String::from_utf8(bytes).map_err(|_| FrameFault::Item("a text")),
        _ => Err(FrameFault::Item("a text")),
    }
}

fn number(value: &Value) -> Result<u32, FrameFault> {
    value.as_integer().and_then(|n| u32::try_from(n).ok()).ok_or(FrameFault::Item("a number"))
}
