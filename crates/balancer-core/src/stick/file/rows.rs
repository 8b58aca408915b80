//! How a binding looks in the file: format byte, expiry, token, stamp (little endian), server id to the end.

use crate::backend::BackendId;
use crate::stick::{Binding, Token};

const FORMAT: u8 = 1;

pub(super) fn encode(binding: &Binding, until_ms: u64) -> Vec<u8> {
    let backend = binding.backend.as_str().as_bytes();
    let mut row = Vec::with_capacity(25 + backend.len());
    row.push(FORMAT);
    row.extend_from_slice(&until_ms.to_le_bytes());
    row.extend_from_slice(&binding.token.0.to_le_bytes());
    row.extend_from_slice(&binding.stamp.to_le_bytes());
    row.extend_from_slice(backend);
    row
}

/// The binding and its expiry, or what is wrong with the row.
pub(super) fn decode(row: &[u8]) -> Result<(Binding, u64), &'static str> {
    let (format, rest) = row.split_first().ok_or("an empty row")?;
    if *format != FORMAT {
        return Err("a row of an unknown format");
    }
    let (until_ms, rest) = number(rest)?;
    let (token, rest) = number(rest)?;
    let (stamp, rest) = number(rest)?;
    let backend = std::str::from_utf8(rest).map_err(|_| "a server id that is not UTF-8")?;
    Ok((Binding { backend: BackendId::new(backend), token: Token(token), stamp }, until_ms))
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or("a row that is too short")?;
    Ok((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(id in ".{0,64}", token: u64, stamp: u64, until: u64) {
            let binding = Binding { backend: BackendId::new(id), token: Token(token), stamp };
            prop_assert_eq!(decode(&encode(&binding, until)), Ok((binding, until)));
        }

        #[test]
        fn any_bytes_are_survived(row: Vec<u8>) {
            let _ = decode(&row);
        }
    }
}
