//! Whether the index and the folders agree, and bringing them to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::{FilesError, Placed, RecordingTrees};
use crate::recordings::hold::{KeepError, Recordings, is_shown};
use crate::recordings::import::waiting;
use crate::recordings::index::RecordingIndex;
use crate::recordings::record::{Recording, RecordingState};

/// How many recordings are asked for at once.
const PAGE: usize = 500;

/// How the index and the folders disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FindingKind {
    /// The index has it, and its files are nowhere.
    Missing,
    /// Its files are in the other tree than the index says.
    Misplaced,
    /// Its files are in both trees, and the same in both.
    Doubled,
    /// Its files are in both trees, and differ.
    Conflict,
    /// Its files are there, and the index has never heard of it.
    Unknown,
    /// Its files are there although it was deleted.
    Deleted,
    /// Something that a process left that was killed.
    Leftover,
}

impl FindingKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Misplaced => "misplaced",
            Self::Doubled => "doubled",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
            Self::Deleted => "deleted",
            Self::Leftover => "leftover",
        }
    }

    /// Whether [`RecordingKeeper::update`] sets it right.
    #[must_use]
    pub const fn is_mendable(self) -> bool {
        matches!(self, Self::Misplaced | Self::Doubled | Self::Deleted | Self::Leftover)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing in which the index and the folders disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The recording; empty for a leftover.
    pub record_id: String,
    /// The format; empty for a leftover.
    pub format: String,
    /// The folder it is about: where it is, or should be.
    pub folder: PathBuf,
    /// What to do about it.
    pub remedy: String,
    /// Whether it was set right just now.
    pub mended: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Recordings in the index, without deleted ones.
    pub recordings: usize,
    /// Recordings with folders in the trees.
    pub on_disk: usize,
    /// Archives that wait in the spool.
    pub waiting: Vec<String>,
    /// In what they disagree, by recording.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether the index and the folders agree, perhaps since just now.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.findings.iter().all(|f| f.mended)
    }
}

/// Compares the index with the folders, and brings the folders into agreement with it.
#[derive(Clone, Debug)]
pub struct RecordingKeeper {
    trees: RecordingTrees,
    index: Arc<dyn RecordingIndex>,
    spool: Option<PathBuf>,
}

impl RecordingKeeper {
    /// For these trees and this index, and the spool that archives arrive in, if there is one.
    pub fn new(trees: RecordingTrees, index: Arc<dyn RecordingIndex>, spool: Option<PathBuf>) -> Self {
        Self { trees, index, spool }
    }

    /// Says in what the index and the folders disagree, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`KeepError`] when one of them cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn check(&self) -> Result<CheckReport, KeepError> {
        self.look(false).await
    }

    /// Brings the folders into agreement with the index: what is in the wrong tree moves, what was deleted goes, and so
    /// does what a killed process left. Files that the index has never heard of, and those of which there are two
    /// versions, stay and are told of.
    ///
    /// # Errors
    ///
    /// [`KeepError`] when one of them cannot be read, or the folders cannot be changed.
    ///
    /// # Cancel safety
    ///
    /// What was begun is carried to its end, or done again by repeating it.
    pub async fn update(&self) -> Result<CheckReport, KeepError> {
        self.look(true).await
    }

    /// Publishes or unpublishes a recording, in the index and in the folders; `false` when it is neither now.
    ///
    /// # Errors
    ///
    /// [`KeepError`]; a format whose files are nowhere is one, and nothing is changed then. What was left half done is
    /// ended by [`update`](Self::update).
    ///
    /// # Cancel safety
    ///
    /// What was left half done is ended by [`update`](Self::update).
    pub async fn publish(&self, record_id: &str, published: bool) -> Result<bool, KeepError> {
        let found: Vec<Recording> = self.index.get(record_id).await?.into_iter().filter(is_shown).collect();
        self.in_step().publish(&found, published).await.map(|()| !found.is_empty())
    }

    /// Deletes a recording: it cannot be played from then on, and then its files go from both trees. `false` when it is
    /// not known.
    ///
    /// # Errors
    ///
    /// [`KeepError`]; files that are left are removed by [`update`](Self::update).
    ///
    /// # Cancel safety
    ///
    /// What was left half done is ended by [`update`](Self::update).
    pub async fn delete(&self, record_id: &str) -> Result<bool, KeepError> {
        let found: Vec<Recording> = self.index.get(record_id).await?.into_iter().collect();
        self.in_step().delete(&found).await.map(|()| !found.is_empty())
    }

    fn in_step(&self) -> Recordings {
        Recordings::new(self.index.clone()).with_files(Arc::new(self.trees.clone()))
    }

    async fn look(&self, mend: bool) -> Result<CheckReport, KeepError> {
        let mut report = CheckReport::default();
        if let Some(spool) = self.spool.clone() {
            let waiting = self.trees.blocking(move || waiting(&spool)).await?;
            let name = |(path, _): (PathBuf, _)| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            report.waiting = waiting.into_iter().map(name).collect();
        }
        self.look_at_leftovers(mend, &mut report).await?;
        // First without keeping anybody from working; what seems wrong is looked at again by itself.
        let mut on_disk = self.trees.scan().await?;
        report.on_disk = on_disk.len();
        let mut suspects = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.index.ids(&after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            let ids: Vec<String> = page.into_iter().map(|(id, _)| id).collect();
            report.recordings += ids.len();
            for row in self.index.find(&ids).await? {
                let placed = on_disk.remove(&row.record_id).unwrap_or_default();
                if !self.judge(Some(&row), &row.record_id, &placed).is_empty() {
                    suspects.push(row.record_id);
                }
            }
        }
        suspects.extend(on_disk.into_keys());
        suspects.sort_unstable();
        for id in suspects {
            let _guard = self.trees.lock().await?;
            let row = self.index.get(&id).await?;
            let placed = self.trees.look(&id).await?;
            let mut found = self.judge(row.as_ref(), &id, &placed);
            for finding in &mut found {
                self.compare(finding, row.as_ref()).await?;
                if mend {
                    self.mend(finding, row.as_ref()).await?;
                }
            }
            report.findings.extend(found);
        }
        Ok(report)
    }

    async fn look_at_leftovers(&self, mend: bool, report: &mut CheckReport) -> Result<(), KeepError> {
        let _guard = self.trees.lock().await?;
        for left in self.trees.leftovers().await? {
            if mend {
                self.trees.settle(&left).await?;
            }
            report.findings.push(Finding {
                kind: FindingKind::Leftover,
                record_id: String::new(),
                format: String::new(),
                folder: self.trees.place_of(&left),
                remedy: "`recordings update` settles it".to_owned(),
                mended: mend,
            });
        }
        Ok(())
    }

    /// What is wrong with one recording.
    fn judge(&self, row: Option<&Recording>, id: &str, placed: &BTreeMap<String, Placed>) -> Vec<Finding> {
        let live = row.filter(|row| row.state != Some(RecordingState::Deleted));
        let published = live.is_some_and(|row| row.published);
        let mut found = Vec::new();
        let mut tell = |kind: FindingKind, format: &str, published: bool, remedy: String| {
            let folder = self.trees.place(published, format, id);
            let (record_id, format) = (id.to_owned(), format.to_owned());
            found.push(Finding { kind, record_id, format, folder, remedy, mended: false });
        };
        let update = || "`recordings update` sets it right".to_owned();
        for format in live.iter().flat_map(|row| &row.formats) {
            match placed.get(&format.format).copied().unwrap_or_default() {
                Placed { published: true, unpublished: true } => {
                    tell(FindingKind::Doubled, &format.format, !published, update());
                }
                is if is.is_in(published) => {}
                is if is.is_in(!published) => tell(FindingKind::Misplaced, &format.format, !published, update()),
                _ => {
                    let remedy = "put its archive into the spool again, or delete it by deleteRecordings";
                    tell(FindingKind::Missing, &format.format, published, remedy.to_owned());
                }
            }
        }
        for (format, is) in placed {
            if live.is_some_and(|row| row.formats.iter().any(|f| f.format == *format)) {
                continue;
            }
            let in_published = is.published;
            if live.is_none() && row.is_some() {
                tell(FindingKind::Deleted, format, in_published, update());
            } else {
                let remedy = "remove the folder, or make an archive FORMAT/RECORDID of it in the spool to import it";
                tell(FindingKind::Unknown, format, in_published, remedy.to_owned());
            }
        }
        found
    }

    /// Of two versions that differ nobody knows which is right.
    async fn compare(&self, finding: &mut Finding, row: Option<&Recording>) -> Result<(), FilesError> {
        let published = row.is_some_and(|row| row.published);
        if finding.kind == FindingKind::Doubled && !self.trees.are_same(&finding.record_id, &finding.format).await? {
            finding.kind = FindingKind::Conflict;
            let right = self.trees.place(published, &finding.format, &finding.record_id);
            finding.remedy =
                format!("it differs from {}: compare them, and remove the one that is wrong", right.display());
        }
        Ok(())
    }

    async fn mend(&self, finding: &mut Finding, row: Option<&Recording>) -> Result<(), FilesError> {
        let (id, format) = (&finding.record_id, &finding.format);
        match finding.kind {
            FindingKind::Misplaced | FindingKind::Doubled => {
                let published = row.is_some_and(|row| row.published);
                finding.mended = self.trees.put_right_if_same(id, format, published).await?;
            }
            FindingKind::Deleted => {
                for published in [true, false] {
                    self.trees.remove_one(published, format, id).await?;
                }
                finding.mended = true;
            }
            _ => {}
        }
        Ok(())
    }
}
