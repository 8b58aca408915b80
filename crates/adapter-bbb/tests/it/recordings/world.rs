//! What these tests need: recordings, indexes, a folder of files, and a service with all of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use adapter_bbb::{
    BbbService, FilesError, LocalRecordings, PlaybackFormat, PostgresOptions, PostgresRecordings, Recording,
    RecordingFiles, RecordingIndex, RecordingOptions, RecordingState, Recordings, Thumbnail,
};
use async_trait::async_trait;
use real_servers::{Folder, PostgresServer};
use tokio_postgres::{Client, NoTls};

use crate::stage::{Process, Stage, patient};

/// A recording that began so many seconds after the first one.
pub(crate) fn recording(id: &str, meeting: &str, second: i64, published: bool) -> Recording {
    let mut r = Recording::new(id);
    (r.meeting_id, r.name, r.published) = (meeting.into(), format!("Meeting {meeting}"), published);
    r.state = Some(RecordingState::of_published(published));
    r.start_ms = Some(1_600_000_000_123 + second * 1000);
    r.end_ms = r.start_ms.map(|ms| ms + 60_000);
    let mut format = PlaybackFormat::new("presentation", format!("/playback/presentation/2.3/{id}"));
    format.length = Some(1);
    format.thumbnails = vec![Thumbnail::new(format!("/presentation/{id}/1.png"), 0)];
    r.formats = vec![format];
    r
}

pub(crate) fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

/// The index in a database of this server.
pub(crate) fn index(server: &PostgresServer, database: &str) -> PostgresRecordings {
    PostgresRecordings::new(PostgresOptions::from_url(&server.url(database)).unwrap()).unwrap()
}

/// An index in a database of its own, on the server that tests share; `None` when Postgres is not installed.
pub(crate) async fn shared_index() -> Option<(Arc<PostgresServer>, PostgresRecordings)> {
    let server = PostgresServer::shared()?;
    let index = index(&server, &fresh_database(&server).await);
    Some((server, index))
}

/// The name of a new and empty database of this server.
pub(crate) async fn fresh_database(server: &PostgresServer) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("own_{}", COUNT.fetch_add(1, Relaxed));
    connect(server, "postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    name
}

/// A connection beside the index.
pub(crate) async fn connect(server: &PostgresServer, database: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(database), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Every index there is: in memory, in a file, and in Postgres if that is installed.
pub(crate) async fn every_index(folder: &Folder, server: Option<&PostgresServer>) -> Vec<Arc<dyn RecordingIndex>> {
    let mut all: Vec<Arc<dyn RecordingIndex>> = vec![
        Arc::new(LocalRecordings::memory()),
        Arc::new(LocalRecordings::open(folder.join("recordings.redb")).await.unwrap()),
    ];
    if let Some(server) = server {
        all.push(Arc::new(index(server, "scalelite")));
    }
    all
}

/// Files of recordings in two trees of a folder.
#[derive(Debug)]
pub(crate) struct Trees(pub(crate) Folder);

impl Trees {
    pub(crate) fn place(&self, published: bool, format: &str, id: &str) -> PathBuf {
        self.0.join(if published { "published" } else { "unpublished" }).join(format).join(id)
    }

    fn folder(&self, record_id: &str, format: &str) -> Option<PathBuf> {
        [true, false].map(|p| self.place(p, format, record_id)).into_iter().find(|path| path.is_dir())
    }

    pub(crate) fn make(&self, published: bool, format: &str, id: &str) {
        std::fs::create_dir_all(self.place(published, format, id)).unwrap();
    }
}

#[async_trait]
impl RecordingFiles for Trees {
    async fn hold(&self) -> Result<Box<dyn Send>, FilesError> {
        Ok(Box::new(()))
    }

    async fn publish(&self, recording: &Recording, published: bool) -> Result<(), FilesError> {
        for f in &recording.formats {
            let (from, to) = (
                self.place(!published, &f.format, &recording.record_id),
                self.place(published, &f.format, &recording.record_id),
            );
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            if from.exists() {
                std::fs::rename(from, to).unwrap();
            }
        }
        Ok(())
    }

    async fn delete(&self, record_id: &str) -> Result<(), FilesError> {
        for published in [true, false] {
            for format in ["presentation", "video"] {
                let _ = std::fs::remove_dir_all(self.place(published, format, record_id));
            }
        }
        Ok(())
    }

    async fn has(&self, record_id: &str, format: &str) -> Result<bool, FilesError> {
        Ok(self.folder(record_id, format).is_some())
    }

    async fn read(&self, record_id: &str, format: &str, name: &str, _: u64) -> Result<Option<Vec<u8>>, FilesError> {
        Ok(self.folder(record_id, format).and_then(|folder| std::fs::read(folder.join(name)).ok()))
    }

    async fn write(&self, record_id: &str, format: &str, name: &str, bytes: Vec<u8>) -> Result<(), FilesError> {
        std::fs::write(self.folder(record_id, format).unwrap().join(name), bytes).unwrap();
        Ok(())
    }
}

/// A service with recordings of this index.
pub(crate) struct World {
    pub(crate) _stage: Stage,
    pub(crate) process: Process,
    pub(crate) service: BbbService,
    pub(crate) trees: Arc<Trees>,
    pub(crate) index: Arc<dyn RecordingIndex>,
    _server: Option<Arc<PostgresServer>>,
}

impl World {
    /// One on each kind of index: in memory, and in Postgres if that is installed.
    pub(crate) async fn each(options: RecordingOptions) -> Vec<Self> {
        let mut all = vec![Self::new(Arc::new(LocalRecordings::memory()), options.clone()).await];
        if let Some((server, index)) = shared_index().await {
            all.push(Self { _server: Some(server), ..Self::new(Arc::new(index), options).await });
        }
        all
    }

    pub(crate) async fn new(index: Arc<dyn RecordingIndex>, options: RecordingOptions) -> Self {
        let stage = Stage::memory(1).await;
        let process = stage.process(patient()).await;
        let trees = Arc::new(Trees(Folder::new("trees")));
        let recordings = Recordings::new(index.clone()).with_files(trees.clone()).with_options(options);
        let service = process.service.clone().with_recordings(Arc::new(recordings));
        Self { _stage: stage, process, service, trees, index, _server: None }
    }

    /// Indexes a recording, with folders for its formats.
    pub(crate) async fn add(&self, r: &Recording) {
        self.index.import(r).await.unwrap();
        r.formats.iter().for_each(|f| self.trees.make(r.published, &f.format, &r.record_id));
    }

    pub(crate) async fn call(&self, name: &str, query: &str) -> crate::stage::Answer {
        crate::stage::call(&self.service, name, query, None).await
    }

    /// The ids that a `getRecordings` lists, in order.
    pub(crate) async fn listed(&self, query: &str) -> Vec<String> {
        let answer = self.call("getRecordings", query).await;
        assert!(answer.ok(), "{query}: {}", answer.body);
        answer.body.split("<recordID>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }
}
