//! What cannot come in stays in the spool as it is, and it is said why.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use adapter_bbb::{IndexError, RecordingChange, RecordingPage, RecordingQuery};

use super::*;

/// There: deleted after an import in which a format failed.
#[tokio::test]
async fn a_bad_format_keeps_the_archive_and_the_others_come_in() {
    for shelf in Shelf::each().await {
        let mut files = both_formats("rec-1", 1);
        files.extend(both_formats("rec-2", 1));
        files.insert("video/rec-1/metadata.xml".to_owned(), b"<recording>".to_vec());
        let bytes = packed(&files);
        shelf.arrives("both.tar", &bytes);
        let (why, lasting) = shelf.import_one().await.unwrap();
        assert!(why.starts_with("video/rec-1: metadata.xml: it is not usable XML") && lasting, "{why}");
        assert_eq!(std::fs::read(shelf.spool("both.tar")).unwrap(), bytes);
        let formats = |row: Recording| row.formats.into_iter().map(|f| f.format).collect::<Vec<_>>();
        assert_eq!(formats(shelf.row("rec-1").await), ["presentation"]);
        assert_eq!(formats(shelf.row("rec-2").await), ["presentation", "video"]);
        let mut told = shelf.told();
        told.sort();
        assert_eq!(told, ["rec-1", "rec-2"]);
        let report = shelf.keeper.check().await.unwrap();
        assert!(report.agrees() && report.waiting == ["both.tar"], "{report:?}");
        // Tried again, nothing is new, and nobody is told again.
        assert!(shelf.import_one().await.is_some());
        assert!(shelf.told().is_empty());
        // By itself it is not even opened until it changes.
        let again = shelf.importer.import_now(false).await.unwrap();
        assert!(
            matches!(&again[0].outcome, ImportOutcome::Kept { lasting: true, .. }) && again[0].recordings.is_empty()
        );
        let mut mended = both_formats("rec-1", 1);
        mended.extend(both_formats("rec-2", 1));
        shelf.arrives("both.tar", &packed(&mended));
        let done = shelf.importer.import_now(false).await.unwrap();
        assert_eq!(done[0].outcome, ImportOutcome::Imported);
        assert!(files_below(&shelf.folder.join("published")) == mended);
    }
}

#[tokio::test]
async fn whatever_would_be_lost_keeps_the_archive() {
    let metadata_of = |id: &str, format: &str| metadata(id, format, true).into_bytes();
    for (path, content, says) in [
        ("readme.txt", b"x".to_vec(), "readme.txt: it is not below FORMAT/RECORDID"),
        ("video/readme.txt", b"x".to_vec(), "video/readme.txt: it is not below FORMAT/RECORDID"),
        ("video/.hidden/x", b"x".to_vec(), "video/.hidden/x: it is not below FORMAT/RECORDID"),
        ("notes/rec-1/notes.pdf", b"x".to_vec(), "notes/rec-1: it has no metadata.xml"),
        ("notes/rec-1/metadata.xml", metadata_of("rec-9", "notes"), "recording/id is \"rec-9\""),
        ("notes/rec-1/metadata.xml", metadata_of("rec-1", "video"), "recording/playback/format is \"video\""),
        ("notes/rec-1/metadata.xml", vec![b'x'; 5 << 20], "more than 4 MiB"),
    ] {
        for shelf in Shelf::each().await {
            let mut files = both_formats("rec-1", 1);
            files.insert(path.to_owned(), content.clone());
            let bytes = packed(&files);
            shelf.arrives("rec-1.tar", &bytes);
            let (why, lasting) = shelf.import_one().await.unwrap();
            assert!(why.contains(says) && lasting, "{path}: {why}");
            assert_eq!(std::fs::read(shelf.spool("rec-1.tar")).unwrap(), bytes);
            assert_eq!(shelf.row("rec-1").await.formats.len(), 2, "what is good came in");
            assert!(shelf.keeper.check().await.unwrap().agrees());
        }
    }
    let shelf = Shelf::new();
    shelf.arrives("empty.tar", &[0; 1024]);
    assert!(shelf.import_one().await.unwrap().0.contains("there is no recording in it"));
}

#[tokio::test]
async fn a_cut_archive_stays_whatever_is_left_of_it() {
    for shelf in Shelf::each().await {
        let whole = packed(&format_files("rec-1", "video", 1));
        let mut cuts = 0;
        for length in (0..whole.len()).step_by(512) {
            shelf.arrives("rec-1.tar", &whole[..length]);
            let (why, lasting) = shelf.import_one().await.unwrap();
            assert!(why.contains("before its end mark: was it copied as a whole") && lasting, "{length}: {why}");
            assert_eq!(std::fs::read(shelf.spool("rec-1.tar")).unwrap(), &whole[..length]);
            cuts += 1;
        }
        println!("{cuts} cuts, {}", shelf.name());
        assert!(shelf.index.get("rec-1").await.unwrap().is_none());
        assert!(files_below(&shelf.folder.join("published")).is_empty());
        let left: Vec<_> = files_below(&shelf.folder.join("work")).into_keys().collect();
        assert_eq!(left, ["import.lock", "trees.lock"]);
        shelf.arrives("rec-1.tar", &whole);
        assert_eq!(shelf.import_one().await, None);
    }
}

#[tokio::test]
async fn limits_and_dangerous_entries_keep_the_archive() {
    let narrow = |o: &mut ImportOptions| (o.limits.entries, o.limits.bytes) = (12, 30_000);
    for shelf in Shelf::each_with(narrow).await {
        let mut many = both_formats("rec-1", 1);
        many.extend((0..9).map(|n| (format!("video/rec-1/{n}"), Vec::new())));
        let mut large = both_formats("rec-1", 1);
        large.insert("video/rec-1/large".to_owned(), vec![0; 30_000]);
        let mut link = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        link.append_link(&mut header, "video/rec-1/metadata.xml", "/etc/passwd").unwrap();
        for (bytes, says) in [
            (packed(&many), "more than 12 files and folders"),
            (packed(&large), "more than 30000 bytes"),
            (link.into_inner().unwrap(), "a link"),
        ] {
            shelf.arrives("rec-1.tar", &bytes);
            let (why, lasting) = shelf.import_one().await.unwrap();
            assert!(why.contains(says) && lasting, "{why}");
            assert_eq!(std::fs::read(shelf.spool("rec-1.tar")).unwrap(), bytes);
            assert!(shelf.index.get("rec-1").await.unwrap().is_none());
        }
    }
}

/// An index that is away now and then.
#[derive(Debug)]
struct Shaky {
    inner: LocalRecordings,
    away: AtomicBool,
}

impl Shaky {
    fn there(&self) -> Result<(), IndexError> {
        let (target, why) = ("postgres".to_owned(), "connection refused".to_owned());
        if self.away.load(Relaxed) { Err(IndexError::Lost { target, why, source: None }) } else { Ok(()) }
    }
}

#[async_trait]
impl RecordingIndex for Shaky {
    async fn list(&self, query: &RecordingQuery) -> Result<RecordingPage, IndexError> {
        self.inner.list(query).await
    }

    async fn find(&self, record_ids: &[String]) -> Result<Vec<Recording>, IndexError> {
        self.inner.find(record_ids).await
    }

    async fn ids(&self, after: &str, limit: usize) -> Result<Vec<(String, bool)>, IndexError> {
        self.inner.ids(after, limit).await
    }

    async fn import(&self, recording: &Recording) -> Result<Recording, IndexError> {
        self.there()?;
        self.inner.import(recording).await
    }

    async fn set_published(&self, record_id: &str, published: bool) -> Result<bool, IndexError> {
        self.there()?;
        self.inner.set_published(record_id, published).await
    }

    async fn update(&self, ids: &[String], tenant: Option<&str>, c: &RecordingChange) -> Result<bool, IndexError> {
        self.inner.update(ids, tenant, c).await
    }

    async fn mark_deleted(&self, record_id: &str) -> Result<bool, IndexError> {
        self.there()?;
        self.inner.mark_deleted(record_id).await
    }

    async fn add_to_tenant(&self, tenant: &str) -> Result<u64, IndexError> {
        self.inner.add_to_tenant(tenant).await
    }

    async fn check(&self) -> Result<(), IndexError> {
        self.there()
    }

    fn describe(&self) -> String {
        "an index that is away now and then".to_owned()
    }
}

#[tokio::test]
async fn an_index_that_is_away_keeps_archives_and_files() {
    let index = Arc::new(Shaky { inner: LocalRecordings::memory(), away: AtomicBool::new(true) });
    let shelf = Shelf::with(Folder::new("shelf"), index.clone(), |_| {});
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    let (why, lasting) = shelf.import_one().await.unwrap();
    assert!(why.contains("cannot be reached: connection refused") && !lasting, "{why}");
    assert!(shelf.spool("rec-1.tar").exists() && shelf.told().is_empty());
    index.away.store(false, Relaxed);
    // By itself, at the next look.
    let done = shelf.importer.import_now(false).await.unwrap();
    assert_eq!(done[0].outcome, ImportOutcome::Imported);
    index.away.store(true, Relaxed);
    assert!(shelf.keeper.publish("rec-1", false).await.is_err());
    assert!(shelf.keeper.delete("rec-1").await.is_err());
    assert!(files_below(&shelf.folder.join("published")) == both_formats("rec-1", 1));
    assert!(shelf.keeper.check().await.unwrap().agrees());
}
