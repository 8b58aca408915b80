//! Conferences pinned to a version of the bridge.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The most conferences that are pinned at a time.
pub const MAX_PINS: usize = 100_000;

/// Why a pin was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// There are too many.
    #[error("{MAX_PINS} conferences are pinned already: unpin some or wait until pins end")]
    Full,
}

/// Which version a conference must have, until when. Read when a conference is created; a running one is not moved.
///
/// Times are since a fixed origin, as those of the [`BridgeTable`](crate::BridgeTable).
#[derive(Clone, Debug, Default)]
pub struct Pins {
    pins: HashMap<Arc<str>, (Arc<str>, Duration)>,
}

impl Pins {
    /// No pins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pins a conference to a full version for so long; an earlier pin of it ends.
    ///
    /// # Errors
    ///
    /// [`PinError::Full`].
    pub fn pin(&mut self, room: &str, version: &str, lasting: Duration, now: Duration) -> Result<(), PinError> {
        if self.pins.len() >= MAX_PINS && !self.pins.contains_key(room) {
            self.expire(now);
            if self.pins.len() >= MAX_PINS {
                return Err(PinError::Full);
            }
        }
        self.pins.insert(room.into(), (version.into(), now.saturating_add(lasting)));
        Ok(())
    }

    /// Ends a pin; whether there was one.
    pub fn unpin(&mut self, room: &str) -> bool {
        self.pins.remove(room).is_some()
    }

    /// The version this conference is pinned to. A pin holds up to and including the moment of its end.
    pub fn get(&self, room: &str, now: Duration) -> Option<&Arc<str>> {
        self.pins.get(room).filter(|(_, until)| now <= *until).map(|(version, _)| version)
    }

    /// How many conferences are pinned.
    pub fn count(&self, now: Duration) -> usize {
        self.pins.values().filter(|(_, until)| now <= *until).count()
    }

    /// Forgets pins that ended.
    pub fn expire(&mut self, now: Duration) {
        self.pins.retain(|_, (_, until)| now <= *until);
    }
}
