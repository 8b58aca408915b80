//! Random numbers for seeds and tokens: a small generator per thread, seeded by the operating system.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use crate::hash::mix;

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()));
}

/// The next random number of this thread: for seeds and tokens, not for secrets.
pub fn random() -> u64 {
    STATE.with(|s| {
        let next = s.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        s.set(next);
        mix(next)
    })
}

/// Lets [`random`] of this thread begin anew from a seed, for tests that must be repeatable.
#[cfg(feature = "testing")]
pub fn reseed(seed: u64) {
    STATE.with(|s| s.set(seed));
}
