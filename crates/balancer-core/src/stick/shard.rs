//! One shard of a stick table: bindings, index by server, deadline queue, closed set.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use super::table::{At, Keyed};
use super::{Binding, StickKey, Want};
use crate::backend::BackendId;

/// The answer of a shard to a claim or rebind.
#[derive(Debug)]
pub(super) enum Put {
    Won(Binding),
    Held(Binding),
    Closed,
}

struct Entry<T> {
    binding: Binding,
    until: T,
    /// Where the entry stands in the deadline queue: never later than `until`, so that a mere extension need not
    /// touch the queue.
    queued: T,
    /// Which write made the entry durable.
    seq: u64,
}

/// `T` is a point in time.
pub(super) struct Shard<T> {
    entries: Keyed<Entry<T>>,
    by_backend: HashMap<BackendId, BTreeSet<StickKey>>,
    deadlines: BTreeSet<(T, StickKey)>,
    closed: HashSet<BackendId>,
    last_stamp: u64,
}

impl<T: Copy + Ord> Default for Shard<T> {
    fn default() -> Self {
        Self {
            entries: Keyed::default(),
            by_backend: HashMap::new(),
            deadlines: BTreeSet::new(),
            closed: HashSet::new(),
            last_stamp: 0,
        }
    }
}

impl<T: Copy + Ord> Shard<T> {
    pub(super) fn get(&mut self, key: &StickKey, now: T, until: Option<T>) -> Option<(Binding, u64, Option<T>)> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.until > now)?;
        let extended = until.filter(|until| *until > entry.until);
        if let Some(until) = extended {
            entry.until = until;
        }
        Some((entry.binding.clone(), entry.seq, extended))
    }

    /// Puts `want` where `seen`, or nothing, is stored. `reserve` is asked before an entry is added; `None` when it
    /// refuses.
    pub(super) fn put(
        &mut self,
        key: &StickKey,
        seen: Option<&Binding>,
        want: &Want,
        at: At<T>,
        reserve: impl FnOnce() -> bool,
        written: impl FnOnce(&Binding) -> u64,
    ) -> Option<(Put, u64)> {
        let mut present = false;
        if let Some(entry) = self.entries.get(key) {
            present = true;
            if entry.until > at.now && seen != Some(&entry.binding) {
                return Some((Put::Held(entry.binding.clone()), entry.seq));
            }
        }
        if self.closed.contains(&want.backend) {
            return Some((Put::Closed, 0));
        }
        // An entry that is overwritten, expired or not, leaves its place to the new one.
        if !present && !reserve() {
            return None;
        }
        self.remove(key);
        let stamp = self.last_stamp.saturating_add(1).max(at.wall_ms);
        self.last_stamp = stamp;
        let binding = Binding { backend: want.backend.clone(), token: want.token, stamp };
        let seq = written(&binding);
        self.insert(key.clone(), binding.clone(), at.until, seq);
        Some((Put::Won(binding), seq))
    }

    pub(super) fn renew(
        &mut self,
        key: &StickKey,
        seen: &Binding,
        at: At<T>,
        written: impl FnOnce(&Binding) -> u64,
    ) -> Option<u64> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.until > at.now && entry.binding == *seen)?;
        entry.until = at.until;
        entry.seq = written(&entry.binding);
        let seq = entry.seq;
        if at.until < entry.queued {
            let old = (entry.queued, key.clone());
            entry.queued = at.until;
            self.deadlines.remove(&old);
            self.deadlines.insert((at.until, key.clone()));
        }
        Some(seq)
    }

    pub(super) fn release(&mut self, key: &StickKey, seen: &Binding, now: T) -> bool {
        let same = self.entries.get(key).is_some_and(|entry| entry.until > now && entry.binding == *seen);
        same && self.remove(key)
    }

    pub(super) fn close(&mut self, backend: &BackendId, closed: bool) {
        if closed {
            self.closed.insert(backend.clone());
        } else {
            self.closed.remove(backend);
        }
    }

    /// How many entries a server has, expired ones that were not taken out among them.
    pub(super) fn bound_to(&self, backend: &BackendId) -> usize {
        self.by_backend.get(backend).map_or(0, BTreeSet::len)
    }

    /// Adds entries of a server until `into` has `most`; then returns the last key looked at.
    pub(super) fn list(
        &self,
        backend: &BackendId,
        after: Option<&StickKey>,
        now: T,
        most: usize,
        into: &mut Vec<(StickKey, Binding)>,
    ) -> Option<StickKey> {
        let keys = self.by_backend.get(backend)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for key in keys.range::<StickKey, _>((from, Bound::Unbounded)) {
            let Some(entry) = self.entries.get(key).filter(|entry| entry.until > now) else { continue };
            into.push((key.clone(), entry.binding.clone()));
            if into.len() >= most {
                return Some(key.clone());
            }
        }
        None
    }

    /// When the entry that expires first does so.
    pub(super) fn nearest_deadline(&mut self) -> Option<T> {
        loop {
            let (queued, key) = self.deadlines.first()?;
            match self.entries.get_mut(key) {
                Some(entry) if entry.until > *queued => {
                    // Extended since it was queued: move it to where it belongs.
                    entry.queued = entry.until;
                    let until = entry.until;
                    if let Some((_, key)) = self.deadlines.pop_first() {
                        self.deadlines.insert((until, key));
                    }
                }
                _ => return Some(*queued),
            }
        }
    }

    /// Removes the entry that expires first.
    pub(super) fn take_nearest(&mut self) -> Option<StickKey> {
        self.nearest_deadline()?;
        let key = self.deadlines.first()?.1.clone();
        self.remove(&key);
        Some(key)
    }

    /// Removes the entry that expires first, if it has expired.
    pub(super) fn take_expired(&mut self, now: T) -> Option<StickKey> {
        // The queued time is never later than the deadline, so a look at it is enough to find nothing.
        if self.deadlines.first()?.0 > now || self.nearest_deadline()? > now {
            return None;
        }
        self.take_nearest()
    }

    #[cfg(feature = "file")]
    pub(super) fn restore(&mut self, key: StickKey, binding: Binding, until: T) {
        self.raise_stamp(binding.stamp);
        self.insert(key, binding, until, 0);
    }

    #[cfg(feature = "file")]
    pub(super) fn raise_stamp(&mut self, stamp: u64) {
        self.last_stamp = self.last_stamp.max(stamp);
    }

    fn insert(&mut self, key: StickKey, binding: Binding, until: T, seq: u64) {
        self.by_backend.entry(binding.backend.clone()).or_default().insert(key.clone());
        self.deadlines.insert((until, key.clone()));
        self.entries.insert(key, Entry { binding, until, queued: until, seq });
    }

    fn remove(&mut self, key: &StickKey) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return false };
        if let Some(keys) = self.by_backend.get_mut(&entry.binding.backend) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_backend.remove(&entry.binding.backend);
            }
        }
        self.deadlines.remove(&(entry.queued, key));
        true
    }
}
