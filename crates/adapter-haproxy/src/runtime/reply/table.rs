//! Stick tables.

use std::time::Duration;

use super::super::error::ReplyError;
use super::{number, numbered};

/// One stick table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name; `section/name` in a peers section.
    pub name: String,
    /// The type of its keys: `string`, `ip`, `ipv6`, `integer`, `binary`.
    pub kind: String,
    /// The most entries.
    pub size: u64,
    /// The entries there are.
    pub used: u64,
}

impl TableInfo {
    fn read(n: usize, line: &str) -> Result<Self, ReplyError> {
        let what = "# table: name, type: type, size:N, used:N";
        let error = || ReplyError::new(n, line, what);
        let rest = line.strip_prefix("# table: ").ok_or_else(error)?;
        let (name, rest) = rest.split_once(", type: ").ok_or_else(error)?;
        let (kind, rest) = rest.split_once(", size:").ok_or_else(error)?;
        let (size, rest) = rest.split_once(", used:").ok_or_else(error)?;
        let used = rest.split(',').next().unwrap_or(rest);
        Ok(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            size: number(size, n, line, what)?,
            used: number(used, n, line, what)?,
        })
    }

    /// Reads the answer to `show table`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line of another form.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        numbered(text).map(|(n, line)| Self::read(n, line)).collect()
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableEntry {
    /// Its key, its escapes undone.
    pub key: String,
    /// How many use it now.
    pub used: u32,
    /// The time until it is forgotten. Zero is still there, and still matches.
    pub expires: Duration,
    /// The server's id; `None` if the table does not store it, 0 for none.
    pub server_id: Option<u32>,
    /// The server's name, which wins over the id.
    pub server_key: Option<String>,
    /// Other figures, as `http_req_rate(10000)` names them.
    pub data: Vec<(String, u64)>,
}

impl TableEntry {
    fn read(n: usize, line: &str) -> Result<Self, ReplyError> {
        let what = "0x…: key=… use=N exp=N and figures";
        let error = || ReplyError::new(n, line, what);
        let (pointer, rest) = line.split_once(": key=").ok_or_else(error)?;
        if !pointer.starts_with("0x") {
            return Err(error());
        }
        let (key, rest) = unescape_word(rest);
        let mut entry =
            Self { key, used: 0, expires: Duration::ZERO, server_id: None, server_key: None, data: Vec::new() };
        let mut counted = false;
        for word in rest.split(' ').filter(|w| !w.is_empty()) {
            let (name, value) = word.split_once('=').ok_or_else(error)?;
            match name {
                "use" => entry.used = number(value, n, line, what)?,
                "exp" => {
                    entry.expires = Duration::from_millis(number(value, n, line, what)?);
                    counted = true;
                }
                "shard" => {}
                "server_id" => entry.server_id = Some(number(value, n, line, what)?),
                "server_key" => entry.server_key = Some(value).filter(|v| *v != "-").map(str::to_owned),
                _ => entry.data.push((name.to_owned(), number(value, n, line, what)?)),
            }
        }
        if counted { Ok(entry) } else { Err(error()) }
    }
}

/// Reads up to the first blank that has no backslash before it.
fn unescape_word(text: &str) -> (String, &str) {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        at += 1;
        match b {
            b' ' => {
                at -= 1;
                break;
            }
            b'\\' => {
                let Some(&next) = bytes.get(at) else { break };
                at += 1;
                let hex = bytes.get(at..at + 2).and_then(|h| std::str::from_utf8(h).ok());
                match (next, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
                    (b'x', Some(byte)) => {
                        out.push(byte);
                        at += 2;
                    }
                    (b'n', _) => out.push(b'\n'),
                    (b'r', _) => out.push(b'\r'),
                    (b't', _) => out.push(b'\t'),
                    (b'e', _) => out.push(27),
                    (other, _) => out.push(other),
                }
            }
            b => out.push(b),
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), text.get(at..).unwrap_or_default())
}

/// Reads the answer to `show table` and a name, line by line.
#[derive(Clone, Debug, Default)]
pub struct TableReader {
    info: Option<TableInfo>,
    lines: usize,
}

impl TableReader {
    /// One line: an entry, unless it is the first line.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line of another form.
    pub fn read(&mut self, line: &str) -> Result<Option<TableEntry>, ReplyError> {
        self.lines += 1;
        if self.info.is_none() {
            self.info = Some(TableInfo::read(self.lines, line)?);
            return Ok(None);
        }
        TableEntry::read(self.lines, line).map(Some)
    }

    /// The table, once its line was read. An absent key has none.
    pub fn info(&self) -> Option<&TableInfo> {
        self.info.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let mut reader = TableReader::default();
        assert_eq!(reader.read("# table: lb/t, type: string, size:1024, used:4").unwrap(), None);
        assert_eq!(reader.info().unwrap().name, "lb/t");
        let line = "0x1: key=sp\\ ace\\\\\\xc3\\xa9 use=1 exp=500 shard=0 server_id=2 gpc0=3 http_req_rate(10000)=4 \
                    server_key=-";
        let entry = reader.read(line).unwrap().unwrap();
        assert_eq!(entry.key, "sp ace\\é");
        assert_eq!((entry.server_id, entry.server_key.as_deref()), (Some(2), None));
        assert_eq!(entry.data, [("gpc0".to_owned(), 3), ("http_req_rate(10000)".to_owned(), 4)]);
        assert!(reader.read("nonsense").is_err());
    }
}
