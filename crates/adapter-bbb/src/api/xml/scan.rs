//! A strict reading of XML: elements and text, with every limit in one place.

use std::borrow::Cow;

use super::ReplyError;

mod reference;
mod tag;

use reference::resolve;
use tag::{Part, Parts, name_end, skip_blanks};

pub(super) use reference::is_xml_char;
#[cfg(feature = "http")]
pub(crate) use reference::unescape;

/// How deeply elements of an answer may be nested.
pub const MAX_DEPTH: usize = 32;

/// One step through a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// An element begins: its name, and where its tag starts.
    Open { name: &'a str, start: usize },
    /// The innermost element ends: just behind its end tag.
    Close { end: usize },
    /// Text inside the innermost element, unescaped. One text may come in several steps.
    Text(Cow<'a, str>),
}

/// Walks through a document, in one pass and without memory of its own. Refuses document types, processing
/// instructions, unknown entities, bad nesting, text outside the root, and depth above [`MAX_DEPTH`].
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// Up to where it was read.
    at: usize,
    /// The names of the open elements.
    open: [&'a str; MAX_DEPTH],
    depth: usize,
    root_seen: bool,
    /// Whether the innermost element is an empty one, which ends where its tag does.
    empty: bool,
    /// The attributes of the last tag that had some; kept for its memory.
    attributes: Vec<&'a str>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, ReplyError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| ReplyError::Utf8 { offset: error.valid_up_to() })?;
        let open = [""; MAX_DEPTH];
        Ok(Self { text, at: 0, open, depth: 0, root_seen: false, empty: false, attributes: Vec::new() })
    }

    /// How many elements are open.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// The bytes of the document between two places.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.text.as_bytes().get(from..to).unwrap_or_default()
    }

    /// An attribute of the element whose tag starts there.
    #[cfg(feature = "recordings")]
    pub(crate) fn attribute(&self, start: usize, wanted: &str) -> Option<String> {
        let mut parts = Parts { text: self.text, at: name_end(self.text.as_bytes(), start + 1)? };
        loop {
            match parts.next()? {
                Part::Attribute { name, value } if name == wanted => return unescape(value).map(Cow::into_owned),
                Part::Attribute { .. } => {}
                Part::End { .. } => return None,
            }
        }
    }

    /// The next step, or `None` at the end of a complete document.
    // In line, and so are the three that nearly all of a list of meetings is made of.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Result<Option<Step<'a>>, ReplyError> {
        if self.empty {
            self.empty = false;
            self.depth -= 1;
            return Ok(Some(Step::Close { end: self.at }));
        }
        loop {
            let bytes = self.text.as_bytes();
            let (start, rest) = (self.at, bytes.get(self.at..).unwrap_or_default());
            match rest {
                [b'<', b'/', ..] => return self.close(start).map(Some),
                [b'<', b'!', ..] => match self.declared(start)? {
                    Some(text) => return Ok(Some(text)),
                    None => continue,
                },
                [b'<', b'?', ..] => self.instruction(start)?,
                [b'<', ..] => return self.opened(start).map(Some),
                [b'&', ..] => return self.reference(start).map(Some),
                [] => return self.finish().map(|()| None),
                _ => {
                    self.at += memchr::memchr2(b'<', b'&', rest).unwrap_or(rest.len());
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    if self.depth > 0 {
                        return Ok(Some(Step::Text(Cow::Borrowed(text))));
                    }
                    if !text.trim().is_empty() {
                        return Err(malformed(start, "text outside the root element"));
                    }
                }
            }
        }
    }

    /// A start tag.
    #[inline(always)]
    fn opened(&mut self, start: usize) -> Result<Step<'a>, ReplyError> {
        let bytes = self.text.as_bytes();
        if self.depth == 0 && self.root_seen {
            return Err(malformed(start, "a second root element"));
        }
        let end = name_end(bytes, start + 1).ok_or_else(|| malformed(start, "an element name expected"))?;
        let name = self.text.get(start + 1..end).unwrap_or_default();
        if bytes.get(end) == Some(&b'>') {
            self.at = end + 1;
        } else {
            self.rest_of_tag(start, end)?;
        }
        *self.open.get_mut(self.depth).ok_or_else(|| malformed(start, "nested too deeply"))? = name;
        self.depth += 1;
        self.root_seen = true;
        Ok(Step::Open { name, start })
    }

    /// A start tag that has more than a name.
    #[inline(never)]
    fn rest_of_tag(&mut self, start: usize, end: usize) -> Result<(), ReplyError> {
        let bytes = self.text.as_bytes();
        // Neither what a name cannot have in it, nor a slash inside the tag.
        if !matches!(bytes.get(end..), Some([b' ' | b'\t' | b'\r' | b'\n', ..] | [b'/', b'>', ..])) {
            let what = if end < bytes.len() { "an element name expected" } else { "it ends too early" };
            return Err(malformed(start, what));
        }
        let mut parts = Parts { text: self.text, at: end };
        self.attributes.clear();
        loop {
            match parts.next().ok_or_else(|| malformed(start, "attributes are not well-formed"))? {
                Part::Attribute { name, .. } => self.attributes.push(name),
                Part::End { empty } => {
                    self.empty = empty;
                    break;
                }
            }
        }
        self.at = parts.at;
        self.attributes.sort_unstable();
        if self.attributes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(malformed(start, "a repeated attribute"));
        }
        Ok(())
    }

    /// An end tag.
    #[inline(always)]
    fn close(&mut self, start: usize) -> Result<Step<'a>, ReplyError> {
        let bytes = self.text.as_bytes();
        let name = self.depth.checked_sub(1).and_then(|inner| self.open.get(inner)).copied();
        let name = name.ok_or_else(|| malformed(start, "an end tag too many"))?;
        let end = start + 2 + name.len();
        if bytes.get(start + 2..end) != Some(name.as_bytes()) {
            return Err(malformed(start, "an end tag of another element"));
        }
        let end = if bytes.get(end) == Some(&b'>') { end } else { skip_blanks(bytes, end) };
        if bytes.get(end) != Some(&b'>') {
            return Err(malformed(start, "an end tag of another element"));
        }
        self.at = end + 1;
        self.depth -= 1;
        Ok(Step::Close { end: self.at })
    }

    /// A comment, which is passed over, or marked text.
    #[cold]
    fn declared(&mut self, start: usize) -> Result<Option<Step<'a>>, ReplyError> {
        let rest = self.text.get(start..).unwrap_or_default();
        if let Some(comment) = rest.strip_prefix("<!--") {
            // The first two dashes must be those of its end.
            let length = comment.find("--").filter(|length| comment.as_bytes().get(length + 2) == Some(&b'>'));
            self.at = start + 4 + length.ok_or_else(|| malformed(start, "a comment is not well-formed"))? + 3;
            return Ok(None);
        }
        if let Some(marked) = rest.strip_prefix("<![CDATA[") {
            let length = marked.find("]]>").ok_or_else(|| malformed(start, "it ends too early"))?;
            if self.depth == 0 {
                return Err(malformed(start, "text outside the root element"));
            }
            self.at = start + 9 + length + 3;
            return Ok(marked.get(..length).map(|text| Step::Text(Cow::Borrowed(text))));
        }
        let doctype = rest.get(2..9).is_some_and(|word| word.eq_ignore_ascii_case("doctype"));
        Err(malformed(start, if doctype { "a document type" } else { "not well-formed" }))
    }

    /// The declaration at the very beginning; any other instruction is refused.
    #[cold]
    fn instruction(&mut self, start: usize) -> Result<(), ReplyError> {
        let content = self.text.get(start + 2..).unwrap_or_default();
        let length = content.find("?>").ok_or_else(|| malformed(start, "it ends too early"))?;
        let content = content.get(..length).unwrap_or_default();
        let blank = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']);
        if start > 0 || !content.strip_prefix("xml").is_some_and(blank) {
            return Err(malformed(start, "a processing instruction"));
        }
        self.at = start + 2 + length + 2;
        Ok(())
    }

    /// A reference to a character.
    #[inline(never)]
    fn reference(&mut self, start: usize) -> Result<Step<'a>, ReplyError> {
        if self.depth == 0 {
            return Err(malformed(start, "text outside the root element"));
        }
        let rest = self.text.get(start + 1..).unwrap_or_default();
        let length = memchr::memchr3(b';', b'&', b'<', rest.as_bytes());
        let name = length.and_then(|length| rest.get(..length)).unwrap_or_default();
        let unknown = || malformed(start, "an unknown entity");
        if rest.as_bytes().get(name.len()) != Some(&b';') {
            return Err(unknown());
        }
        let char = resolve(name).ok_or_else(unknown)?;
        self.at = start + 1 + name.len() + 1;
        Ok(Step::Text(Cow::Owned(char.into())))
    }

    /// Whether the document may end here.
    #[cold]
    fn finish(&self) -> Result<(), ReplyError> {
        match (self.depth, self.root_seen) {
            (0, true) => Ok(()),
            (0, false) => Err(malformed(self.at, "it is empty")),
            _ => Err(malformed(self.at, "it ends too early")),
        }
    }
}

#[cold]
const fn malformed(offset: usize, what: &'static str) -> ReplyError {
    ReplyError::Malformed { offset, what }
}

/// Text that comes in pieces; borrowed while there is only one.
#[derive(Debug, Default)]
pub(super) struct Gather<'a>(Option<Cow<'a, str>>);

impl<'a> Gather<'a> {
    pub(super) fn push(&mut self, piece: Cow<'a, str>) {
        match &mut self.0 {
            Some(text) => text.to_mut().push_str(&piece),
            None => self.0 = Some(piece),
        }
    }

    pub(super) fn take(&mut self) -> Cow<'a, str> {
        self.0.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
