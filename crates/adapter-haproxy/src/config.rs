//! An existing HAProxy configuration, every byte of it kept.

use std::ops::Range;

use thiserror::Error;

mod edit;
mod quote;
mod read;
#[cfg(test)]
mod tests;

pub use edit::{Edit, apply_edits};
pub use quote::quote_word;

/// The largest configuration file that is read, in bytes.
pub const MAX_CONFIG_LEN: usize = 4 * 1024 * 1024;
/// The most lines a configuration file may have.
pub const MAX_CONFIG_LINES: usize = 200_000;
/// The most words HAProxy takes on one line.
pub const MAX_LINE_WORDS: usize = 64;

/// Why a configuration cannot be read, quoted or edited.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is larger than [`MAX_CONFIG_LEN`].
    #[error("{name}: {len} bytes, more than the {MAX_CONFIG_LEN} that are read: split the file")]
    TooLarge {
        /// The file.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
    /// The file has more than [`MAX_CONFIG_LINES`] lines.
    #[error("{name}: more than {MAX_CONFIG_LINES} lines: split the file")]
    TooManyLines {
        /// The file.
        name: String,
    },
    /// No quoting can carry this character into a configuration.
    #[error("{word:?} holds a line feed, a carriage return or a NUL byte, which no quoting can carry: remove it")]
    Unquotable {
        /// The word.
        word: String,
    },
    /// Two edits change the same bytes, or one lies outside the file.
    #[error("the edit of bytes {} to {} overlaps another or lies outside the file: apply them one after the other", range.start, range.end)]
    Overlap {
        /// The bytes it wanted to change.
        range: Range<usize>,
    },
}

/// A configuration file: its bytes, its lines, its sections.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    name: String,
    bytes: Vec<u8>,
    lines: Vec<ConfigLine>,
    sections: Vec<ConfigSection>,
}

/// One line: where it is, its words, its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigLine {
    /// Its number, from 1.
    pub number: usize,
    /// Its bytes, the line end included.
    pub span: Range<usize>,
    /// Its words as HAProxy sees them, at most [`MAX_LINE_WORDS`].
    pub words: Vec<Word>,
    /// The comment, from its `#` to the end of the line.
    pub comment: Option<Range<usize>>,
    /// What keeps HAProxy from reading the line.
    pub fault: Option<LineFault>,
}

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Word {
    /// Its bytes in the file, quotes and backslashes included.
    pub span: Range<usize>,
    /// What it says, quotes and backslashes resolved; environment variables are left as they are.
    pub text: String,
    /// An environment variable is inside: what it says is known when HAProxy starts.
    pub variable: bool,
}

/// What is wrong with the writing of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineFault {
    /// A quote is not closed on its line.
    OpenQuote,
    /// The line ends in a backslash; there are no continued lines.
    OpenEscape,
    /// `\x` without two hexadecimal digits.
    BadEscape,
    /// More than [`MAX_LINE_WORDS`] words.
    TooManyWords,
    /// A NUL byte: HAProxy reads no further.
    Nul,
    /// The last line lacks its line feed: HAProxy takes the file for cut off.
    NoLineFeed,
}

/// The kind of a section, by its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SectionKind {
    /// What stands before the first section.
    Preamble,
    /// `global`.
    Global,
    /// `defaults`.
    Defaults,
    /// `frontend`.
    Frontend,
    /// `backend`.
    Backend,
    /// `listen`: both in one.
    Listen,
    /// `peers`.
    Peers,
    /// `userlist`.
    Userlist,
    /// `resolvers`.
    Resolvers,
    /// `program`: gone since 3.3.
    Program,
    /// Any other section HAProxy knows.
    Other,
}

impl SectionKind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "global" => Self::Global,
            "defaults" => Self::Defaults,
            "frontend" => Self::Frontend,
            "backend" => Self::Backend,
            "listen" => Self::Listen,
            "peers" => Self::Peers,
            "userlist" => Self::Userlist,
            "resolvers" => Self::Resolvers,
            "program" => Self::Program,
            "cache" | "mailers" | "ring" | "log-forward" | "log-profile" | "http-errors" | "fcgi-app" | "crt-store"
            | "traces" | "acme" => Self::Other,
            _ => return None,
        })
    }

    /// Takes connections or passes them on: frontend, backend or listen.
    pub const fn is_proxy(self) -> bool {
        matches!(self, Self::Frontend | Self::Backend | Self::Listen)
    }
}

/// A section: its head line and the lines up to the next head.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigSection {
    /// Its kind.
    pub kind: SectionKind,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Indices of its lines, the head included.
    pub lines: Range<usize>,
}

impl ConfigLine {
    /// What the word of this place says, or the empty text.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.text)
    }

    /// The first word.
    pub fn keyword(&self) -> &str {
        self.word(0)
    }

    /// The line begins with these words.
    pub fn starts(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len() && words.iter().enumerate().all(|(at, word)| self.word(at) == *word)
    }

    /// The place of a word, the keyword left out.
    pub fn position(&self, word: &str) -> Option<usize> {
        (1..self.words.len()).find(|&at| self.word(at) == word)
    }

    /// The word after this one, the keyword left out.
    pub fn after(&self, word: &str) -> Option<&Word> {
        self.words.get(self.position(word)? + 1)
    }
}

impl ConfigFile {
    /// Reads a configuration. The name is what findings show, usually the path.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TooLarge`] and [`ConfigError::TooManyLines`]. Anything else is read: what HAProxy would refuse
    /// is marked at its line.
    pub fn parse(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Result<Self, ConfigError> {
        let (name, bytes) = (name.into(), bytes.into());
        if bytes.len() > MAX_CONFIG_LEN {
            return Err(ConfigError::TooLarge { name, len: bytes.len() });
        }
        let Some(lines) = read::lines(&bytes) else { return Err(ConfigError::TooManyLines { name }) };
        let sections = sections(&lines);
        Ok(Self { name, bytes, lines, sections })
    }

    /// The name given to [`parse`](Self::parse).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file as it was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All lines, in order, without gaps between them.
    pub fn lines(&self) -> &[ConfigLine] {
        &self.lines
    }

    /// All sections, in order; a preamble comes first if anything stands before the first head.
    pub fn sections(&self) -> &[ConfigSection] {
        &self.sections
    }

    /// The lines of a section, its head included.
    pub fn lines_of(&self, section: &ConfigSection) -> &[ConfigLine] {
        self.lines.get(section.lines.clone()).unwrap_or_default()
    }

    /// The file put together again from its lines: the same bytes.
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        for line in &self.lines {
            let mut at = line.span.start;
            for word in &line.words {
                out.extend_from_slice(&self.bytes[at..word.span.start]);
                out.extend_from_slice(&self.bytes[word.span.clone()]);
                at = word.span.end;
            }
            out.extend_from_slice(&self.bytes[at..line.span.end]);
        }
        out
    }

    /// The bytes of a line without its line end.
    pub fn text_of(&self, line: &ConfigLine) -> &[u8] {
        let text = self.bytes.get(line.span.clone()).unwrap_or_default();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        text.strip_suffix(b"\r").unwrap_or(text)
    }
}

fn sections(lines: &[ConfigLine]) -> Vec<ConfigSection> {
    let mut sections: Vec<ConfigSection> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(kind) = SectionKind::of(line.keyword()) else {
            match sections.last_mut() {
                Some(section) => section.lines.end = at + 1,
                None => {
                    sections.push(ConfigSection { kind: SectionKind::Preamble, name: None, lines: at..at + 1 });
                }
            }
            continue;
        };
        let name = line.words.get(1).map(|word| word.text.clone()).filter(|_| kind != SectionKind::Global);
        sections.push(ConfigSection { kind, name, lines: at..at + 1 });
    }
    sections
}
