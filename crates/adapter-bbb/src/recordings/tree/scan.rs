//! What is in the trees.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, FilesError, INCOMING, OUTGOING, REPLACED, io_error, is_name};

/// In which trees a format of a recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) published: bool,
    pub(crate) unpublished: bool,
}

impl Placed {
    pub(crate) const fn is_in(self, published: bool) -> bool {
        if published { self.published } else { self.unpublished }
    }

    /// It is in this tree, too.
    pub(crate) const fn note(&mut self, published: bool) {
        if published {
            self.published = true;
        } else {
            self.unpublished = true;
        }
    }
}

/// The names in a folder; none when it is not there.
fn names(folder: &Path) -> Result<Vec<String>, FilesError> {
    let all = match fs::read_dir(folder) {
        Ok(all) => all,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error(folder, &e)),
    };
    let mut found = Vec::new();
    for entry in all {
        let entry = entry.map_err(|e| io_error(folder, &e))?;
        // Links to folders count: operators move large formats elsewhere.
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

impl Disk {
    /// The formats that a tree has folders of.
    pub(super) fn formats(&self, published: bool) -> Result<Vec<String>, FilesError> {
        let mut all = names(self.tree(published))?;
        all.retain(|name| is_name(name));
        Ok(all)
    }

    /// Every recording and format on the disk.
    pub(crate) fn scan(&self) -> Result<BTreeMap<String, BTreeMap<String, Placed>>, FilesError> {
        let mut found: BTreeMap<String, BTreeMap<String, Placed>> = BTreeMap::new();
        for published in [true, false] {
            for format in self.formats(published)? {
                for id in names(&self.tree(published).join(&format))?.into_iter().filter(|id| is_name(id)) {
                    found.entry(id).or_default().entry(format.clone()).or_default().note(published);
                }
            }
        }
        Ok(found)
    }

    /// The formats of one recording on the disk.
    pub(crate) fn look(&self, record_id: &str) -> Result<BTreeMap<String, Placed>, FilesError> {
        let mut found: BTreeMap<String, Placed> = BTreeMap::new();
        if !is_name(record_id) {
            return Ok(found);
        }
        for published in [true, false] {
            for format in self.formats(published)? {
                if self.place(published, &format, record_id).is_dir() {
                    found.entry(format).or_default().note(published);
                }
            }
        }
        Ok(found)
    }

    /// Folders that were on their way in or out when a process was killed. Whoever holds the lock knows that nobody is
    /// moving them any more.
    pub(crate) fn leftovers(&self) -> Result<Vec<PathBuf>, FilesError> {
        let mut found = Vec::new();
        for published in [true, false] {
            for format in self.formats(published)? {
                let folder = self.tree(published).join(&format);
                let left = names(&folder)?.into_iter().filter(|name| {
                    name.starts_with('.') && [INCOMING, OUTGOING, REPLACED].iter().any(|ending| name.ends_with(ending))
                });
                found.extend(left.map(|name| folder.join(name)));
            }
        }
        Ok(found)
    }
}
