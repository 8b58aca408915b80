//! Bytes from a runtime socket, cut into lines and answers.
//!
//! A session with a prompt ends each answer with `> ` at the beginning of a line, on every release and after every
//! refusal, which the empty line of the manual does not. A payload is asked for with one `+ ` for each of its lines,
//! glued before the answer. Without a prompt the answer ends when the connection does.

use super::session::SessionError;

/// The most bytes of one answer that are read by default, 256 MiB: they are handed over line by line, never kept.
pub const MAX_ANSWER: u64 = 256 << 20;
/// The most bytes of one line: 16 MiB.
pub const MAX_LINE: usize = 16 << 20;

/// How answers end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With a prompt; the connection stays.
    Prompt,
    /// With the connection: one command each.
    Close,
}

/// What the bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One line of an answer, without its line feed.
    Line(&'a [u8]),
    /// The answer is whole.
    End {
        /// Whether an empty line closed it, which refusals of 2.6 lack.
        terminated: bool,
    },
}

/// Cuts bytes into lines and answers. Pure; memory is bounded by the longest line.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_answer: u64,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Empty lines held back: the last one belongs to the framing.
    blanks: u32,
    /// Bytes of this answer so far.
    seen: u64,
    /// Nothing of this answer has come, so that `+ ` may.
    fresh: bool,
}

impl Decoder {
    /// A decoder at the beginning of an answer.
    pub fn new(framing: Framing, max_answer: u64) -> Self {
        Self { framing, max_answer, partial: Vec::new(), blanks: 0, seen: 0, fresh: true }
    }

    /// The beginning of a line whose end has not come.
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    /// Reads these bytes.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLarge`] or [`SessionError::LineTooLong`]; the rest of the stream is then of no use.
    pub fn read(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> Result<(), SessionError> {
        while !bytes.is_empty() {
            if self.framing == Framing::Prompt && self.partial.len() < 2 {
                // At the beginning of a line: a prompt, or not.
                let mut head = [0_u8; 2];
                let have = self.partial.len();
                let take = bytes.len().min(2 - have);
                for (to, from) in head.iter_mut().zip(self.partial.iter().chain(bytes)) {
                    *to = *from;
                }
                if have + take < 2 && matches!(head[0], b'>' | b'+') {
                    self.partial.extend_from_slice(bytes);
                    return Ok(());
                }
                if head == *b"> " {
                    self.partial.clear();
                    bytes = &bytes[take..];
                    self.end(sink);
                    continue;
                }
                if self.fresh && head == *b"+ " {
                    self.partial.clear();
                    bytes = &bytes[take..];
                    continue;
                }
            }
            let Some(at) = bytes.iter().position(|b| *b == b'\n') else {
                self.count(bytes.len())?;
                self.partial.extend_from_slice(bytes);
                return self.check_line(self.partial.len());
            };
            self.count(at + 1)?;
            self.check_line(self.partial.len() + at)?;
            let line = &bytes[..at];
            bytes = &bytes[at + 1..];
            self.fresh = false;
            if self.partial.is_empty() {
                if line.is_empty() {
                    self.blanks = self.blanks.saturating_add(1);
                } else {
                    Self::flush(&mut self.blanks, sink);
                    sink(Piece::Line(line));
                }
            } else {
                self.partial.extend_from_slice(line);
                Self::flush(&mut self.blanks, sink);
                sink(Piece::Line(&self.partial));
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// The connection has ended: whether that was the end of an answer, or in the midst of one.
    pub fn close(&mut self, sink: &mut dyn FnMut(Piece<'_>)) -> bool {
        let whole = self.framing == Framing::Close && self.partial.is_empty();
        if whole {
            self.end(sink);
        }
        whole
    }

    fn flush(blanks: &mut u32, sink: &mut dyn FnMut(Piece<'_>)) {
        for _ in 0..std::mem::take(blanks) {
            sink(Piece::Line(b""));
        }
    }

    fn end(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        let terminated = self.blanks > 0;
        let mut inside = self.blanks.saturating_sub(1);
        Self::flush(&mut inside, sink);
        sink(Piece::End { terminated });
        self.blanks = 0;
        self.seen = 0;
        self.fresh = true;
    }

    fn count(&mut self, bytes: usize) -> Result<(), SessionError> {
        self.seen = self.seen.saturating_add(bytes as u64);
        if self.seen > self.max_answer { Err(SessionError::TooLarge { max: self.max_answer }) } else { Ok(()) }
    }

    fn check_line(&self, len: usize) -> Result<(), SessionError> {
        if len > MAX_LINE { Err(SessionError::LineTooLong { max: MAX_LINE }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answers in these bytes, fed in pieces of this size.
    fn answers(framing: Framing, bytes: &[u8], step: usize) -> Vec<Vec<String>> {
        let mut decoder = Decoder::new(framing, MAX_ANSWER);
        let (mut done, mut lines) = (vec![], vec![]);
        let mut sink = |piece: Piece<'_>| match piece {
            Piece::Line(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
            Piece::End { .. } => done.push(std::mem::take(&mut lines)),
        };
        for piece in bytes.chunks(step.max(1)) {
            decoder.read(piece, &mut sink).unwrap();
        }
        decoder.close(&mut sink);
        done
    }

    #[test]
    fn prompts_end_answers_wherever_the_bytes_are_cut() {
        let bytes = b"\n> admin\n\n> No such server.\n> + + + \n> a\n\nb\n\n> > \n> ";
        for step in 1..bytes.len() {
            let got = answers(Framing::Prompt, bytes, step);
            let want: [&[&str]; 6] = [&[], &["admin"], &["No such server."], &[], &["a", "", "b"], &[]];
            assert_eq!(got.len(), want.len() + 1, "{step}: {got:?}");
            for (got, want) in got.iter().zip(want) {
                assert_eq!(got, want, "{step}");
            }
        }
    }

    #[test]
    fn a_closed_connection_ends_an_answer() {
        for (bytes, want) in
            [(&b"admin\n\n"[..], &["admin"][..]), (b"\n", &[]), (b"", &[]), (b"refused\n", &["refused"])]
        {
            assert_eq!(answers(Framing::Close, bytes, 3), [want]);
        }
        assert!(answers(Framing::Close, b"cut in the mid", 4).is_empty());
    }

    #[test]
    fn too_much_is_an_error() {
        let mut decoder = Decoder::new(Framing::Prompt, 10);
        assert_eq!(decoder.read(b"0123456789\n", &mut |_| {}), Err(SessionError::TooLarge { max: 10 }));
    }

    proptest! {
        #[test]
        fn any_bytes_any_cut(bytes: Vec<u8>, step in 1_usize..9) {
            for framing in [Framing::Prompt, Framing::Close] {
                prop_assert_eq!(answers(framing, &bytes, step), answers(framing, &bytes, bytes.len()));
            }
        }
    }
}
