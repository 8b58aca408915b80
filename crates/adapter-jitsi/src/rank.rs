//! The order of bridges, kept while figures come in, so that a choice looks at few of them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use balancer_core::BackendId;

/// The first ones among bridges of any stress: order as jicofo's virtual machine has it. Minus zero comes before zero,
/// and what is not a number after everything.
pub(crate) fn stress_bits(stress: f64) -> u64 {
    let bits = if stress.is_nan() { f64::NAN.to_bits() & !SIGN } else { stress.to_bits() };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

const SIGN: u64 = 1 << 63;

/// The greater of two numbers as jicofo's virtual machine has it: not a number if either is not.
pub(crate) fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if stress_bits(a) < stress_bits(b) { b } else { a }
}

/// Classes of bridges, the best first. A choice is made within the best one that has any candidate: that is what
/// preferring those that are not missing, then those that do not drain, and then those not in graceful shutdown, comes
/// to.
pub(crate) const CLASSES: u8 = 8;

pub(crate) fn class(missing: bool, drain: bool, graceful: bool) -> u8 {
    u8::from(missing) * 4 + u8::from(drain) * 2 + u8::from(graceful)
}

/// A place in the order: class, corrected stress, JID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) class: u8,
    pub(crate) stress: u64,
    /// `None` only where a search begins.
    pub(crate) id: Option<BackendId>,
    pub(crate) row: u32,
}

/// What choices distinguish bridges by: version and region.
pub(crate) type Kind = (Option<Arc<str>>, Option<Arc<str>>);

/// The bridges that may be chosen, in order, apart by version and region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    kinds: BTreeMap<Kind, BTreeSet<Key>>,
}

impl Order {
    pub(crate) fn insert(&mut self, kind: Kind, key: Key) {
        self.kinds.entry(kind).or_default().insert(key);
    }

    pub(crate) fn remove(&mut self, kind: &Kind, key: &Key) {
        if let Some(keys) = self.kinds.get_mut(kind) {
            keys.remove(key);
            if keys.is_empty() {
                self.kinds.remove(kind);
            }
        }
    }

    /// Moves a bridge within its kind.
    pub(crate) fn shift(&mut self, kind: &Kind, from: &Key, to: Key) {
        if let Some(keys) = self.kinds.get_mut(kind) {
            keys.remove(from);
            keys.insert(to);
        }
    }

    /// The first key of this class, among kinds that are wanted, that is admitted.
    ///
    /// With `below`, keys from this stress on are passed over, except those of what is not a number: for a search that
    /// would admit none of those in between.
    pub(crate) fn first(
        &self,
        class: u8,
        below: Option<u64>,
        wanted: impl Fn(&Kind) -> bool,
        admit: impl Fn(&Key) -> bool,
    ) -> Option<&Key> {
        let mut best: Option<&Key> = None;
        for (_, keys) in self.kinds.iter().filter(|(kind, _)| wanted(kind)) {
            let better = |key: &Key| best.is_none_or(|best| key < best);
            let limit = below.unwrap_or(u64::MAX);
            let near = from(keys, class, 0).take_while(|key| key.stress < limit || below.is_none());
            let mut found = near.take_while(|key| better(key)).find(|key| admit(key));
            if found.is_none() && below.is_some() {
                let nan = stress_bits(f64::NAN);
                found = from(keys, class, nan.max(limit)).take_while(|key| better(key)).find(|key| admit(key));
            }
            if let Some(found) = found {
                best = Some(found);
            }
        }
        best
    }

    /// All keys of this class and of wanted kinds, kind by kind.
    pub(crate) fn all(&self, class: u8, wanted: impl Fn(&Kind) -> bool) -> impl Iterator<Item = &Key> {
        self.kinds.iter().filter(move |(kind, _)| wanted(kind)).flat_map(move |(_, keys)| from(keys, class, 0))
    }
}

fn from(keys: &BTreeSet<Key>, class: u8, stress: u64) -> impl Iterator<Item = &Key> {
    let start = Key { class, stress, id: None, row: 0 };
    keys.range((Bound::Included(start), Bound::Unbounded)).take_while(move |key| key.class == class)
}

/// Jicofo's order of two bridges: operational before graceful before not operational, then corrected stress.
pub(crate) fn compare(a: (bool, bool, f64), b: (bool, bool, f64)) -> Ordering {
    let key = |(operational, graceful, stress): (bool, bool, f64)| {
        let class = if operational { 1 + u8::from(graceful) } else { 3 };
        (class, stress_bits(stress))
    };
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_comes_last() {
        let sorted = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, 1e-300, 0.8, 7.0, f64::INFINITY, f64::NAN];
        for pair in sorted.windows(2) {
            assert!(stress_bits(pair[0]) < stress_bits(pair[1]), "{pair:?}");
        }
        assert_eq!(stress_bits(-f64::NAN), stress_bits(f64::NAN));
        assert!(greater(f64::NAN, 1.0).is_nan() && greater(1.0, f64::NAN).is_nan());
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_total(a: (bool, bool, u64), b: (bool, bool, u64), c: (bool, bool, u64)) {
            let [a, b, c] = [a, b, c].map(|(x, y, bits)| (x, y, f64::from_bits(bits)));
            assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b).is_le() && compare(b, c).is_le() {
                assert!(compare(a, c).is_le());
            }
            assert_eq!(compare(a, a), Ordering::Equal);
        }
    }
}
