//! How the adapter behaves: Scalelite's settings under their own names.

use std::time::Duration;

use balancer_core::WallClock;

use crate::api::{Algorithm, Checksums, LoadFormula, ParamRules};
use crate::client::CallLimits;

/// Settings of a balancer; defaults are Scalelite's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BbbOptions {
    /// The balancer's own secrets and the checksum algorithms it accepts.
    pub checksums: Checksums,
    /// The algorithm of outgoing checksums. Default SHA-256.
    pub outgoing: Algorithm,
    /// Time-outs and limits of calls to servers.
    pub calls: CallLimits,
    /// How load is computed from a server's meetings.
    pub formula: LoadFormula,
    /// Points a new meeting is expected to count for at the next poll. Default 15, what the formula counts at least
    /// for a young meeting.
    pub new_meeting: f64,
    /// Time between two polls of a server. Default 60 s.
    pub poll_interval: Duration,
    /// Polls in a row that bring a server online (`SERVER_HEALTHY_THRESHOLD`). Default 1.
    pub healthy_threshold: u32,
    /// Failed polls in a row that take it offline (`SERVER_UNHEALTHY_THRESHOLD`). Default 2.
    pub unhealthy_threshold: u32,
    /// At most so many new meetings per server and interval. Default: no cap.
    pub cap: Option<(u32, Duration)>,
    /// How long a meeting stays known when nobody asks and no poll sees it. Default 24 h.
    pub meeting_ttl: Duration,
    /// Defaults, overrides and exclusions of `create`.
    pub create: ParamRules,
    /// Defaults, overrides and exclusions of `join`.
    pub join: ParamRules,
    /// The longest meeting in minutes; 0 is no limit.
    pub max_duration: u32,
    /// Digits of a voice bridge number. Default 9.
    pub voice_digits: usize,
    /// Whether a client's `voiceBridge` is tried first.
    pub external_voice_bridge: bool,
    /// The host name requests must have; `None` checks nothing.
    pub url_host: Option<String>,
    /// What the index answers as `build`.
    pub build: Option<String>,
    /// Whether `getMeetings` answers that there are none.
    pub get_meetings_disabled: bool,
    /// Whether a new server's id is its host name instead of a UUID.
    pub id_is_hostname: bool,
    /// The wall clock that bindings and meetings are dated by; the one of the store. Default: the system's.
    pub clock: WallClock,
}

impl BbbOptions {
    /// Defaults, with these checksums.
    pub fn new(checksums: Checksums) -> Self {
        Self {
            outgoing: checksums.strongest(),
            checksums,
            calls: CallLimits::default(),
            formula: LoadFormula::default(),
            new_meeting: 15.0,
            poll_interval: Duration::from_secs(60),
            healthy_threshold: 1,
            unhealthy_threshold: 2,
            cap: None,
            meeting_ttl: Duration::from_secs(86_400),
            create: ParamRules::default(),
            join: ParamRules::default(),
            max_duration: 0,
            voice_digits: 9,
            external_voice_bridge: false,
            url_host: None,
            build: None,
            get_meetings_disabled: false,
            id_is_hostname: false,
            clock: WallClock::system(),
        }
    }

    /// The longest one `create` or `end` may take at a server: connecting and answering.
    pub(crate) fn call_time(&self) -> Duration {
        self.calls.connect + self.calls.response
    }

    /// Younger bindings are never removed because a poll did not see the meeting: its create may be under way.
    pub(crate) fn grace(&self) -> Duration {
        self.call_time() * 2 + Duration::from_secs(5)
    }
}
