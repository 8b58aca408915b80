//! Keys, one after the other in pages: those that come by the million are not allocated one by one.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

/// How many bytes of keys are together, and how long a key is at most: more than any store takes.
const PAGE: usize = u16::MAX as usize;

/// Where a key is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyPlace {
    page: u32,
    at: u16,
    len: u16,
}

/// Keys that came one after the other.
#[derive(Debug, Default)]
struct Page {
    bytes: Vec<u8>,
    /// How many of them are still wanted.
    live: usize,
}

/// Keys of any length, in as few pages as hold them twice.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pages: Vec<Page>,
    /// Where the next one is written.
    open: usize,
    /// Pages without keys.
    free: Vec<usize>,
}

impl Keys {
    pub(super) fn get(&self, place: KeyPlace) -> &[u8] {
        let KeyPlace { page, at, len } = place;
        let (at, len) = (usize::from(at), usize::from(len));
        self.pages.get(page as usize).and_then(|page| page.bytes.get(at..at + len)).unwrap_or_default()
    }

    /// Keeps a key; `None` if it is too long.
    pub(super) fn add(&mut self, key: &[u8]) -> Option<KeyPlace> {
        let len = u16::try_from(key.len()).ok()?;
        if len == 0 {
            return Some(KeyPlace::default());
        }
        if self.pages.get(self.open).is_none_or(|page| page.bytes.len() + key.len() > PAGE) {
            self.open_page();
        }
        let page = self.pages.get_mut(self.open)?;
        let place = KeyPlace { page: u32::try_from(self.open).ok()?, at: u16::try_from(page.bytes.len()).ok()?, len };
        page.bytes.extend_from_slice(key);
        page.live += key.len();
        Some(place)
    }

    fn open_page(&mut self) {
        // The first page of a small table grows as it is needed.
        let capacity = if self.pages.is_empty() { 0 } else { PAGE };
        self.open = self.free.pop().unwrap_or_else(|| {
            self.pages.push(Page::default());
            self.pages.len() - 1
        });
        if let Some(page) = self.pages.get_mut(self.open) {
            page.bytes.reserve_exact(capacity);
        }
    }

    /// A key is not wanted any more.
    pub(super) fn remove(&mut self, place: KeyPlace) {
        let at = place.page as usize;
        let Some(page) = self.pages.get_mut(at).filter(|_| place.len > 0) else { return };
        page.live = page.live.saturating_sub(usize::from(place.len));
        if page.live == 0 && at == self.open {
            page.bytes.clear();
        } else if page.live == 0 {
            page.bytes = Vec::new();
            self.free.push(at);
        }
    }

    /// Where a key is from now on: elsewhere if most of those beside it are not wanted any more.
    pub(super) fn gather(&mut self, place: KeyPlace) -> KeyPlace {
        let at = place.page as usize;
        let thin = |page: &Page| place.len > 0 && page.live < page.bytes.len() / 2;
        if at == self.open || !self.pages.get(at).is_some_and(thin) {
            return place;
        }
        let key = self.get(place).to_vec();
        let Some(other) = self.add(&key) else { return place };
        self.remove(place);
        other
    }
}

/// Other ones in each table: whoever can name rooms must not be able to choose names of one hash.
pub(super) struct KeyHash(RapidSecrets);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHash").finish_non_exhaustive()
    }
}

impl KeyHash {
    pub(super) fn new() -> Self {
        Self(RapidSecrets::seed(RandomState::new().build_hasher().finish()))
    }

    /// The hash of a key, among 2^32.
    #[inline]
    pub(super) fn of(&self, key: &[u8]) -> u32 {
        (rapidhash_v3_micro_inline::<true, false>(key, &self.0) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn kept(keys: &Keys) -> usize {
        keys.pages.iter().map(|page| page.bytes.len()).sum()
    }

    proptest! {
        /// Whatever comes and goes: each key is where it was put or gathered, and no more is kept than twice what is
        /// wanted, beside the page that is written.
        #[test]
        fn keys_stay_what_they_are(steps in vec((0_usize..3000, any::<u8>(), any::<bool>()), 1..300)) {
            let (mut keys, mut model) = (Keys::default(), Vec::<(KeyPlace, Vec<u8>)>::new());
            for (len, byte, add) in steps {
                if add || model.is_empty() {
                    let key = vec![byte; len];
                    model.push((keys.add(&key).unwrap(), key));
                } else {
                    let (place, _) = model.swap_remove(len % model.len());
                    keys.remove(place);
                }
            }
            for (place, key) in &model {
                prop_assert_eq!(keys.get(*place), key);
            }
            for (place, _) in &mut model {
                *place = keys.gather(*place);
            }
            let wanted: usize = model.iter().map(|(_, key)| key.len()).sum();
            prop_assert!(kept(&keys) <= 2 * wanted + 2 * PAGE, "{} for {wanted}", kept(&keys));
            for (place, key) in &model {
                prop_assert_eq!(keys.get(*place), key);
            }
            for (place, _) in model {
                keys.remove(place);
            }
            prop_assert_eq!(kept(&keys), 0);
        }
    }

    #[test]
    fn pages_are_used_again() {
        let mut keys = Keys::default();
        for _ in 0..10 {
            let places: Vec<KeyPlace> = (0..200_u8).map(|n| keys.add(&[n; 1000]).unwrap()).collect();
            places.into_iter().for_each(|place| keys.remove(place));
        }
        assert!(keys.pages.len() <= 5, "{}", keys.pages.len());
        assert!(keys.add(&[0; PAGE]).is_some() && keys.add(&[0; PAGE + 1]).is_none());
    }

    #[test]
    fn hashes_differ_from_table_to_table() {
        let (one, other) = (KeyHash::new(), KeyHash::new());
        assert!((0..100_u8).any(|n| one.of(&[n]) != other.of(&[n])));
        assert_eq!(format!("{one:?}"), "KeyHash { .. }");
    }
}
