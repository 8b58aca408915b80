//! What a line tells.

use super::number;

/// How many fields of one bridge are read.
const MAX_FIELDS: usize = 32;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogEventKind {
    /// An occupant with statistics came into the brewery.
    InstanceAdded,
    /// It left.
    InstanceRemoved,
    /// A bridge came.
    BridgeAdded,
    /// A bridge left the room.
    BridgeLeft,
    /// A bridge is removed from those that may be chosen.
    BridgeRemoved,
    /// A bridge left without having announced it.
    BridgeLost,
    /// A bridge said that it is about to end.
    BridgeShuttingDown,
    /// A bridge will be checked from now on.
    HealthScheduled,
    /// A bridge will not be checked any more.
    HealthStopped,
    /// A check failed: the bridge is ill and is evacuated.
    HealthFailed,
    /// A check got no answer: the bridge gets nobody new.
    HealthTimedOut,
    /// No bridge may be chosen.
    NoOperationalBridges,
    /// A bridge was chosen for a new conference.
    SelectedInitial,
    /// A conference cannot use a second bridge.
    NoRelay,
    /// Endpoints are invited again.
    Reinvite,
    /// A bridge gave no place to an endpoint.
    AllocateFailed,
    /// A participant stays without a bridge.
    NoBridgeAvailable,
    /// Endpoints were moved away from a loaded bridge.
    Redistributed,
}

impl LogEventKind {
    /// The word for it, lower case with dashes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceAdded => "instance-added",
            Self::InstanceRemoved => "instance-removed",
            Self::BridgeAdded => "bridge-added",
            Self::BridgeLeft => "bridge-left",
            Self::BridgeRemoved => "bridge-removed",
            Self::BridgeLost => "bridge-lost",
            Self::BridgeShuttingDown => "bridge-shutting-down",
            Self::HealthScheduled => "health-scheduled",
            Self::HealthStopped => "health-stopped",
            Self::HealthFailed => "health-failed",
            Self::HealthTimedOut => "health-timed-out",
            Self::NoOperationalBridges => "no-operational-bridges",
            Self::SelectedInitial => "selected-initial",
            Self::NoRelay => "no-relay",
            Self::Reinvite => "reinvite",
            Self::AllocateFailed => "allocate-failed",
            Self::NoBridgeAvailable => "no-bridge-available",
            Self::Redistributed => "redistributed",
        }
    }
}

impl std::fmt::Display for LogEventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A bridge as a line names it. `null` and absent are both `None`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LoggedBridge<'a> {
    /// Its occupant JID, where the line has it.
    pub jid: Option<&'a str>,
    /// Its nickname: what stands behind the first slash of the JID, or the whole name.
    pub nick: &'a str,
    /// Its full version.
    pub version: Option<&'a str>,
    /// Its relay id.
    pub relay_id: Option<&'a str>,
    /// Its region.
    pub region: Option<&'a str>,
    /// Its stress, by the older name `stress` or the newer one `correctedStress`.
    pub stress: Option<f64>,
    /// Fields of other names, as written.
    pub others: Vec<(&'a str, &'a str)>,
}

impl<'a> LoggedBridge<'a> {
    fn named(name: &'a str) -> Option<Self> {
        let name = name.trim();
        let (jid, nick) = match name.split_once('/') {
            Some((_, nick)) => (Some(name), nick),
            None => (None, name),
        };
        (!nick.is_empty()).then(|| Self { jid, nick, ..Self::default() })
    }

    /// Reads `Bridge[...]` at the start, and what follows.
    fn printed(text: &'a str) -> Option<(Self, &'a str)> {
        let (fields, rest) = text.strip_prefix("Bridge[")?.split_once(']')?;
        let mut bridge = Self::default();
        for field in fields.split(", ").take(MAX_FIELDS) {
            let Some((name, value)) = field.split_once('=') else { continue };
            let told = (value != "null").then_some(value);
            match name {
                "jid" => {
                    bridge.jid = told;
                    bridge.nick = told.map_or("", |jid| jid.split_once('/').map_or(jid, |(_, nick)| nick));
                }
                "version" => bridge.version = told,
                "relayId" => bridge.relay_id = told,
                "region" => bridge.region = told,
                "stress" | "correctedStress" => bridge.stress = told.and_then(number),
                _ => bridge.others.push((name, value)),
            }
        }
        (!bridge.nick.is_empty()).then_some((bridge, rest))
    }

    /// Either form, up to the end.
    fn either(text: &'a str) -> Option<(Self, &'a str)> {
        Self::printed(text).or_else(|| Some((Self::named(text)?, "")))
    }
}

/// What a line tells. What it does not say is `None`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogEvent<'a> {
    /// What happened.
    pub kind: LogEventKind,
    /// The bridge it happened to.
    pub bridge: Option<LoggedBridge<'a>>,
    /// Why.
    pub reason: Option<&'a str>,
    /// The endpoint it happened to.
    pub endpoint: Option<&'a str>,
    /// How many endpoints.
    pub endpoints: Option<u64>,
    /// How many conferences.
    pub conferences: Option<u64>,
    /// The stress a chosen bridge had reported.
    pub reported_stress: Option<f64>,
    /// The region of the participant a bridge was chosen for.
    pub participant_region: Option<&'a str>,
    /// Whether that participant is a visitor.
    pub visitor: Option<bool>,
}

impl<'a> LogEvent<'a> {
    const fn new(kind: LogEventKind) -> Self {
        Self {
            kind,
            bridge: None,
            reason: None,
            endpoint: None,
            endpoints: None,
            conferences: None,
            reported_stress: None,
            participant_region: None,
            visitor: None,
        }
    }

    /// Of a bridge, and perhaps a reason behind it.
    fn of(kind: LogEventKind, text: &'a str) -> Option<Self> {
        let (bridge, rest) = LoggedBridge::either(text)?;
        let reason = Some(rest.trim_start_matches([':', ' ']).trim_end()).filter(|reason| !reason.is_empty());
        Some(Self { bridge: Some(bridge), reason, ..Self::new(kind) })
    }

    pub(super) fn read(text: &'a str) -> Option<Self> {
        use LogEventKind as Kind;
        let plain = [
            ("Removed brewery instance: ", Kind::InstanceRemoved),
            ("Added brewery instance: ", Kind::InstanceAdded),
            ("A bridge left the MUC: ", Kind::BridgeLeft),
            ("Removing JVB: ", Kind::BridgeRemoved),
            ("Added new videobridge: ", Kind::BridgeAdded),
            ("Lost a bridge: ", Kind::BridgeLost),
            ("Scheduled health-check task for: ", Kind::HealthScheduled),
            ("Stopping health-check task for: ", Kind::HealthStopped),
            ("Health check failed for: ", Kind::HealthFailed),
            ("Health check timed out for: ", Kind::HealthTimedOut),
        ];
        if let Some((rest, kind)) = plain.iter().find_map(|(head, kind)| Some((text.strip_prefix(head)?, *kind))) {
            return Self::of(kind, rest);
        }
        if let Some(name) = text.strip_suffix(" entered SHUTTING_DOWN") {
            return Self::of(Kind::BridgeShuttingDown, name);
        }
        if text.starts_with("There are no operational bridges") {
            return Some(Self::new(Kind::NoOperationalBridges));
        }
        if text.starts_with("Existing bridge does not have a relay") {
            return Some(Self::new(Kind::NoRelay));
        }
        if text.starts_with("Can not invite participant, no bridge available") {
            return Some(Self::new(Kind::NoBridgeAvailable));
        }
        if let Some(rest) = text.strip_prefix("Selected initial bridge ") {
            return Self::selected(rest);
        }
        if let Some(rest) = text.strip_prefix("Re-inviting [") {
            return Self::reinvited(rest);
        }
        if let Some(rest) = text.strip_prefix("Failed to allocate a colibri2 endpoint for ") {
            let (endpoint, reason) = rest.split_once(": ").unwrap_or((rest, ""));
            let reason = Some(reason.trim()).filter(|reason| !reason.is_empty());
            return Some(Self { endpoint: Some(endpoint), reason, ..Self::new(Kind::AllocateFailed) });
        }
        if let Some(rest) = text.strip_prefix("Moved ") {
            return Self::redistributed(rest);
        }
        None
    }

    fn selected(rest: &'a str) -> Option<Self> {
        let (bridge, rest) = LoggedBridge::printed(rest)?;
        let value = |name: &str, ends: &[char]| {
            let value = rest.split_once(name)?.1;
            Some(value.split(|c| ends.contains(&c)).next()?.trim())
        };
        Some(Self {
            bridge: Some(bridge),
            reported_stress: value("reported stress=", &[' ']).and_then(number),
            participant_region: value("(region=", &[',', ')']).filter(|region| *region != "null"),
            visitor: value("visitor=", &[',', ')']).and_then(|word| word.parse().ok()),
            ..Self::new(LogEventKind::SelectedInitial)
        })
    }

    fn reinvited(rest: &'a str) -> Option<Self> {
        let (list, rest) = rest.split_once(']')?;
        let endpoints = list.split(',').filter(|one| !one.trim().is_empty()).count() as u64;
        let because = rest.trim_start().strip_prefix("because ").unwrap_or("").trim();
        let (bridge, reason) = match LoggedBridge::printed(because) {
            Some((bridge, reason)) => (Some(bridge), reason),
            None => match because.rfind(" was ").or_else(|| because.find(' ')) {
                Some(at) if because[..at].contains('/') => (LoggedBridge::named(&because[..at]), &because[at..]),
                _ => (None, because),
            },
        };
        let reason = Some(reason.trim()).filter(|reason| !reason.is_empty());
        Some(Self { bridge, reason, endpoints: Some(endpoints), ..Self::new(LogEventKind::Reinvite) })
    }

    fn redistributed(rest: &'a str) -> Option<Self> {
        let (endpoints, rest) = rest.split_once(" endpoints from ")?;
        let (conferences, rest) = rest.split_once(" conferences")?;
        let bridge = rest.trim_start().strip_prefix("away from ").and_then(LoggedBridge::either);
        Some(Self {
            bridge: bridge.map(|(bridge, _)| bridge),
            endpoints: Some(endpoints.parse().ok()?),
            conferences: Some(conferences.parse().ok()?),
            ..Self::new(LogEventKind::Redistributed)
        })
    }
}
