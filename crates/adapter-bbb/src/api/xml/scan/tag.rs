//! What stands in a tag: names, and attributes.

use super::reference::unescape;

/// The bytes that may be in a name. Generous beyond ASCII.
const IN_NAME: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = u8::MAX;
    while byte > 0 {
        all[byte as usize] = byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.' | b':');
        byte -= 1;
    }
    all
};

/// Where the name that starts at `from` ends; `None` if there is none.
#[inline(always)]
pub(super) fn name_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while bytes.get(at).is_some_and(|byte| IN_NAME[usize::from(*byte)]) {
        at += 1;
    }
    (at > from && !matches!(bytes[from], b'-' | b'.' | b'0'..=b'9')).then_some(at)
}

/// The first place from `from` on where there is no blank.
pub(super) fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    let blanks = bytes.iter().skip(from).take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    from + blanks
}

/// What comes in a tag, behind its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// An attribute; its value as it was written, all references in it known.
    Attribute { name: &'a str, value: &'a str },
    /// The end of the tag, and perhaps of the element.
    End { empty: bool },
}

/// Reads the rest of a tag, part by part.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Parts<'a> {
    /// The next part; `None` if it is not well-formed.
    pub(super) fn next(&mut self) -> Option<Part<'a>> {
        let bytes = self.text.as_bytes();
        let start = skip_blanks(bytes, self.at);
        let ended = match bytes.get(start..)? {
            [b'>', ..] => Some((1, false)),
            [b'/', b'>', ..] => Some((2, true)),
            _ => None,
        };
        if let Some((length, empty)) = ended {
            self.at = start + length;
            return Some(Part::End { empty });
        }
        let name = start..name_end(bytes, start)?;
        let equals = skip_blanks(bytes, name.end);
        if bytes.get(equals) != Some(&b'=') {
            return None;
        }
        let quote = skip_blanks(bytes, equals + 1);
        let mark = bytes.get(quote).copied().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let length = memchr::memchr(mark, bytes.get(quote + 1..)?)?;
        let value = self.text.get(quote + 1..quote + 1 + length)?;
        if value.contains('<') || unescape(value).is_none() {
            return None;
        }
        self.at = quote + 1 + length + 1;
        Some(Part::Attribute { name: self.text.get(name)?, value })
    }
}
