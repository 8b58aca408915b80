//! What the statistics call a server's state.

use std::fmt;

/// A status of `show stat`, without the counts of a change under way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerStatus {
    /// Up, perhaps failing some checks.
    Up,
    /// Up, taking no new work: `set server … health stopping`, or a check that says so.
    NoLb,
    /// Down, perhaps passing some checks.
    Down,
    /// Down because its agent said so.
    DownAgent,
    /// In maintenance by order or configuration.
    Maint,
    /// In maintenance because the server it tracks is.
    MaintVia(String),
    /// Its name does not resolve.
    MaintResolution,
    /// Drained by order.
    Drain,
    /// Drained by its agent.
    DrainAgent,
    /// Not checked.
    NoCheck,
    /// A frontend that listens.
    Open,
    /// A frontend that was stopped for good.
    Stop,
    /// A frontend that was disabled.
    Paused,
    /// A frontend at its limit.
    Full,
    /// Something new.
    Other(String),
}

impl ServerStatus {
    /// Reads a status.
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        if let Some(via) = text.strip_prefix("MAINT (via ").and_then(|rest| rest.strip_suffix(')')) {
            return Self::MaintVia(via.to_owned());
        }
        let word = if Self::progress(text).is_some() { text.split(' ').next().unwrap_or(text) } else { text };
        match word {
            "UP" => Self::Up,
            "NOLB" => Self::NoLb,
            "DOWN" => Self::Down,
            "DOWN (agent)" => Self::DownAgent,
            "MAINT" => Self::Maint,
            "MAINT (resolution)" => Self::MaintResolution,
            "DRAIN" => Self::Drain,
            "DRAIN (agent)" => Self::DrainAgent,
            "no check" => Self::NoCheck,
            "OPEN" => Self::Open,
            "STOP" => Self::Stop,
            "PAUSED" => Self::Paused,
            "FULL" => Self::Full,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The counts of `UP 1/3`: checks in a row so far, and how many it takes.
    pub fn progress(text: &str) -> Option<(u32, u32)> {
        let (_, counts) = text.rsplit_once(' ')?;
        let (seen, needed) = counts.split_once('/')?;
        Some((seen.parse().ok()?, needed.parse().ok()?))
    }

    /// Whether nothing is sent there at all.
    pub fn is_maintenance(&self) -> bool {
        matches!(self, Self::Maint | Self::MaintVia(_) | Self::MaintResolution)
    }

    /// Whether only what sticks is sent there.
    pub fn is_draining(&self) -> bool {
        matches!(self, Self::Drain | Self::DrainAgent | Self::NoLb)
    }

    /// Whether new work is sent there, if its weight is not 0.
    pub fn takes_new_work(&self) -> bool {
        matches!(self, Self::Up | Self::NoCheck)
    }
}

/// As HAProxy writes it.
impl fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "UP",
            Self::NoLb => "NOLB",
            Self::Down => "DOWN",
            Self::DownAgent => "DOWN (agent)",
            Self::Maint => "MAINT",
            Self::MaintVia(via) => return write!(f, "MAINT (via {via})"),
            Self::MaintResolution => "MAINT (resolution)",
            Self::Drain => "DRAIN",
            Self::DrainAgent => "DRAIN (agent)",
            Self::NoCheck => "no check",
            Self::Open => "OPEN",
            Self::Stop => "STOP",
            Self::Paused => "PAUSED",
            Self::Full => "FULL",
            Self::Other(text) => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for text in ["UP", "NOLB", "DOWN (agent)", "MAINT (via a/b)", "MAINT (resolution)", "no check", "FULL", "NEW x"]
        {
            assert_eq!(ServerStatus::of(text).to_string(), text);
        }
        assert_eq!(ServerStatus::of("UP 1/3"), ServerStatus::Up);
        assert_eq!(ServerStatus::of("DOWN 1/2"), ServerStatus::Down);
        assert_eq!(ServerStatus::progress("UP 1/3"), Some((1, 3)));
        assert_eq!(ServerStatus::progress("UP"), None);
        assert!(matches!(ServerStatus::of("NEW x"), ServerStatus::Other(_)));
    }
}
