//! New homes for rooms. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::balance::{BackendSpec, Predictor, Request, ServerSpec, Version};

use super::options::Placing;

/// A server that takes rooms.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) name: Arc<str>,
    pub(super) id: u32,
    pub(super) weight: u32,
}

/// Chooses homes among servers that take rooms.
pub(super) struct Placer {
    names: BTreeMap<Arc<str>, (u64, u64)>,
    hash: Option<Predictor>,
}

impl Placer {
    /// Among these, where so many rooms are.
    pub(super) fn new(placing: Placing, release: &str, candidates: &[Candidate], rooms: impl Fn(&str) -> u64) -> Self {
        let names = candidates.iter().map(|c| (c.name.clone(), (rooms(&c.name), u64::from(c.weight.max(1))))).collect();
        let hash = (placing == Placing::Hash).then(|| predictor(release, candidates)).flatten();
        Self { names, hash }
    }

    /// A home for a room, by its percent-encoded name.
    pub(super) fn choose(&mut self, room: &str) -> Option<Arc<str>> {
        let by_hash = self.hash.as_mut().and_then(|hash| {
            let found = hash.route(&Request::get(format!("/?r={room}")));
            self.names.get_key_value(found.server()?).map(|(name, _)| name.clone())
        });
        let name = by_hash.or_else(|| {
            let least = self.names.iter().min_by(|(_, a), (_, b)| (a.0 * b.1).cmp(&(b.0 * a.1)));
            least.map(|(name, _)| name.clone())
        })?;
        if let Some((rooms, _)) = self.names.get_mut(&name) {
            *rooms += 1;
        }
        Some(name)
    }
}

fn predictor(release: &str, candidates: &[Candidate]) -> Option<Predictor> {
    let release = release.split(['-', '+', ' ']).next().unwrap_or_default();
    let mut spec = BackendSpec::new(release.parse().unwrap_or(Version::release(2, 6, 12)));
    spec.line("balance hash url_param(r),url_dec(1)").ok()?;
    spec.line("hash-type consistent").ok()?;
    for candidate in candidates {
        let weight = u16::try_from(candidate.weight.min(256)).unwrap_or(256);
        spec.server(ServerSpec::new(&*candidate.name).id(candidate.id).weight(weight));
    }
    Predictor::new(spec).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(count: u32) -> Vec<Candidate> {
        (1..=count).map(|id| Candidate { name: format!("mm{id}").into(), id, weight: 1 }).collect()
    }

    #[test]
    fn homes_are_those_of_the_hash_and_all_choose_alike() {
        let place = |count| {
            let mut placer = Placer::new(Placing::Hash, "2.8.25-5cf5d0683", &candidates(count), |_| 0);
            (0..200).map(|n| placer.choose(&format!("room%20{n}")).unwrap()).collect::<Vec<_>>()
        };
        let (three, again, two) = (place(3), place(3), place(2));
        assert_eq!(three, again);
        let moved = three.iter().zip(&two).filter(|(a, b)| a != b).count();
        assert_eq!(moved, three.iter().filter(|home| &***home == "mm3").count(), "only those of the one that left");
        assert!(Placer::new(Placing::Hash, "2.6.12", &[], |_| 0).choose("x").is_none());
    }

    #[test]
    fn the_fewest_rooms_for_its_weight() {
        let mut all = candidates(2);
        all[1].weight = 3;
        let mut placer = Placer::new(Placing::Least, "2.6.12", &all, |_| 0);
        let homes: Vec<_> = (0..40).map(|n| placer.choose(&n.to_string()).unwrap()).collect();
        assert_eq!(homes.iter().filter(|home| &***home == "mm2").count(), 30);
    }
}
