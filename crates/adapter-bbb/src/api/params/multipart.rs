//! The fields and files of `multipart/form-data` bodies.

use super::ParamError;

/// The longest boundary the format allows.
const MAX_BOUNDARY: usize = 70;

/// The boundary named by a content type.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let value = attribute(content_type, "boundary")?;
    (!value.is_empty() && value.len() <= MAX_BOUNDARY).then_some(value)
}

/// Hands every field that is not an uploaded file to `field`: its name and its value.
pub(super) fn fields<'a>(
    body: &'a [u8],
    boundary: &str,
    mut field: impl FnMut(String, &'a str) -> Result<(), ParamError>,
) -> Result<(), ParamError> {
    parts(body, boundary, |head, from, to| match Name::of(head) {
        Some(Name { name, is_file: false }) => field(name, text(body, from, to)?),
        _ => Ok(()),
    })
}

/// The bytes of the first uploaded file of this name.
#[cfg(feature = "http")]
pub(crate) fn uploaded_file<'a>(body: &'a [u8], content_type: &str, wanted: &str) -> Option<&'a [u8]> {
    let mut found = None;
    let whole = parts(body, &boundary(content_type)?, |head, from, to| {
        if found.is_none() && Name::of(head).is_some_and(|n| n.is_file && n.name == wanted) {
            found = body.get(from..to.max(from));
        }
        Ok(())
    });
    whole.ok().and(found)
}

/// Hands every part to `part`: its head, and where its value begins and ends.
fn parts<'a>(
    body: &'a [u8],
    boundary: &str,
    mut part: impl FnMut(&'a str, usize, usize) -> Result<(), ParamError>,
) -> Result<(), ParamError> {
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    // The first delimiter may lack the line break; anything before it is a preamble.
    let mut at = if body.starts_with(&delimiter[2..]) {
        delimiter.len() - 2
    } else {
        find(body, delimiter, 0).ok_or(ParamError::Multipart { offset: 0 })? + delimiter.len()
    };
    loop {
        let broken = ParamError::Multipart { offset: at };
        let rest = body.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok(());
        }
        let line = find(body, b"\r\n", at).ok_or(broken)?;
        if !body.get(at..line).unwrap_or_default().iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(broken);
        }
        let head_end = find(body, b"\r\n\r\n", line).ok_or(broken)?;
        let value_from = head_end + 4;
        // An empty value's line break is the one that ends the head.
        let value_end = find(body, delimiter, head_end + 2).ok_or(broken)?;
        part(text(body, line, head_end)?, value_from, value_end)?;
        at = value_end + delimiter.len();
    }
}

/// What a part is called.
struct Name {
    name: String,
    is_file: bool,
}

impl Name {
    /// Reads the head of a part; `None` when it has no name.
    fn of(head: &str) -> Option<Self> {
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        let has = |wanted: &str| attribute(disposition, wanted).is_some();
        Some(Self { is_file: has("filename") || has("filename*"), name: attribute(disposition, "name")? })
    }
}

/// The value of one `;`-separated attribute of a header, unquoted.
fn attribute(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        let name = name.rsplit(';').next().unwrap_or(name).trim();
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// Reads up to the closing quote; gives the text and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

fn text(body: &[u8], from: usize, to: usize) -> Result<&str, ParamError> {
    let bytes = body.get(from.min(to)..to).unwrap_or_default();
    std::str::from_utf8(bytes).map_err(|error| ParamError::Malformed { offset: from + error.valid_up_to() })
}

/// Where `needle` first stands at or after `from`.
fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let (first, hay) = (*needle.first()?, hay.get(from..)?);
    let mut at = 0;
    loop {
        at += hay.get(at..)?.iter().position(|byte| *byte == first)?;
        if hay[at..].starts_with(needle) {
            return Some(from + at);
        }
        at += 1;
    }
}
