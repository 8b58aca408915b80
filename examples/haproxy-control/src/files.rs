//! Files in and out: limited in size when read, whole or not at all when written.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use adapter_haproxy::{ConfigFile, MAX_CONFIG_LEN};

use console::Failure;

/// The most files of one configuration.
const MAX_FILES: usize = 500;

/// Reads a file of at most so many bytes; `-` is standard input.
pub(crate) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let cannot = |e: io::Error| Failure::failed(format!("{} cannot be read", path.display())).cause(e);
    let mut bytes = Vec::new();
    open(path)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > most {
        return Err(Failure::failed(format!("{} is larger than the {most} bytes that are read", path.display())));
    }
    Ok(bytes)
}

/// Opens a file, or standard input for `-`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path);
    let file = file.map_err(|e| Failure::failed(format!("{} cannot be read", path.display())).cause(e))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Reads the files of one configuration in order; of a folder its `.cfg` files by name, as HAProxy does.
pub(crate) fn configuration(paths: &[PathBuf]) -> Result<Vec<ConfigFile>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            return Err(Failure::usage("a configuration is read from a file, not from standard input"));
        }
        if path.is_dir() {
            let cannot = |e: io::Error| Failure::failed(format!("{} cannot be read", path.display())).cause(e);
            let listed: Result<Vec<_>, _> = fs::read_dir(path).map_err(cannot)?.take(100_000).collect();
            let named = listed.map_err(cannot)?.into_iter().map(|entry| entry.path());
            let hidden = |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let mut inside: Vec<PathBuf> =
                named.filter(|file| file.extension().is_some_and(|ext| ext == "cfg") && !hidden(file)).collect();
            inside.sort();
            all.extend(inside);
        } else {
            all.push(path.clone());
        }
    }
    if all.is_empty() {
        return Err(Failure::failed("there is no .cfg file in that folder"));
    }
    if all.len() > MAX_FILES {
        return Err(Failure::failed(format!("{} files are more than the {MAX_FILES} that are read", all.len())));
    }
    let mut files: Vec<ConfigFile> = Vec::new();
    for path in all {
        let name = path.display().to_string();
        if files.iter().any(|file| file.name() == name) {
            return Err(Failure::usage(format!("{name} is named twice")));
        }
        let bytes = read(&path, MAX_CONFIG_LEN)?;
        files.push(ConfigFile::parse(name, bytes).map_err(|e| Failure::failed(e.to_string()))?);
    }
    Ok(files)
}

/// Writes a file beside its place and moves it there: readers see the old one or the new one. It gets the rights of
/// `like`, where that exists.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], like: Option<&Path>) -> Result<(), Failure> {
    let cannot = |e: io::Error| Failure::failed(format!("{} cannot be written", path.display())).cause(e);
    // A link stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(name) = path.file_name() else {
        return Err(Failure::usage(format!("{} is no name for a file", path.display())));
    };
    let beside = path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let done = (|| {
        let mut options = File::options();
        options.write(true).create_new(true);
        // It may hold passwords.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        if let Some(old) = like.and_then(|like| fs::metadata(like).ok()) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if done.is_err() {
        // What is left of a failed try is of no use.
        let _ = fs::remove_file(&beside);
    }
    done.map_err(cannot)
}

/// A folder of this process alone, gone when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one below the folder for temporary files.
    pub(crate) fn new() -> Result<Self, Failure> {
        let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let path = std::env::temp_dir().join(format!("haproxy-control-{}-{nanos}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let made = builder.create(&path);
        made.map_err(|e| Failure::failed(format!("{} cannot be made", path.display())).cause(e))?;
        Ok(Self(path))
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left over in /tmp, it does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
