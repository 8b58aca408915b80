//! A strict reading of XML: elements and text, with every limit in one place.

use std::borrow::Cow;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::ReplyError;

/// How deeply elements of an answer may be nested.
pub const MAX_DEPTH: usize = 32;

/// One step through a document.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// An element begins: its name, and where its tag starts.
    Open { name: &'a str, start: usize },
    /// The innermost element ends: just behind its end tag.
    Close { end: usize },
    /// Text inside the innermost element, unescaped. One text may come in several steps.
    Text(Cow<'a, str>),
}

/// Walks through a document. Refuses document types, processing instructions, unknown entities, bad nesting, text
/// outside the root, and depth above [`MAX_DEPTH`].
pub(crate) struct Scanner<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    depth: usize,
    root_seen: bool,
    /// Where an empty element, just opened, ends.
    pending: Option<usize>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, ReplyError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| ReplyError::Utf8 { offset: error.valid_up_to() })?;
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.check_end_names = true;
        config.allow_unmatched_ends = false;
        config.allow_dangling_amp = false;
        config.expand_empty_elements = false;
        config.check_comments = true;
        Ok(Self { text, reader, depth: 0, root_seen: false, pending: None })
    }

    /// How many elements are open.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// The bytes of the document between two places.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.text.as_bytes().get(from..to).unwrap_or_default()
    }

    /// An attribute of the element that was just opened, whose tag starts there.
    #[cfg(feature = "recordings")]
    pub(crate) fn attribute(&self, start: usize, name: &str) -> Option<String> {
        let tag = self.text.get(start..self.position())?.strip_prefix('<')?.strip_suffix('>')?;
        let tag = tag.strip_suffix('/').unwrap_or(tag);
        let length = tag.find(|c: char| c.is_ascii_whitespace()).unwrap_or(tag.len());
        let tag = BytesStart::from_content(tag, length);
        let found = tag.try_get_attribute(name).ok().flatten()?;
        let mut value = String::new();
        for (at, piece) in found.value.split('&').enumerate() {
            let (entity, rest) =
                if at == 0 { (None, piece) } else { piece.split_once(';').map(|(e, r)| (Some(e), r))? };
            if let Some(entity) = entity {
                value.push_str(&resolve(&BytesRef::new(entity))?);
            }
            value.push_str(rest);
        }
        Some(value)
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(self.text.len())
    }

    /// The next step, or `None` at the end of a complete document.
    pub(crate) fn step(&mut self) -> Result<Option<Step<'a>>, ReplyError> {
        if let Some(end) = self.pending.take() {
            self.depth -= 1;
            return Ok(Some(Step::Close { end }));
        }
        loop {
            let start = self.position();
            let malformed = |what| ReplyError::Malformed { offset: start, what };
            let event = self.reader.read_event().map_err(|_| malformed("not well-formed"))?;
            match event {
                Event::Start(tag) => return self.open(&tag, start).map(Some),
                Event::Empty(tag) => {
                    let step = self.open(&tag, start)?;
                    self.pending = Some(self.position());
                    return Ok(Some(step));
                }
                Event::End(_) => {
                    self.depth = self.depth.checked_sub(1).ok_or(malformed("an end tag too many"))?;
                    return Ok(Some(Step::Close { end: self.position() }));
                }
                Event::Text(text) if self.depth > 0 => return Ok(Some(Step::Text(text.into_inner()))),
                Event::Text(text) if text.trim().is_empty() => {}
                Event::CData(text) if self.depth > 0 => return Ok(Some(Step::Text(text.into_inner()))),
                Event::GeneralRef(name) if self.depth > 0 => {
                    return resolve(&name).map(|text| Some(Step::Text(text))).ok_or(malformed("an unknown entity"));
                }
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    return Err(malformed("text outside the root element"));
                }
                Event::Comment(_) => {}
                Event::Decl(_) if start == 0 => {}
                Event::Decl(_) | Event::PI(_) => return Err(malformed("a processing instruction")),
                Event::DocType(_) => return Err(malformed("a document type")),
                Event::Eof if self.depth > 0 => return Err(malformed("it ends too early")),
                Event::Eof if !self.root_seen => return Err(malformed("it is empty")),
                Event::Eof => return Ok(None),
            }
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>, start: usize) -> Result<Step<'a>, ReplyError> {
        let malformed = |what| ReplyError::Malformed { offset: start, what };
        if self.depth == 0 && self.root_seen {
            return Err(malformed("a second root element"));
        }
        if self.depth == MAX_DEPTH {
            return Err(malformed("nested too deeply"));
        }
        let len = tag.name().0.len();
        let name = self.text.get(start + 1..start + 1 + len).unwrap_or_default();
        if !is_name(name) {
            return Err(malformed("an element name expected"));
        }
        if tag.len() > len && !attributes_are_sound(tag) {
            return Err(malformed("attributes are not well-formed"));
        }
        self.depth += 1;
        self.root_seen = true;
        Ok(Step::Open { name, start })
    }
}

/// Whether a text may name an element. Generous beyond ASCII.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.' | b':');
    name.bytes().all(inner) && !name.starts_with(|char: char| matches!(char, '-' | '.' | '0'..='9')) && !name.is_empty()
}

fn attributes_are_sound(tag: &BytesStart<'_>) -> bool {
    tag.attributes().with_checks(true).all(|attribute| {
        attribute.is_ok_and(|attribute| {
            let value: &str = &attribute.value;
            is_name(attribute.key.0) && !value.contains('<') && references_are_sound(value)
        })
    })
}

fn references_are_sound(text: &str) -> bool {
    text.split('&')
        .skip(1)
        .all(|piece| piece.split_once(';').is_some_and(|(name, _)| resolve(&BytesRef::new(name)).is_some()))
}

/// The text of a predefined entity or a character reference.
fn resolve(name: &BytesRef<'_>) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match &**name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => {
            let char = name.resolve_char_ref().ok().flatten().filter(|char| is_xml_char(*char))?;
            return Some(Cow::Owned(char.to_string()));
        }
    }))
}

/// Whether XML 1.0 allows this character.
pub(super) const fn is_xml_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
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
