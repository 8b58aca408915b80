//! How the adapter behaves: Scalelite's settings under their own names.

use std::time::Duration;

use balancer_core::WallClock;

use crate::api::{Algorithm, Checksums, LoadFormula, ParamRules};
use crate::client::CallLimits;
use crate::egress::AddressRules;
use crate::secret::Secret;

/// How callbacks reach front-ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallbackOptions {
    /// Which addresses front-ends may have called, and documents fetched from. Default: public ones only.
    pub allow: AddressRules,
    /// Longest wait for a front-end's answer. Default 10 s.
    pub timeout: Duration,
    /// Pause before a callback is tried again; it doubles each time. Default 5 s.
    pub first_pause: Duration,
    /// The longest of these pauses. Default 10 min.
    pub longest_pause: Duration,
    /// When a callback is given up. Default 24 h.
    pub give_up: Duration,
    /// At most so many callbacks wait; further ones are dropped and counted. Default 100,000.
    pub queue: u64,
    /// How long a meeting's addresses are kept, since recordings take their time. Default 30 days.
    pub keep_urls: Duration,
    /// Whether servers are to tell this balancer that a recording is ready, which then tells the front-end. Without
    /// it, who keeps the recordings does: see `Cluster::recording_ready`. Default off.
    pub relay_recording_ready: bool,
}

impl Default for CallbackOptions {
    fn default() -> Self {
        Self {
            allow: AddressRules::default(),
            timeout: Duration::from_secs(10),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(600),
            give_up: Duration::from_secs(86_400),
            queue: 100_000,
            keep_urls: Duration::from_secs(30 * 86_400),
            relay_recording_ready: false,
        }
    }
}

/// By what callers are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RatePer {
    /// Their address: that of the connection, and the network of 64 bits for IPv6. Behind a proxy all have its address.
    #[default]
    Address,
    /// The secret they sign with.
    Secret,
}

/// How often one caller may call: a bucket of `burst` tokens that gains `per_second` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Calls per second in the long run, above 0.
    pub per_second: f64,
    /// Calls at once, at least 1.
    pub burst: u32,
    /// By what callers are told apart.
    pub per: RatePer,
}

/// Dial-in: telephones that reach meetings by a number.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialInOptions {
    /// The password of the user `fsapi`; an empty one lets everybody in. Default: the first of the balancer's secrets.
    pub password: Option<Secret>,
    /// Least and most digits of the number that callers type. Default 5 and 9.
    pub digits: (u32, u32),
    /// The longest call in minutes; 0 is no limit. Default: [`BbbOptions::max_duration`].
    pub max_minutes: Option<u32>,
}

impl Default for DialInOptions {
    fn default() -> Self {
        Self { password: None, digits: (5, 9), max_minutes: None }
    }
}

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
    /// How callbacks reach front-ends.
    pub callbacks: CallbackOptions,
    /// Whether the checksum of a form has to cover its body: of `call + query + "&" + body`, where a side that is empty
    /// leaves out the `&` as well. Without this the query alone is covered, as Scalelite has it, and what was signed can
    /// be sent again with another body; a checksum that covers the body is accepted all the same. Default off.
    pub signed_forms: bool,
    /// How often one caller may call; who calls more is refused with `tooManyRequests` and `Retry-After`. Health pages,
    /// figures and what servers call are not limited. Default: no limit.
    pub rate: Option<RateLimit>,
    /// Whether front-ends are those of tenants, told apart by the first label of the host name they call: each has its
    /// own secrets and sees its own meetings alone. Default off.
    pub multitenancy: bool,
    /// Dial-in.
    pub dial_in: DialInOptions,
    /// What the index answers as `build`.
    pub build: Option<String>,
    /// Whether `getMeetings` answers that there are none.
    pub get_meetings_disabled: bool,
    /// Whether a new server's id is its host name instead of a UUID.
    pub id_is_hostname: bool,
    /// The wall clock of this process, which the ages of meetings are measured by. A store with a clock of its own is
    /// asked for it, and bindings are dated by that one. Default: the system's.
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
            callbacks: CallbackOptions::default(),
            signed_forms: false,
            rate: None,
            multitenancy: false,
            dial_in: DialInOptions::default(),
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
