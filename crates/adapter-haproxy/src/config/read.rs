//! Bytes to lines and words, by HAProxy's rules of quotes, backslashes and comments.

use std::ops::Range;

use super::{ConfigLine, LineFault, MAX_CONFIG_LINES, MAX_LINE_WORDS, Word};

/// All lines, or nothing if there are too many.
pub(super) fn lines(bytes: &[u8]) -> Option<Vec<ConfigLine>> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        if lines.len() == MAX_CONFIG_LINES {
            return None;
        }
        let end = bytes[start..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| start + at + 1);
        lines.push(line(bytes, start..end, lines.len() + 1));
        start = end;
    }
    Some(lines)
}

fn line(bytes: &[u8], span: Range<usize>, number: usize) -> ConfigLine {
    let ended = bytes[span.clone()].ends_with(b"\n");
    let mut end = if ended { span.end - 1 } else { span.end };
    if end > span.start && bytes[end - 1] == b'\r' {
        end -= 1;
    }
    let mut reader = Reader { bytes, at: span.start, end, fault: None };
    let mut words = Vec::new();
    let mut comment = None;
    loop {
        reader.blanks();
        match reader.peek() {
            None => break,
            Some(b'#') => {
                comment = Some(reader.at..end);
                break;
            }
            Some(_) if words.len() == MAX_LINE_WORDS => {
                reader.fault.get_or_insert(LineFault::TooManyWords);
                break;
            }
            Some(_) => words.push(reader.word()),
        }
    }
    let mut fault = reader.fault;
    if bytes[span.clone()].contains(&0) {
        fault = Some(LineFault::Nul);
    } else if !ended {
        fault = fault.or(Some(LineFault::NoLineFeed));
    }
    ConfigLine { number, span, words, comment, fault }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    fault: Option<LineFault>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        (self.at < self.end).then(|| self.bytes[self.at])
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// One word, up to a blank or a `#` outside quotes.
    fn word(&mut self) -> Word {
        let start = self.at;
        let mut text = Vec::new();
        let mut quote = None;
        let mut variable = false;
        while let Some(byte) = self.peek() {
            if quote.is_none() && matches!(byte, b' ' | b'\t' | b'#') {
                break;
            }
            self.at += 1;
            match (byte, quote) {
                (b'"' | b'\'', None) => quote = Some(byte),
                (b'"' | b'\'', Some(open)) if open == byte => quote = None,
                (b'\\', None | Some(b'"')) => self.escape(quote.is_some(), &mut text),
                (b'$', Some(b'"')) => {
                    variable = true;
                    text.push(byte);
                }
                _ => text.push(byte),
            }
        }
        if quote.is_some() {
            self.fault.get_or_insert(LineFault::OpenQuote);
        }
        Word { span: start..self.at, text: String::from_utf8_lossy(&text).into_owned(), variable }
    }

    fn escape(&mut self, quoted: bool, text: &mut Vec<u8>) {
        let Some(byte) = self.next() else {
            self.fault.get_or_insert(LineFault::OpenEscape);
            text.push(b'\\');
            return;
        };
        match byte {
            b' ' | b'#' | b'\\' | b'\'' | b'"' => text.push(byte),
            b'$' if quoted => text.push(byte),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'x' => {
                let digit = |at: usize| {
                    let byte = self.bytes.get(at).filter(|_| at < self.end)?;
                    char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
                };
                match (digit(self.at), digit(self.at + 1)) {
                    (Some(high), Some(low)) => {
                        text.push(high * 16 + low);
                        self.at += 2;
                    }
                    _ => {
                        self.fault.get_or_insert(LineFault::BadEscape);
                        text.extend_from_slice(b"\\x");
                    }
                }
            }
            _ => {
                text.push(b'\\');
                // The character itself is read again: it may end the word.
                self.at -= 1;
            }
        }
    }
}
