//! A file that grows, is rotated and is truncated.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::lines::LineSplitter;

/// How much one [`LogFollower::poll`] reads at most, in bytes.
pub const MAX_FOLLOW_READ: usize = 1 << 20;
/// How much of the beginning is remembered, to see that a file was written anew.
const HEAD: usize = 256;
const CHUNK: usize = 16 * 1024;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowStart {
    /// With what is there already.
    Beginning,
    /// With the first whole line that is written from now on.
    End,
}

/// What one look brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Followed {
    /// Lines given.
    pub lines: u64,
    /// Another file stands there now; the rest of the old one was read first.
    pub rotated: bool,
    /// The file became shorter or was written anew, and is read from its beginning.
    pub truncated: bool,
    /// No file is there.
    pub missing: bool,
    /// There is more to read: look again without waiting.
    pub more: bool,
}

/// Follows a log file. It looks only when asked: no thread, no timer.
///
/// Rotation by renaming loses nothing, as long as there is a look between two rotations. After truncation in place
/// (`copytruncate`) what was written since the last look and cut off is lost.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    start: FollowStart,
    open: Option<Open>,
    lines: LineSplitter,
}

#[derive(Debug)]
struct Open {
    file: File,
    id: FileId,
    at: u64,
    head: Vec<u8>,
}

impl LogFollower {
    /// Follows the file at that path, which need not be there yet. Nothing is opened before the first
    /// [`poll`](Self::poll).
    pub fn new(path: impl Into<PathBuf>, start: FollowStart) -> Self {
        Self { path: path.into(), start, open: None, lines: LineSplitter::new() }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was written since the last look, at most [`MAX_FOLLOW_READ`] bytes, and gives every whole line.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read. The next call tries again.
    pub fn poll(&mut self, mut each: impl FnMut(&str)) -> io::Result<Followed> {
        let mut found = Followed::default();
        let mut budget = MAX_FOLLOW_READ;
        if self.open.is_none() && !self.try_open(&mut found)? {
            return Ok(found);
        }
        if let Some(open) = &mut self.open
            && open.was_cut()?
        {
            found.truncated = true;
            open.rewind()?;
            self.lines.clear();
        }
        self.read(&mut budget, &mut found, &mut each)?;
        if found.more || !self.replaced(&mut found)? {
            return Ok(found);
        }
        // The writer may have added something between our last read and the rotation.
        self.read(&mut budget, &mut found, &mut each)?;
        if found.more {
            return Ok(found);
        }
        let mut lines = 0;
        self.lines.finish(|line| {
            lines += 1;
            each(line);
        });
        found.lines += lines;
        (found.rotated, self.open) = (true, None);
        if self.try_open(&mut found)? {
            self.read(&mut budget, &mut found, &mut each)?;
        }
        Ok(found)
    }

    /// Whether another file stands at the path. While none does, the writer still has the old one.
    fn replaced(&self, found: &mut Followed) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok(FileId::of(&now) != open.id),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                found.missing = true;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    fn try_open(&mut self, found: &mut Followed) -> io::Result<bool> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                (found.missing, self.start) = (true, FollowStart::Beginning);
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::new(ErrorKind::IsADirectory, "a directory cannot be followed, name a file in it"));
        }
        let head = head_of(&mut file)?;
        let mut at = 0;
        self.lines.clear();
        if self.start == FollowStart::End {
            at = file.seek(SeekFrom::End(0))?;
            if at > 0 {
                let mut last = [0];
                file.seek(SeekFrom::Start(at - 1))?;
                if file.read(&mut last)? == 1 && last[0] != b'\n' {
                    self.lines = LineSplitter::within_line();
                }
            }
        }
        file.seek(SeekFrom::Start(at))?;
        self.start = FollowStart::Beginning;
        self.open = Some(Open { file, id: FileId::of(&meta), at, head });
        Ok(true)
    }

    fn read(&mut self, budget: &mut usize, found: &mut Followed, each: &mut impl FnMut(&str)) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut chunk = [0; CHUNK];
        loop {
            if *budget == 0 {
                found.more = true;
                return Ok(());
            }
            let room = CHUNK.min(*budget);
            let got = match open.file.read(&mut chunk[..room]) {
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            *budget -= got;
            open.at += got as u64;
            let mut lines = 0;
            self.lines.push(&chunk[..got], |line| {
                lines += 1;
                each(line);
            });
            found.lines += lines;
        }
    }
}

impl Open {
    /// Whether the file is shorter than what was read of it, or begins otherwise.
    fn was_cut(&mut self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.at {
            return Ok(true);
        }
        let head = head_of(&mut self.file)?;
        self.file.seek(SeekFrom::Start(self.at))?;
        let cut = !head.starts_with(&self.head);
        self.head = head;
        Ok(cut)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.head = head_of(&mut self.file)?;
        self.at = self.file.seek(SeekFrom::Start(0))?;
        Ok(())
    }
}

fn head_of(file: &mut File) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What tells two files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] Option<std::time::SystemTime>);

impl FileId {
    #[cfg(unix)]
    fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self((meta.dev(), meta.ino()))
    }

    #[cfg(not(unix))]
    fn of(meta: &Metadata) -> Self {
        Self(meta.created().ok())
    }
}
