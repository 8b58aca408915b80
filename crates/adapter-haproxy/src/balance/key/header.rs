//! Header values: by line, or split at commas.

use super::request::{Request, trim};

impl Request {
    /// The lines of this header, in order.
    pub(super) fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }

    /// The comma-separated values of this header, over all of its lines.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines(name).flat_map(split)
    }

    /// The value of the first cookie of this name.
    pub(crate) fn cookie(&self, name: &str) -> Option<&[u8]> {
        self.lines("cookie").find_map(|line| {
            line.split(|c| matches!(c, b';' | b',')).find_map(|pair| {
                let at = pair.iter().position(|c| *c == b'=')?;
                (trim(&pair[..at]) == name.as_bytes()).then(|| trim(&pair[at + 1..]))
            })
        })
    }
}

/// Splits a line at commas outside of double quotes; a backslash inside quotes hides one byte.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (mut quoted, mut hidden) = (false, false);
        let end = line.iter().position(|c| {
            match c {
                _ if hidden => hidden = false,
                b'\\' if quoted => hidden = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        rest = end.map(|at| &line[at + 1..]);
        Some(trim(&line[..end.unwrap_or(line.len())]))
    })
}
