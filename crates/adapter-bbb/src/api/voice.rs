//! Voice bridge numbers derived from meeting ids.
//!
//! The same id gives the same sequence of numbers in every balancer that follows this rule (Scalelite does): a Mersenne
//! Twister, seeded with the first sixteen bytes of the SHA-256 of the id, supplies the digits.

use sha2::{Digest, Sha256};

/// A dial-in number that is never given out: conference software keeps it for itself.
const RESERVED: &str = "99999";

/// The candidate voice bridge numbers of a meeting, in the order they are to be tried. Never ends.
#[derive(Clone)]
pub struct VoiceBridges {
    twister: Twister,
    digits: usize,
}

impl std::fmt::Debug for VoiceBridges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoiceBridges").field("digits", &self.digits).finish_non_exhaustive()
    }
}

impl VoiceBridges {
    /// The default number of digits.
    pub const DIGITS: usize = 9;

    /// The numbers for `meeting_id`, each of `digits` digits (kept within 1 and 32).
    #[must_use]
    pub fn new(meeting_id: &str, digits: usize) -> Self {
        let digest = Sha256::digest(meeting_id.as_bytes());
        let mut words = [0u32; 4];
        for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(4)) {
            *word = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        }
        // The first eight bytes are the upper half of the seed, and the lowest word comes first.
        let [high_low, high_high, low_low, low_high] = words;
        Self { twister: Twister::seeded(&[low_low, low_high, high_low, high_high]), digits: digits.clamp(1, 32) }
    }

    /// A digit from 0 to `largest`, which is below 16.
    fn draw(&mut self, largest: u8) -> u8 {
        loop {
            let low = self.twister.next_word().to_le_bytes()[0] & 15;
            if low <= largest {
                return low;
            }
        }
    }
}

impl Iterator for VoiceBridges {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let mut number = String::with_capacity(self.digits);
            number.push(char::from(b'1' + self.draw(8)));
            for _ in 1..self.digits {
                number.push(char::from(b'0' + self.draw(9)));
            }
            if number != RESERVED {
                return Some(number);
            }
        }
    }
}

const N: usize = 624;
const M: usize = 397;

/// MT19937.
#[derive(Clone)]
struct Twister {
    state: [u32; N],
    at: usize,
}

impl Twister {
    /// Seeding by an array of words, as the reference implementation does it.
    fn seeded(key: &[u32; 4]) -> Self {
        let mut state = [0u32; N];
        let mut last = 19_650_218u32;
        state[0] = last;
        for (place, word) in (1u32..).zip(state.iter_mut().skip(1)) {
            last = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(place);
            *word = last;
        }
        let mut i = 1;
        for (place, word) in (0u32..4).zip(key).cycle().take(N) {
            let before = state[i - 1];
            state[i] =
                (state[i] ^ (before ^ (before >> 30)).wrapping_mul(1_664_525)).wrapping_add(*word).wrapping_add(place);
            i = Self::advance(&mut state, i);
        }
        for _ in 1..N {
            let before = state[i - 1];
            let place = u32::try_from(i).unwrap_or_default();
            state[i] = (state[i] ^ (before ^ (before >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(place);
            i = Self::advance(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, at: N }
    }

    const fn advance(state: &mut [u32; N], i: usize) -> usize {
        if i + 1 < N {
            return i + 1;
        }
        state[0] = state[N - 1];
        1
    }

    fn refill(&mut self) {
        for i in 0..N {
            let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (mixed >> 1) ^ odd;
        }
        self.at = 0;
    }

    fn next_word(&mut self) -> u32 {
        if self.at >= N {
            self.refill();
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        for (id, want) in [("abc", "715622307"), ("meeting-1", "572175179"), ("5 वी", "836237182")] {
            assert_eq!(VoiceBridges::new(id, VoiceBridges::DIGITS).next().as_deref(), Some(want));
        }
        // Far enough for the generator to have refilled its state more than once.
        let far = [("abc", "205615039", "660927093"), ("", "707146723", "228782857")];
        for (id, second, last) in far {
            let numbers: Vec<String> = VoiceBridges::new(id, 9).take(150).collect();
            assert_eq!((&*numbers[1], &*numbers[149]), (second, last));
        }
    }

    #[test]
    fn numbers_have_the_asked_length_and_differ() {
        for digits in [1, 5, 9, 20] {
            for number in VoiceBridges::new("x", digits).take(200) {
                assert_eq!(number.len(), digits);
                assert!(!number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit()));
                assert_ne!(number, RESERVED);
            }
        }
        let first: Vec<String> = VoiceBridges::new("x", 9).take(10).collect();
        let mut unique = first.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), 10);
        assert_eq!(VoiceBridges::new("x", 0).next().map(|number| number.len()), Some(1));
    }
}
