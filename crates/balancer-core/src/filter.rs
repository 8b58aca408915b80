//! Which servers a room may be placed on: a ladder of tag sets.

use serde::{Deserialize, Serialize};

use crate::backend::Tag;

/// The most tag references one rung of a [`Filter`] may have, so that a pick resolves it without allocating.
pub const MAX_RUNG_TAGS: usize = 16;

/// One condition: the server has at least one of these tags, or, if allowed, no tag at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clause {
    pub(crate) any: Vec<Tag>,
    pub(crate) untagged: bool,
}

impl Clause {
    /// Holds for servers with at least one of these tags.
    pub fn any_of<T: Into<Tag>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self { any: tags.into_iter().map(Into::into).collect(), untagged: false }
    }

    /// Holds for servers without any tag.
    pub fn untagged() -> Self {
        Self { any: Vec::new(), untagged: true }
    }

    /// Holds also for servers without any tag.
    pub fn or_untagged(mut self) -> Self {
        self.untagged = true;
        self
    }
}

/// A ladder: the first rung that offers a usable server decides; a rung holds when all of its clauses hold.
///
/// A required tag is a ladder of one rung; a preferred tag has a second, empty rung, which admits every server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Filter {
    rungs: Vec<Vec<Clause>>,
}

/// A filter as it is written down, not checked yet.
#[derive(Deserialize)]
struct Written {
    rungs: Vec<Vec<Clause>>,
}

impl TryFrom<Written> for Filter {
    type Error = FilterError;

    fn try_from(written: Written) -> Result<Self, FilterError> {
        Self::ladder(written.rungs)
    }
}

/// A rung that refers to more than [`MAX_RUNG_TAGS`] tags.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("filter rung {rung} refers to {tags} tags: at most {MAX_RUNG_TAGS} are allowed")]
pub struct FilterError {
    /// Which rung, from 0.
    pub rung: usize,
    /// How many tag references and clauses it has.
    pub tags: usize,
}

impl Filter {
    /// Builds a ladder from its rungs.
    ///
    /// # Errors
    ///
    /// [`FilterError`] when a rung is too large.
    pub fn ladder(rungs: Vec<Vec<Clause>>) -> Result<Self, FilterError> {
        for (rung, clauses) in rungs.iter().enumerate() {
            let tags = clauses.iter().map(|c| c.any.len() + usize::from(c.untagged)).sum();
            if tags > MAX_RUNG_TAGS || clauses.len() > MAX_RUNG_TAGS {
                return Err(FilterError { rung, tags });
            }
        }
        Ok(Self { rungs })
    }

    /// Only servers with this tag.
    pub fn required(tag: impl Into<Tag>) -> Self {
        Self { rungs: vec![vec![Clause::any_of([tag])]] }
    }

    /// Servers with this tag if one is usable, else any.
    pub fn preferred(tag: impl Into<Tag>) -> Self {
        Self { rungs: vec![vec![Clause::any_of([tag])], Vec::new()] }
    }

    /// The rungs in order.
    pub(crate) fn rungs(&self) -> &[Vec<Clause>] {
        &self.rungs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_read_is_checked_too() {
        let filter = Filter::preferred("eu");
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        let clause = r#"{"any":["t"],"untagged":false}"#;
        let large = format!(r#"{{"rungs":[[{}]]}}"#, vec![clause; MAX_RUNG_TAGS + 1].join(","));
        let error = serde_json::from_str::<Filter>(&large).unwrap_err().to_string();
        assert!(error.contains("at most 16"), "{error}");
    }
}
