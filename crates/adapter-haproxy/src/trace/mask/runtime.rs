//! What is asked over a runtime socket: what concerns certificates, variables and captured requests is hidden, and so
//! are the answers.

use std::collections::VecDeque;

use super::MASK;
use crate::runtime::{Decoder, Framing, MAX_ANSWER, Piece};

/// Commands, by their second word, that show or set what is not for everybody.
const PRIVATE: [&str; 10] = ["ssl", "tls-keys", "env", "var", "errors", "events", "trace", "ring", "jwt", "acme"];

/// Some commands and their answers.
#[derive(Debug)]
pub(in crate::trace) struct RuntimeMask {
    /// Whether each command that is not answered is private.
    asked: VecDeque<bool>,
    decoder: Option<Decoder>,
    lost: bool,
}

impl RuntimeMask {
    pub(in crate::trace) fn new() -> Self {
        Self { asked: VecDeque::new(), decoder: None, lost: false }
    }

    /// One command with its payload, or the lines that a connection begins with.
    pub(super) fn said(&mut self, bytes: &mut [u8]) {
        if self.decoder.is_none() {
            let opening = bytes.starts_with(b"prompt\n");
            let framing = if opening { Framing::Prompt } else { Framing::Close };
            self.decoder = Some(Decoder::new(framing, MAX_ANSWER));
            if opening {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                return self.asked.extend(std::iter::repeat_n(false, lines));
            }
        }
        let private = self.lost || hide(bytes);
        self.asked.push_back(private);
    }

    pub(super) fn heard(&mut self, bytes: &mut [u8]) {
        let private = self.lost || self.asked.iter().any(|private| *private);
        if let Some(decoder) = &mut self.decoder {
            let asked = &mut self.asked;
            let read = decoder.read(bytes, &mut |piece| {
                if matches!(piece, Piece::End { .. }) {
                    asked.pop_front();
                }
            });
            self.lost |= read.is_err();
        }
        if private {
            // Where lines and answers end stays to be seen.
            bytes.iter_mut().filter(|byte| !matches!(**byte, b'\n' | b'>' | b'+' | b' ')).for_each(|byte| *byte = MASK);
        }
    }
}

/// Hides what follows the second word of a private command; whether it is one.
fn hide(bytes: &mut [u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let (mut known, mut kept) = (Vec::with_capacity(2), 0);
    for word in line.split(|byte| *byte == b' ') {
        kept += word.len() + 1;
        if !word.is_empty() && !word.starts_with(b"@") {
            known.push(word.to_ascii_lowercase());
        }
        if known.len() == 2 {
            break;
        }
    }
    let trace = known.first().is_some_and(|first| first == b"trace");
    if !trace && !known.get(1).is_some_and(|second| PRIVATE.iter().any(|word| word.as_bytes() == second)) {
        return false;
    }
    bytes.iter_mut().skip(kept).filter(|byte| **byte != b'\n').for_each(|byte| *byte = MASK);
    true
}
