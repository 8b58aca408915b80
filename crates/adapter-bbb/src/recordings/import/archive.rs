//! Unpacking an archive of the spool: streamed, limited, and only ever below one folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tar::{EntryType, Header, PaxExtensions};

const BLOCK: usize = 512;
/// The most of an extended header that is read: long names and the like.
const EXTENDED: u64 = 64 << 10;
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;
const MAX_DEPTH: usize = 32;

/// What an archive may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveLimits {
    /// Files and folders. Default 10,000.
    pub entries: usize,
    /// Bytes of all files. Default 20 GiB.
    pub bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 20 << 30 }
    }
}

/// An archive that cannot be unpacked. The archive itself stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("the archive cannot be read at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in it cannot be written.
    #[error("{} cannot be written: {source}{}", path.display(), room(source))]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ends before its end mark.
    #[error("the archive ends at byte {offset}, before its end mark: was it copied as a whole? Copy it again")]
    Truncated {
        /// Where.
        offset: u64,
    },
    /// It is no tar archive, or a damaged one.
    #[error("the archive is damaged at byte {offset}: {what}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It has an entry that is never unpacked.
    #[error("the archive has an entry that is refused, {entry:?}: {why}")]
    Refused {
        /// The entry's name.
        entry: String,
        /// Why.
        why: &'static str,
    },
    /// It has too many entries.
    #[error("the archive has more than {limit} files and folders")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// It is too large when unpacked.
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The process is told to stop.
    #[error("unpacking was broken off")]
    Stopped,
}

fn room(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, it is tried again by itself",
        _ => "",
    }
}

impl ArchiveError {
    /// Whether the same archive fails in the same way again, however often it is tried.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Write { .. } | Self::Stopped)
    }
}

/// A file as it was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) size: u64,
    pub(crate) digest: [u8; 32],
}

/// The files of an archive, by their path below the folder it was unpacked to.
pub(crate) type Manifest = BTreeMap<PathBuf, Unpacked>;

/// Unpacks into a folder that exists, is empty and nobody else's. Every file is on the disk when this returns.
///
/// # Errors
///
/// [`ArchiveError`]; the folder then holds a part, for the caller to remove.
pub(crate) fn unpack(
    from: impl Read,
    into: &Path,
    limits: ArchiveLimits,
    stop: &AtomicBool,
) -> Result<Manifest, ArchiveError> {
    let mut unpacking = Unpacking {
        from: Counted { from, offset: 0 },
        into,
        limits,
        stop,
        entries: 0,
        bytes: 0,
        folders: BTreeMap::new(),
        files: Manifest::new(),
    };
    while unpacking.entry()? {}
    unpacking.end()?;
    // Names must be as durable as what they name.
    for folder in unpacking.folders.keys().map(|folder| into.join(folder)).chain([into.to_owned()]) {
        File::open(&folder)
            .and_then(|f| f.sync_all())
            .map_err(|source| ArchiveError::Write { path: folder.clone(), source })?;
    }
    Ok(unpacking.files)
}

/// A reader that knows how far it is.
struct Counted<R> {
    from: R,
    offset: u64,
}

impl<R: Read> Counted<R> {
    /// Fills the buffer as far as there is something; the answer is how far.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    self.offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ArchiveError::Read { offset: self.offset, source }),
            }
        }
        Ok(filled)
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let wanted = buffer.len();
        if self.fill(buffer)? < wanted { Err(ArchiveError::Truncated { offset: self.offset }) } else { Ok(()) }
    }

    /// Skips what fills the last block of so many bytes.
    fn pad(&mut self, size: u64) -> Result<(), ArchiveError> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        if over == 0 {
            return Ok(());
        }
        let mut rest = [0; BLOCK];
        rest.get_mut(over..).map_or(Ok(()), |rest| self.exact(rest))
    }
}

struct Unpacking<'a, R> {
    from: Counted<R>,
    into: &'a Path,
    limits: ArchiveLimits,
    stop: &'a AtomicBool,
    entries: usize,
    bytes: u64,
    folders: BTreeMap<PathBuf, ()>,
    files: Manifest,
}

/// What extended headers say of the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read> Unpacking<'_, R> {
    /// Unpacks the next entry; `false` at the end mark's first half.
    fn entry(&mut self) -> Result<bool, ArchiveError> {
        let mut extended = Extended::default();
        for _ in 0..8 {
            if self.stop.load(Relaxed) {
                return Err(ArchiveError::Stopped);
            }
            let offset = self.from.offset;
            let malformed = |what| ArchiveError::Malformed { offset, what };
            let mut header = Header::new_old();
            self.from.exact(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                let dangling = extended.path.is_some() || extended.size.is_some();
                return if dangling { Err(malformed("a long name without its entry")) } else { Ok(false) };
            }
            check_sum(&header).ok_or_else(|| malformed("a header whose checksum is wrong; is it a tar archive?"))?;
            let size = header.entry_size().map_err(|_| malformed("a size that is no number"))?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName | EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongLink => {
                    if size > EXTENDED {
                        return Err(malformed("an extended header that is too long"));
                    }
                    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
                    self.from.exact(&mut bytes)?;
                    self.from.pad(size)?;
                    extended.take(kind, bytes).ok_or_else(|| malformed("an extended header that cannot be read"))?;
                }
                _ => {
                    let raw = extended.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
                    // Old archives mark a folder by the end of its name alone.
                    let folder = kind == EntryType::Directory || raw.ends_with(b"/");
                    let refused = |why| ArchiveError::Refused {
                        entry: String::from_utf8_lossy(&raw).chars().take(200).collect(),
                        why,
                    };
                    let path = inside(&raw).map_err(refused)?;
                    let size = extended.size.unwrap_or(size);
                    match kind {
                        EntryType::Directory => {}
                        EntryType::Regular | EntryType::Continuous => {}
                        EntryType::Link | EntryType::Symlink => return Err(refused("a link")),
                        EntryType::Char | EntryType::Block => return Err(refused("a device")),
                        EntryType::Fifo => return Err(refused("a pipe")),
                        EntryType::GNUSparse => {
                            return Err(refused("a sparse file; make the archive without --sparse"));
                        }
                        _ => return Err(refused("neither a file nor a folder")),
                    }
                    self.entries += 1;
                    if self.entries > self.limits.entries {
                        return Err(ArchiveError::TooMany { limit: self.limits.entries });
                    }
                    if folder {
                        if size > 0 {
                            return Err(refused("a folder with a content"));
                        }
                        if self.files.contains_key(&path) {
                            return Err(refused("a file and a folder have this name"));
                        }
                        self.make_folder(&path, refused)?;
                    } else {
                        self.bytes = self.bytes.saturating_add(size);
                        if self.bytes > self.limits.bytes {
                            return Err(ArchiveError::TooLarge { limit: self.limits.bytes });
                        }
                        if path.as_os_str().is_empty() {
                            return Err(refused("a file without a name"));
                        }
                        if self.files.contains_key(&path) || self.folders.contains_key(&path) {
                            return Err(refused("it is there twice"));
                        }
                        let parent = path.parent().unwrap_or(Path::new(""));
                        self.make_folder(parent, refused)?;
                        let changed = header.mtime().ok();
                        self.write(&path, size, changed)?;
                        self.from.pad(size)?;
                    }
                    return Ok(true);
                }
            }
        }
        Err(ArchiveError::Malformed { offset: self.from.offset, what: "too many extended headers in a row" })
    }

    fn make_folder(&mut self, path: &Path, refused: impl Fn(&'static str) -> ArchiveError) -> Result<(), ArchiveError> {
        let mut above = PathBuf::new();
        for part in path.components() {
            above.push(part);
            if self.folders.contains_key(&above) {
                continue;
            }
            if self.files.contains_key(&above) {
                return Err(refused("a file and a folder have this name"));
            }
            // Folders that no entry names are as many as those that one does.
            if self.folders.len() >= self.limits.entries {
                return Err(ArchiveError::TooMany { limit: self.limits.entries });
            }
            let whole = self.into.join(&above);
            // Whatever the process masks: the web server reads them.
            let made =
                fs::create_dir(&whole).and_then(|()| fs::set_permissions(&whole, fs::Permissions::from_mode(0o755)));
            made.map_err(|source| ArchiveError::Write { path: whole, source })?;
            self.folders.insert(above.clone(), ());
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, size: u64, changed: Option<u64>) -> Result<(), ArchiveError> {
        let whole = self.into.join(path);
        let failed = |source| ArchiveError::Write { path: whole.clone(), source };
        let mut file = File::options().write(true).create_new(true).open(&whole).map_err(failed)?;
        file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(failed)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        let mut left = size;
        while left > 0 {
            if self.stop.load(Relaxed) {
                return Err(ArchiveError::Stopped);
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..step).unwrap_or_default();
            self.from.exact(piece)?;
            file.write_all(piece).map_err(failed)?;
            digest.update(&*piece);
            left -= step as u64;
        }
        if let Some(changed) = changed.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s))) {
            // Browsers ask by it; nothing depends on it.
            let _ = file.set_modified(changed);
        }
        file.sync_all().map_err(failed)?;
        self.files.insert(path.to_owned(), Unpacked { size, digest: digest.finalize().into() });
        Ok(())
    }

    /// The second half of the end mark, and nothing but zeros behind it: a second archive there would be lost.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut block = [0; BLOCK];
        self.from.exact(&mut block)?;
        loop {
            if block.iter().any(|byte| *byte != 0) {
                let what = "something follows its end mark";
                return Err(ArchiveError::Malformed { offset: self.from.offset, what });
            }
            if self.stop.load(Relaxed) {
                return Err(ArchiveError::Stopped);
            }
            let filled = self.from.fill(&mut block)?;
            if filled == 0 {
                return Ok(());
            }
            block.iter_mut().skip(filled).for_each(|byte| *byte = 0);
        }
    }
}

impl Extended {
    fn take(&mut self, kind: EntryType, mut bytes: Vec<u8>) -> Option<()> {
        match kind {
            EntryType::GNULongName => {
                while bytes.last() == Some(&0) {
                    bytes.pop();
                }
                self.path = Some(bytes);
            }
            EntryType::XHeader => {
                for record in PaxExtensions::new(&bytes) {
                    let record = record.ok()?;
                    match record.key_bytes() {
                        b"path" => self.path = Some(record.value_bytes().to_vec()),
                        b"size" => self.size = Some(record.value().ok()?.parse().ok()?),
                        // Sparse files in the way of pax: their content is not what it seems.
                        key if key.starts_with(b"GNU.sparse") => return None,
                        _ => {}
                    }
                }
            }
            // Names of links: links are refused anyhow. Of all entries: nothing of it matters.
            _ => {}
        }
        Some(())
    }
}

fn check_sum(header: &Header) -> Option<()> {
    let sum: u32 = header
        .as_bytes()
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) })
        .sum();
    header.cksum().ok().filter(|said| *said == sum).map(|_| ())
}

/// A path of an archive as one below a folder.
fn inside(raw: &[u8]) -> Result<PathBuf, &'static str> {
    if raw.is_empty() {
        return Err("no name");
    }
    if raw.len() > MAX_PATH || raw.contains(&0) {
        return Err("a name that no file can have");
    }
    let given = Path::new(std::ffi::OsStr::from_bytes(raw));
    let mut path = PathBuf::new();
    for part in given.components() {
        match part {
            Component::Normal(name) if name.len() > MAX_NAME => return Err("a name that no file can have"),
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("it leads upwards"),
            Component::RootDir | Component::Prefix(_) => return Err("an absolute path"),
        }
    }
    if path.components().count() > MAX_DEPTH { Err("it is nested too deeply") } else { Ok(path) }
}

#[cfg(test)]
mod tests;
