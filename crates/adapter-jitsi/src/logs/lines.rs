//! Bytes into lines.

/// The longest line that is given out, in bytes; the rest of a longer one is dropped.
pub const MAX_LINE: usize = 64 * 1024;

/// Cuts a stream of bytes into lines, however the bytes are split. Holds at most one line of [`MAX_LINE`] bytes.
///
/// ```
/// let mut lines = Vec::new();
/// let mut splitter = adapter_jitsi::LineSplitter::new();
/// splitter.push(b"first\r\nsec", |line| lines.push(line.to_owned()));
/// splitter.push(b"ond\n", |line| lines.push(line.to_owned()));
/// assert_eq!(lines, ["first", "second"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
    skip: bool,
    cut: u64,
}

impl LineSplitter {
    /// Starts at the beginning of a line.
    pub const fn new() -> Self {
        Self { partial: Vec::new(), skip: false, cut: 0 }
    }

    /// Starts in the middle of a line, whose rest is dropped.
    pub const fn within_line() -> Self {
        Self { partial: Vec::new(), skip: true, cut: 0 }
    }

    /// How many lines were longer than [`MAX_LINE`] and were given out without their end.
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// Takes bytes and gives each line that is complete, without its end (`\n` or `\r\n`); bytes that are no UTF-8
    /// become replacement characters.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(at) = bytes.iter().position(|&b| b == b'\n') {
            self.keep(&bytes[..at]);
            self.give(&mut each);
            bytes = &bytes[at + 1..];
        }
        self.keep(bytes);
    }

    /// Gives the last line although it has no end.
    pub fn finish(&mut self, mut each: impl FnMut(&str)) {
        if self.partial.is_empty() {
            self.skip = false;
        } else {
            self.give(&mut each);
        }
    }

    /// Forgets the beginning of a line.
    pub fn clear(&mut self) {
        self.partial.clear();
        self.skip = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skip {
            return;
        }
        let room = MAX_LINE - self.partial.len().min(MAX_LINE);
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            // A carriage return in front of the end is not what makes a line too long, but it does no harm either.
            self.cut += 1;
            self.skip = true;
        }
    }

    fn give(&mut self, each: &mut impl FnMut(&str)) {
        let dropped = self.skip && self.partial.is_empty();
        self.skip = false;
        if !dropped {
            let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
            each(&String::from_utf8_lossy(line));
        }
        self.partial.clear();
    }
}
