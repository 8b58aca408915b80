//! Who asks for a bridge: a participant of a conference.

use std::sync::Arc;

use balancer_core::BackendId;

mod book;
mod pins;

pub use book::{ConferenceBook, MAX_CONFERENCES, Participant};
pub use pins::{MAX_PINS, PinError, Pins};

/// A bridge that a conference uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConferenceBridge {
    /// The bridge.
    pub id: BackendId,
    /// Endpoints of the conference there.
    pub participants: u32,
    /// Whether the first of them is a visitor.
    pub visitor: bool,
    /// Endpoints the conference added there in `max-bridge-participants-interval`.
    pub recent: u32,
}

impl ConferenceBridge {
    /// A bridge with so many participants of the conference.
    pub fn new(id: impl Into<BackendId>, participants: u32) -> Self {
        Self { id: id.into(), participants, visitor: false, recent: 0 }
    }

    /// One whose first participant is a visitor.
    #[must_use]
    pub fn of_visitors(mut self, visitors: bool) -> Self {
        self.visitor = visitors;
        self
    }

    /// So many endpoints were added lately.
    #[must_use]
    pub fn recent(mut self, recent: u32) -> Self {
        self.recent = recent;
        self
    }
}

/// The question that is put to the selection: a bridge for one more participant of this conference.
///
/// Bridges are in the order in which the conference took them up. A focus names the operational ones alone; see
/// [`BridgeTable::select`](crate::BridgeTable::select). A bridge nobody has heard of is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conference {
    /// The bridges it uses.
    pub bridges: Vec<ConferenceBridge>,
    /// The participant's region.
    pub region: Option<Arc<str>>,
    /// Whether the participant is a visitor.
    pub visitor: bool,
    /// The full version that the conference is pinned to.
    pub version: Option<Arc<str>>,
}

impl Conference {
    /// A conference without bridges, and a participant of no known region.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more bridge.
    #[must_use]
    pub fn on(mut self, bridge: ConferenceBridge) -> Self {
        self.bridges.push(bridge);
        self
    }

    /// For a participant of this region.
    #[must_use]
    pub fn in_region(mut self, region: impl Into<Arc<str>>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// For a visitor.
    #[must_use]
    pub fn for_visitor(mut self) -> Self {
        self.visitor = true;
        self
    }

    /// Pinned to this full version.
    #[must_use]
    pub fn pinned_to(mut self, version: impl Into<Arc<str>>) -> Self {
        self.version = Some(version.into());
        self
    }
}
