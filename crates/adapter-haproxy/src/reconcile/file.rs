//! Files replaced in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::MAX_CONFIG_LEN;

/// A file that could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError { doing, path, source }
}

/// The file behind a link: a rename would take the link's place.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// `haproxy.cfg.good` beside `haproxy.cfg`.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Reads a file, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut out = Vec::new();
    file.take(MAX_CONFIG_LEN as u64 + 1).read_to_end(&mut out).map_err(failed("read", path))?;
    if out.len() > MAX_CONFIG_LEN {
        return Err(failed("read", path)(io::Error::other(format!("it has more than {MAX_CONFIG_LEN} bytes"))));
    }
    Ok(Some(out))
}

/// A file written and on the disk under a name of its own; deleted when dropped before it is put in place.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    placed: bool,
}

impl Draft {
    /// Writes it beside its target, with the target's permissions or else for its user and group alone.
    pub(super) fn write(target: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = with_end(target, &format!(".{}-{number}.new", std::process::id()));
        let mode = fs::metadata(target).map_or(0o640, |meta| meta.permissions().mode() & 0o777);
        let error = |e| failed("write", &path)(e);
        // One of the same name was left by a process of the same number.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(error)?;
        let draft = Self { path: path.clone(), target: target.to_owned(), placed: false };
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(error)?;
        Ok(draft)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its target's place, in one step.
    pub(super) fn place(mut self) -> Result<(), FileError> {
        fs::rename(&self.path, &self.target).map_err(failed("replace", &self.target))?;
        self.placed = true;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write to disk", folder))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Replaces a file in one step.
pub(super) fn replace(target: &Path, bytes: &[u8]) -> Result<(), FileError> {
    Draft::write(target, bytes)?.place()
}

/// Replaces the file behind a link in one step.
#[cfg(feature = "control")]
pub(crate) fn replace_behind_links(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(&behind_links(path), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("draft-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("haproxy.cfg");
        assert!(read(&file).unwrap().is_none());
        replace(&file, b"one\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        drop(Draft::write(&file, b"two\n").unwrap());
        assert_eq!(read(&file).unwrap().unwrap(), b"one\n");
        let link = folder.join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&behind_links(&link), b"three\n").unwrap();
        assert_eq!(read(&file).unwrap().unwrap(), b"three\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        let error = replace(&folder.join("no/where"), b"").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("where"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
