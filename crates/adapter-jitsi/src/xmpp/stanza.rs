//! One stanza as a small tree, and the escaping of what is written.

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The most attributes an element may have.
pub const MAX_STANZA_ATTRIBUTES: usize = 64;
/// The most elements a stanza may have.
pub const MAX_STANZA_ELEMENTS: usize = 4096;
/// How deeply elements of a stanza may be nested, the stanza itself included.
pub const MAX_STANZA_DEPTH: usize = 24;

/// Why a stanza was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StanzaError {
    /// It is no well-formed XML, or it uses what XMPP forbids.
    #[error("malformed stanza at byte {offset}: {what}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It is well-formed as far as it was read, but larger than we read.
    #[error("stanza with more {what} than {limit}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// Prefixes declared outside a stanza, by the head of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    prefixes: Vec<(String, String)>,
}

impl Default for Scope {
    /// What every client stream declares: `jabber:client` and the prefix `stream`.
    fn default() -> Self {
        let pair = |prefix: &str, namespace: &str| (prefix.to_owned(), namespace.to_owned());
        Self { prefixes: vec![pair("", super::ns::CLIENT), pair("stream", super::ns::STREAM)] }
    }
}

/// An element: its name with the namespace resolved, attributes, children, and its own text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    namespace: String,
    attributes: Vec<(String, String)>,
    children: Vec<Self>,
    text: String,
}

impl Element {
    /// Reads one stanza.
    ///
    /// # Errors
    ///
    /// [`StanzaError`]: not well-formed, not UTF-8, a document type, processing instruction, comment, unknown entity or
    /// undeclared prefix; or above one of the limits.
    pub fn parse(stanza: &[u8], scope: &Scope) -> Result<Self, StanzaError> {
        let text = std::str::from_utf8(stanza).map_err(|error| malformed(error.valid_up_to(), "not UTF-8"))?;
        let mut tree = Tree { open: Vec::new(), scope: scope.prefixes.clone(), elements: 0 };
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.check_end_names = true;
        config.allow_unmatched_ends = false;
        config.allow_dangling_amp = false;
        let mut root = None;
        loop {
            let offset = usize::try_from(reader.buffer_position()).unwrap_or(text.len());
            let event = reader.read_event().map_err(|_| malformed(offset, "not well-formed"))?;
            let done = match event {
                Event::Start(_) | Event::Empty(_) if root.is_some() => {
                    return Err(malformed(offset, "a second root element"));
                }
                Event::Start(tag) => {
                    tree.open(&tag, offset)?;
                    None
                }
                Event::Empty(tag) => {
                    tree.open(&tag, offset)?;
                    tree.close()
                }
                Event::End(_) => tree.close(),
                Event::Text(text) => {
                    let text: &str = &text;
                    tree.text(text, offset)?;
                    None
                }
                Event::CData(text) => {
                    let text: &str = &text;
                    tree.text(text, offset)?;
                    None
                }
                Event::GeneralRef(name) => {
                    let name: &str = &name;
                    let char = resolve(name).ok_or(malformed(offset, "an unknown entity"))?;
                    tree.text(char.encode_utf8(&mut [0; 4]), offset)?;
                    None
                }
                Event::Decl(_) if offset == 0 => None,
                Event::Decl(_) | Event::PI(_) => return Err(malformed(offset, "a processing instruction")),
                Event::Comment(_) => return Err(malformed(offset, "a comment")),
                Event::DocType(_) => return Err(malformed(offset, "a document type")),
                Event::Eof => break,
            };
            root = root.or(done);
        }
        match root {
            Some(root) if tree.open.is_empty() => Ok(root),
            _ => Err(malformed(text.len(), "it ends too early")),
        }
    }

    /// Reads the head of a stream, an element that stays open: the element, and the prefixes it declares.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_head(head: &[u8]) -> Result<(Self, Scope), StanzaError> {
        let open = head.strip_suffix(b">").ok_or(malformed(head.len(), "no head of a stream"))?;
        let mut closed = open.to_vec();
        closed.extend_from_slice(b"/>");
        let element = Self::parse(&closed, &Scope { prefixes: Vec::new() })?;
        let prefixes = element.attributes.iter().filter_map(|(name, value)| {
            let prefix = if name == "xmlns" { "" } else { name.strip_prefix("xmlns:")? };
            Some((prefix.to_owned(), value.clone()))
        });
        let prefixes = prefixes.collect();
        Ok((element, Scope { prefixes }))
    }

    /// The name without prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace, empty when there is none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether this is that element of that namespace.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// The value of an attribute, named as written.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The elements directly inside.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// The first such element directly inside.
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(name, namespace))
    }

    /// The text directly inside, in one piece.
    pub fn text(&self) -> &str {
        &self.text
    }
}

struct Tree {
    /// Open elements, each with the number of prefixes known outside it.
    open: Vec<(Element, usize)>,
    scope: Vec<(String, String)>,
    elements: usize,
}

impl Tree {
    fn open(&mut self, tag: &BytesStart<'_>, offset: usize) -> Result<(), StanzaError> {
        if self.open.len() == MAX_STANZA_DEPTH {
            return Err(StanzaError::TooMuch { what: "levels", limit: MAX_STANZA_DEPTH });
        }
        if self.elements == MAX_STANZA_ELEMENTS {
            return Err(StanzaError::TooMuch { what: "elements", limit: MAX_STANZA_ELEMENTS });
        }
        self.elements += 1;
        let outside = self.scope.len();
        let mut attributes = Vec::new();
        for attribute in tag.attributes().with_checks(true) {
            let attribute = attribute.map_err(|_| malformed(offset, "attributes are not well-formed"))?;
            if attributes.len() == MAX_STANZA_ATTRIBUTES {
                return Err(StanzaError::TooMuch { what: "attributes", limit: MAX_STANZA_ATTRIBUTES });
            }
            let key: &str = attribute.key.0;
            let raw: &str = &attribute.value;
            let value = unescape(raw).ok_or(malformed(offset, "an attribute's value is not well-formed"))?;
            if !is_name(key) {
                return Err(malformed(offset, "an attribute name expected"));
            }
            if key == "xmlns" {
                self.scope.push((String::new(), value.clone()));
            } else if let Some(prefix) = key.strip_prefix("xmlns:") {
                self.scope.push((prefix.to_owned(), value.clone()));
            }
            attributes.push((key.to_owned(), value));
        }
        let full: &str = tag.name().0;
        if !is_name(full) {
            return Err(malformed(offset, "an element name expected"));
        }
        let (prefix, name) = full.split_once(':').unwrap_or(("", full));
        let found = self.scope.iter().rev().find(|(known, _)| known == prefix).map(|(_, namespace)| namespace.clone());
        let namespace = match found {
            Some(namespace) => namespace,
            None if prefix.is_empty() => String::new(),
            None => return Err(malformed(offset, "an undeclared prefix")),
        };
        let element = Element { name: name.to_owned(), namespace, attributes, ..Element::default() };
        self.open.push((element, outside));
        Ok(())
    }

    /// Ends the innermost element; gives it when it is the outermost.
    fn close(&mut self) -> Option<Element> {
        let (element, outside) = self.open.pop()?;
        self.scope.truncate(outside);
        match self.open.last_mut() {
            Some((parent, _)) => {
                parent.children.push(element);
                None
            }
            None => Some(element),
        }
    }

    fn text(&mut self, text: &str, offset: usize) -> Result<(), StanzaError> {
        if text.chars().any(|char| !is_xml(char)) {
            return Err(malformed(offset, "a character that XML forbids"));
        }
        match self.open.last_mut() {
            Some((element, _)) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(malformed(offset, "text outside the root element")),
        }
        Ok(())
    }
}

const fn malformed(offset: usize, what: &'static str) -> StanzaError {
    StanzaError::Malformed { offset, what }
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.' | b':');
    name.bytes().all(inner) && !name.starts_with(|char: char| matches!(char, '-' | '.' | '0'..='9')) && !name.is_empty()
}

fn is_xml(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// The character of a predefined entity or of a number, by what stands between `&` and `;`.
fn resolve(name: &str) -> Option<char> {
    let number = match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|&char| is_xml(char))
}

/// The value of an attribute as written between its quotes; blanks become spaces.
fn unescape(raw: &str) -> Option<String> {
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '<', '\t', '\n', '\r']) {
        let (before, from) = rest.split_at(at);
        value.push_str(before);
        if let Some(reference) = from.strip_prefix('&') {
            let (name, behind) = reference.split_once(';')?;
            value.push(resolve(name)?);
            rest = behind;
        } else if from.starts_with('<') {
            return None;
        } else {
            value.push(' ');
            rest = from.get(1..)?;
        }
    }
    value.push_str(rest);
    value.chars().all(is_xml).then_some(value)
}

/// Text made safe between tags and inside both kinds of quotes. Characters that XML forbids are left out.
pub fn escape(text: &str) -> Cow<'_, str> {
    let special = |char: char| matches!(char, '&' | '<' | '>' | '"' | '\'' | '\t' | '\n' | '\r') || !is_xml(char);
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            char if is_xml(char) => escaped.push(char),
            _ => {}
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
