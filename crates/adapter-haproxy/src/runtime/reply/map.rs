//! Maps.

use std::str::FromStr;

use super::super::error::ReplyError;
use super::{number, numbered};

/// One map or list of `show map`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// Its number: `#0` names it too.
    pub id: u32,
    /// Its file, as in the configuration; empty for one written there.
    pub path: String,
    /// Where it is used.
    pub description: String,
    /// The version in force.
    pub version: u32,
    /// The newest version prepared.
    pub prepared: u32,
    /// Entries of all versions together.
    pub entries: u64,
}

impl MapInfo {
    /// Reads the answer to `show map` or `show acl`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line of another form.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        numbered(text).filter(|(_, line)| !line.starts_with("# id ")).map(|(n, line)| Self::read(n, line)).collect()
    }

    fn read(n: usize, line: &str) -> Result<Self, ReplyError> {
        let what = "id (file) description curr_ver= next_ver= entry_cnt=";
        let error = || ReplyError::new(n, line, what);
        let (id, rest) = line.split_once(" (").ok_or_else(error)?;
        let (path, rest) = rest.split_once(") ").ok_or_else(error)?;
        let (rest, entries) = rest.rsplit_once(" entry_cnt=").ok_or_else(error)?;
        let (rest, prepared) = rest.rsplit_once(" next_ver=").ok_or_else(error)?;
        let (description, version) = rest.rsplit_once(" curr_ver=").ok_or_else(error)?;
        Ok(Self {
            id: number(id, n, line, what)?,
            path: path.to_owned(),
            description: description.to_owned(),
            version: number(version, n, line, what)?,
            prepared: number(prepared, n, line, what)?,
            entries: number(entries, n, line, what)?,
        })
    }
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapLine {
    /// Its reference, a pointer.
    pub reference: String,
    /// The key.
    pub key: String,
    /// The value; empty in a list.
    pub value: String,
}

impl MapLine {
    /// Reads one line.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] without a pointer before the key.
    pub fn read(n: usize, line: &str) -> Result<Self, ReplyError> {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some(reference), Some(key)) if reference.starts_with("0x") => Ok(Self {
                reference: reference.to_owned(),
                key: key.to_owned(),
                value: words.next().unwrap_or_default().to_owned(),
            }),
            _ => Err(ReplyError::new(n, line, "reference key value")),
        }
    }

    /// Reads the answer to `show map` and a file. An empty answer is an empty map.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line without a pointer before the key.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        numbered(text).map(|(n, line)| Self::read(n, line)).collect()
    }
}

/// What a map makes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapHit {
    /// How it is searched: `beg`, `str`, `ip`.
    pub method: String,
    /// The key and the value found.
    pub found: Option<(String, String)>,
}

/// Reads `type=beg, case=sensitive, found=yes, idx=tree, key="/join", value="rooms", type="str"`.
impl FromStr for MapHit {
    type Err = ReplyError;

    fn from_str(text: &str) -> Result<Self, ReplyError> {
        let line = text.lines().next().unwrap_or_default();
        let what = "type=, found=yes or no, and key= and value= if found";
        let error = || ReplyError::new(1, line, what);
        let method = line.strip_prefix("type=").and_then(|rest| rest.split(',').next()).ok_or_else(error)?.to_owned();
        if line.contains(", found=no") || line.contains(", match=no") {
            return Ok(Self { method, found: None });
        }
        if let Some((_, rest)) = line.split_once(", pattern=\"") {
            let key = rest.rsplit_once('"').ok_or_else(error)?.0;
            return Ok(Self { method, found: Some((key.to_owned(), String::new())) });
        }
        let (_, rest) = line.split_once(", key=\"").ok_or_else(error)?;
        let (key, rest) = rest.split_once("\", value=\"").ok_or_else(error)?;
        let value = rest.rsplit_once("\", type=\"").ok_or_else(error)?.0;
        Ok(Self { method, found: Some((key.to_owned(), value.to_owned())) })
    }
}
