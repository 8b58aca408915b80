//! Moving endpoints away from a bridge: which conferences lose how many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use balancer_core::BackendId;

use crate::bridge::{BridgeTable, SettingsError};

/// Endpoints of one conference on one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConferenceOn {
    /// The conference's room.
    pub room: Arc<str>,
    /// Its endpoints there.
    pub endpoints: u32,
}

impl ConferenceOn {
    /// So many endpoints of a conference.
    pub fn new(room: impl Into<Arc<str>>, endpoints: u32) -> Self {
        Self { room: room.into(), endpoints }
    }
}

/// How many endpoints are to move.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Moving {
    /// All of them: the bridge is lost or ill, or about to end.
    All,
    /// So many; none for a negative number.
    Count(i64),
    /// This share of all, rounded half up.
    Fraction(f64),
}

/// Endpoints of a conference that are to choose a bridge anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Move {
    /// The conference's room.
    pub room: Arc<str>,
    /// How many of its endpoints.
    pub endpoints: u32,
}

/// Which conferences lose how many endpoints: the largest first, each as a whole until there are enough. Conferences of
/// one size stay in the order given.
pub fn moves(conferences: &[ConferenceOn], moving: Moving) -> Vec<Move> {
    let total: u64 = conferences.iter().map(|on| u64::from(on.endpoints)).sum();
    let mut left = match moving {
        Moving::All => total,
        Moving::Count(count) => u64::try_from(count).unwrap_or(0),
        // Saturating; what is not a number becomes 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        Moving::Fraction(share) => (share * total as f64 + 0.5).floor() as u64,
    };
    let mut sorted: Vec<&ConferenceOn> = conferences.iter().filter(|on| on.endpoints > 0).collect();
    sorted.sort_by_key(|on| std::cmp::Reverse(on.endpoints));
    let mut moves = Vec::new();
    for on in sorted {
        let endpoints = u32::try_from(left).unwrap_or(u32::MAX).min(on.endpoints);
        if endpoints == 0 {
            break;
        }
        left -= u64::from(endpoints);
        moves.push(Move { room: on.room.clone(), endpoints });
    }
    moves
}

/// When load is moved away from stressed bridges (`load-redistribution`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RedistributionSettings {
    /// How often bridges are looked at. Default 1 min.
    pub interval: Duration,
    /// From which corrected stress on a bridge loses endpoints. Default 0.9.
    pub stress_threshold: f64,
    /// How long a bridge is left alone afterwards. Default 3 min.
    pub timeout: Duration,
    /// How many endpoints it loses at a time. Default 10.
    pub endpoints: u32,
}

impl Default for RedistributionSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            stress_threshold: 0.9,
            timeout: Duration::from_secs(180),
            endpoints: 10,
        }
    }
}

/// Moves endpoints away from stressed bridges, a few at a time. Jicofo has it off by default; it is on where it is used.
///
/// The endpoints choose anew, and only its stress keeps them away from the bridge they had: so this is of use with
/// relays alone.
#[derive(Clone, Debug)]
pub struct Redistributor {
    settings: RedistributionSettings,
    next: Option<Duration>,
    treated: HashMap<BackendId, Duration>,
}

impl Redistributor {
    /// One with these settings.
    ///
    /// # Errors
    ///
    /// An interval or timeout of more than a day.
    pub fn try_new(settings: RedistributionSettings) -> Result<Self, SettingsError> {
        for (name, interval) in
            [("load-redistribution.interval", settings.interval), ("load-redistribution.timeout", settings.timeout)]
        {
            if interval > Duration::from_secs(24 * 3600) {
                return Err(SettingsError::TooLong { name, interval });
            }
        }
        Ok(Self { settings, next: None, treated: HashMap::new() })
    }

    /// What to move now, by bridge: nothing before the interval has passed, and nothing when every bridge is overloaded.
    /// `conferences` names those on a bridge.
    pub fn run(
        &mut self,
        table: &mut BridgeTable,
        now: Duration,
        mut conferences: impl FnMut(&BackendId) -> Vec<ConferenceOn>,
    ) -> Vec<(BackendId, Vec<Move>)> {
        match self.next {
            Some(next) if now < next => return Vec::new(),
            // The first look is one interval after the start.
            None => {
                self.next = Some(now.saturating_add(self.settings.interval));
                return Vec::new();
            }
            Some(_) => self.next = Some(now.saturating_add(self.settings.interval)),
        }
        let bridges = table.ranking(now);
        self.treated.retain(|_, at| now.saturating_sub(*at) < self.settings.timeout);
        if bridges.iter().all(|bridge| bridge.overloaded) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for bridge in bridges {
            if bridge.corrected_stress >= self.settings.stress_threshold && !self.treated.contains_key(&bridge.id) {
                let list = moves(&conferences(&bridge.id), Moving::Count(i64::from(self.settings.endpoints)));
                self.treated.insert(bridge.id.clone(), now);
                all.push((bridge.id, list));
            }
        }
        all
    }
}
