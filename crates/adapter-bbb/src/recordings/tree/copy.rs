//! Copies of folders, and whether two are the same.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{FilesError, io_error};
use crate::recordings::import::Manifest;

const MAX_DEPTH: usize = 64;

fn differs(path: &Path) -> FilesError {
    FilesError::Io { path: path.display().to_string(), why: "it is not what was written there".to_owned() }
}

fn too_deep(path: &Path) -> FilesError {
    FilesError::Io { path: path.display().to_string(), why: "it is nested too deeply".to_owned() }
}

/// Copies a folder to where nothing is, durable and compared.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<(), FilesError> {
    copy_level(from, to, 0)
}

fn copy_level(from: &Path, to: &Path, depth: usize) -> Result<(), FilesError> {
    if depth > MAX_DEPTH {
        return Err(too_deep(from));
    }
    fs::create_dir(to).map_err(|e| io_error(to, &e))?;
    for entry in fs::read_dir(from).map_err(|e| io_error(from, &e))? {
        let entry = entry.map_err(|e| io_error(from, &e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| io_error(&source, &e))?;
        if kind.is_dir() {
            copy_level(&source, &target, depth + 1)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(|e| io_error(&source, &e))?;
            symlink(link, &target).map_err(|e| io_error(&target, &e))?;
        } else {
            let written = copy_file(&source, &target).map_err(|e| io_error(&target, &e))?;
            if digest_of(&target).map_err(|e| io_error(&target, &e))? != written {
                return Err(differs(&target));
            }
        }
    }
    let like = fs::metadata(from).and_then(|m| fs::set_permissions(to, m.permissions()));
    like.map_err(|e| io_error(to, &e))?;
    super::carry::sync_folder(to)
}

/// Copies a file; the answer is the digest of what was read.
fn copy_file(from: &Path, to: &Path) -> io::Result<[u8; 32]> {
    let mut source = File::open(from)?;
    let about = source.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("neither a file nor a folder nor a link"));
    }
    let mut target = File::options().write(true).create_new(true).open(to)?;
    let digest = read_through(&mut source, |piece| target.write_all(piece))?;
    target.set_permissions(about.permissions())?;
    if let Ok(changed) = about.modified() {
        let _ = target.set_modified(changed);
    }
    target.sync_all()?;
    Ok(digest)
}

fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    read_through(&mut File::open(path)?, |_| Ok(()))
}

fn read_through(source: &mut File, mut with: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(digest.finalize().into()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        digest.update(piece);
        with(piece)?;
    }
}

/// Whether every file is there with its size. What was written by us was durable before; a copy was compared.
pub(super) fn holds(folder: &Path, files: &Manifest) -> Result<(), FilesError> {
    for (path, file) in files {
        let whole = folder.join(path);
        let about = fs::symlink_metadata(&whole).map_err(|e| io_error(&whole, &e))?;
        if !about.is_file() || about.len() != file.size {
            return Err(differs(&whole));
        }
    }
    Ok(())
}

/// Whether two folders hold the same files with the same contents.
pub(super) fn same_folders(one: &Path, other: &Path) -> Result<bool, FilesError> {
    same_level(one, other, true, 0)
}

/// Whether a folder has everything that another one has, with the same contents.
pub(super) fn has_all_of(folder: &Path, other: &Path) -> Result<bool, FilesError> {
    same_level(other, folder, false, 0)
}

/// Whether what is in `one` is the same in `other`, and nothing else is there if they are to be the `same`.
fn same_level(one: &Path, other: &Path, same: bool, depth: usize) -> Result<bool, FilesError> {
    if depth > MAX_DEPTH {
        return Err(too_deep(one));
    }
    let names = |folder: &Path| -> Result<Vec<_>, FilesError> {
        let all = fs::read_dir(folder).and_then(|all| all.map(|e| e.map(|e| e.file_name())).collect());
        let mut all: Vec<std::ffi::OsString> = all.map_err(|e| io_error(folder, &e))?;
        all.sort();
        Ok(all)
    };
    let (here, there) = (names(one)?, names(other)?);
    if (same && here.len() != there.len()) || here.iter().any(|name| there.binary_search(name).is_err()) {
        return Ok(false);
    }
    for name in here {
        let (a, b) = (one.join(&name), other.join(&name));
        let about = |path: &Path| fs::symlink_metadata(path).map_err(|e| io_error(path, &e));
        let (about_a, about_b) = (about(&a)?, about(&b)?);
        let is_same = if about_a.is_dir() && about_b.is_dir() {
            same_level(&a, &b, same, depth + 1)?
        } else if about_a.is_file() && about_b.is_file() && about_a.len() == about_b.len() {
            let digest = |path: &Path| digest_of(path).map_err(|e| io_error(path, &e));
            digest(&a)? == digest(&b)?
        } else {
            about_a.is_symlink() && about_b.is_symlink() && fs::read_link(&a).ok() == fs::read_link(&b).ok()
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}
