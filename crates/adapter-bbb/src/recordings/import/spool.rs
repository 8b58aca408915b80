//! The spool: which archives wait in it, and how they leave it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FilesError, ImportError, Importer};
use crate::recordings::tree::io_error;

/// By what a changed archive is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// How large the archive is, in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn of(about: &fs::Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.len(),
            changed: (about.mtime(), about.mtime_nsec()),
        }
    }
}

/// How the name of an archive ends on its way out.
const DONE: &str = ".imported";
/// How folders in the work folder begin.
pub(super) const UNPACKED: &str = "unpack-";

impl Importer {
    /// Ends what a kill left: archives on their way out come back, to be compared with what they are in the trees once
    /// more, and half unpacked ones go.
    pub(super) async fn tidy_up(&self) -> Result<(), ImportError> {
        let (spool, work) = (self.options.spool.clone(), self.trees.work().to_owned());
        let _guard = self.trees.lock().await?;
        let tidied = self.trees.blocking(move || {
            fs::create_dir_all(&spool).map_err(|e| io_error(&spool, &e))?;
            for path in entries(&spool)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if let Some(archive) = name.strip_prefix('.').and_then(|name| name.strip_suffix(DONE)) {
                    put_back(&path, &spool.join(archive))?;
                }
            }
            for path in entries(&work)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.starts_with(UNPACKED) {
                    fs::remove_dir_all(&path).map_err(|e| io_error(&path, &e))?;
                }
            }
            Ok(())
        });
        tidied.await?;
        for left in self.trees.leftovers().await? {
            self.trees.settle(&left).await?;
        }
        Ok(())
    }

    /// The archives that wait, the oldest first.
    pub(super) async fn archives(&self) -> Result<Vec<(PathBuf, Stamp)>, ImportError> {
        let spool = self.options.spool.clone();
        Ok(self.trees.blocking(move || waiting(&spool)).await?)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FilesError> {
    match fs::read_dir(folder) {
        Ok(all) => all.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>().map_err(|e| io_error(folder, &e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(io_error(folder, &e)),
    }
}

/// `*.tar` in the spool. What is hidden is still being copied there.
pub(crate) fn waiting(spool: &Path) -> Result<Vec<(PathBuf, Stamp)>, FilesError> {
    let mut found = Vec::new();
    for path in entries(spool)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || !name.ends_with(".tar") {
            continue;
        }
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_file() => found.push((path, Stamp::of(&about))),
            // A link or a folder is no archive; one that is gone was taken away.
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io_error(&path, &e)),
        }
    }
    found.sort_by(|(a, sa), (b, sb)| sa.changed.cmp(&sb.changed).then_with(|| a.cmp(b)));
    Ok(found)
}

/// What looks like an archive and is never taken for one, and why.
pub(super) fn strays(spool: &Path) -> Result<Vec<(String, &'static str)>, FilesError> {
    const ENDS: [&str; 6] = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"];
    let mut found = Vec::new();
    for path in entries(spool)? {
        let name = path.file_name().unwrap_or_default();
        let shown = name.to_string_lossy().into_owned();
        let lower = shown.to_ascii_lowercase();
        let looks_like_one = !shown.starts_with('.') && ENDS.iter().any(|end| lower.ends_with(end));
        let why = match name.to_str() {
            _ if !looks_like_one => continue,
            None => "its name is not UTF-8: give it another one",
            Some(name) if !name.ends_with(".tar") => {
                "only names that end with .tar are imported: unpack what is compressed, and rename it"
            }
            Some(_) if fs::symlink_metadata(&path).is_ok_and(|about| !about.is_file()) => {
                "it is a link or a folder, and only files are imported: put the archive itself here"
            }
            Some(_) => continue,
        };
        found.push((shown, why));
    }
    found.sort();
    Ok(found)
}

/// Gives an archive its name back. When another one has it by now, this one gets a name of its own.
fn put_back(hidden: &Path, archive: &Path) -> Result<(), FilesError> {
    let stem = archive.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for attempt in 0..1000 {
        let to =
            if attempt == 0 { archive.to_owned() } else { archive.with_file_name(format!("{stem}-{attempt}.tar")) };
        // Unlike a rename, a link replaces nothing.
        match fs::hard_link(hidden, &to) {
            Ok(()) => return fs::remove_file(hidden).map_err(|e| io_error(hidden, &e)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io_error(&to, &e)),
        }
    }
    Err(FilesError::Io { path: hidden.display().to_string(), why: "it cannot get its name back".to_owned() })
}

/// Removes an archive that was imported, if it is still the one that was.
pub(super) fn remove(archive: &Path, imported: Stamp) -> Result<(), FilesError> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let hidden = archive.with_file_name(format!(".{name}{DONE}"));
    fs::rename(archive, &hidden).map_err(|e| io_error(archive, &e))?;
    let about = fs::symlink_metadata(&hidden).map_err(|e| io_error(&hidden, &e))?;
    if Stamp::of(&about) != imported {
        put_back(&hidden, archive)?;
        let why = "it was replaced while it was being imported; the new one is imported next".to_owned();
        return Err(FilesError::Io { path: archive.display().to_string(), why });
    }
    fs::remove_file(&hidden).map_err(|e| io_error(&hidden, &e))?;
    match archive.parent() {
        Some(spool) => fs::File::open(spool).and_then(|f| f.sync_all()).map_err(|e| io_error(spool, &e)),
        None => Ok(()),
    }
}
