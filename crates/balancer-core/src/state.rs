//! Admin state, health and the rise/fall machine: three values that never overwrite one another (weight is the third).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the operator ordered. HAProxy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// Takes new rooms.
    #[default]
    Ready,
    /// Keeps the rooms it has, takes no new ones (also called cordoned).
    Drain,
    /// Takes nothing; its sticks are broken.
    Maint,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        })
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Never probed yet.
    #[default]
    Unknown,
    /// Passing.
    Up,
    /// Was up, fails now, not often enough to be down: no new rooms, sticks hold.
    Suspect,
    /// Failed `fall` times in a row: no new rooms, sticks hold.
    Down,
    /// Down for good by a shared verdict or a grace time: sticks are broken.
    Dead,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Dead => "dead",
        })
    }
}

/// How many observations change a verdict and how long to wait between them; HAProxy's meaning of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthRules {
    /// Successes in a row that bring a server up. Default 2.
    pub rise: u32,
    /// Failures in a row that take a server down. Default 3.
    pub fall: u32,
    /// Time between two probes of a server in a settled state. Default 2 s.
    pub inter: Duration,
    /// Time between two probes while a verdict is under way (a few failures, a few successes). Default: `inter`.
    pub fastinter: Option<Duration>,
    /// Time between two probes of a server that is down. Default: `inter`.
    pub downinter: Option<Duration>,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self { rise: 2, fall: 3, inter: Duration::from_secs(2), fastinter: None, downinter: None }
    }
}

impl HealthRules {
    /// `rise` and `fall` of at least 1.
    pub fn new(rise: u32, fall: u32, inter: Duration) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), inter, ..Self::default() }
    }

    /// Sets the interval used while a verdict is under way.
    pub fn with_fastinter(mut self, every: Duration) -> Self {
        self.fastinter = Some(every);
        self
    }

    /// Sets the interval used while a server is down.
    pub fn with_downinter(mut self, every: Duration) -> Self {
        self.downinter = Some(every);
        self
    }
}

/// The state of the rise/fall machine: a verdict and how many observations in a row speak against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict so far.
    pub health: Health,
    /// Observations in a row against it.
    pub against: u32,
}

impl Verdict {
    /// One more observation. Pure: the same state and observation always give the same next state.
    #[must_use]
    pub fn observe(self, passed: bool, rules: &HealthRules) -> Self {
        let settled = |health| Self { health, against: 0 };
        match (self.health, passed) {
            (Health::Up | Health::Suspect, true) => settled(Health::Up),
            (Health::Up | Health::Suspect, false) => {
                let against = if self.health == Health::Up { 1 } else { self.against.saturating_add(1) };
                if against >= rules.fall { settled(Health::Down) } else { Self { health: Health::Suspect, against } }
            }
            (Health::Down | Health::Dead | Health::Unknown, true) => {
                let against = self.against.saturating_add(1);
                // The first word about a new server is believed, as HAProxy and Scalelite do.
                if against >= rules.rise || self.health == Health::Unknown {
                    settled(Health::Up)
                } else {
                    Self { health: self.health, against }
                }
            }
            (Health::Unknown, false) => settled(Health::Down),
            (Health::Down | Health::Dead, false) => settled(self.health),
        }
    }

    /// How long to wait before the next probe.
    pub fn interval(self, rules: &HealthRules) -> Duration {
        let under_way = self.against > 0 || self.health == Health::Unknown;
        match self.health {
            _ if under_way => rules.fastinter.unwrap_or(rules.inter),
            Health::Down | Health::Dead => rules.downinter.unwrap_or(rules.inter),
            _ => rules.inter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: Health, rules: &HealthRules, seen: &[bool]) -> Vec<Health> {
        let mut v = Verdict { health: start, against: 0 };
        seen.iter()
            .map(|ok| {
                v = v.observe(*ok, rules);
                v.health
            })
            .collect()
    }

    #[test]
    fn falls_after_fall_failures_in_a_row_and_one_success_forgives() {
        use Health::{Down, Suspect, Up};
        let rules = HealthRules::new(2, 3, Duration::from_secs(1));
        assert_eq!(
            run(Up, &rules, &[false, false, true, false, false, false]),
            [Suspect, Suspect, Up, Suspect, Suspect, Down]
        );
    }

    #[test]
    fn rises_after_rise_successes_in_a_row_and_one_failure_forgets() {
        use Health::{Down, Up};
        let rules = HealthRules::new(2, 3, Duration::from_secs(1));
        assert_eq!(run(Down, &rules, &[true, false, true, true]), [Down, Down, Down, Up]);
    }

    #[test]
    fn first_word_about_a_new_server_is_believed() {
        let rules = HealthRules::default();
        assert_eq!(run(Health::Unknown, &rules, &[true]), [Health::Up]);
        assert_eq!(run(Health::Unknown, &rules, &[false]), [Health::Down]);
    }

    #[test]
    fn probes_faster_while_a_verdict_is_under_way() {
        let rules = HealthRules::new(2, 3, Duration::from_secs(10))
            .with_fastinter(Duration::from_secs(1))
            .with_downinter(Duration::from_secs(30));
        let up = Verdict { health: Health::Up, against: 0 };
        assert_eq!(up.interval(&rules), Duration::from_secs(10));
        assert_eq!(up.observe(false, &rules).interval(&rules), Duration::from_secs(1));
        let down = Verdict { health: Health::Down, against: 0 };
        assert_eq!(down.interval(&rules), Duration::from_secs(30));
        assert_eq!(down.observe(true, &rules).interval(&rules), Duration::from_secs(1));
    }
}
