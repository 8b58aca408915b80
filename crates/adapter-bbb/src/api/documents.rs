//! The addresses in a list of documents, found while it passes through.

use super::xml::unescape;

/// The longest address.
const MAX_VALUE: usize = 8 << 10;
/// How much is kept of a name.
const MAX_NAME: usize = 256;
/// The longest declaration that is looked at.
const MAX_DECLARATION: usize = 256;
/// The most addresses of one list.
const MAX_URLS: usize = 256;

/// Where the scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Text,
    /// Behind `<`.
    Opened,
    /// Behind `<!`.
    Bang,
    /// In a comment, behind so many dashes.
    Comment(u8),
    /// In a section of characters, behind so many brackets.
    Section(u8),
    /// In a processing instruction or declaration, perhaps behind `?`.
    Instruction(bool),
    /// In the name of an element.
    Element,
    /// In a tag, between its attributes.
    Tag,
    /// In the name of an attribute.
    Name,
    /// Between the name of an attribute and its value.
    Equals,
    /// In a value, up to this quote.
    Value(u8),
}

/// Finds the values of `url` attributes, wherever the pieces of the document are cut.
#[derive(Debug)]
pub(crate) struct DocumentScan {
    at: At,
    /// How the document begins, as far as it was seen.
    head: [u8; 4],
    seen: usize,
    name: Vec<u8>,
    value: Vec<u8>,
    wanted: bool,
    urls: usize,
}

impl Default for DocumentScan {
    fn default() -> Self {
        Self { at: At::Text, head: [0; 4], seen: 0, name: Vec::new(), value: Vec::new(), wanted: false, urls: 0 }
    }
}

impl DocumentScan {
    /// Goes on with these bytes and adds the addresses that end in them.
    ///
    /// # Errors
    ///
    /// What a list of documents never has, and would hide addresses from us: a document type, another encoding.
    pub(crate) fn feed(&mut self, bytes: &[u8], urls: &mut Vec<String>) -> Result<(), &'static str> {
        if self.seen < self.head.len() {
            for byte in bytes.iter().take(self.head.len() - self.seen) {
                self.head[self.seen] = *byte;
                self.seen += 1;
            }
            if is_wide(&self.head[..self.seen]) {
                return Err("it is not in UTF-8");
            }
        }
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match self.at {
                At::Text if byte == b'<' => self.at = At::Opened,
                At::Text => match rest.iter().position(|byte| *byte == b'<') {
                    Some(at) => rest = &rest[at..],
                    None => return Ok(()),
                },
                At::Section(brackets) => {
                    self.at = match (byte, brackets) {
                        (b']', n) => At::Section((n + 1).min(2)),
                        (b'>', 2) => At::Text,
                        _ => At::Section(0),
                    };
                }
                _ => self.step(byte, urls)?,
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, urls: &mut Vec<String>) -> Result<(), &'static str> {
        self.at = match self.at {
            At::Opened => {
                self.name.clear();
                self.value.clear();
                match byte {
                    b'!' => At::Bang,
                    b'?' => At::Instruction(false),
                    b'>' => At::Text,
                    _ => At::Element,
                }
            }
            At::Bang => {
                self.name.push(byte);
                match self.name.as_slice() {
                    b"--" => At::Comment(0),
                    b"[CDATA[" => At::Section(0),
                    b"DOCTYPE" | b"ENTITY" => return Err("it has a document type"),
                    begun if [&b"--"[..], b"[CDATA[", b"DOCTYPE", b"ENTITY"].iter().any(|w| w.starts_with(begun)) => {
                        At::Bang
                    }
                    // No document at all.
                    _ => At::Text,
                }
            }
            At::Comment(dashes) => match (byte, dashes) {
                (b'-', n) => At::Comment((n + 1).min(2)),
                (b'>', 2) => At::Text,
                _ => At::Comment(0),
            },
            At::Instruction(true) if byte == b'>' => {
                declared(&self.value)?;
                At::Text
            }
            At::Instruction(_) => {
                if self.value.len() < MAX_DECLARATION {
                    self.value.push(byte);
                }
                At::Instruction(byte == b'?')
            }
            At::Element | At::Tag | At::Name | At::Equals if byte == b'>' => At::Text,
            At::Element if is_blank(byte) || byte == b'/' => At::Tag,
            At::Element => At::Element,
            At::Tag if is_blank(byte) || byte == b'/' => At::Tag,
            At::Tag => {
                self.name.clear();
                self.name.push(byte);
                At::Name
            }
            At::Name if byte == b'=' || is_blank(byte) => At::Equals,
            At::Name => {
                // Nothing that is wanted has a long one.
                if self.name.len() < MAX_NAME {
                    self.name.push(byte);
                }
                At::Name
            }
            At::Equals if matches!(byte, b'"' | b'\'') => {
                self.value.clear();
                let name = self.name.rsplit(|byte| *byte == b':').next().unwrap_or_default();
                self.wanted = name.eq_ignore_ascii_case(b"url");
                At::Value(byte)
            }
            At::Equals => At::Equals,
            At::Value(quote) if byte == quote => {
                if std::mem::take(&mut self.wanted) {
                    self.urls += 1;
                    if self.urls > MAX_URLS {
                        return Err("it names too many documents");
                    }
                    let text = std::str::from_utf8(&self.value).map_err(|_| "it is not in UTF-8")?;
                    urls.push(unescape(text).ok_or("it has an unknown entity")?.trim().to_owned());
                }
                At::Tag
            }
            At::Value(quote) => {
                if self.wanted {
                    self.value.push(byte);
                    if self.value.len() > MAX_VALUE {
                        return Err("an address is too long");
                    }
                }
                At::Value(quote)
            }
            At::Text | At::Section(_) => self.at,
        };
        Ok(())
    }
}

/// Whether a document that begins so is in an encoding of more than a byte for each letter, or in one where the letters
/// have other numbers.
fn is_wide(head: &[u8]) -> bool {
    let begins = |with: &[u8]| head.starts_with(with);
    begins(b"\xfe\xff")
        || begins(b"\xff\xfe")
        || begins(b"<\0")
        || begins(b"\0<")
        || begins(b"\0\0\0<")
        || begins(b"\0\0\xfe\xff")
        || begins(b"\x4c\x6f\xa7\x94")
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Refuses a declaration of an encoding in which our bytes would mean something else.
fn declared(declaration: &[u8]) -> Result<(), &'static str> {
    let text = String::from_utf8_lossy(declaration).to_ascii_lowercase();
    let Some((_, rest)) = text.split_once("encoding").filter(|_| text.starts_with("xml")) else { return Ok(()) };
    let name = rest.split(['"', '\'']).nth(1).unwrap_or_default();
    let plain = matches!(name, "utf-8" | "utf8" | "us-ascii" | "ascii") || name.starts_with("iso-8859-");
    if plain || name.starts_with("windows-125") { Ok(()) } else { Err("it is not in UTF-8") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn urls_of(text: &[u8]) -> Result<Vec<String>, &'static str> {
        let mut whole = Vec::new();
        DocumentScan::default().feed(text, &mut whole)?;
        // Cut anywhere, it is the same.
        let (mut scan, mut pieces) = (DocumentScan::default(), Vec::new());
        for byte in text {
            scan.feed(std::slice::from_ref(byte), &mut pieces)?;
        }
        assert_eq!(whole, pieces);
        Ok(whole)
    }

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        let text = br#"<?xml version="1.0" encoding='UTF-8'?>
            <!-- <document url="http://comment/"/> -- > -->
            <modules><module name="presentation"><document url="http://a/?x=1&amp;y=&#x32;"
              filename='a > b'/><document filename="url" URL = 'http://b/"'></document>
            <x:document x:url="http://c/"/><document name="d">QUJD url="http://text/"</document>
            <![CDATA[<document url="http://section/"/>]]]]><document url=" http://d/ " /></module></modules>"#;
        assert_eq!(urls_of(text).unwrap(), ["http://a/?x=1&y=2", "http://b/\"", "http://c/", "http://d/"]);
        assert_eq!(urls_of(b"").unwrap(), [""; 0]);
        assert_eq!(urls_of(b"not xml at all < url=x").unwrap(), [""; 0]);
    }

    #[test]
    fn what_would_hide_addresses_is_refused() {
        for text in [
            &b"<!DOCTYPE modules [<!ENTITY x 'http://127.0.0.1/'>]><modules/>"[..],
            b"<modules><document url='&x;'/></modules>",
            b"\xff\xfe<\0m\0",
            b"\0<\0m",
            b"\0\0\0<",
            b"\x4c\x6f\xa7\x94",
            b"<?xml version='1.0' encoding='UTF-7'?><modules/>",
            b"<?xml version='1.0' encoding='EBCDIC-CP-US'?><modules/>",
        ] {
            assert!(urls_of(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
        let many = "<d url='x'/>".repeat(300);
        assert!(urls_of(many.as_bytes()).is_err());
        assert!(urls_of(format!("<d url='{}'/>", "x".repeat(9_000)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = urls_of(&bytes);
        }

        #[test]
        fn markup_never_panics(text in "(<|>|/|!|--|\\[CDATA\\[|\\]\\]|\\?|url|=|'|\"| |&amp;|x){0,60}") {
            let _ = urls_of(text.as_bytes());
        }
    }
}
