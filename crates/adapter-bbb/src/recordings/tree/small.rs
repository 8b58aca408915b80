//! Small files beside those of a format, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::carry::sync_folder;
use super::{FilesError, io_error};

pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, FilesError> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path, &e)),
        Ok(known) if known.len() > most => Err(io_error(path, &io::Error::other("it is too long to be read"))),
        Ok(_) => fs::read(path).map(Some).map_err(|e| io_error(path, &e)),
    }
}

pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FilesError> {
    let (path, beside) = (folder.join(name), folder.join(format!(".{name}.part")));
    let work = || {
        let mut file = File::create(&beside)?;
        // Whatever the process masks: the web server reads it.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    work().map_err(|e| io_error(&path, &e))?;
    sync_folder(folder)
}
