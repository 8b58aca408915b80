//! Bridges as a focus knows them: one row each in a table that presences, checks and placements write to.

use std::sync::Arc;

use balancer_core::{Backend, BackendId, Tag};

mod answer;
mod load;
mod row;
mod settings;
mod stress;
mod table;
mod view;
mod window;

pub use answer::{AnswerEffect, ColibriAnswer, Evacuation, HealthOutcome};
pub use load::StressLoad;
pub(crate) use row::Row;
pub use settings::{Extras, FocusSettings, IceFailureDetection, PlainStrategy, SelectionStrategy, SettingsError};
pub use stress::LoadMeasurement;
pub use table::{BridgeTable, MAX_BRIDGES, MAX_DEPARTED, Seen, TableError, Update};
pub use view::{BridgeCounts, BridgeView, BridgeWarning};
pub(crate) use window::Window;

/// A bridge as a server of a pool: its occupant JID is its identity, and its region is a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    id: BackendId,
    tags: Vec<Tag>,
}

impl Bridge {
    /// A bridge of this occupant JID, in this region.
    pub fn new(jid: impl Into<Arc<str>>, region: Option<&str>) -> Self {
        Self { id: BackendId::new(jid), tags: region.map(Tag::from).into_iter().collect() }
    }

    pub(crate) fn of(row: &Row) -> Self {
        Self { id: row.id.clone(), tags: row.region.clone().map(Tag::new).into_iter().collect() }
    }

    /// The nickname: what follows the first slash, or the whole when there is none.
    pub fn nick(&self) -> &str {
        self.id.as_str().split_once('/').map_or(self.id.as_str(), |(_, nick)| nick)
    }
}

impl Backend for Bridge {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn tags(&self) -> &[Tag] {
        &self.tags
    }
}
