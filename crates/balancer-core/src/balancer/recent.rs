//! Where rooms lived lately, for the time when the stick table cannot be asked. Bounded, two generations.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::UNSTORED;
use crate::backend::BackendId;
use crate::hash::stable_hash;
use crate::stick::{Binding, StickKey};

const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<StickKey, Seen>,
    old: HashMap<StickKey, Seen>,
}

/// What was bound, and when it was asked for last.
#[derive(Clone, Debug)]
struct Seen {
    binding: Binding,
    at: Instant,
}

/// Remembers the last rooms, forgetting the oldest half of a shard when it is full. Like the store it keeps none that
/// was not asked for within its time to live.
#[derive(Debug)]
pub(crate) struct Recent {
    shards: Vec<Mutex<Shard>>,
    half: usize,
    ttl: Duration,
}

impl Recent {
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        let count = if capacity == 0 { 0 } else { SHARDS };
        let shards = (0..count).map(|_| Mutex::default()).collect();
        Self { shards, half: capacity.div_ceil(SHARDS * 2).max(1), ttl }
    }

    fn with<T>(&self, key: &StickKey, f: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let n = u64::try_from(self.shards.len()).ok().filter(|n| *n > 0)?;
        let at = usize::try_from(stable_hash(key.as_str().as_bytes()).checked_rem(n)?).ok()?;
        let mut shard = self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(f(&mut shard))
    }

    pub(crate) fn put(&self, key: &StickKey, b: &Binding) {
        self.with(key, |s| {
            let at = Instant::now();
            if let Some(known) = s.young.get_mut(key).filter(|known| known.binding == *b) {
                known.at = at;
                return;
            }
            if s.young.len() >= self.half {
                s.old = std::mem::take(&mut s.young);
            }
            s.old.remove(key);
            s.young.insert(key.clone(), Seen { binding: b.clone(), at });
        });
    }

    /// What is remembered, and now for another time to live.
    pub(crate) fn get(&self, key: &StickKey) -> Option<Binding> {
        self.with(key, |s| {
            let Shard { young, old } = s;
            let seen = young.get_mut(key).or_else(|| old.get_mut(key))?;
            let now = Instant::now();
            if now.saturating_duration_since(seen.at) > self.ttl {
                young.remove(key);
                old.remove(key);
                return None;
            }
            seen.at = now;
            Some(seen.binding.clone())
        })
        .flatten()
    }

    /// Forgets all that were stored as bound to this server.
    pub(crate) fn forget_on(&self, id: &BackendId) {
        let keep = |_: &StickKey, seen: &mut Seen| seen.binding.backend != *id || seen.binding.stamp == UNSTORED;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.retain(keep);
            shard.old.retain(keep);
        }
    }

    /// Forgets a room as it was bound so.
    pub(crate) fn forget_binding(&self, key: &StickKey, b: &Binding) {
        self.with(key, |s| {
            for known in [&mut s.young, &mut s.old] {
                if known.get(key).is_some_and(|seen| seen.binding == *b) {
                    known.remove(key);
                }
            }
        });
    }

    pub(crate) fn forget(&self, key: &StickKey) {
        self.with(key, |s| {
            s.young.remove(key);
            s.old.remove(key);
        });
    }
}
