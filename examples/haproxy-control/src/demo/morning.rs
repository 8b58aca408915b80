//! The lessons of a morning: always the same ones.

use crate::cli::DemoKind;

/// One lesson: a room of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lesson {
    /// The room as people write it; of a shard, tenant and room.
    pub(super) room: String,
    /// When each of its people comes, in minutes after eight.
    pub(super) people: Vec<u32>,
    /// When all leave.
    pub(super) end: u32,
}

/// How long the morning is, in minutes after eight.
pub(super) const MINUTES: u32 = 180;

const SUBJECTS: [&str; 8] =
    ["algebra", "biology", "chemistry", "drawing", "english", "french", "big break", "history & arts"];
const TENANTS: [&str; 2] = ["north", "south"];

/// Lessons that begin with the hour and half past it, and a few meetings between them.
pub(super) fn morning(kind: DemoKind) -> Vec<Lesson> {
    let all = (0..72_u32).map(|n| {
        // Numbers that look mixed, and are the same on every day.
        let mixed = n.wrapping_mul(2_654_435_761) >> 16;
        let start = if n % 6 == 5 { mixed % 150 } else { n / 12 * 30 + mixed % 3 };
        let size = 2 + (mixed >> 4) % 6;
        let people = (0..size).map(|seat| start + seat * (1 + mixed % 2)).collect();
        let (subject, class) = (SUBJECTS[n as usize % 12 % SUBJECTS.len()], 5 + n / 12);
        let room = match kind {
            DemoKind::Edumeet => format!("{subject} {class}{}", if n % 12 < 8 { "a" } else { "b" }),
            DemoKind::Shards => {
                let plain = subject.replace(" & ", "-and-").replace(' ', "-");
                format!("{}/{plain}-{class}", TENANTS[usize::from(n % 12 < 8)])
            }
        };
        Lesson { room, people, end: start + 30 + (mixed >> 2) % 25 }
    });
    all.collect()
}

/// Minutes after eight as a clock shows them.
pub(super) fn clock(minute: u32) -> String {
    format!("{:02}:{:02}", 8 + minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lesson_has_its_room_and_begins_before_the_end() {
        for kind in [DemoKind::Edumeet, DemoKind::Shards] {
            let lessons = morning(kind);
            let rooms: std::collections::BTreeSet<_> = lessons.iter().map(|lesson| &lesson.room).collect();
            assert_eq!(rooms.len(), lessons.len());
            assert!(lessons.iter().all(|it| it.people.len() >= 2 && it.people.iter().all(|at| *at < MINUTES)));
            assert!(lessons.iter().all(|it| it.people.iter().all(|at| *at < it.end)));
            assert!(lessons.iter().any(|it| it.end > MINUTES), "some go on");
        }
    }
}
