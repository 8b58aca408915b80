//! `roundrobin`: three trees that every pick moves.

use std::collections::BTreeSet;

use super::farm::{Farm, Load};
use super::notes::Notes;

/// A server's place in a tree: key, order of arrival, server.
type Place = (u32, u64, usize);

const CURR: usize = 2;

/// The turns of the active servers, or of the backups.
#[derive(Clone, Debug, Default)]
struct Turns {
    pos: u32,
    width: u32,
    total: u32,
    /// `init` and `next`, in either order, and `curr`.
    trees: [BTreeSet<Place>; 3],
    init: usize,
}

#[derive(Clone, Debug, Default)]
struct Position {
    npos: u32,
    lpos: u32,
    rest: u32,
    ew: u32,
    /// The tree it is or was in; none for a server that left.
    tree: Option<usize>,
    place: Option<Place>,
}

/// The state of `roundrobin`.
#[derive(Clone, Debug)]
pub(crate) struct RoundRobin {
    sides: [Turns; 2],
    positions: Vec<Position>,
    arrivals: u64,
    /// A server of a new weight is treated like one that comes (3.2).
    rejoins: bool,
}

impl RoundRobin {
    pub(crate) fn new(farm: &Farm, rejoins: bool) -> Self {
        let positions = vec![Position::default(); farm.units.len()];
        let mut rr = Self { sides: Default::default(), positions, arrivals: 0, rejoins };
        for backup in [false, true] {
            let side = usize::from(backup);
            let all: Vec<(usize, u32)> = farm.usable(backup).map(|(i, u)| (i, u.ew)).collect();
            let total = all.iter().map(|(_, ew)| ew).sum();
            rr.sides[side] = Turns { pos: total, width: total, total, ..Turns::default() };
            for (i, ew) in all {
                rr.positions[i].ew = ew;
                rr.by_weight(side, 0, i);
            }
        }
        rr
    }

    fn insert(&mut self, side: usize, tree: usize, key: u32, i: usize) {
        self.arrivals += 1;
        let place = (key, self.arrivals, i);
        self.sides[side].trees[tree].insert(place);
        self.positions[i].tree = Some(tree);
        self.positions[i].place = Some(place);
    }

    fn take_out(&mut self, side: usize, i: usize) {
        let p = &mut self.positions[i];
        if let Some((tree, place)) = p.tree.zip(p.place.take()) {
            self.sides[side].trees[tree].remove(&place);
        }
    }

    fn by_weight(&mut self, side: usize, tree: usize, i: usize) {
        let key = 4096u32.wrapping_sub(self.positions[i].ew);
        self.insert(side, tree, key, i);
    }

    fn queue(&mut self, side: usize, i: usize) {
        let (turns, p) = (&self.sides[side], &mut self.positions[i]);
        if p.npos >= turns.width.wrapping_mul(2) || p.npos >= turns.width.wrapping_add(turns.total) {
            p.npos = p.npos.wrapping_sub(turns.width);
            let next = 1 - turns.init;
            self.by_weight(side, next, i);
        } else {
            let key = p.npos.wrapping_mul(256).wrapping_add((4096u32.wrapping_add(p.rest).wrapping_sub(p.ew)) / 16);
            self.insert(side, CURR, key, i);
        }
    }

    /// What a tree does to the position of a server that is taken from it.
    fn adjust(&mut self, side: usize, i: usize) {
        let (turns, p) = (&self.sides[side], &mut self.positions[i]);
        match p.tree {
            Some(tree) if tree == turns.init => (p.npos, p.rest) = (0, 0),
            Some(CURR) => {}
            Some(_) => p.npos = p.npos.wrapping_add(turns.width),
            None => p.npos = turns.pos,
        }
    }

    /// A server has another weight or state.
    pub(crate) fn changed(&mut self, farm: &Farm, i: usize, was_usable: bool) {
        let Some(unit) = farm.units.get(i) else { return };
        let side = usize::from(unit.backup);
        match (was_usable, unit.usable()) {
            (false, false) => {}
            (true, false) => {
                let ew = self.positions[i].ew;
                self.sides[side].total = self.sides[side].total.wrapping_sub(ew);
                self.take_out(side, i);
                self.positions[i].tree = None;
            }
            (false, true) => {
                self.sides[side].total = self.sides[side].total.wrapping_add(unit.ew);
                self.positions[i].ew = unit.ew;
                self.adjust(side, i);
                self.join(side, i);
            }
            (true, true) => self.reweigh(side, i, unit.ew),
        }
    }

    /// Queues a server that comes.
    fn join(&mut self, side: usize, i: usize) {
        let (t, p) = (&self.sides[side], &mut self.positions[i]);
        let ahead = t.total.wrapping_add(t.width).wrapping_sub(t.pos).checked_div(p.ew).unwrap_or(0);
        p.npos = t.pos.wrapping_add(ahead);
        self.queue(side, i);
    }

    fn reweigh(&mut self, side: usize, i: usize, ew: u32) {
        let t = &mut self.sides[side];
        t.total = t.total.wrapping_sub(self.positions[i].ew).wrapping_add(ew);
        self.positions[i].ew = ew;
        if self.rejoins {
            self.take_out(side, i);
            self.adjust(side, i);
            self.join(side, i);
            return;
        }
        if self.positions[i].tree == Some(self.sides[side].init) {
            self.take_out(side, i);
            self.by_weight(side, self.sides[side].init, i);
            return;
        }
        self.adjust(side, i);
        let (t, p) = (&self.sides[side], &mut self.positions[i]);
        let step = t.total.checked_div(ew).unwrap_or(0);
        p.npos = p.lpos.wrapping_add(step).min(p.npos);
        p.rest = 0;
        if p.npos < t.pos.wrapping_add(2) {
            p.npos = t.pos.wrapping_add(step);
        }
        self.take_out(side, i);
        self.queue(side, i);
    }

    /// The next in turn, whether full or not, as the trees stand.
    fn first(&mut self, side: usize) -> Option<usize> {
        let t = &self.sides[side];
        let curr = t.trees[CURR].first().map(|p| p.2);
        if let Some(i) = curr.filter(|i| self.positions[*i].npos <= t.pos) {
            return Some(i);
        }
        let Some(i) = t.trees[t.init].first().map(|p| p.2) else { return curr };
        (self.positions[i].npos, self.positions[i].rest) = (0, 0);
        Some(i)
    }

    fn advance(&mut self, side: usize, i: usize) {
        let (t, p) = (&mut self.sides[side], &mut self.positions[i]);
        if p.npos == 0 {
            p.npos = t.pos;
        }
        p.lpos = p.npos;
        p.npos = p.npos.wrapping_add(t.total.checked_div(p.ew).unwrap_or(0));
        p.rest = p.rest.wrapping_add(t.total.checked_rem(p.ew).unwrap_or(0));
        if p.rest >= p.ew {
            p.rest -= p.ew;
            p.npos = p.npos.wrapping_add(1);
        }
        t.pos = t.pos.wrapping_add(1);
        self.take_out(side, i);
    }

    /// The next in turn.
    pub(crate) fn next(&mut self, farm: &Farm, load: &dyn Load, notes: &mut Notes) -> Option<usize> {
        let side = match farm.group().side() {
            Ok(side) => side,
            Err(only) => return only,
        };
        let mut aside = Vec::new();
        let mut switched = false;
        let found = loop {
            let t = &mut self.sides[side];
            if t.width == 0 {
                (t.pos, t.width) = (t.total, t.total);
            }
            let Some(i) = self.first(side) else {
                if switched {
                    break None;
                }
                switched = true;
                let t = &mut self.sides[side];
                t.init = 1 - t.init;
                (t.width, t.pos) = (t.total, t.total);
                continue;
            };
            self.advance(side, i);
            if !load.is_full(i) {
                break Some(i);
            }
            notes.say_of(i, || "is full".into());
            aside.push(i);
        };
        if let Some(i) = found {
            notes.say(|| format!("in turn at position {} of {}", self.positions[i].lpos, self.sides[side].width));
            self.queue(side, i);
        }
        while let Some(i) = aside.pop() {
            if switched {
                self.by_weight(side, self.sides[side].init, i);
            } else {
                self.queue(side, i);
            }
        }
        found
    }
}
