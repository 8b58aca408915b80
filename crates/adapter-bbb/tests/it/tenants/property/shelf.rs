//! Recordings of tenants, on disk and in an index, behind a gate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use adapter_bbb::{
    BbbService, GateOptions, LocalRecordings, MeetingStore, PlaybackFormat, PlaybackGate, Recording, RecordingIndex,
    RecordingOptions, RecordingState, Recordings, Secret,
};
use real_servers::Folder;

use super::Tenant;
use crate::importing::{files_below, trees};

/// A text track as front-ends send it.
pub(super) const TRACK: (&str, &str) = (
    "multipart/form-data; boundary=xx",
    "--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\r\nWEBVTT\n\n00:00.000 --> 00:01.000\n\
     Hello\n\r\n--xx--\r\n",
);

/// What every recording of a tenant is called.
pub(super) fn lesson(of: Tenant) -> String {
    format!("lesson of {}", of.0)
}

pub(super) struct Shelf {
    folder: Folder,
    index: Arc<LocalRecordings>,
    /// The last token that was listed, by tenant and recording.
    tokens: HashMap<(&'static str, String), String>,
}

impl Shelf {
    /// Two recordings of each tenant, and one of nobody.
    pub(super) async fn new(owners: &[Tenant]) -> Self {
        let (folder, index) = (Folder::new("tenants"), Arc::new(LocalRecordings::memory()));
        let theirs = owners.iter().flat_map(|t| [(t.0, 1), (t.0, 2)]);
        for (at, (owner, n)) in (0..).zip(theirs.chain([("nobody", 1)])) {
            let id = format!("rec-{owner}-{n}");
            let mut r = Recording::new(&id);
            (r.meeting_id, r.name, r.published) = (format!("m{n}"), format!("lesson of {owner}"), n == 1);
            r.state = Some(RecordingState::of_published(r.published));
            r.start_ms = Some(1_700_000_000_000 + at * 1000);
            r.set_meta("course", "7");
            if owner != "nobody" {
                r.set_meta("tenant-id", format!("ten-{owner}"));
            }
            for format in ["presentation", "video"] {
                r.formats.push(PlaybackFormat::new(format, format!("/playback/{format}/{id}")));
                let tree = folder.join(if r.published { "published" } else { "unpublished" });
                std::fs::create_dir_all(tree.join(format).join(&id)).unwrap();
                std::fs::write(tree.join(format).join(&id).join("metadata.xml"), &r.name).unwrap();
            }
            index.import(&r).await.unwrap();
        }
        Self { folder, index, tokens: HashMap::new() }
    }

    pub(super) fn served_by(&self, service: BbbService, store: Arc<dyn MeetingStore>) -> BbbService {
        let mut gate = GateOptions::default();
        gate.key = Some(Secret::new("the key of the cookies"));
        let gate = PlaybackGate::new(gate, self.index.clone(), store);
        let mut options = RecordingOptions::default();
        options.protected = true;
        let recordings = Recordings::new(self.index.clone())
            .with_files(Arc::new(trees(&self.folder)))
            .with_tokens(Arc::new(gate.clone()))
            .with_options(options);
        service.with_recordings(Arc::new(recordings)).with_playback(gate)
    }

    /// Keeps the tokens for videos that a list has.
    pub(super) fn note_tokens(&mut self, of: Tenant, body: &str) {
        for part in body.split("/recording/").skip(1) {
            if let Some((id, rest)) = part.split_once("/video?token=") {
                self.tokens.insert((of.0, id.to_owned()), rest.chars().take(64).collect());
            }
        }
    }

    /// A token of this tenant's, for the recording or for any other.
    pub(super) fn token(&self, of: Tenant, id: &str) -> Option<String> {
        self.tokens.get(&(of.0, id.to_owned())).cloned()
    }

    /// A tenant's files, by path.
    pub(super) fn files(&self, of: Tenant) -> BTreeMap<String, Vec<u8>> {
        let mark = format!("rec-{}-", of.0);
        files_below(&self.folder).into_iter().filter(|(path, _)| path.contains(&mark)).collect()
    }
}

/// A list of recordings without its tokens, which are never the same.
pub(super) fn without_tokens(text: &str) -> String {
    let mut parts = text.split("?token=");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("?token=");
        out.extend(part.chars().skip(64));
    }
    out
}
