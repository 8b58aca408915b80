//! Changes of bytes, applied at once.

use std::ops::Range;

use super::ConfigError;

/// Replaces some bytes of a file; an empty range inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes to replace.
    pub range: Range<usize>,
    /// What to put there.
    pub text: String,
}

/// Applies edits to the bytes they were made for. An edit that occurs twice is applied once.
///
/// # Errors
///
/// [`ConfigError::Overlap`] when two edits touch the same bytes or one lies outside.
pub fn apply_edits(bytes: &[u8], edits: &[Edit]) -> Result<Vec<u8>, ConfigError> {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    edits.dedup();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for edit in edits {
        let overlap = || ConfigError::Overlap { range: edit.range.clone() };
        if edit.range.start > edit.range.end {
            return Err(overlap());
        }
        out.extend_from_slice(bytes.get(at..edit.range.start).ok_or_else(overlap)?);
        bytes.get(edit.range.clone()).ok_or_else(overlap)?;
        out.extend_from_slice(edit.text.as_bytes());
        at = edit.range.end;
    }
    out.extend_from_slice(&bytes[at..]);
    Ok(out)
}
