//! The figures of a bridge that is none, and their text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::xmpp::escape;

/// What a stand-in says of itself for as long as it lives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JvbOptions {
    /// How often it publishes. Default 5 s.
    pub interval: Duration,
    /// Default none.
    pub region: Option<String>,
    /// Default `2.3.310-g58f0f2a4e`.
    pub version: String,
    /// Default none.
    pub release: Option<String>,
    /// Whether it has a relay id, its nick. Default yes.
    pub relay: bool,
    /// Only the dozen figures that a bridge with its filter on sends. Default no.
    pub filtered: bool,
    /// Stress with nobody on it. Default 0.
    pub idle_stress: f64,
    /// Stress that each participant adds, and that it reports to add. Default 0.01.
    pub participant_stress: f64,
    /// How long it says that it is shutting down before it leaves. Default 60 s.
    pub shutting_down_delay: Duration,
}

impl Default for JvbOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            region: None,
            version: "2.3.310-g58f0f2a4e".to_owned(),
            release: None,
            relay: true,
            filtered: false,
            idle_stress: 0.0,
            participant_stress: 0.01,
            shutting_down_delay: Duration::from_secs(60),
        }
    }
}

/// The figures of a stand-in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JvbFigures {
    nick: String,
    pub(super) options: JvbOptions,
    conferences: BTreeMap<u64, u32>,
    next: u64,
    /// The stress to report instead of what the participants make.
    pub stress: Option<f64>,
    /// Whether it drains.
    pub drain: bool,
    /// Whether it shuts down gracefully.
    pub graceful: bool,
    /// Whether it is healthy.
    pub healthy: bool,
    pub(super) hanging: bool,
    frozen: Option<String>,
    shutting_down: Option<Instant>,
}

impl JvbFigures {
    pub(super) fn new(nick: String, options: JvbOptions) -> Self {
        Self {
            nick,
            options,
            conferences: BTreeMap::new(),
            next: 0,
            stress: None,
            drain: false,
            graceful: false,
            healthy: true,
            hanging: false,
            frozen: None,
            shutting_down: None,
        }
    }

    /// Starts a conference of so many participants; gives its number.
    pub fn add_conference(&mut self, participants: u32) -> u64 {
        self.next += 1;
        self.conferences.insert(self.next, participants);
        self.next
    }

    /// Changes how many take part in a conference.
    pub fn set_participants(&mut self, conference: u64, participants: u32) {
        if let Some(count) = self.conferences.get_mut(&conference) {
            *count = participants;
        }
    }

    /// Ends a conference.
    pub fn end_conference(&mut self, conference: u64) {
        self.conferences.remove(&conference);
    }

    /// How many take part in all conferences.
    pub fn participants(&self) -> u64 {
        self.conferences.values().map(|&count| u64::from(count)).sum()
    }

    /// The stress by the load model: idle stress, and so much for each participant. Not capped at 1.
    pub fn stress(&self) -> f64 {
        let each = self.options.participant_stress;
        self.stress.unwrap_or_else(|| self.options.idle_stress + self.participants() as f64 * each)
    }

    pub(super) fn freeze(&mut self, on: bool) {
        self.frozen = None;
        if on {
            self.frozen = Some(self.payload());
        }
    }

    /// Moves a shutdown on; whether it is over.
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        if self.graceful && self.shutting_down.is_none() && self.participants() == 0 {
            self.shutting_down = Some(now);
        }
        self.shutting_down.is_some_and(|since| now.duration_since(since) >= self.options.shutting_down_delay)
    }

    /// What the presence carries.
    pub(super) fn payload(&self) -> String {
        if let Some(frozen) = &self.frozen {
            return frozen.clone();
        }
        let options = &self.options;
        let (count, people) = (self.conferences.len().to_string(), self.participants().to_string());
        let flag = |on: bool| on.to_string();
        let mut stats: Vec<(&str, String)> = vec![
            ("stress_level", format!("{:.4}", self.stress())),
            ("average_participant_stress", options.participant_stress.to_string()),
            ("graceful_shutdown", flag(self.graceful)),
            ("shutting_down", flag(self.shutting_down.is_some())),
            ("drain", flag(self.drain)),
            ("colibri2", flag(true)),
            ("healthy", flag(self.healthy)),
            ("version", options.version.clone()),
            ("current_timestamp", timestamp(SystemTime::now())),
        ];
        stats.extend(options.release.clone().map(|release| ("release", release)));
        stats.extend(options.region.clone().map(|region| ("region", region)));
        stats.extend(options.relay.then(|| ("relay_id", self.nick.clone())));
        if !options.filtered {
            let largest = self.conferences.values().max().copied().unwrap_or(0).to_string();
            for (name, value) in [
                ("conferences", count.as_str()),
                ("participants", &people),
                ("endpoints", &people),
                ("local_endpoints", &people),
                ("octo_endpoints", "0"),
                ("visitors", "0"),
                ("largest_conference", &largest),
                ("muc_clients_configured", "1"),
                ("muc_clients_connected", "1"),
                ("mucs_configured", "1"),
                ("mucs_joined", "1"),
                ("overall_loss", "0.0"),
                ("threads", "146"),
            ] {
                stats.push((name, value.to_owned()));
            }
        }
        let mut text = "<stats xmlns='http://jitsi.org/protocol/colibri'>".to_owned();
        for (name, value) in stats {
            let _ = write!(text, "<stat name='{name}' value='{}'/>", escape(&value));
        }
        text + "</stats>"
    }
}

/// `2026-03-01 10:10:10.001`, in UTC.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Eras of 400 years that begin in March, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400 + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02}.{:03}", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use tokio::time::Instant;

    use super::{JvbFigures, JvbOptions, timestamp};

    #[test]
    fn dates_are_right() {
        let at = |seconds: u64| timestamp(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 1));
        assert_eq!(at(0), "1970-01-01 00:00:00.001");
        assert_eq!(at(1_709_208_000), "2024-02-29 12:00:00.001");
        assert_eq!(at(1_772_359_810), "2026-03-01 10:10:10.001");
        assert_eq!(at(1_798_761_599), "2026-12-31 23:59:59.001");
    }

    #[test]
    fn load_makes_stress_and_an_empty_bridge_shuts_down() {
        let mut figures = JvbFigures::new("jvb1".to_owned(), JvbOptions::default());
        let room = figures.add_conference(41);
        assert!((figures.stress() - 0.41).abs() < 1e-9);
        assert!(figures.payload().contains("<stat name='stress_level' value='0.4100'/>"));
        figures.graceful = true;
        let now = Instant::now();
        assert!(!figures.advance(now));
        figures.end_conference(room);
        assert!(!figures.advance(now));
        assert!(figures.payload().contains("name='shutting_down' value='true'"));
        assert!(figures.advance(now + Duration::from_secs(60)));
        figures.freeze(true);
        let frozen = figures.payload();
        figures.add_conference(3);
        assert_eq!(figures.payload(), frozen);
    }
}
