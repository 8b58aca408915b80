//! One archive: unpacked, put into its trees, written into the index, and then removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::archive::{Manifest, unpack};
use super::metadata::{MAX_METADATA, describe};
use super::spool::{self, Stamp, UNPACKED};
use super::{FilesError, ImportError, Importer, MetadataError, uploads};
use crate::recordings::index::TENANT_KEY;
use crate::recordings::record::{Recording, RecordingState};
use crate::recordings::tree::{io_error, is_name};
use crate::store::tenant_meeting_id;

/// A format of a recording, unpacked.
#[derive(Debug)]
pub(super) struct Found {
    recording: Recording,
    pub(super) format: String,
    pub(super) folder: PathBuf,
    pub(super) files: Arc<Manifest>,
}

/// An archive, unpacked and looked through.
#[derive(Debug)]
struct Opened {
    folder: PathBuf,
    stamp: Stamp,
    /// By recording.
    found: BTreeMap<String, Vec<Found>>,
    /// Why the archive is not removed even when all that was found is in its place.
    wrong: Option<ImportError>,
}

type Came = Vec<(String, Vec<String>)>;

impl Importer {
    /// Imports an archive. The first half of the answer is what came in, whatever became of the rest.
    pub(super) async fn import_one(&self, archive: &Path) -> (Came, Result<(), ImportError>) {
        let mut came = Came::new();
        let opened = {
            let (path, work, limits) = (archive.to_owned(), self.trees.work().to_owned(), self.options.limits);
            let opened = tokio::task::spawn_blocking(move || open(&path, &work, limits)).await;
            opened.unwrap_or_else(|e| Err(self.broken(&e.to_string())))
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(e) => return (came, Err(e)),
        };
        let done = self.take_all(&opened, &mut came).await;
        let (folder, stamp, path) = (opened.folder.clone(), opened.stamp, archive.to_owned());
        let done = done.and(opened.wrong.map_or(Ok(()), Err));
        let whole = done.is_ok();
        let left = self.trees.blocking(move || {
            if whole {
                spool::remove(&path, stamp)?;
            }
            fs::remove_dir_all(&folder).map_err(|e| io_error(&folder, &e))
        });
        let left = left.await;
        (came, done.and(left.map_err(Into::into)))
    }

    async fn take_all(&self, opened: &Opened, came: &mut Came) -> Result<(), ImportError> {
        let mut first = Ok(());
        let mut ready = Vec::new();
        for (record_id, formats) in &opened.found {
            // One that fails does not keep the others out, nor does it let the archive go.
            match self.take_one(record_id, formats).await {
                Ok((stored, changed)) => {
                    came.push((record_id.clone(), formats.iter().map(|f| f.format.clone()).collect()));
                    ready.push((stored, changed));
                }
                Err(e) => first = first.and(Err(e)),
            }
        }
        let whole = first.is_ok() && opened.wrong.is_none();
        for (stored, changed) in ready {
            // An archive that stays comes again: then only what is new is news.
            if whole || changed {
                first = first.and(self.tell(&stored).await);
            }
        }
        first
    }

    /// Puts the formats of one recording into their tree and into the index, and sees that both have them.
    async fn take_one(&self, record_id: &str, formats: &[Found]) -> Result<(Recording, bool), ImportError> {
        let _guard = self.trees.lock().await?;
        let known = self.index.get(record_id).await?.filter(|known| known.state != Some(RecordingState::Deleted));
        let mut wanted = Recording::new(record_id);
        for found in formats {
            merge(&mut wanted, &found.recording);
        }
        if let Some(tenant) = wanted.meta(TENANT_KEY) {
            wanted.meeting_id = tenant_meeting_id(tenant, &wanted.meeting_id).to_owned();
        }
        if self.options.unpublished {
            wanted.published = false;
        }
        if wanted.published || matches!(wanted.state, None | Some(RecordingState::Published)) {
            wanted.state = Some(RecordingState::of_published(wanted.published));
        }
        wanted.protected = known.as_ref().map_or(self.options.protected, |known| known.protected);
        // Somebody's choice stays, in the trees as in the index.
        let published = known.as_ref().filter(|known| known.publish_updated).map_or(wanted.published, |k| k.published);
        // Other formats that are there already follow the flag, too.
        let before = known.clone();
        let others: Vec<String> = known.iter().flat_map(|known| &known.formats).map(|f| f.format.clone()).collect();
        for found in formats {
            let files = match known {
                Some(_) => uploads::keep(&self.trees, record_id, found).await?,
                None => found.files.clone(),
            };
            self.trees.take_in(&found.folder, &files, published, &found.format, record_id).await?;
        }
        let stored = self.index.import(&wanted).await?;
        let there: BTreeSet<&str> =
            stored.formats.iter().map(|f| f.format.as_str()).chain(others.iter().map(String::as_str)).collect();
        for format in there {
            match self.trees.put_right_if_same(record_id, format, stored.published).await {
                // Of a format that this archive does not have: `check` tells of it.
                Ok(_) | Err(FilesError::Missing { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // Asked again: what is removed in the end is removed on the word of the index.
        let unconfirmed = || ImportError::Unconfirmed { record_id: record_id.to_owned() };
        let read = self.index.get(record_id).await?.ok_or_else(unconfirmed)?;
        let has = |found: &Found| read.formats.iter().any(|f| f.format == found.format);
        if read.published != stored.published || !formats.iter().all(has) {
            return Err(unconfirmed());
        }
        let changed = before.as_ref() != Some(&read);
        Ok((read, changed))
    }

    async fn tell(&self, recording: &Recording) -> Result<(), ImportError> {
        let noted = self.index.link_callbacks(recording).await?;
        let told = self.news.ready(recording, noted).await;
        told.map_err(|why| ImportError::News { record_id: recording.record_id.clone(), why })
    }
}

/// Puts together what the formats of one recording say of it: the first one counts, what it lacks comes from the others.
fn merge(into: &mut Recording, from: &Recording) {
    if into.formats.is_empty() {
        *into = from.clone();
        return;
    }
    into.formats.extend(from.formats.iter().cloned());
    for m in &from.metadata {
        if into.meta(&m.key).is_none() {
            into.set_meta(&*m.key, &*m.value);
        }
    }
    into.participants = into.participants.or(from.participants);
    into.start_ms = into.start_ms.or(from.start_ms);
    into.end_ms = into.end_ms.or(from.end_ms);
}

/// Unpacks an archive into a folder of its own, and looks at what is in it.
fn open(archive: &Path, work: &Path, limits: super::ArchiveLimits) -> Result<Opened, ImportError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let files_error = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| ImportError::Files(io_error(&path, &e))
    };
    let file = File::open(archive).map_err(files_error(archive))?;
    let about = file.metadata().map_err(files_error(archive))?;
    if !about.is_file() {
        return Err(ImportError::Stray { path: archive.display().to_string(), why: "it is no file" });
    }
    let folder = work.join(format!("{UNPACKED}{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed)));
    fs::create_dir_all(work).and_then(|()| fs::create_dir(&folder)).map_err(files_error(&folder))?;
    let never = AtomicBool::new(false);
    let opened = unpack(file, &folder, limits, &never).map_err(ImportError::from).map(|files| {
        let (found, wrong) = look_through(&folder, files);
        Opened { folder: folder.clone(), stamp: Stamp::of(&about), found, wrong }
    });
    if opened.is_err() {
        // Room for others; what cannot be removed now is removed before the next import.
        let _ = fs::remove_dir_all(&folder);
    }
    opened
}

/// Sorts files by the format they belong to. Whatever belongs to none keeps the archive from being removed.
fn look_through(folder: &Path, files: Manifest) -> (BTreeMap<String, Vec<Found>>, Option<ImportError>) {
    let mut formats: BTreeMap<(String, String), Manifest> = BTreeMap::new();
    let mut wrong = None;
    for (path, file) in files {
        let names: Vec<Option<&str>> = path.iter().take(2).map(std::ffi::OsStr::to_str).collect();
        let inner: PathBuf = path.iter().skip(2).collect();
        match names.as_slice() {
            [Some(format), Some(id)] if !inner.as_os_str().is_empty() && is_name(format) && is_name(id) => {
                formats.entry(((*format).to_owned(), (*id).to_owned())).or_default().insert(inner, file);
            }
            _ => {
                let path = path.to_string_lossy().into_owned();
                wrong = wrong.or(Some(ImportError::Stray { path, why: "it is not below FORMAT/RECORDID" }));
            }
        }
    }
    let mut found: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for ((format, id), files) in formats {
        let name = format!("{format}/{id}");
        match read(&folder.join(&format).join(&id), &name, &format, &id, &files) {
            Ok(recording) => {
                let folder = folder.join(&format).join(&id);
                found.entry(id).or_default().push(Found { recording, format, folder, files: Arc::new(files) });
            }
            Err(e) => wrong = wrong.or(Some(e)),
        }
    }
    if found.is_empty() && wrong.is_none() {
        wrong = Some(ImportError::Stray { path: ".".to_owned(), why: "there is no recording in it" });
    }
    (found, wrong)
}

fn read(folder: &Path, name: &str, format: &str, id: &str, files: &Manifest) -> Result<Recording, ImportError> {
    let wrong = |source| ImportError::Metadata { folder: name.to_owned(), source };
    let path = Path::new("metadata.xml");
    match files.get(path) {
        None => return Err(ImportError::Stray { path: name.to_owned(), why: "it has no metadata.xml" }),
        Some(file) if file.size > MAX_METADATA => return Err(wrong(MetadataError::TooMuch("more than 4 MiB"))),
        Some(_) => {}
    }
    let path = folder.join(path);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|f| f.take(MAX_METADATA + 1).read_to_end(&mut bytes));
    read.map_err(|e| io_error(&path, &e))?;
    let recording = describe(&bytes).map_err(wrong)?;
    let said = recording.formats.first().map_or("", |f| f.format.as_str());
    if recording.record_id != id {
        return Err(wrong(MetadataError::Value { what: "recording/id", value: recording.record_id }));
    }
    if said != format {
        return Err(wrong(MetadataError::Value { what: "recording/playback/format", value: said.to_owned() }));
    }
    Ok(recording)
}
