//! Cutting a document that never ends into stanzas.

use bytes::{Buf, Bytes, BytesMut};

/// How much of one stanza is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamLimits {
    /// The most bytes of a stanza. Default 512 KiB; Prosody takes 256 KiB from a client.
    pub stanza: usize,
    /// The most levels of a stanza. Default 24.
    pub depth: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { stanza: 512 * 1024, depth: super::stanza::MAX_STANZA_DEPTH }
    }
}

/// A piece of a stream, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// The head of the stream, with the XML declaration before it: an element that stays open.
    Head(Bytes),
    /// A whole stanza. Prefixes and the default namespace may be declared by the head.
    Stanza(Bytes),
    /// A stanza above a limit was thrown away.
    Skipped {
        /// Its first tag, when that one was not too long itself.
        tag: Bytes,
        /// How long it was.
        bytes: u64,
    },
    /// The other side closed the stream.
    Close,
}

/// Why a stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A document type, comment or processing instruction, which XMPP forbids.
    #[error("the stream holds {0}, which xmpp forbids")]
    Restricted(&'static str),
    /// Not the document that a stream is.
    #[error("the stream is not well-formed: {0}")]
    Malformed(&'static str),
    /// A head without end.
    #[error("the head of the stream is longer than {0} bytes")]
    HeadTooLong(usize),
}

const CDATA: &[u8] = b"[CDATA[";
/// The most of a skipped stanza's first tag that is kept.
const MAX_TAG: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between tags.
    Text,
    /// Behind `<`.
    Less,
    /// Inside an XML declaration; whether the last byte was `?`.
    Declaration(bool),
    /// Behind `<!`, with this much of `[CDATA[` seen.
    Bang(usize),
    /// Inside character data, with this many closing brackets seen.
    Cdata(u8),
    /// Inside a tag.
    Tag { end: bool, quote: u8, slash: bool },
}

/// Takes bytes in any portions and gives whole stanzas. No bytes make it panic.
///
/// It looks at tags, quotes and nesting only; [`Element::parse`](super::Element::parse) reads a stanza.
#[derive(Debug)]
pub struct StreamReader {
    limits: StreamLimits,
    buffer: BytesMut,
    /// How much of the buffer has been looked at.
    seen: usize,
    at: At,
    /// Open elements, the stream included.
    depth: usize,
    /// Where the first tag of the current stanza ends.
    tag: usize,
    /// The stanza being thrown away: its first tag and its length so far.
    skipping: Option<(Bytes, u64)>,
    declared: bool,
    broken: Option<StreamError>,
}

impl StreamReader {
    /// A reader before the head of a stream.
    pub fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            seen: 0,
            at: At::Text,
            depth: 0,
            tag: 0,
            skipping: None,
            declared: false,
            broken: None,
        }
    }

    /// Adds what has been received. Take everything out before adding more: the limits hold for what is looked at.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Expects the head of a new stream, as after a login. What has been received behind the last item belongs to it.
    pub fn restart(&mut self) {
        let limits = self.limits;
        let mut rest = std::mem::take(&mut self.buffer);
        *self = Self { buffer: rest.split(), ..Self::new(limits) };
    }

    /// Whether something has been received that belongs to no item yet.
    pub fn is_between(&self) -> bool {
        self.buffer.is_empty() && self.skipping.is_none()
    }

    /// The next piece, `None` until more is received.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; every later call gives the same one.
    pub fn take(&mut self) -> Result<Option<StreamItem>, StreamError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let found = self.look();
        if let Err(error) = found {
            self.broken = Some(error);
            self.buffer = BytesMut::new();
        }
        found
    }

    fn look(&mut self) -> Result<Option<StreamItem>, StreamError> {
        while let Some(&byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            if let Some(item) = self.step(byte)? {
                return Ok(Some(item));
            }
            // What is being thrown away goes by portions as they came, not byte by byte.
            let goes = self.skipping.is_some() && self.seen == self.buffer.len();
            if goes || (self.skipping.is_none() && self.seen > self.limits.stanza) {
                self.shorten()?;
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<Option<StreamItem>, StreamError> {
        self.at = match (self.at, byte) {
            (At::Text, b'<') => At::Less,
            (At::Text, b' ' | b'\t' | b'\r' | b'\n') if self.depth < 2 => {
                // Blanks between stanzas keep a connection alive and mean nothing.
                if self.seen == 1 {
                    self.buffer.advance(1);
                    self.seen = 0;
                }
                At::Text
            }
            (At::Text, _) if self.depth < 2 => return Err(StreamError::Malformed("text between stanzas")),
            (At::Text, _) => At::Text,
            (At::Less, b'?') if self.depth == 0 && !self.declared => {
                self.declared = true;
                At::Declaration(false)
            }
            (At::Less, b'?') => return Err(StreamError::Restricted("a processing instruction")),
            (At::Less, b'!') => At::Bang(0),
            (At::Less, b'/') => At::Tag { end: true, quote: 0, slash: false },
            (At::Less, b'>' | b'<' | b' ' | b'\t' | b'\r' | b'\n' | b'=' | b'\'' | b'"' | b'&') => {
                return Err(StreamError::Malformed("an element name expected"));
            }
            (At::Less, _) => At::Tag { end: false, quote: 0, slash: false },
            (At::Declaration(true), b'>') => At::Text,
            (At::Declaration(_), b'<') => return Err(StreamError::Malformed("the declaration does not end")),
            (At::Declaration(_), byte) => At::Declaration(byte == b'?'),
            (At::Bang(0), b'-') => return Err(StreamError::Restricted("a comment")),
            (At::Bang(seen), byte) if CDATA.get(seen) == Some(&byte) => {
                if self.depth < 2 {
                    return Err(StreamError::Malformed("text between stanzas"));
                }
                if seen + 1 == CDATA.len() { At::Cdata(0) } else { At::Bang(seen + 1) }
            }
            (At::Bang(_), _) => return Err(StreamError::Restricted("a document type")),
            (At::Cdata(2), b'>') => At::Text,
            (At::Cdata(seen), b']') => At::Cdata((seen + 1).min(2)),
            (At::Cdata(_), _) => At::Cdata(0),
            (At::Tag { end, quote: 0, .. }, b'\'' | b'"') => At::Tag { end, quote: byte, slash: false },
            (At::Tag { end, quote: 0, slash }, b'>') => return self.tag_ends(end, slash),
            (At::Tag { .. }, b'<') => return Err(StreamError::Malformed("a tag inside a tag")),
            (At::Tag { end, quote: 0, .. }, byte) => At::Tag { end, quote: 0, slash: byte == b'/' },
            (At::Tag { end, quote, .. }, byte) => {
                At::Tag { end, quote: if byte == quote { 0 } else { quote }, slash: false }
            }
        };
        Ok(None)
    }

    fn tag_ends(&mut self, end: bool, slash: bool) -> Result<Option<StreamItem>, StreamError> {
        self.at = At::Text;
        if end {
            self.depth = self.depth.checked_sub(1).ok_or(StreamError::Malformed("an end tag too many"))?;
            return Ok(match self.depth {
                0 => {
                    self.cut();
                    Some(StreamItem::Close)
                }
                1 => Some(self.stanza()),
                _ => None,
            });
        }
        match (self.depth, slash) {
            (0, true) => return Err(StreamError::Malformed("a stream that is empty")),
            (0, false) => {
                self.depth = 1;
                return Ok(Some(StreamItem::Head(self.cut())));
            }
            (1, true) => return Ok(Some(self.stanza())),
            (1, false) => self.tag = self.seen,
            _ => {}
        }
        if !slash {
            self.depth += 1;
            if self.depth > self.limits.depth + 1 && self.skipping.is_none() {
                self.skip();
            }
        }
        Ok(None)
    }

    /// Takes what has been looked at out of the buffer.
    fn cut(&mut self) -> Bytes {
        let piece = self.buffer.split_to(self.seen).freeze();
        self.seen = 0;
        self.tag = 0;
        piece
    }

    fn stanza(&mut self) -> StreamItem {
        let piece = self.cut();
        match self.skipping.take() {
            Some((tag, bytes)) => StreamItem::Skipped { tag, bytes: bytes + piece.len() as u64 },
            None => StreamItem::Stanza(piece),
        }
    }

    /// Throws the current stanza away from here on.
    fn skip(&mut self) {
        let known = if (1..=MAX_TAG).contains(&self.tag) { self.buffer.get(..self.tag) } else { None };
        let tag = Bytes::copy_from_slice(known.unwrap_or_default());
        self.skipping = Some((tag, 0));
    }

    /// Makes room: what is looked at is too long, or is being thrown away.
    fn shorten(&mut self) -> Result<(), StreamError> {
        if self.depth == 0 {
            return Err(StreamError::HeadTooLong(self.limits.stanza));
        }
        if self.skipping.is_none() {
            self.skip();
        }
        let seen = self.seen;
        drop(self.cut());
        if let Some((_, bytes)) = &mut self.skipping {
            *bytes += seen as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
