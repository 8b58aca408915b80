//! Whose every hash is, in one line of cache.

use super::ring::Point;

/// Below this many points a ring fits the caches anyway.
const MIN_POINTS: usize = 1 << 18;
/// Places in a line.
const PLACES: usize = 16;
/// Behind the last hash of a line.
const END: u32 = 0xffff;
/// The owner of nothing: the line has too few places.
const NOBODY: u32 = 0xffff;

/// Owners of hashes that share their top bits: `last hash << 16 | owner`, ascending.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u32; PLACES]);

/// The nearest point's owner for every hash. Hashes nearest to one point make a cell; a line holds the cells of a small
/// range of hashes, six on the average.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    lines: Vec<Line>,
    shift: u32,
}

/// The cells of these sorted points in order: the last hash of each, and the owner.
fn cells(points: &[Point]) -> impl Iterator<Item = Point> + '_ {
    let first = points.first().copied().unwrap_or_default();
    let last = points.last().copied().unwrap_or_default();
    let half = |from: u32, to: u32| from.wrapping_add(to.wrapping_sub(from) / 2);
    let turn = half(last.0, first.0);
    // The cell of the last point goes on at 0, or that of the first begins before the end.
    let (before, end, behind) =
        if turn < last.0 { (Some((turn, last.1)), u32::MAX, None) } else { (None, turn, Some((u32::MAX, first.1))) };
    let inner = points.iter().enumerate().filter_map(move |(i, (key, owner))| {
        let next = points.get(i + 1).map(|p| p.0);
        let is_first = i.checked_sub(1).and_then(|i| points.get(i)).is_none_or(|p| p.0 != *key);
        match next {
            // Of equal keys the first has what lies before, the last what lies behind.
            Some(next) if next == *key => is_first.then_some((*key, *owner)),
            Some(next) => Some((half(*key, next), *owner)),
            None => Some((end, *owner)),
        }
    });
    before.into_iter().chain(inner).chain(behind)
}

impl Cells {
    /// The cells of sorted points, if they are many.
    pub(crate) fn new(points: &[Point]) -> Option<Self> {
        let few = points.len() < MIN_POINTS || points.first()?.0 == points.last()?.0;
        if few || points.iter().any(|p| p.1 >= NOBODY) {
            return None;
        }
        let bits = (points.len().ilog2() - 2).min(24);
        let shift = 32 - bits;
        let mut lines = vec![Line([END << 16 | NOBODY; PLACES]); 1 << bits];
        let mut used = 0;
        let mut at = 0;
        for (last, owner) in cells(points) {
            let line = (last >> shift) as usize;
            while at <= line {
                let offset = if at < line { END } else { last & ((1 << shift) - 1) };
                if let Some(Line(places)) = lines.get_mut(at) {
                    match places.get_mut(used) {
                        Some(place) => *place = offset << 16 | owner,
                        None => *places = [END << 16 | NOBODY; PLACES],
                    }
                }
                if at == line {
                    used += 1;
                    break;
                }
                (at, used) = (at + 1, 0);
            }
        }
        Some(Self { lines, shift })
    }

    /// The owner of the point nearest to a hash; `None` where only the ring knows.
    pub(crate) fn owner(&self, hash: u32) -> Option<usize> {
        let offset = hash & ((1 << self.shift) - 1);
        let Line(places) = self.lines.get((hash >> self.shift) as usize)?;
        // Counted and not searched: a branch that nobody can foresee would cost more than the whole line.
        let before: u32 = places.iter().map(|place| u32::from((place >> 16) < offset)).sum();
        let place = places.get(before as usize)?;
        Some(place & 0xffff).filter(|owner| *owner != NOBODY).map(|owner| owner as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash::avalanche;
    use crate::balance::ring::Ring;

    fn agree(points: Vec<Point>) {
        let ring = Ring::new(points);
        let edges = (0..ring.len()).step_by(7).filter_map(|at| ring.key(at));
        let near = edges.flat_map(|key| [key.wrapping_sub(1), key, key.wrapping_add(1)]);
        let ends = [0, 1, u32::MAX, u32::MAX - 1];
        let mut slow = 0;
        for hash in near.chain(ends).chain((0..400_000).map(avalanche)) {
            let want = ring.nearest(hash).and_then(|at| ring.owner(at));
            assert_eq!(ring.nearest_owner(hash), want, "{hash:#x}");
            slow += usize::from(ring.cells().is_some_and(|c| c.owner(hash).is_none()));
        }
        assert!(ring.cells().is_some() && slow < 20_000, "{slow}");
    }

    #[test]
    fn cells_agree_with_the_ring() {
        let points = |n: u32, base: fn(u32) -> u32| -> Vec<Point> {
            (0..n).flat_map(|id| (0..1600).map(move |i| (avalanche(base(id).wrapping_add(i)), id))).collect()
        };
        agree(points(170, |id| id * 4096));
        // Every key several times.
        agree(points(340, |id| id / 2 * 4096));
        // All in one corner: most lines have too few places or one cell alone.
        let mut corner: Vec<Point> = points(170, |id| id * 4096);
        corner.iter_mut().for_each(|p| p.0 >>= 1);
        agree(corner);
        assert!(Cells::new(&[(1, 1), (2, 2)]).is_none());
        assert!(Cells::new(&vec![(7, 1); MIN_POINTS]).is_none());
    }
}
