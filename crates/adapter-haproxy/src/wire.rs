//! Numbers of variable length and byte strings, as peers and agents of HAProxy exchange them.

use thiserror::Error;

/// What is wrong with bytes that were read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum WireError {
    /// More was announced than there is.
    #[error("the bytes end within a value")]
    Truncated,
    /// A number beyond 64 bits.
    #[error("a number is longer than 64 bits")]
    Overflow,
}

/// Appends a number: one byte below 240, else the rest in groups of 7 bits after one of 4.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 240 {
        out.push(low(value));
    } else {
        put_long_varint(out, value);
    }
}

fn put_long_varint(out: &mut Vec<u8>, value: u64) {
    out.push(low(value) | 0xF0);
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        out.push(low(rest) | 0x80);
        rest = (rest - 128) >> 7;
    }
    out.push(low(rest));
}

/// The lowest byte.
fn low(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Appends a length and these bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

/// Reads values from the front of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// How many bytes were read.
    pub(crate) fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        let first = u64::from(self.u8()?);
        if first < 240 { Ok(first) } else { self.rest_of_varint(first) }
    }

    fn rest_of_varint(&mut self, first: u64) -> Result<u64, WireError> {
        let mut value = first;
        for shift in (4..64).step_by(7) {
            let byte = u64::from(self.u8()?);
            let part = byte << shift;
            if part >> shift != byte {
                return Err(WireError::Overflow);
            }
            value = value.checked_add(part).ok_or(WireError::Overflow)?;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(WireError::Overflow)
    }

    /// A length, and as many bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| WireError::Truncated)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    }

    #[test]
    fn known_numbers() {
        for (value, hex) in [
            (0, "00"),
            (239, "ef"),
            (240, "f000"),
            (2287, "ff7f"),
            (2288, "f08000"),
            (264_431, "ffff7f"),
            (264_432, "f0808000"),
            (33_818_864, "f080808000"),
            (0x1234, "f49401"),
            (u64::MAX, "fff0fefefefefefefe0e"),
        ] {
            let bytes = written(value);
            assert_eq!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(), hex);
            assert_eq!(Reader::new(&bytes).varint(), Ok(value));
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).varint(), Err(WireError::Truncated));
            }
        }
        let beyond = [0xF0, 0xF1, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE, 0x0E];
        assert_eq!(Reader::new(&beyond).varint(), Err(WireError::Overflow));
        assert_eq!(Reader::new(&[0xFF; 20]).varint(), Err(WireError::Overflow));
    }

    proptest! {
        /// One way to write each number, one number for each way.
        #[test]
        fn both_ways(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 200..=255_u8], 0..12), value: u64) {
            prop_assert_eq!(Reader::new(&written(value)).varint(), Ok(value));
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                prop_assert_eq!(written(value), &bytes[..reader.offset()]);
            }
        }
    }
}
