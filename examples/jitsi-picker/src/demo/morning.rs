//! The conferences of a morning: always the same ones.

/// One conference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conference {
    /// Its room.
    pub(super) room: String,
    /// When each participant comes, in minutes after eight, and from which region.
    pub(super) people: Vec<(u32, &'static str)>,
    /// When all leave.
    pub(super) end: u32,
}

/// Lessons that begin with the hour and half past it, and meetings between them.
pub(super) fn morning(regions: &[&'static str; 2]) -> Vec<Conference> {
    let mut state = 20_260_301_u64;
    // A generator of Knuth's: what it gives need only look mixed.
    let mut below = |bound: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % u64::from(bound.max(1))).unwrap_or(0)
    };
    let mut all = Vec::new();
    for n in 0..110 {
        let lesson = n % 3 != 0;
        let start = if lesson { below(6) * 30 + below(3) } else { below(165) };
        let size = if lesson { 8 + below(22) } else { 2 + below(6) };
        let home = regions[usize::from(below(3) == 0)];
        let people = (0..size).map(|_| {
            let guest = below(8) == 0;
            let region = if guest { regions[usize::from(home == regions[0])] } else { home };
            (start + below(4), region)
        });
        let mut people: Vec<_> = people.collect();
        people.sort_unstable();
        let kind = if lesson { "lesson" } else { "meeting" };
        all.push(Conference { room: format!("{kind}-{n}"), people, end: start + 25 + below(35) });
    }
    all
}
