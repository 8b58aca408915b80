//! The hash functions of HAProxy, bit for bit.

/// What is made of the key of a room: a function of `hash-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashFunction {
    /// `sdbm`, the default.
    #[default]
    Sdbm,
    /// `djb2`.
    Djb2,
    /// `wt6`.
    Wt6,
    /// `crc32`.
    Crc32,
    /// `none`: the key is a decimal number. Since 2.9.
    None,
}

impl HashFunction {
    /// The function of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "sdbm" => Self::Sdbm,
            "djb2" => Self::Djb2,
            "wt6" => Self::Wt6,
            "crc32" => Self::Crc32,
            "none" => Self::None,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sdbm => "sdbm",
            Self::Djb2 => "djb2",
            Self::Wt6 => "wt6",
            Self::Crc32 => "crc32",
            Self::None => "none",
        }
    }

    /// The hash of these bytes.
    pub fn hash(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Sdbm => bytes.iter().fold(0, |h: u32, c| h.wrapping_mul(65_599).wrapping_add(u32::from(*c))),
            Self::Djb2 => bytes.iter().fold(5381, |h: u32, c| h.wrapping_mul(33).wrapping_add(u32::from(*c))),
            Self::Wt6 => wt6(bytes),
            Self::Crc32 => crc32(bytes),
            Self::None => low(number(bytes)),
        }
    }
}

/// The low 32 bits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "that is what is asked for")]
pub(crate) const fn low(n: i64) -> u32 {
    n as u32
}

fn wt6(bytes: &[u8]) -> u32 {
    let (mut h0, mut h1) = (0xa53c_965a_u32, 0x5ca6_953a_u32);
    let (mut step0, mut step1) = (6, 18);
    for c in bytes {
        h0 = !(h0 ^ u32::from(*c));
        h1 = !h1.wrapping_add(u32::from(*c));
        (h0, h1) = (h1.rotate_left(step0), h0.rotate_left(step1));
        let t = ((h0 >> 16) ^ h1) & 0xffff;
        (step0, step1) = (t & 31, t >> 11);
    }
    h0 ^ h1
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        table[i as usize] = c;
        i += 1;
    }
    table
};

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, c| CRC[((crc ^ u32::from(*c)) & 0xff) as usize] ^ (crc >> 8))
}

/// A decimal number at the start of a text: one sign, then digits, up to the first other byte. Held to 64 signed bits,
/// its magnitude to 64 unsigned ones first.
pub(crate) fn number(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let digits = digits.iter().take_while(|c| c.is_ascii_digit());
    let n = digits.fold(0u64, |n, c| n.saturating_mul(10).saturating_add(u64::from(*c - b'0')));
    if negative { 0i64.checked_sub_unsigned(n).unwrap_or(i64::MIN) } else { i64::try_from(n).unwrap_or(i64::MAX) }
}

/// Mixes every bit of a number into every other; distinct numbers stay distinct.
pub(crate) const fn avalanche(a: u32) -> u32 {
    let a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    let a = (a ^ 0xc761_c23c) ^ (a >> 19);
    let a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    let a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    let a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    let a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(0xc000_0001)
}

/// XXH32.
pub(crate) fn xxh32(bytes: &[u8], seed: u32) -> u32 {
    const P: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let word = |b: &[u8]| b.iter().rev().fold(0, |w: u32, c| (w << 8) | u32::from(*c));
    let mut blocks = bytes.chunks_exact(16);
    let mut h = if bytes.len() >= 16 {
        let mut lanes =
            [seed.wrapping_add(P[0]).wrapping_add(P[1]), seed.wrapping_add(P[1]), seed, seed.wrapping_sub(P[0])];
        for block in &mut blocks {
            for (lane, part) in lanes.iter_mut().zip(block.chunks_exact(4)) {
                *lane = lane.wrapping_add(word(part).wrapping_mul(P[1])).rotate_left(13).wrapping_mul(P[0]);
            }
        }
        let turns = [1, 7, 12, 18];
        lanes.iter().zip(turns).fold(0u32, |h, (lane, turn)| h.wrapping_add(lane.rotate_left(turn)))
    } else {
        seed.wrapping_add(P[4])
    };
    h = h.wrapping_add(low(i64::try_from(bytes.len()).unwrap_or(0)));
    let mut words = blocks.remainder().chunks_exact(4);
    for part in &mut words {
        h = h.wrapping_add(word(part).wrapping_mul(P[2])).rotate_left(17).wrapping_mul(P[3]);
    }
    for c in words.remainder() {
        h = h.wrapping_add(u32::from(*c).wrapping_mul(P[4])).rotate_left(11).wrapping_mul(P[0]);
    }
    h = (h ^ (h >> 15)).wrapping_mul(P[1]);
    h = (h ^ (h >> 13)).wrapping_mul(P[2]);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input() {
        let all = [HashFunction::Sdbm, HashFunction::Djb2, HashFunction::Crc32, HashFunction::Wt6, HashFunction::None];
        assert_eq!(all.map(|f| f.hash(b"")), [0, 5381, 0, 0xf99a_0360, 0]);
        for f in all {
            assert_eq!(HashFunction::by_name(f.name()), Some(f));
        }
    }

    #[test]
    fn known_sums() {
        assert_eq!(HashFunction::Crc32.hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(xxh32(b"", 0), 0x02cc_5d05);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition", 0), 0xe229_3b2f);
    }

    #[test]
    fn numbers() {
        for (text, want) in [
            (&b"-1"[..], u32::MAX),
            (b"4294967296", 0),
            (b"99999999999999999999", u32::MAX),
            (b"-99999999999999999999", 0),
            (b"abc", 0),
            (b"12abc", 12),
            (b"+-1", 0),
        ] {
            assert_eq!(HashFunction::None.hash(text), want, "{text:?}");
        }
        assert_eq!(number(b"-9223372036854775808"), i64::MIN);
    }
}
