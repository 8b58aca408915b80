//! Keys of rooms: one a line, or as `show table` prints them.

use std::io::{BufRead, Read};
use std::path::Path;

use crate::files;
use console::Failure;

/// The longest key, in bytes: what HAProxy's buffer holds.
const MAX_KEY_LEN: usize = 16 * 1024;
/// The most keys of one plan.
const MAX_KEYS: usize = 10_000_000;

/// Lines of a file, without their ends.
pub(crate) struct Lines {
    name: String,
    from: Box<dyn BufRead>,
    number: usize,
}

impl Lines {
    /// Of this file, or of standard input for `-`.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
        Ok(Self { name, from: files::open(path)?, number: 0 })
    }

    /// Where the last line stands.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.name, self.number)
    }

    /// Puts the next line into `line`; false at the end.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, Failure> {
        line.clear();
        self.number += 1;
        let read = self.from.by_ref().take(MAX_KEY_LEN as u64 + 2).read_until(b'\n', line);
        if read.map_err(|e| Failure::failed(format!("{} cannot be read", self.name)).cause(e))? == 0 {
            return Ok(false);
        }
        if line.pop_if(|last| *last == b'\n').is_some() {
            line.pop_if(|last| *last == b'\r');
        }
        if line.len() > MAX_KEY_LEN {
            return Err(Failure::failed(format!("{}: longer than {MAX_KEY_LEN} bytes", self.place())));
        }
        Ok(true)
    }
}

/// A room, and the server a table knows for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) key: Vec<u8>,
    pub(crate) home: Home,
}

/// What an entry says of its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Home {
    /// The server's name, or its address where the table is kept by that.
    pub(crate) name: Option<String>,
    /// The server's id.
    pub(crate) id: Option<u32>,
}

/// Every key of a list, blank lines left out.
pub(crate) fn list(path: &Path) -> Result<Vec<Room>, Failure> {
    let mut lines = Lines::of(path)?;
    let mut line = Vec::new();
    let mut rooms = Vec::new();
    while lines.next(&mut line)? {
        if !line.is_empty() {
            push(&mut rooms, Room { key: line.clone(), home: Home::default() })?;
        }
    }
    Ok(rooms)
}

/// Every entry of `show table NAME`.
pub(crate) fn table(path: &Path) -> Result<Vec<Room>, Failure> {
    let mut lines = Lines::of(path)?;
    let mut line = Vec::new();
    let mut rooms = Vec::new();
    let mut heads = 0;
    while lines.next(&mut line)? {
        if line.starts_with(b"# table:") {
            heads += 1;
        } else if line.starts_with(b"0x") {
            let odd = || Failure::failed(format!("{}: no entry of a stick table", lines.place()));
            push(&mut rooms, entry(&line).ok_or_else(odd)?)?;
        } else if !line.is_empty() && line != b">" {
            let what = format!("{}: this is not what `show table` prints", lines.place());
            return Err(Failure::failed(what).hint("echo 'show table BACKEND' | socat stdio /run/haproxy/admin.sock"));
        }
    }
    if heads > 1 {
        return Err(Failure::failed("these are several tables").hint("name the one: show table BACKEND"));
    }
    if heads == 0 {
        return Err(Failure::failed("this is no stick table: its first line, `# table: …`, is missing"));
    }
    Ok(rooms)
}

fn push(rooms: &mut Vec<Room>, room: Room) -> Result<(), Failure> {
    if rooms.len() >= MAX_KEYS {
        return Err(Failure::failed(format!("more than the {MAX_KEYS} keys that are read")));
    }
    rooms.push(room);
    Ok(())
}

/// `0x55…: key=foo\ bar use=0 exp=3599 server_id=2 server_key=s2`
fn entry(line: &[u8]) -> Option<Room> {
    let at = line.windows(5).position(|part| part == b" key=")? + 5;
    let mut key = Vec::new();
    let mut bytes = line[at..].iter().copied();
    let mut rest = 0;
    while let Some(byte) = bytes.next() {
        rest = bytes.len();
        match byte {
            b' ' => break,
            b'\\' => key.push(match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'e' => 0x1b,
                b'x' => {
                    let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                    u8::try_from(digit()? * 16 + digit()?).ok()?
                }
                other => other,
            }),
            other => key.push(other),
        }
        rest = bytes.len();
    }
    let rest = String::from_utf8_lossy(&line[line.len() - rest..]);
    let value = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let home = Home {
        name: value("server_key").or_else(|| value("server_name")).map(str::to_owned),
        id: value("server_id").and_then(|id| id.parse().ok()).filter(|id| *id > 0),
    };
    Some(Room { key, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_haproxy_writes_them() {
        let read = |line: &str| entry(line.as_bytes());
        let room = |key: &[u8], name: &str, id| {
            Some(Room { key: key.to_vec(), home: Home { name: Some(name.into()), id: Some(id) } })
        };
        let tail = "use=0 exp=3599406";
        assert_eq!(read(&format!("0x1: key=a\\=\"b\\\\ {tail} server_id=1 server_key=s1")), room(b"a=\"b\\", "s1", 1));
        assert_eq!(read(&format!("0x1: key=foo\\ bar {tail} server_id=2 server_key=s2")), room(b"foo bar", "s2", 2));
        assert_eq!(
            read(&format!("0x1: key=\\xC3\\xA4\\n {tail} server_id=2 server_key=s2")),
            room("ä\n".as_bytes(), "s2", 2)
        );
        assert_eq!(read("0x1: key=a use=0 exp=1"), Some(Room { key: b"a".to_vec(), home: Home::default() }));
        assert_eq!(read("0x1: key="), Some(Room::default()));
        for bad in ["0x1:", "0x1: key=\\", "0x1: key=\\x4", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
