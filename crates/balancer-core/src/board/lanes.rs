//! Coarse keys, four to a word, so that a scan for the least one reads little and branches not at all.
//!
//! A coarse key is 15 bits of a floating-point number without a sign: five bits of exponent, ten of mantissa. It never
//! turns an order around, it only makes near values equal.

/// Keys in one word.
pub(super) const LANES: usize = 4;
/// The key of a server that is no candidate: above all others.
pub(super) const HIDDEN: u16 = 0x7fff;

/// The sixteenth bit of every lane: never part of a key.
pub(super) const GUARD: u64 = 0x8000_8000_8000_8000;
const LANE: u64 = 0xffff;
const MANTISSA: u32 = 10;

/// The coarse key of a number; below [`HIDDEN`] for every number.
pub(super) fn coarse(value: u64) -> u16 {
    let bits = u64::BITS - value.leading_zeros();
    let key = match bits.checked_sub(MANTISSA + 1) {
        // Small numbers are kept exactly.
        None | Some(0) => value,
        // The leading one is implied by the exponent.
        Some(shift) => (u64::from(shift) << MANTISSA) + (value >> shift),
    };
    u16::try_from(key).unwrap_or(HIDDEN - 1).min(HIDDEN - 1)
}

/// The same key in every lane.
pub(super) fn all(key: u16) -> u64 {
    u64::from(key) * 0x0001_0001_0001_0001
}

/// This word with another key in one lane.
pub(super) fn with(word: u64, lane: usize, key: u16) -> u64 {
    let shift = 16 * (lane % LANES);
    (word & !(LANE << shift)) | (u64::from(key) << shift)
}

/// The least of each lane.
pub(super) fn least(a: u64, b: u64) -> u64 {
    // The guard of a lane stays where a is not below b.
    let not_below = ((a | GUARD) - b) & GUARD;
    let take_b = not_below | (not_below - (not_below >> 15));
    (b & take_b) | (a & !take_b)
}

/// The least of all lanes.
pub(super) fn lowest(word: u64) -> u16 {
    let half = least(word, word >> 32 | all(HIDDEN) << 32);
    let lane = least(half, half >> 16 | all(HIDDEN) << 48);
    // Masked to 16 bits.
    u16::try_from(lane & LANE).unwrap_or(HIDDEN)
}

/// The highest bit of each lane that equals the bound's, and no other.
pub(super) fn equal_to(word: u64, bound: u64) -> u64 {
    (GUARD - (word ^ bound)) & GUARD
}

/// Sets the highest bit of each lane that is at most the bound's; the other bits say nothing.
pub(super) fn below_or_equal(word: u64, bound: u64) -> u64 {
    (bound | GUARD).wrapping_sub(word)
}

/// All ones in the lanes whose bit (0, 16, 32, 48) is 0: put over a word, it hides them.
pub(super) fn hide(bits: u64) -> u64 {
    all(HIDDEN) & !((bits & all(1)) * u64::from(HIDDEN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lanes(word: u64) -> [u16; 4] {
        [0, 16, 32, 48].map(|shift| u16::try_from(word >> shift & LANE).unwrap())
    }

    fn word(keys: [u16; 4]) -> u64 {
        keys.iter().enumerate().fold(0, |w, (lane, key)| with(w, lane, *key))
    }

    #[test]
    fn small_numbers_are_exact_and_large_ones_below_the_hidden_key() {
        for n in 0..2048 {
            assert_eq!(u64::from(coarse(n)), n);
        }
        assert!(coarse(u64::MAX) < HIDDEN);
    }

    proptest! {
        #[test]
        fn coarse_keys_keep_the_order(a: u64, b: u64, shift in 0u32..64, more in 0u64..4) {
            for (a, b) in [(a, b), (a >> shift, b >> shift), (a >> shift, (a >> shift).saturating_add(more))] {
                prop_assert!(a > b || coarse(a) <= coarse(b));
                // Near values alone become equal.
                let held = coarse(a) == HIDDEN - 1;
                prop_assert!(held || coarse(a) != coarse(b) || a.abs_diff(b) <= a.max(b) >> MANTISSA);
            }
        }

        #[test]
        fn words_are_four_keys(a: [u16; 4], b: [u16; 4], bound in 0..=HIDDEN, bits: u64) {
            let (a, b) = (a.map(|k| k & HIDDEN), b.map(|k| k & HIDDEN));
            let (wa, wb) = (word(a), word(b));
            prop_assert_eq!(lanes(wa), a);
            let each: Vec<u16> = a.iter().zip(&b).map(|(a, b)| *a.min(b)).collect();
            prop_assert_eq!(&lanes(least(wa, wb))[..], &each[..]);
            prop_assert_eq!(Some(lowest(wa)), a.iter().copied().min());
            for lane in 0..4 {
                prop_assert_eq!(below_or_equal(wa, all(bound)) >> (16 * lane + 15) & 1 == 1, a[lane] <= bound);
                prop_assert_eq!(equal_to(wa, wb) >> (16 * lane + 15) & 1 == 1, a[lane] == b[lane]);
                let hidden = lanes(wa | hide(bits))[lane];
                prop_assert_eq!(hidden, if bits >> (16 * lane) & 1 == 1 { a[lane] } else { HIDDEN });
            }
        }
    }
}
