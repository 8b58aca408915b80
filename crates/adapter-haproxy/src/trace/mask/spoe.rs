//! What HAProxy tells an agent: only what a placer looks at stays.

use std::ops::Range;

use super::{Clear, Cut, Frames, fill};
use crate::spoe::MAX_FRAME;
use crate::wire::{Reader, WireError};

/// Text of all arguments but these.
#[derive(Debug)]
pub(in crate::trace) struct SpoeMask {
    clear: Clear,
    frames: Frames,
}

impl SpoeMask {
    pub(in crate::trace) fn new(clear: Clear) -> Self {
        Self { clear, frames: Frames::default() }
    }

    pub(super) fn heard(&mut self, bytes: &mut Vec<u8>) {
        let clear = &self.clear;
        self.frames.pass(bytes, |waiting| {
            let Some((front, rest)) = waiting.split_first_chunk_mut() else { return Cut::More };
            let len = u32::from_be_bytes(*front);
            if len > MAX_FRAME {
                return Cut::Broken(4);
            }
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(frame) = rest.get_mut(..len) else { return Cut::More };
            mask(frame, clear);
            Cut::Frame(4 + len)
        });
    }

    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut rest = self.frames.rest(usize::MAX);
        if let Some(frame) = rest.get_mut(4..) {
            mask(frame, &self.clear);
        }
        rest
    }
}

fn mask(frame: &mut [u8], clear: &Clear) {
    let mut hidden = Vec::new();
    let mut reader = Reader::new(frame);
    if look(&mut reader, clear, &mut hidden).is_err() {
        hidden.push(reader.offset()..frame.len());
    }
    hidden.into_iter().for_each(|range| fill(frame, range));
}

/// Finds what is to be hidden; an error is where nobody can tell.
fn look(reader: &mut Reader<'_>, clear: &Clear, hidden: &mut Vec<Range<usize>>) -> Result<(), WireError> {
    let kind = reader.u8()?;
    reader.u32()?;
    let _ids = (reader.varint()?, reader.varint()?);
    match kind {
        // HAProxy of itself.
        1 | 2 => return Ok(()),
        3 => {}
        _ => return Err(WireError::Truncated),
    }
    while !reader.is_empty() {
        reader.bytes()?;
        for _ in 0..reader.u8()? {
            let name = reader.bytes()?;
            let shown = std::str::from_utf8(name).is_ok_and(|name| clear.contains(name));
            match reader.u8()? & 0x0F {
                0 | 1 => {}
                2..=5 => drop(reader.varint()?),
                6 => drop(reader.take(4)?),
                7 => drop(reader.take(16)?),
                8 | 9 => {
                    let len = usize::try_from(reader.varint()?).map_err(|_| WireError::Truncated)?;
                    let start = reader.offset();
                    reader.take(len)?;
                    if !shown {
                        hidden.push(start..start + len);
                    }
                }
                _ => return Err(WireError::Truncated),
            }
        }
    }
    Ok(())
}
