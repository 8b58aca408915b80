//! Text tracks that were uploaded for a format: another import of it keeps them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::FilesError;
use super::archive::{Manifest, Unpacked};
use super::one::Found;
use crate::recordings::files::RecordingFiles;
use crate::recordings::tracks::{self, LIST, LONGEST_LIST, LONGEST_TRACK, Track};
use crate::recordings::tree::{RecordingTrees, io_error};

/// Puts the tracks that were uploaded for what is in the trees now into the unpacked format that takes its place, so
/// that both come in as one. The answer is what belongs to the format then.
pub(super) async fn keep(trees: &RecordingTrees, record_id: &str, found: &Found) -> Result<Arc<Manifest>, FilesError> {
    let Some(list) = trees.read(record_id, &found.format, LIST, LONGEST_LIST).await? else {
        return Ok(found.files.clone());
    };
    let uploaded = tracks::uploaded(&list);
    if uploaded.is_empty() {
        return Ok(found.files.clone());
    }
    let mut files = Manifest::clone(&found.files);
    let mut kept = Vec::new();
    for track in uploaded {
        let name = tracks::file_name(&track.lang);
        // One at a time: they may be many.
        if let Some(text) = trees.read(record_id, &found.format, &name, LONGEST_TRACK).await? {
            let file = put(trees, &found.folder, &name, text).await?;
            files.insert(PathBuf::from(name), file);
            kept.push(track);
        }
    }
    let list = list_with(trees, &found.folder, kept).await?;
    let file = put(trees, &found.folder, LIST, list).await?;
    files.insert(PathBuf::from(LIST), file);
    Ok(Arc::new(files))
}

/// The list that came, with these tracks in it.
async fn list_with(trees: &RecordingTrees, folder: &Path, kept: Vec<Track>) -> Result<Vec<u8>, FilesError> {
    let path = folder.join(LIST);
    let came = trees.blocking(move || match fs::metadata(&path) {
        Ok(about) if about.len() <= LONGEST_LIST => fs::read(&path).map(Some).map_err(|e| io_error(&path, &e)),
        _ => Ok(None),
    });
    Ok(tracks::with_uploaded(came.await?.as_deref(), kept))
}

/// Writes a file beside those that were unpacked, as durable as they are.
async fn put(trees: &RecordingTrees, folder: &Path, name: &str, bytes: Vec<u8>) -> Result<Unpacked, FilesError> {
    let (folder, path) = (folder.to_owned(), folder.join(name));
    let written = trees.blocking(move || {
        let work = || {
            use std::io::Write as _;
            let mut file = fs::File::create(&path)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::File::open(&folder)?.sync_all()?;
            Ok(Unpacked { size: bytes.len() as u64, digest: Sha256::digest(&bytes).into() })
        };
        work().map_err(|e| io_error(&path, &e))
    });
    written.await
}
