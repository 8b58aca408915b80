//! Where rooms lived lately, for the time when the stick table cannot be asked. Bounded, two generations.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::hash::stable_hash;
use crate::stick::{Binding, StickKey};

const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<StickKey, Binding>,
    old: HashMap<StickKey, Binding>,
}

/// Remembers the last rooms, forgetting the oldest half of a shard when it is full.
#[derive(Debug)]
pub(crate) struct Recent {
    shards: Vec<Mutex<Shard>>,
    half: usize,
}

impl Recent {
    pub(crate) fn new(capacity: usize) -> Self {
        let count = if capacity == 0 { 0 } else { SHARDS };
        Self { shards: (0..count).map(|_| Mutex::default()).collect(), half: capacity.div_ceil(SHARDS * 2).max(1) }
    }

    fn with<T>(&self, key: &StickKey, f: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let n = self.shards.len() as u64;
        let at = usize::try_from(stable_hash(key.as_str().as_bytes()).checked_rem(n)?).ok()?;
        let mut shard = self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(f(&mut shard))
    }

    pub(crate) fn put(&self, key: &StickKey, b: &Binding) {
        self.with(key, |s| {
            if s.young.get(key).is_some_and(|known| known == b) {
                return;
            }
            if s.young.len() >= self.half {
                s.old = std::mem::take(&mut s.young);
            }
            s.old.remove(key);
            s.young.insert(key.clone(), b.clone());
        });
    }

    pub(crate) fn get(&self, key: &StickKey) -> Option<Binding> {
        self.with(key, |s| s.young.get(key).or_else(|| s.old.get(key)).cloned()).flatten()
    }

    pub(crate) fn forget(&self, key: &StickKey) {
        self.with(key, |s| {
            s.young.remove(key);
            s.old.remove(key);
        });
    }
}
