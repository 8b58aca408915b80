//! Recordings of a balancer that serves: their folders, what comes in and what goes out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use adapter_bbb::{
    BbbService, Cluster, GateOptions, ImportOptions, Importer, MeetingStore, PlaybackGate, RecordingDesk,
    RecordingKeeper, RecordingTrees, Recordings,
};
#[cfg(feature = "s3")]
use adapter_bbb::{BucketWay, RecordingBucket};

use crate::settings::{Folders, RecordingsAt, Settings};
use console::Failure;

/// The bucket, if recordings are kept in one. One that is away stops nothing: it is looked for with each call.
#[cfg(feature = "s3")]
async fn bucket(folders: &Folders) -> Result<Option<RecordingBucket>, Failure> {
    let Some(set) = &folders.bucket else { return Ok(None) };
    let bucket = RecordingBucket::new(set.options()).map_err(|e| Failure::failed(e.to_string()))?;
    match bucket.probe().await {
        Ok(()) => tracing::info!(bucket = bucket.describe(), "recordings are kept in a bucket"),
        Err(e) => tracing::error!(error = %e, "the bucket of recordings is not available; meetings are"),
    }
    Ok(Some(bucket))
}

/// Never: a bucket is refused with the settings.
#[cfg(not(feature = "s3"))]
async fn bucket(_: &Folders) -> Result<Option<RecordingTrees>, Failure> {
    Ok(None)
}

/// Says which folders cannot be written to, before an archive waits in vain.
fn tell_of_unusable(folders: &Folders, bucket: bool) {
    let all = [
        ("RECORDING_SPOOL_DIR", &folders.spool),
        ("RECORDING_WORK_DIR", &folders.work),
        ("RECORDING_PUBLISH_DIR", &folders.published),
        ("RECORDING_UNPUBLISH_DIR", &folders.unpublished),
    ];
    // A bucket stands in the place of the trees.
    for (setting, folder) in all.into_iter().take(if bucket { 2 } else { 4 }) {
        if let Err(e) = writable(folder) {
            tracing::error!(
                setting,
                folder = %folder.display(),
                error = %e,
                "a folder of recordings cannot be written to, and archives will stay in the spool: make it, owned by \
                 the user of this process, or name another one"
            );
        }
    }
}

/// Tries to write into a folder, or into the one in which it would be made.
fn writable(folder: &Path) -> io::Result<()> {
    // What has no folder in its path is where we are.
    let named = |f: &&Path| !f.as_os_str().is_empty();
    let there = folder.ancestors().filter(named).find(|f| f.exists()).unwrap_or(Path::new("."));
    let probe = there.join(format!(".bbb-balancer-{}", std::process::id()));
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(probe)
}

/// The index, the folders, and what moves between them.
pub(super) struct Kept {
    recordings: Arc<Recordings>,
    gate: PlaybackGate,
    desk: RecordingDesk,
    importer: Option<Arc<Importer>>,
}

impl Kept {
    /// The recordings of an index, in the folders of the settings. They are made when something is put there.
    pub(super) async fn new(
        recordings: Recordings,
        settings: &Settings,
        store: &Arc<dyn MeetingStore>,
        cluster: &Arc<Cluster>,
    ) -> Result<Self, Failure> {
        let folders = &settings.folders;
        let index = recordings.index().clone();
        let bucket = bucket(folders).await?;
        let in_bucket = bucket.is_some();
        #[cfg(feature = "s3")]
        let trees = bucket.clone().map(|bucket| RecordingTrees::in_bucket(bucket, &folders.work));
        #[cfg(not(feature = "s3"))]
        let trees = bucket;
        let trees =
            trees.unwrap_or_else(|| RecordingTrees::new(&folders.published, &folders.unpublished, &folders.work));
        let mut gate = GateOptions::default();
        gate.formats.clone_from(&folders.formats);
        gate.key.clone_from(&folders.key);
        (gate.token_time, gate.cookie_time) = (folders.token_time, folders.cookie_time);
        let gate = PlaybackGate::new(gate, index.clone(), store.clone());
        #[cfg(feature = "s3")]
        let gate = match (bucket, &folders.bucket) {
            (Some(bucket), Some(set)) => {
                let way = if set.redirects { BucketWay::Redirect } else { BucketWay::Accel };
                gate.with_bucket(bucket, way, set.link_time)
            }
            _ => gate,
        };
        // What is in memory alone is forgotten, and archives would be gone: only who names a spool wants that.
        let lasting = !matches!(settings.recordings.at, RecordingsAt::Memory);
        let imports = folders.spool_is_set || (lasting && folders.spool.is_dir());
        let importer = imports.then(|| {
            let mut o = ImportOptions::new(&folders.spool);
            (o.unpublished, o.protected, o.poll) = (folders.import_unpublished, gate.protects(), folders.poll);
            Arc::new(Importer::new(o, trees.clone(), index.clone(), cluster.clone()))
        });
        if importer.is_some() {
            tell_of_unusable(folders, in_bucket);
        }
        if importer.is_none() {
            let spool = folders.spool.display();
            tracing::info!(%spool, "no recordings are imported: there is no spool; name one by RECORDING_SPOOL_DIR");
        }
        let keeper = RecordingKeeper::new(trees.clone(), index.clone(), imports.then(|| folders.spool.clone()));
        let desk = RecordingDesk::new(index, keeper, importer.clone());
        let recordings = recordings.with_files(Arc::new(trees)).with_tokens(Arc::new(gate.clone()));
        Ok(Self { recordings: Arc::new(recordings), gate, desk, importer })
    }

    /// The service with recordings.
    pub(super) fn served_by(&self, service: BbbService) -> BbbService {
        service
            .with_recordings(self.recordings.clone())
            .with_playback(self.gate.clone())
            .with_recording_desk(self.desk.clone())
    }

    /// What imports, if there is a spool.
    pub(super) fn importer(&self) -> Option<Arc<Importer>> {
        self.importer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_tried_where_they_would_be_made() {
        let folder = std::env::temp_dir().join(format!("bbb-balancer-writable-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, not_there) = (folder.join("file"), folder.join("a/b/c"));
        std::fs::write(&file, "").unwrap();
        assert!(writable(&folder).is_ok() && writable(&not_there).is_ok());
        assert!(!folder.join("a").exists(), "nothing is made");
        assert!(writable(&file).is_err() && writable(&file.join("below")).is_err());
        assert!(writable(Path::new("/proc/spool")).is_err());
        assert!(writable(Path::new("not-there-yet")).is_ok() && writable(Path::new("not/there/yet")).is_ok());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
