//! Why a bridge was chosen, or none.

/// Why a bridge was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The conference's own bridge: relays are off or this bridge has none, so nobody can be elsewhere.
    NoRelay,
    /// The conference's one bridge.
    Same,
    /// The best one in the participant's region.
    Region,
    /// The best one.
    First,
    /// The best one the conference does not use yet.
    Other,
    /// The conference's bridge with the fewest of its participants.
    Fewest,
    /// Not overloaded, in the conference and the region.
    OwnInRegion,
    /// Not overloaded, in the conference and near the region.
    OwnInGroup,
    /// Not overloaded, in the region.
    FreeInRegion,
    /// Not overloaded, near the region.
    FreeInGroup,
    /// Not overloaded, in the conference.
    Own,
    /// Not overloaded.
    Free,
    /// In the conference, below the cap of participants; everything is overloaded.
    OwnOverloaded,
    /// In the conference and the region; everything there is overloaded.
    OwnInRegionOverloaded,
    /// The best one; everything is overloaded.
    Overloaded,
}

impl Reason {
    /// A name that stays, for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoRelay => "no-relay",
            Self::Same => "same",
            Self::Region => "region",
            Self::First => "first",
            Self::Other => "other",
            Self::Fewest => "fewest",
            Self::OwnInRegion => "own-in-region",
            Self::OwnInGroup => "own-in-group",
            Self::FreeInRegion => "free-in-region",
            Self::FreeInGroup => "free-in-group",
            Self::Own => "own",
            Self::Free => "free",
            Self::OwnOverloaded => "own-overloaded",
            Self::OwnInRegionOverloaded => "own-in-region-overloaded",
            Self::Overloaded => "overloaded",
        }
    }

    /// The rule in a few words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoRelay => "the conference's own bridge: without relays nobody can be elsewhere",
            Self::Same => "the conference's one bridge",
            Self::Region => "least stressed in the participant's region",
            Self::First => "least stressed",
            Self::Other => "least stressed among those the conference does not use",
            Self::Fewest => "the conference's bridge with the fewest of its participants",
            Self::OwnInRegion => "not overloaded, in the conference, in the region",
            Self::OwnInGroup => "not overloaded, in the conference, near the region",
            Self::FreeInRegion => "not overloaded, in the region",
            Self::FreeInGroup => "not overloaded, near the region",
            Self::Own => "not overloaded, in the conference",
            Self::Free => "not overloaded, anywhere",
            Self::OwnOverloaded => "all overloaded: in the conference, below the cap",
            Self::OwnInRegionOverloaded => "all overloaded: in the conference, in the region",
            Self::Overloaded => "all overloaded: least stressed",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// Why there is no bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoBridge {
    /// The conference is pinned to another version than its bridge has.
    #[error("the conference is pinned to another version than its bridge has: unpin it")]
    PinMismatch,
    /// No bridge is operational.
    #[error("no bridge is operational: look at their health checks")]
    NoneOperational,
    /// All operational bridges are about to end.
    #[error("all operational bridges are shutting down")]
    AllShuttingDown,
    /// No operational bridge has the version of the conference.
    #[error("no operational bridge has the version of the conference: keep one, or allow mixed versions")]
    NoneOfVersion,
    /// The strategy gives none for this conference.
    #[error("the strategy gives no bridge to this conference: more than one bridge with Single, or none in its region")]
    Strategy,
    /// A bridge was found, but the conference cannot use it beside those it has.
    #[error("a second bridge would need relays: enable octo, and relays on every bridge")]
    NeedsRelay,
    /// There are too many conferences.
    #[error("there are too many conferences: divide them among several focuses")]
    TooMany,
    /// All that would do are closed or left out by the pool.
    #[error("every bridge that would do is closed in the pool")]
    Closed,
}

impl NoBridge {
    /// A name that stays, for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PinMismatch => "pin-mismatch",
            Self::NoneOperational => "none-operational",
            Self::AllShuttingDown => "all-shutting-down",
            Self::NoneOfVersion => "none-of-version",
            Self::Strategy => "strategy",
            Self::NeedsRelay => "needs-relay",
            Self::TooMany => "too-many",
            Self::Closed => "closed",
        }
    }
}
