//! Recordings from the spool to the browser.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use adapter_bbb::{
    CallbackRow, FindingKind, ImportOptions, ImportOutcome, ImportReport, Importer, LocalRecordings, Recording,
    RecordingIndex, RecordingKeeper, RecordingNews, RecordingTrees,
};
use async_trait::async_trait;
use real_servers::{Folder, PostgresServer};

use crate::recordings::world::shared_index;

pub(crate) mod calls;
mod checks;
pub(crate) mod kills;
mod names;
mod outages;
mod refusals;
mod space;
mod spool;
mod tracks;

pub(crate) use space::Small;

/// `metadata.xml` of a format.
pub(crate) fn metadata(id: &str, format: &str, published: bool) -> String {
    let state = if published { "published" } else { "unpublished" };
    format!(
        "<?xml version=\"1.0\"?>\n<recording><id>{id}</id><state>{state}</state><published>{published}</published>\
         <start_time>1700000000000</start_time><end_time>1700003600000</end_time><participants>4</participants>\
         <meta><meetingId>meeting-{id}</meetingId><meetingName>Lesson</meetingName><course>math</course></meta>\
         <playback><format>{format}</format><link>https://bbb1.example.com/playback/{format}/{id}</link>\
         <duration>3600000</duration></playback></recording>"
    )
}

/// The files of a format, by path in the archive. The version shows in every one of them.
pub(crate) fn format_files(id: &str, format: &str, version: u32) -> BTreeMap<String, Vec<u8>> {
    let at = |name: &str| format!("{format}/{id}/{name}");
    let mut files = BTreeMap::from([(at("metadata.xml"), metadata(id, format, true).into_bytes())]);
    for n in 0..3 {
        files.insert(at(&format!("media/{n}.webm")), format!("{id} {format} {version} {n} ").repeat(200).into_bytes());
    }
    files
}

/// A tar archive of these files.
pub(crate) fn packed(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The files of a recording in two formats.
pub(crate) fn both_formats(id: &str, version: u32) -> BTreeMap<String, Vec<u8>> {
    let mut files = format_files(id, "presentation", version);
    files.extend(format_files(id, "video", version));
    files
}

type Deed = Box<dyn Fn() + Send>;

/// News that arrived.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) told: Mutex<Vec<String>>,
    /// Nobody can be told, in these words.
    pub(crate) fails: Mutex<Option<String>>,
    /// Done while an archive is on its way.
    pub(crate) meanwhile: Mutex<Option<Deed>>,
    /// News wait here while it is held.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("News")
    }
}

#[async_trait]
impl RecordingNews for News {
    async fn ready(&self, recording: &Recording, _: Option<CallbackRow>) -> Result<(), String> {
        let _open = self.gate.lock().await;
        if let Some(why) = self.fails.lock().unwrap().clone() {
            return Err(why);
        }
        self.told.lock().unwrap().push(recording.record_id.clone());
        if let Some(deed) = self.meanwhile.lock().unwrap().take() {
            deed();
        }
        Ok(())
    }
}

/// Folders, an index, and an importer between them.
pub(crate) struct Shelf {
    pub(crate) folder: Folder,
    pub(crate) index: Arc<dyn RecordingIndex>,
    pub(crate) trees: RecordingTrees,
    pub(crate) keeper: RecordingKeeper,
    pub(crate) importer: Arc<Importer>,
    pub(crate) news: Arc<News>,
    /// What the index is on.
    _server: Option<Arc<PostgresServer>>,
}

/// An index, and the server it is on.
pub(crate) struct On {
    pub(crate) index: Arc<dyn RecordingIndex>,
    server: Option<Arc<PostgresServer>>,
}

/// Every kind of index that imports are tested with: in memory, and in Postgres if that is installed.
pub(crate) async fn each_index() -> Vec<On> {
    let mut all = vec![On { index: Arc::new(LocalRecordings::memory()), server: None }];
    if let Some((server, index)) = shared_index().await {
        all.push(On { index: Arc::new(index), server: Some(server) });
    }
    all
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self::with(Folder::new("shelf"), Arc::new(LocalRecordings::memory()), |_| {})
    }

    /// One on every kind of index.
    pub(crate) async fn each() -> Vec<Self> {
        Self::each_with(|_| {}).await
    }

    pub(crate) async fn each_with(change: impl Fn(&mut ImportOptions)) -> Vec<Self> {
        let shelf = |on: On| Self { _server: on.server, ..Self::with(Folder::new("shelf"), on.index, &change) };
        each_index().await.into_iter().map(shelf).collect()
    }

    /// Where its index is.
    pub(crate) fn name(&self) -> String {
        self.index.describe()
    }

    pub(crate) fn with(
        folder: Folder,
        index: Arc<dyn RecordingIndex>,
        change: impl FnOnce(&mut ImportOptions),
    ) -> Self {
        let trees = trees(&folder);
        Self::on(folder, trees, index, change)
    }

    pub(crate) fn on(
        folder: Folder,
        trees: RecordingTrees,
        index: Arc<dyn RecordingIndex>,
        change: impl FnOnce(&mut ImportOptions),
    ) -> Self {
        let spool = folder.join("spool");
        std::fs::create_dir_all(&spool).unwrap();
        let mut options = ImportOptions::new(&spool);
        change(&mut options);
        let keeper = RecordingKeeper::new(trees.clone(), index.clone(), Some(spool));
        let news = Arc::new(News::default());
        let importer = Arc::new(Importer::new(options, trees.clone(), index.clone(), news.clone()));
        Self { folder, index, trees, keeper, importer, news, _server: None }
    }

    pub(crate) fn spool(&self, name: &str) -> PathBuf {
        self.folder.join("spool").join(name)
    }

    /// Puts an archive into the spool, as rsync does: whole or not at all.
    pub(crate) fn arrives(&self, name: &str, bytes: &[u8]) {
        arrives(&self.folder, name, bytes);
    }

    pub(crate) async fn import(&self) -> Vec<ImportReport> {
        self.importer.import_now(true).await.unwrap()
    }

    /// Imports the one archive there is; why it was kept, or nothing.
    pub(crate) async fn import_one(&self) -> Option<(String, bool)> {
        let reports = self.import().await;
        assert_eq!(reports.len(), 1, "{reports:?}");
        match reports.into_iter().next().unwrap().outcome {
            ImportOutcome::Kept { why, lasting } => Some((why, lasting)),
            _ => None,
        }
    }

    pub(crate) async fn row(&self, id: &str) -> Recording {
        self.index.get(id).await.unwrap().expect("the index has it")
    }

    pub(crate) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.news.told.lock().unwrap())
    }

    /// What a check finds.
    pub(crate) async fn findings(&self) -> Vec<FindingKind> {
        self.keeper.check().await.unwrap().findings.into_iter().map(|f| f.kind).collect()
    }
}

pub(crate) fn arrives(folder: &Path, name: &str, bytes: &[u8]) {
    let hidden = folder.join("spool").join(format!(".{name}.Xq71"));
    std::fs::write(&hidden, bytes).unwrap();
    std::fs::rename(hidden, folder.join("spool").join(name)).unwrap();
}

pub(crate) fn trees(folder: &Path) -> RecordingTrees {
    RecordingTrees::new(folder.join("published"), folder.join("unpublished"), folder.join("work"))
}

/// Every file below a folder, by its path.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(all) = std::fs::read_dir(&next) else { continue };
        for entry in all.map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}
