//! What a server's meetings cost.

use std::time::Duration;

use super::xml::MeetingEntry;

/// What the load of a server is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadKind {
    /// People, where a young meeting counts as if it were already well attended.
    #[default]
    Attendees,
    /// The number of meetings, breakout rooms included.
    Meetings,
}

/// How the figures of a server become its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFormula {
    kind: LoadKind,
    min_user_count: u32,
    join_buffer: Duration,
}

impl Default for LoadFormula {
    /// By attendees; a meeting younger than 15 minutes counts at least 15.
    fn default() -> Self {
        Self { kind: LoadKind::Attendees, min_user_count: 15, join_buffer: Duration::from_secs(15 * 60) }
    }
}

impl LoadFormula {
    /// What is counted. Default: [`LoadKind::Attendees`].
    #[must_use]
    pub const fn with_kind(mut self, kind: LoadKind) -> Self {
        self.kind = kind;
        self
    }

    /// What a young meeting counts at least. Default: 15.
    #[must_use]
    pub const fn with_min_user_count(mut self, count: u32) -> Self {
        self.min_user_count = count;
        self
    }

    /// How long a meeting is young. Default: 15 minutes.
    #[must_use]
    pub const fn with_join_buffer(mut self, age: Duration) -> Self {
        self.join_buffer = age;
        self
    }

    /// What a meeting counts for that has just begun, before a server's multiplier; at least 1.
    #[must_use]
    pub fn new_meeting(&self) -> f64 {
        match self.kind {
            LoadKind::Meetings => 1.0,
            LoadKind::Attendees => f64::from(self.min_user_count.max(1)),
        }
    }

    /// The figures of a server that holds these meetings.
    ///
    /// `now_ms` is the time in milliseconds since 1970; `multiplier` is the server's (higher means fewer meetings). A
    /// multiplier that is not a finite number above zero counts as 1.
    ///
    /// Moderators count twice by attendees, since the participants of a meeting include them; breakout rooms count
    /// nothing there. A meeting of unknown age is old, one from the future is young.
    #[must_use]
    pub fn figures<'m, 'a: 'm>(
        &self,
        meetings: impl IntoIterator<Item = &'m MeetingEntry<'a>>,
        now_ms: u64,
        multiplier: f64,
    ) -> ServerFigures {
        let buffer = u64::try_from(self.join_buffer.as_millis()).unwrap_or(u64::MAX);
        let mut figures = ServerFigures::default();
        let mut sum = 0u64;
        for meeting in meetings {
            figures.meetings += 1;
            figures.users += u64::from(meeting.participants);
            figures.largest_meeting = figures.largest_meeting.max(u64::from(meeting.participants));
            figures.videos += u64::from(meeting.videos);
            sum += match self.kind {
                LoadKind::Meetings => 1,
                LoadKind::Attendees if meeting.breakout => 0,
                LoadKind::Attendees => {
                    let attendees = u64::from(meeting.participants) + u64::from(meeting.moderators);
                    let young = meeting.created_ms.is_some_and(|created| now_ms.saturating_sub(created) < buffer);
                    if young { attendees.max(u64::from(self.min_user_count)) } else { attendees }
                }
            };
        }
        let multiplier = if multiplier.is_finite() && multiplier > 0.0 { multiplier } else { 1.0 };
        figures.load = u32::try_from(sum).map_or(f64::from(u32::MAX), f64::from) * multiplier;
        figures
    }
}

impl std::fmt::Display for LoadFormula {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            LoadKind::Meetings => f.write_str("meetings x load multiplier"),
            LoadKind::Attendees => write!(
                f,
                "(users + moderators, at least {} in a meeting younger than {} min) x load multiplier",
                self.min_user_count,
                self.join_buffer.as_secs() / 60
            ),
        }
    }
}

/// What a server's list of meetings says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ServerFigures {
    /// Meetings, breakout rooms included.
    pub meetings: u64,
    /// Participants, moderators among them.
    pub users: u64,
    /// Participants of the largest meeting.
    pub largest_meeting: u64,
    /// Shared cameras.
    pub videos: u64,
    /// The load, multiplied by the server's factor.
    pub load: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const MINUTE: u64 = 60_000;

    fn meeting(participants: u32, moderators: u32, age_minutes: u64) -> MeetingEntry<'static> {
        let created_ms = Some(NOW - age_minutes * MINUTE);
        MeetingEntry { participants, moderators, created_ms, ..MeetingEntry::default() }
    }

    fn load(meetings: &[MeetingEntry<'_>]) -> f64 {
        LoadFormula::default().figures(meetings, NOW, 1.0).load
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn documented_examples() {
        assert_eq!(load(&[meeting(0, 0, 0)]), 15.0);
        assert_eq!(load(&[meeting(3, 1, 15)]), 4.0);
        assert_eq!(load(&[meeting(3, 1, 14)]), 15.0);
        assert_eq!(load(&[meeting(30, 2, 1)]), 32.0);
        let mut breakout = meeting(5, 0, 1);
        breakout.breakout = true;
        assert_eq!(load(&[breakout.clone()]), 0.0);
        let mut ageless = meeting(2, 0, 0);
        ageless.created_ms = None;
        assert_eq!(load(&[ageless]), 2.0);
        let mut future = meeting(2, 0, 0);
        future.created_ms = Some(NOW + MINUTE);
        assert_eq!(load(&[future]), 15.0);

        let mut busy = meeting(7, 1, 60);
        busy.videos = 3;
        let all = [meeting(30, 2, 1), busy, breakout];
        let figures = LoadFormula::default().figures(&all, NOW, 2.5);
        let want = ServerFigures { meetings: 3, users: 42, largest_meeting: 30, videos: 3, load: 100.0 };
        assert_eq!(figures, want);
        assert_eq!(LoadFormula::default().figures(&all, NOW, f64::NAN).load, 40.0);
        assert_eq!(LoadFormula::default().figures(&all, NOW, 0.0).load, 40.0);
        assert_eq!(LoadFormula::default().with_kind(LoadKind::Meetings).figures(&all, NOW, 2.0).load, 6.0);
        let gentle = LoadFormula::default().with_min_user_count(4).with_join_buffer(Duration::ZERO);
        assert_eq!(gentle.figures(&[meeting(0, 0, 0)], NOW, 1.0).load, 0.0);
    }
}
