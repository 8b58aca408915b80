//! The servers of one consistent view of the pool, in order, and which of them one pick may choose from.

use std::collections::HashMap;
use std::sync::Arc;

use crate::backend::{Backend, BackendId, Tag, Weight};
use crate::board::{Board, LeastShare, Live, Slot, share, split_rank};
use crate::filter::{Clause, MAX_RUNG_TAGS};
use crate::hash::{mix, stable_hash};
use crate::seat::Seat;
use crate::state::{Admin, Health};

/// A set of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask(Vec<u64>);

impl Mask {
    pub(crate) fn set(&mut self, slot: Slot) {
        let w = slot.index() / 64;
        if self.0.len() <= w {
            self.0.resize(w + 1, 0);
        }
        self.0[w] |= 1 << (slot.index() % 64);
    }

    fn word(&self, w: usize) -> u64 {
        self.0.get(w).copied().unwrap_or(0)
    }
}

/// A server in a snapshot: its definition and its seat on the board.
pub struct Member<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) id_hash: u64,
}

impl<B: Backend> std::fmt::Debug for Member<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("id", self.backend.id()).finish_non_exhaustive()
    }
}

impl<B: Backend> Member<B> {
    pub(crate) fn new(backend: Arc<B>, seat: Arc<Seat>) -> Self {
        let id_hash = stable_hash(backend.id().as_str().as_bytes());
        Self { backend, seat, id_hash }
    }

    /// The server's definition.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// Its slot within the snapshot it came from.
    pub fn slot(&self) -> Slot {
        self.seat.slot
    }

    /// The stable hash of its id, for ties and rings.
    pub fn id_hash(&self) -> u64 {
        self.id_hash
    }

    /// What the operator ordered.
    pub fn admin(&self) -> Admin {
        self.seat.board.state(self.seat.slot).0
    }

    /// What was measured.
    pub fn health(&self) -> Health {
        self.seat.board.state(self.seat.slot).1
    }

    /// Whether it takes new rooms: ordered to, healthy enough, of a weight above 0.
    pub fn is_open(&self) -> bool {
        let slot = self.seat.slot.index();
        self.seat.board.open_word(slot / 64) & (1 << (slot % 64)) != 0
    }

    /// The weight in force.
    pub fn weight(&self) -> Weight {
        self.seat.board.weight(self.seat.slot)
    }

    /// Units in flight.
    pub fn in_flight(&self) -> u32 {
        self.seat.board.in_flight(self.seat.slot)
    }
}

/// The servers of one snapshot, in the order in which they were given.
pub struct Members<B> {
    pub(crate) list: Vec<Arc<Member<B>>>,
    /// The slot of each member, in order; none where it is the place itself, as with servers given at once: one step
    /// through memory less.
    slots: Option<Vec<Slot>>,
    by_slot: Vec<Option<Arc<Member<B>>>>,
    /// The definitions by slot, for choices that need no more: each step through memory less counts on a large pool.
    definitions: Vec<Option<Arc<B>>>,
    /// The hash of the id in each slot, for ties.
    lots: Vec<u64>,
    by_id: HashMap<BackendId, u32, rapidhash::fast::RandomState>,
    tags: HashMap<Tag, Mask>,
    untagged: Mask,
    present: Mask,
}

impl<B: Backend> std::fmt::Debug for Members<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.iter()).finish()
    }
}

impl<B: Backend> Members<B> {
    pub(crate) fn new(list: Vec<Arc<Member<B>>>) -> Self {
        let in_order = list.iter().enumerate().all(|(place, m)| m.slot().index() == place);
        let mut m = Self {
            slots: (!in_order).then(|| list.iter().map(|m| m.slot()).collect()),
            by_slot: Vec::new(),
            definitions: Vec::new(),
            lots: Vec::new(),
            by_id: HashMap::with_capacity_and_hasher(list.len(), rapidhash::fast::RandomState::default()),
            tags: HashMap::new(),
            untagged: Mask::default(),
            present: Mask::default(),
            list,
        };
        for (pos, member) in (0u32..).zip(&m.list) {
            let slot = member.slot();
            if m.by_slot.len() <= slot.index() {
                m.by_slot.resize(slot.index() + 1, None);
                m.definitions.resize(slot.index() + 1, None);
                m.lots.resize(slot.index() + 1, 0);
            }
            m.lots[slot.index()] = member.id_hash;
            m.by_slot[slot.index()] = Some(member.clone());
            m.definitions[slot.index()] = Some(member.backend.clone());
            m.by_id.insert(member.backend.id().clone(), pos);
            m.present.set(slot);
            if member.backend.tags().is_empty() {
                m.untagged.set(slot);
            }
            for tag in member.backend.tags() {
                m.tags.entry(tag.clone()).or_default().set(slot);
            }
        }
        m
    }

    /// All members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Member<B>>> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The member with this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Member<B>>> {
        self.by_id.get(id).and_then(|pos| self.list.get(*pos as usize))
    }

    /// The member in this slot.
    pub fn by_slot(&self, slot: Slot) -> Option<&Arc<Member<B>>> {
        self.by_slot.get(slot.index())?.as_ref()
    }

    /// The definition of the member in this slot.
    pub(crate) fn definition(&self, slot: Slot) -> Option<&Arc<B>> {
        self.definitions.get(slot.index())?.as_ref()
    }

    /// The slot of the member at this place in the order.
    pub(crate) fn slot_at(&self, place: usize) -> Option<Slot> {
        match &self.slots {
            None => u32::try_from(place).ok().filter(|_| place < self.list.len()).map(Slot),
            Some(slots) => slots.get(place).copied(),
        }
    }

    /// The stable hash of the id in this slot.
    pub(crate) fn id_hash(&self, slot: Slot) -> u64 {
        self.lots.get(slot.index()).copied().unwrap_or(0)
    }

    fn words(&self) -> usize {
        self.present.0.len()
    }
}

/// After so many scans that were overtaken, every candidate is looked at.
const SCANS: usize = 3;

/// The most servers that one pick can be told to leave out.
pub const MAX_EXCLUDED: usize = 16;

/// A rung of a filter looked up in one snapshot.
#[derive(Clone, Copy)]
struct Resolved<'a> {
    masks: [Option<&'a Mask>; MAX_RUNG_TAGS],
    /// Where each clause ends in `masks`.
    ends: [usize; MAX_RUNG_TAGS],
    clauses: usize,
}

impl<'a> Resolved<'a> {
    const ALL: Self = Self { masks: [None; MAX_RUNG_TAGS], ends: [0; MAX_RUNG_TAGS], clauses: 0 };

    fn new<B: Backend>(rung: &[Clause], members: &'a Members<B>) -> Self {
        let mut r = Self::ALL;
        let mut at = 0;
        for clause in rung.iter().take(MAX_RUNG_TAGS) {
            let tags = clause.any.iter().map(|t| members.tags.get(t));
            for mask in tags.chain(clause.untagged.then_some(Some(&members.untagged))) {
                if let Some(place) = r.masks.get_mut(at) {
                    *place = mask;
                    at += 1;
                }
            }
            r.ends[r.clauses] = at;
            r.clauses += 1;
        }
        r
    }

    fn word(&self, w: usize) -> u64 {
        let mut all = u64::MAX;
        let mut from = 0;
        for end in &self.ends[..self.clauses] {
            all &= self.masks[from..*end].iter().flatten().fold(0, |any, m| any | m.word(w));
            from = *end;
        }
        all
    }
}

/// The servers one pick may choose from. A selector returns one of these, never another.
pub struct Candidates<'a, B> {
    members: &'a Members<B>,
    board: &'a Board,
    /// Everybody without one.
    rung: Option<Resolved<'a>>,
    excluded: [Slot; MAX_EXCLUDED],
    exclusions: usize,
    cap: Option<(u32, u32)>,
}

impl<B: Backend> std::fmt::Debug for Candidates<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, B: Backend> Candidates<'a, B> {
    #[inline(always)]
    pub(crate) fn new(members: &'a Members<B>, board: &'a Board, cap: Option<(u32, u32)>) -> Self {
        Self { members, board, rung: None, excluded: [Slot(u32::MAX); MAX_EXCLUDED], exclusions: 0, cap }
    }

    /// Admits those that this rung of a filter admits.
    pub(crate) fn set_rung(&mut self, rung: &[Clause]) {
        self.rung = (!rung.is_empty()).then(|| Resolved::new(rung, self.members));
    }

    /// Leaves one server out; `false` when no more can be left out.
    pub(crate) fn exclude(&mut self, slot: Slot) -> bool {
        match self.excluded.get_mut(self.exclusions) {
            Some(place) => {
                *place = slot;
                self.exclusions += 1;
                true
            }
            None => false,
        }
    }

    pub(crate) fn is_excluded(&self, slot: Slot) -> bool {
        self.excluded[..self.exclusions].contains(&slot)
    }

    pub(crate) fn in_rung(&self, slot: Slot) -> bool {
        self.rung.is_none_or(|r| r.word(slot.index() / 64) & (1 << (slot.index() % 64)) != 0)
    }

    pub(crate) fn is_capped(&self, slot: Slot) -> bool {
        self.cap.is_some_and(|(window, max)| self.board.capped(slot, window, max))
    }

    fn word(&self, w: usize) -> u64 {
        let mut bits = self.members.present.word(w) & self.board.open_word(w);
        if let Some(rung) = &self.rung
            && bits != 0
        {
            bits &= rung.word(w);
        }
        for slot in &self.excluded[..self.exclusions] {
            if slot.index() / 64 == w {
                bits &= !(1 << (slot.index() % 64));
            }
        }
        bits
    }

    /// One of the candidates with the fewest units in flight for its weight, all equally likely; `draw` decides. Only
    /// for strategies with [`Needs::SHARES`](crate::selector::Needs::SHARES).
    pub(crate) fn least_share(&self, draw: u64) -> Option<LeastShare> {
        // A scan does not know who has had his share of an interval.
        let quick = self.cap.is_none().then(|| {
            let every = self.rung.is_none() && self.exclusions == 0;
            self.board.least_share(self.members.words(), every, |w| self.word(w), draw)
        });
        quick.flatten().or_else(|| self.least_share_of_each(draw))
    }

    fn least_share_of_each(&self, draw: u64) -> Option<LeastShare> {
        let mut best: Option<(u16, u64, LeastShare)> = None;
        let mut ties = 0;
        for slot in self.iter() {
            let live = self.live(slot);
            let key = share(live.units, live.weight.sixteenths());
            let lot = mix(draw ^ self.members.id_hash(slot));
            let held = best.as_ref().map_or(u16::MAX, |(key, ..)| *key);
            ties = if key < held { 1 } else { ties + usize::from(key == held) };
            if best.as_ref().is_none_or(|(held, least, _)| (key, lot) < (*held, *least)) {
                best = Some((key, lot, LeastShare { slot, units: live.units, ties: 0 }));
            }
        }
        best.map(|(.., found)| LeastShare { ties, ..found })
    }

    /// Visits every candidate that may have the least expected load with its class; others may be visited too. Two
    /// quick passes instead of a careful one.
    pub(crate) fn near_least_rank(&self, mut visit: impl FnMut(Slot, Live)) {
        let mask = |w| self.word(w);
        let mut quick = || self.board.near_least_rank(self.members.words(), mask, &mut visit);
        // As above.
        if self.cap.is_none() && (0..SCANS).any(|_| quick()) {
            return;
        }
        self.iter().for_each(|slot| visit(slot, self.live(slot)));
    }

    /// What a choice is made by, read at once.
    pub(crate) fn live(&self, slot: Slot) -> Live {
        self.board.live(slot)
    }

    /// The candidate at this place in the order of the definitions, if the member there is one.
    pub(crate) fn at_place(&self, place: usize) -> Option<Slot> {
        self.members.slot_at(place).filter(|slot| self.contains(*slot))
    }

    /// The members of the snapshot, candidates or not.
    pub fn members(&self) -> &'a Members<B> {
        self.members
    }

    /// The slots of the candidates, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.members.words())
            .flat_map(move |w| {
                let mut bits = self.word(w);
                std::iter::from_fn(move || {
                    if bits == 0 {
                        return None;
                    }
                    let bit = bits.trailing_zeros();
                    bits &= bits - 1;
                    u32::try_from(w).ok().map(|w| Slot(w * 64 + bit))
                })
            })
            .filter(|slot| !self.is_capped(*slot))
    }

    /// How many candidates there are.
    pub fn count(&self) -> usize {
        if self.cap.is_some() {
            return self.iter().count();
        }
        (0..self.members.words()).map(|w| self.word(w).count_ones() as usize).sum()
    }

    /// Whether this slot is a candidate.
    pub fn contains(&self, slot: Slot) -> bool {
        self.word(slot.index() / 64) & (1 << (slot.index() % 64)) != 0 && !self.is_capped(slot)
    }

    /// The member in this slot.
    pub fn member(&self, slot: Slot) -> Option<&'a Arc<Member<B>>> {
        self.members.by_slot(slot)
    }

    /// Expected load with its class (stale figures) in the top byte: lower is better.
    pub fn rank(&self, slot: Slot) -> u64 {
        self.board.rank(slot)
    }

    /// Expected load without its class.
    pub fn load(&self, slot: Slot) -> u64 {
        split_rank(self.board.rank(slot)).1
    }

    /// Units in flight.
    pub fn in_flight(&self, slot: Slot) -> u32 {
        self.board.in_flight(slot)
    }

    /// The weight in force.
    pub fn weight(&self, slot: Slot) -> Weight {
        self.board.weight(slot)
    }

    /// 2^32 divided by the weight in sixteenths, 0 for weight 0: multiply instead of dividing.
    pub fn inverse_weight(&self, slot: Slot) -> u32 {
        self.board.inverse(slot)
    }
}
