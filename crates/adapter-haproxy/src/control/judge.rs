//! Whether a server is down, by what everybody sees of it. Pure.

use std::time::Duration;

use balancer_core::Health;
use tokio::time::Instant;

use super::options::Decide;
use super::view::Standing;

/// What all views of a server come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Nobody can tell.
    #[default]
    Unknown,
    /// It works.
    Up,
    /// Some see it down and some do not: nothing is done.
    Doubtful,
    /// It is down.
    Down,
    /// It is in maintenance by order, or listed no longer.
    Out,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Doubtful => "doubtful",
            Self::Down => "down",
            Self::Out => "out",
        }
    }
}

/// The verdict on a server, by the processes that list it and our own probe.
pub(super) fn judge(views: &[Standing], probe: Option<Health>, decide: Decide) -> Verdict {
    if views.is_empty() {
        return Verdict::Unknown;
    }
    if views.contains(&Standing::Maint) {
        return Verdict::Out;
    }
    let by_probe = match probe {
        Some(Health::Down | Health::Dead) => Some(Verdict::Down),
        Some(Health::Up) => Some(Verdict::Up),
        Some(Health::Suspect) => Some(Verdict::Doubtful),
        Some(Health::Unknown) | None => None,
    };
    let down = views.contains(&Standing::Down);
    let up = views.contains(&Standing::Up);
    let by_haproxy = match (down, up) {
        (true, true) if by_probe == Some(Verdict::Down) => Some(Verdict::Down),
        (true, true) => Some(Verdict::Doubtful),
        (true, false) => Some(Verdict::Down),
        (false, true) => Some(Verdict::Up),
        (false, false) => None,
    };
    let one = |first: Option<Verdict>, second: Option<Verdict>| first.or(second).unwrap_or(Verdict::Up);
    match decide {
        Decide::Haproxy => one(by_haproxy, by_probe),
        Decide::Probes => by_probe.unwrap_or(Verdict::Unknown),
        Decide::Either if by_haproxy == Some(Verdict::Down) || by_probe == Some(Verdict::Down) => Verdict::Down,
        Decide::Either => one(by_haproxy, by_probe),
        Decide::Both => match (by_haproxy, by_probe) {
            (Some(a), Some(b)) if a == b => a,
            (Some(_), Some(_)) => Verdict::Doubtful,
            (a, b) => one(a, b),
        },
    }
}

/// A server's course.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) verdict: Verdict,
    /// When the verdict was first so.
    pub(super) since: Instant,
    /// In how many looks it was so.
    looks: u32,
    /// Its rooms are to move, until it is up again.
    pub(super) dead: bool,
    /// When it was last found down, and up again.
    down: Option<(Instant, Option<Instant>)>,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self { verdict: Verdict::Unknown, since: now, looks: 0, dead: false, down: None }
    }

    /// One more verdict; whether something changed.
    pub(super) fn observe(&mut self, verdict: Verdict, now: Instant, grace: Duration) -> bool {
        let before = (self.verdict, self.dead);
        if verdict != self.verdict {
            (self.verdict, self.since, self.looks) = (verdict, now, 0);
            match (verdict, &mut self.down) {
                (Verdict::Down, None | Some((_, Some(_)))) => self.down = Some((now, None)),
                (Verdict::Up, Some((_, until @ None))) => *until = Some(now),
                _ => {}
            }
        }
        self.looks = self.looks.saturating_add(1);
        match verdict {
            Verdict::Up => self.dead = false,
            // Maintenance of a moment is part of a change of address.
            Verdict::Out => self.dead |= self.looks >= 2 && now.duration_since(self.since) >= grace,
            Verdict::Down => self.dead |= now.duration_since(self.since) >= grace,
            Verdict::Unknown | Verdict::Doubtful => {}
        }
        before != (self.verdict, self.dead)
    }

    /// Whether nobody can have come to it then: it was down when it was last found so.
    pub(super) fn was_down(&self, then: Instant) -> bool {
        self.down.is_some_and(|(from, until)| from <= then && until.is_none_or(|until| then < until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_alone_takes_a_server_down() {
        use Decide::{Both, Either, Haproxy, Probes};
        use Standing::{Down, Maint, Unchecked, Up};
        let health = |word: &str| match word {
            "up" => Some(Health::Up),
            "down" => Some(Health::Down),
            "suspect" => Some(Health::Suspect),
            _ => None,
        };
        for (views, probe, decide, expected) in [
            (&[][..], "down", Haproxy, Verdict::Unknown),
            (&[Up, Up], "down", Haproxy, Verdict::Up),
            (&[Down, Down], "up", Haproxy, Verdict::Down),
            (&[Down, Up], "", Haproxy, Verdict::Doubtful),
            (&[Down, Up], "up", Haproxy, Verdict::Doubtful),
            (&[Down, Up], "down", Haproxy, Verdict::Down),
            (&[Unchecked, Unchecked], "down", Haproxy, Verdict::Down),
            (&[Unchecked], "", Haproxy, Verdict::Up),
            (&[Up, Maint], "up", Haproxy, Verdict::Out),
            (&[Up], "down", Probes, Verdict::Down),
            (&[Down], "up", Probes, Verdict::Up),
            (&[Up], "down", Either, Verdict::Down),
            (&[Up], "suspect", Either, Verdict::Up),
            (&[Up], "down", Both, Verdict::Doubtful),
            (&[Down], "down", Both, Verdict::Down),
            (&[Down], "", Both, Verdict::Down),
        ] {
            assert_eq!(judge(views, health(probe), decide), expected, "{views:?} {probe} {decide:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn grace_is_waited_for_and_a_moment_of_maintenance_is_none() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut life = Life::new(start);
        assert!(life.observe(Verdict::Up, start, 3 * second));
        assert!(life.observe(Verdict::Down, start + second, 3 * second) && !life.dead);
        assert!(!life.observe(Verdict::Down, start + 3 * second, 3 * second));
        assert!(life.observe(Verdict::Down, start + 4 * second, 3 * second) && life.dead);
        life.observe(Verdict::Doubtful, start + 5 * second, 3 * second);
        assert!(life.dead, "only an up ends it");
        assert!(life.observe(Verdict::Up, start + 6 * second, 3 * second) && !life.dead);
        life.observe(Verdict::Out, start + 7 * second, Duration::ZERO);
        assert!(!life.dead);
        life.observe(Verdict::Out, start + 8 * second, Duration::ZERO);
        assert!(life.dead);
    }

    #[test]
    fn it_is_known_when_a_server_was_down_last() {
        let begin = Instant::now();
        let mut life = Life::new(begin);
        let second = |n: u64| begin + Duration::from_secs(n);
        for (n, verdict) in [
            (1, Verdict::Up),
            (10, Verdict::Down),
            (12, Verdict::Doubtful),
            (13, Verdict::Down),
            (20, Verdict::Up),
            (30, Verdict::Down),
        ] {
            life.observe(verdict, second(n), Duration::ZERO);
            let down: Vec<u64> = (1..35).filter(|n| life.was_down(second(*n))).collect();
            let expected: Vec<u64> = match n {
                1 => vec![],
                10..20 => (10..35).collect(),
                20 => (10..20).collect(),
                _ => (30..35).collect(),
            };
            assert_eq!(down, expected, "after {n}");
        }
    }
}
