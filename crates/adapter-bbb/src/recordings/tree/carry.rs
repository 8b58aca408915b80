//! Moving folders so that each is whole wherever it is seen.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::copy::{copy_folder, has_all_of, holds, same_folders};
use super::{Disk, FilesError, INCOMING, OUTGOING, REPLACED, io_error, is_name};
use crate::recordings::import::Manifest;

/// A hidden name beside a folder: on the same file system, and what a kill leaves there is known by it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}{ending}", std::process::id(), COUNT.fetch_add(1, Relaxed)));
    path.with_file_name(name)
}

/// Makes what was done to the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), FilesError> {
    // What has no folder in its path is where we are.
    let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io_error(folder, &e))
}

fn sync_parent(path: &Path) -> Result<(), FilesError> {
    path.parent().map_or(Ok(()), sync_folder)
}

fn make_parent(path: &Path) -> Result<(), FilesError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let missing: Vec<&Path> =
        parent.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Whatever the process masks: the web server reads it.
    let made = fs::create_dir_all(parent).and_then(|()| fs::set_permissions(parent, fs::Permissions::from_mode(0o755)));
    made.map_err(|e| io_error(parent, &e))?;
    // Each name is as durable as what will be in it.
    missing.into_iter().rev().try_for_each(sync_parent)
}

fn rename(from: &Path, to: &Path) -> Result<(), FilesError> {
    fs::rename(from, to).map_err(|e| io_error(to, &e))
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Removes a folder: out of sight in one step, then its files.
pub(super) fn discard(path: &Path) -> Result<(), FilesError> {
    if !exists(path) {
        return Ok(());
    }
    let out = beside(path, OUTGOING);
    rename(path, &out)?;
    sync_parent(path)?;
    remove(&out)
}

/// Removes what is out of sight already.
pub(super) fn remove(path: &Path) -> Result<(), FilesError> {
    let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path, &e)),
        _ => Ok(()),
    }
}

/// Moves a folder to where nothing is.
fn carry(from: &Path, to: &Path) -> Result<(), FilesError> {
    make_parent(to)?;
    match fs::rename(from, to) {
        Ok(()) => {
            sync_parent(to)?;
            sync_parent(from)
        }
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            let incoming = copied_beside(from, to)?;
            rename(&incoming, to)?;
            sync_parent(to)?;
            discard(from)
        }
        Err(e) => Err(io_error(to, &e)),
    }
}

/// A compared copy on the file system of `to`, hidden there.
fn copied_beside(from: &Path, to: &Path) -> Result<PathBuf, FilesError> {
    let incoming = beside(to, INCOMING);
    match copy_folder(from, &incoming) {
        Ok(()) => Ok(incoming),
        Err(e) => {
            // Half a copy is of no use; the whole is where it was.
            let _ = remove(&incoming);
            Err(e)
        }
    }
}

/// Ends what a kill left half done: a folder that was to be replaced comes back when nothing came in its place, and
/// everything else goes. What was on its way in is still where it came from.
pub(super) fn settle(path: &Path) -> Result<(), FilesError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let id = name.strip_suffix(REPLACED).and_then(|name| name.strip_prefix('.')).and_then(|name| name.rsplit_once('.'));
    if let Some((id, _)) = id {
        let place = path.with_file_name(id);
        if !exists(&place) {
            return rename(path, &place).and_then(|()| sync_parent(&place));
        }
    }
    remove(path)
}

impl Disk {
    /// Brings a format into its tree. What is there already stays, and what the other tree has besides goes when
    /// nothing is lost by that; of two that differ both stay.
    pub(super) fn put_right(&self, record_id: &str, format: &str, published: bool) -> Result<(), FilesError> {
        let to = self.place(published, format, record_id);
        let from = self.place(!published, format, record_id);
        match (exists(&to), exists(&from)) {
            (true, false) => Ok(()),
            (true, true) if has_all_of(&to, &from)? => discard(&from),
            (true, true) => {
                let why = format!("it differs from {}: `recordings check` tells more", from.display());
                Err(FilesError::Io { path: to.display().to_string(), why })
            }
            (false, true) => carry(&from, &to),
            (false, false) => Err(FilesError::Missing { record_id: record_id.to_owned(), format: format.to_owned() }),
        }
    }

    /// Whether a format is the same in both trees, if it is in both.
    pub(super) fn are_same(&self, id: &str, format: &str) -> Result<bool, FilesError> {
        let (one, other) = (self.place(true, format, id), self.place(false, format, id));
        if exists(&one) && exists(&other) { same_folders(&one, &other) } else { Ok(true) }
    }

    /// Removes a recording from both trees, whatever its formats.
    pub(super) fn remove_all(&self, record_id: &str) -> Result<(), FilesError> {
        if !is_name(record_id) {
            return Ok(());
        }
        for published in [true, false] {
            for format in self.formats(published)? {
                discard(&self.place(published, &format, record_id))?;
            }
        }
        Ok(())
    }

    /// Removes one format of a recording from one tree.
    pub(crate) fn remove_one(&self, published: bool, format: &str, record_id: &str) -> Result<(), FilesError> {
        discard(&self.place(published, format, record_id))
    }

    /// Puts an unpacked format into its tree, in the place of an older one. That one goes only when the new one was
    /// found whole where it belongs; whatever fails before leaves it there.
    pub(crate) fn take_in(
        &self,
        unpacked: &Path,
        files: &Manifest,
        published: bool,
        format: &str,
        record_id: &str,
    ) -> Result<(), FilesError> {
        let to = self.place(published, format, record_id);
        make_parent(&to)?;
        let incoming = beside(&to, INCOMING);
        let incoming = match fs::rename(unpacked, &incoming) {
            Ok(()) => incoming,
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => copied_beside(unpacked, &to)?,
            Err(e) => return Err(io_error(&incoming, &e)),
        };
        if let Err(e) = holds(&incoming, files) {
            let _ = remove(&incoming);
            return Err(e);
        }
        let old = exists(&to).then(|| beside(&to, REPLACED));
        if let Some(old) = &old {
            rename(&to, old)?;
        }
        let placed = rename(&incoming, &to).and_then(|()| sync_parent(&to)).and_then(|()| holds(&to, files));
        if let Err(e) = placed {
            if let Some(old) = &old {
                if exists(&to) {
                    let _ = rename(&to, &incoming);
                }
                rename(old, &to)?;
            }
            let _ = remove(&incoming);
            return Err(e);
        }
        if let Some(old) = &old {
            remove(old)?;
        }
        discard(&self.place(!published, format, record_id))
    }
}
