//! Recordings of a balancer that serves: their folders, what comes in and what goes out.

use std::sync::Arc;

use adapter_bbb::{
    BbbService, Cluster, GateOptions, ImportOptions, Importer, MeetingStore, PlaybackGate, RecordingDesk,
    RecordingKeeper, RecordingTrees, Recordings,
};

use crate::settings::{RecordingsAt, Settings};

/// The index, the folders, and what moves between them.
pub(super) struct Kept {
    recordings: Arc<Recordings>,
    gate: PlaybackGate,
    desk: RecordingDesk,
    importer: Option<Arc<Importer>>,
}

impl Kept {
    /// The recordings of an index, in the folders of the settings. They are made when something is put there.
    pub(super) fn new(
        recordings: Recordings,
        settings: &Settings,
        store: &Arc<dyn MeetingStore>,
        cluster: &Arc<Cluster>,
    ) -> Self {
        let folders = &settings.folders;
        let index = recordings.index().clone();
        let trees = RecordingTrees::new(&folders.published, &folders.unpublished, &folders.work);
        let mut gate = GateOptions::default();
        gate.formats.clone_from(&folders.formats);
        gate.key.clone_from(&folders.key);
        (gate.token_time, gate.cookie_time) = (folders.token_time, folders.cookie_time);
        let gate = PlaybackGate::new(gate, index.clone(), store.clone());
        // What is in memory alone is forgotten, and archives would be gone: only who names a spool wants that.
        let lasting = !matches!(settings.recordings.at, RecordingsAt::Memory);
        let imports = folders.spool_is_set || (lasting && folders.spool.is_dir());
        let importer = imports.then(|| {
            let mut o = ImportOptions::new(&folders.spool);
            (o.unpublished, o.protected, o.poll) = (folders.import_unpublished, gate.protects(), folders.poll);
            Arc::new(Importer::new(o, trees.clone(), index.clone(), cluster.clone()))
        });
        if importer.is_none() {
            let spool = folders.spool.display();
            tracing::info!(%spool, "no recordings are imported: there is no spool; name one by RECORDING_SPOOL_DIR");
        }
        let keeper = RecordingKeeper::new(trees.clone(), index.clone(), imports.then(|| folders.spool.clone()));
        let desk = RecordingDesk::new(index, keeper, importer.clone());
        let recordings = recordings.with_files(Arc::new(trees)).with_tokens(Arc::new(gate.clone()));
        Self { recordings: Arc::new(recordings), gate, desk, importer }
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
