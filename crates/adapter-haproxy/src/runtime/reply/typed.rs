//! Figures with types, one a line.

use super::super::error::ReplyError;
use super::numbered;
use super::stat::StatKind;

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TypedValue {
    /// `s32`.
    S32(i32),
    /// `s64`.
    S64(i64),
    /// `u32`.
    U32(u32),
    /// `u64`.
    U64(u64),
    /// `flt`.
    Float(f64),
    /// `str`.
    Text(String),
}

impl TypedValue {
    fn read(kind: &str, text: &str) -> Option<Self> {
        Some(match kind {
            "s32" => Self::S32(text.parse().ok()?),
            "s64" => Self::S64(text.parse().ok()?),
            "u32" => Self::U32(text.parse().ok()?),
            "u64" => Self::U64(text.parse().ok()?),
            "flt" => Self::Float(text.parse().ok()?),
            "str" => Self::Text(text.to_owned()),
            _ => return None,
        })
    }

    /// The value as a number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        Some(match self {
            Self::S32(n) => f64::from(*n),
            Self::U32(n) => f64::from(*n),
            #[allow(clippy::cast_precision_loss)]
            Self::S64(n) => *n as f64,
            #[allow(clippy::cast_precision_loss)]
            Self::U64(n) => *n as f64,
            Self::Float(n) => *n,
            Self::Text(_) => return None,
        })
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TypedField {
    /// Its place in this release.
    pub position: u32,
    /// Its name.
    pub name: String,
    /// The process it is of, from 1.
    pub process: u32,
    /// Origin, nature and scope, a letter each; 3.x adds whether it survives a restart.
    pub tags: String,
    /// The value.
    pub value: TypedValue,
}

impl TypedField {
    /// `position.name.process:tags:type:value`
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let (id, tags, kind, value) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if !matches!(tags.len(), 3 | 4) || !tags.bytes().all(|b| b.is_ascii_alphabetic()) {
            return None;
        }
        let (position, id) = id.split_once('.')?;
        let (name, process) = id.rsplit_once('.')?;
        Some(Self {
            position: position.parse().ok()?,
            name: name.to_owned(),
            process: process.parse().ok()?,
            tags: tags.to_owned(),
            value: TypedValue::read(kind, value)?,
        })
    }

    /// Reads the answer to `show info typed`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line of another form.
    pub fn parse_info(text: &str) -> Result<Vec<Self>, ReplyError> {
        let read = |(n, line)| {
            Self::read(line).ok_or_else(|| ReplyError::new(n, line, "position.name.process:tags:type:value"))
        };
        numbered(text).map(read).collect()
    }
}

/// Whom a figure of the statistics is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypedObject {
    /// What it is.
    pub kind: StatKind,
    /// The proxy's id.
    pub proxy: u32,
    /// The server's id; 0 for a proxy.
    pub id: u32,
}

/// One figure of the statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedStat {
    /// Whom it is about.
    pub object: TypedObject,
    /// The figure.
    pub field: TypedField,
}

impl TypedStat {
    fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '.');
        let kind = match parts.next()? {
            "F" => StatKind::Frontend,
            "B" => StatKind::Backend,
            "S" => StatKind::Server,
            "L" => StatKind::Listener,
            _ => return None,
        };
        let object = TypedObject { kind, proxy: parts.next()?.parse().ok()?, id: parts.next()?.parse().ok()? };
        Some(Self { object, field: TypedField::read(parts.next()?)? })
    }

    /// Reads the answer to `show stat … typed`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line of another form.
    pub fn parse(text: &str) -> Result<Vec<Self>, ReplyError> {
        let read = |(n, line)| {
            Self::read(line)
                .ok_or_else(|| ReplyError::new(n, line, "kind.proxy.id.position.name.process:tags:type:value"))
        };
        numbered(text).filter(|(_, line)| !line.is_empty()).map(read).collect()
    }
}
