//! How somebody left a room.

use std::fmt;

use super::ns;
use super::stanza::Element;

/// How an occupant left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// It left, or its connection ended: the room does not tell the two apart.
    Left,
    /// Kicked (307).
    Kicked,
    /// Banned (301).
    Banned,
    /// Goes by another nick now (303).
    Renamed {
        /// The new nick, when the room names it.
        to: Option<String>,
    },
    /// May not be in this room any longer (321, 322).
    NotMember,
    /// The room service stops (332).
    ServiceStops,
    /// The room was destroyed.
    RoomDestroyed,
    /// It was no longer there when we came back, and did not return within the grace.
    NotBack,
}

impl LeaveReason {
    /// By the `x` of an unavailable presence.
    pub(crate) fn of(presence: &Element) -> Self {
        let mut reason = Self::Left;
        for x in presence.children().iter().filter(|child| child.is("x", ns::MUC_USER)) {
            if x.child("destroy", ns::MUC_USER).is_some() {
                return Self::RoomDestroyed;
            }
            for code in statuses(x) {
                reason = match code {
                    "301" => Self::Banned,
                    "307" if reason == Self::Left => Self::Kicked,
                    "303" => {
                        let item = x.child("item", ns::MUC_USER);
                        let to =
                            item.and_then(|item| item.attribute("nick")).map(|nick| nick.chars().take(200).collect());
                        Self::Renamed { to }
                    }
                    "321" | "322" => Self::NotMember,
                    "332" => Self::ServiceStops,
                    _ => reason,
                };
            }
        }
        reason
    }
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::Renamed { .. } => "renamed",
            Self::NotMember => "no member any longer",
            Self::ServiceStops => "the room service stops",
            Self::RoomDestroyed => "the room was destroyed",
            Self::NotBack => "not back in time",
        })
    }
}

/// The status codes in an `x`.
pub(crate) fn statuses(x: &Element) -> impl Iterator<Item = &str> {
    x.children().iter().filter(|child| child.is("status", ns::MUC_USER)).filter_map(|child| child.attribute("code"))
}

/// Whether a presence has this status code.
pub(crate) fn has_status(presence: &Element, code: &str) -> bool {
    presence.children().iter().filter(|child| child.is("x", ns::MUC_USER)).any(|x| statuses(x).any(|one| one == code))
}
