//! What the pool publishes in one swap.

use std::sync::Arc;

use crate::selector::Selector;
use crate::snapshot::Members;

/// One published state of the pool: members, tag masks and the prepared selector as one.
pub(super) struct Snapshot<B, Q: ?Sized> {
    pub(super) members: Arc<Members<B>>,
    pub(super) selector: Option<Arc<dyn Selector<B, Q>>>,
}
