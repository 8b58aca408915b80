//! The index of recordings: what every store of them can do.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use async_trait::async_trait;

use super::record::{Recording, RecordingState};

/// The metadata key that says whose recording it is.
pub const TENANT_KEY: &str = "tenant-id";

/// Why the index did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// It cannot be reached now; another try may succeed.
    #[error("the index of recordings at {target} cannot be reached: {why}")]
    Lost {
        /// Where it is, without any secret.
        target: String,
        /// What went wrong.
        why: String,
        /// The error below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It was reached, and is not what we can work with.
    #[error("the index of recordings at {target} cannot be used: {why}")]
    Unusable {
        /// Where it is, without any secret.
        target: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It refused what was asked.
    #[error("the index of recordings at {target} refused: {why}")]
    Refused {
        /// Where it is, without any secret.
        target: String,
        /// What it said.
        why: String,
        /// The error below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl IndexError {
    /// Whether the same may succeed later, without anybody's help to the data.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Recordings of which states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateFilter {
    /// Of every state, unknown ones included.
    Any,
    /// Of these.
    Of(Vec<RecordingState>),
}

impl Default for StateFilter {
    /// Published and unpublished.
    fn default() -> Self {
        Self::Of(vec![RecordingState::Published, RecordingState::Unpublished])
    }
}

impl StateFilter {
    /// Whether a recording of this state passes.
    #[must_use]
    pub fn passes(&self, state: Option<RecordingState>) -> bool {
        match self {
            Self::Any => true,
            Self::Of(states) => state.is_some_and(|state| states.contains(&state)),
        }
    }
}

/// Which recordings are wanted: those that pass every filter. An empty list filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingQuery {
    /// Ids, or what ids begin with, literally; case matters.
    pub prefixes: Vec<String>,
    /// Ids of meetings, exactly.
    pub meeting_ids: Vec<String>,
    /// States. Default published and unpublished.
    pub states: StateFilter,
    /// Metadata, by key: one key with one of its values is enough.
    pub meta: BTreeMap<String, Vec<String>>,
    /// Whose recordings: the value of [`TENANT_KEY`]. `None` is everybody's.
    pub tenant: Option<String>,
    /// How many to pass over.
    pub offset: u64,
    /// How many at most.
    pub limit: Option<u64>,
}

impl RecordingQuery {
    /// Whether a recording passes every filter.
    #[must_use]
    pub fn passes(&self, r: &Recording) -> bool {
        self.sought().passes(r)
    }

    /// The same for many recordings: lists are looked up, not gone through for each.
    pub(super) fn sought(&self) -> Sought<'_> {
        let mut prefixes: Vec<&str> = self.prefixes.iter().map(String::as_str).collect();
        prefixes.sort_unstable();
        // Whatever begins with a longer one begins with the shorter one.
        prefixes.dedup_by(|longer, shorter| longer.starts_with(*shorter));
        Sought {
            query: self,
            prefixes,
            meeting_ids: self.meeting_ids.iter().map(String::as_str).collect(),
            meta: self.meta.iter().map(|(key, all)| (key.as_str(), all.iter().map(String::as_str).collect())).collect(),
        }
    }
}

/// A query that many recordings are held against.
#[derive(Debug)]
pub(super) struct Sought<'q> {
    query: &'q RecordingQuery,
    /// Sorted; none begins with another one.
    prefixes: Vec<&'q str>,
    meeting_ids: HashSet<&'q str>,
    meta: Vec<(&'q str, HashSet<&'q str>)>,
}

impl Sought<'_> {
    /// Whether a recording passes every filter.
    pub(super) fn passes(&self, r: &Recording) -> bool {
        let begins = || {
            // Only the last one that is not behind the id can be its beginning.
            let at = self.prefixes.partition_point(|prefix| *prefix <= r.record_id.as_str());
            at.checked_sub(1).and_then(|at| self.prefixes.get(at)).is_some_and(|prefix| r.record_id.starts_with(prefix))
        };
        self.query.states.passes(r.state)
            && (self.prefixes.is_empty() || begins())
            && (self.meeting_ids.is_empty() || self.meeting_ids.contains(r.meeting_id.as_str()))
            && self.query.tenant.as_deref().is_none_or(|tenant| r.meta(TENANT_KEY) == Some(tenant))
            && (self.meta.is_empty()
                || self.meta.iter().any(|(key, values)| r.meta(key).is_some_and(|is| values.contains(is))))
    }
}

/// Recordings that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingPage {
    /// The newest first; of equal starts, the one indexed last. Those of unknown start come last.
    pub recordings: Vec<Recording>,
}

/// A change of what is known of recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingChange {
    /// Metadata to set, or with `None` to remove.
    pub meta: BTreeMap<String, Option<String>>,
    /// Whether playing needs a token from now on.
    pub protected: Option<bool>,
}

impl RecordingChange {
    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty() && self.protected.is_none()
    }

    /// Makes the change.
    pub(super) fn apply(&self, r: &mut Recording) {
        for (key, value) in &self.meta {
            match value {
                Some(value) => r.set_meta(key, value),
                None => r.metadata.retain(|m| m.key != *key),
            }
        }
        r.protected = self.protected.unwrap_or(r.protected);
    }
}

/// What Scalelite noted at the `create` of a meeting that is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallbackRow {
    /// Where to tell that the recording is ready.
    pub recording_ready_url: Option<String>,
    /// Where statistics go.
    pub analytics_url: Option<String>,
}

/// An index of recordings.
///
/// # Cancel safety
///
/// Dropping a future leaves each operation done or not done, never half done.
#[async_trait]
pub trait RecordingIndex: fmt::Debug + Send + Sync {
    /// The recordings that pass these filters.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn list(&self, query: &RecordingQuery) -> Result<RecordingPage, IndexError>;

    /// The recordings of these ids, whatever their state, in any order; ids that are not known are left out.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn find(&self, record_ids: &[String]) -> Result<Vec<Recording>, IndexError>;

    /// One recording, whatever its state.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn get(&self, record_id: &str) -> Result<Option<Recording>, IndexError> {
        Ok(self.find(&[record_id.to_owned()]).await?.pop())
    }

    /// Ids of recordings that are not deleted, in the order of their bytes, with whether each is published: the first
    /// `limit` of those after the id `after`.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn ids(&self, after: &str, limit: usize) -> Result<Vec<(String, bool)>, IndexError>;

    /// Adds a recording that came in, or refreshes one: its fields replace those stored, metadata is set by key, formats
    /// by name, pictures by place; what is stored besides stays. Where somebody has chosen by a call
    /// ([`publish_updated`](Recording::publish_updated)) whether it is published, that choice stays, unless it had been
    /// deleted. The answer is the recording as it is stored now.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked, or something does not fit into it.
    async fn import(&self, recording: &Recording) -> Result<Recording, IndexError>;

    /// Publishes or unpublishes one that is published or unpublished now, as somebody's choice; `false` when there is
    /// none of this id.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn set_published(&self, record_id: &str, published: bool) -> Result<bool, IndexError>;

    /// Changes all of these, or none: `false` when one of them is not known, or is another tenant's.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn update(
        &self,
        record_ids: &[String],
        tenant: Option<&str>,
        change: &RecordingChange,
    ) -> Result<bool, IndexError>;

    /// Deletes what is known of one but its row, which gets the state [`Deleted`](RecordingState::Deleted); `false`
    /// when it is not known.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn mark_deleted(&self, record_id: &str) -> Result<bool, IndexError>;

    /// Gives every recording without a tenant to this one; the answer is how many they were. Deleted ones stay
    /// nobody's: whose they were is deleted with them.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn add_to_tenant(&self, tenant: &str) -> Result<u64, IndexError>;

    /// What was noted at the `create` of the meeting of an imported recording, which is noted there as its recording.
    /// Default: nothing is noted here.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the index cannot be asked.
    async fn link_callbacks(&self, recording: &Recording) -> Result<Option<CallbackRow>, IndexError> {
        let _ = recording;
        Ok(None)
    }

    /// Whether it can be used, for a health check.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when it cannot.
    async fn check(&self) -> Result<(), IndexError>;

    /// Where it is, without any secret.
    fn describe(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_beginning_is_found_among_many(
            id in "[abc]{0,4}",
            prefixes in proptest::collection::vec("[abc]{0,4}", 0..8),
            meetings in proptest::collection::vec("[ab]{1,2}", 0..3),
        ) {
            let mut r = Recording::new(&*id);
            (r.meeting_id, r.state) = ("a".to_owned(), Some(RecordingState::Published));
            let any = prefixes.is_empty() || prefixes.iter().any(|prefix| id.starts_with(&**prefix));
            let meant = meetings.is_empty() || meetings.iter().any(|meeting| meeting == "a");
            let query = RecordingQuery { prefixes, meeting_ids: meetings, ..RecordingQuery::default() };
            prop_assert_eq!(query.passes(&r), any && meant);
        }
    }
}
