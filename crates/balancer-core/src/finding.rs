//! What the doctors of the adapters have in common: how bad a finding is, and the rules they go by.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Works, and does something else than meant, or less safely.
    Warning,
    /// Does not work, or is open to anybody.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One rule of a doctor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleInfo {
    /// Its id; ids are never reused.
    pub id: &'static str,
    /// How bad it usually is.
    pub level: Level,
    /// What it looks for.
    pub about: &'static str,
}

impl RuleInfo {
    /// A rule.
    pub const fn new(id: &'static str, level: Level, about: &'static str) -> Self {
        Self { id, level, about }
    }

    /// How bad what this rule finds usually is; a warning for a rule that is not among them.
    pub fn level_of(rules: &[Self], id: &str) -> Level {
        rules.iter().find(|rule| rule.id == id).map_or(Level::Warning, |rule| rule.level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_tell_how_bad_a_finding_is() {
        const RULES: &[RuleInfo] =
            &[RuleInfo::new("X1", Level::Error, "this"), RuleInfo::new("X2", Level::Note, "that")];
        let levels = ["X1", "X2", "X3"].map(|id| RuleInfo::level_of(RULES, id));
        assert_eq!(levels, [Level::Error, Level::Note, Level::Warning]);
        assert!(Level::Note < Level::Error);
        assert_eq!(format!("{:>8}", Level::Note), "    note");
    }
}
