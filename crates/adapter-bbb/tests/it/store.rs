//! The stores: the conformance suite on each, Scalelite's Redis layout, the file, and what is kept beside meetings.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapter_bbb::{Figures, MeetingClaim, MeetingStore, PollRecord, Secret, ServerPatch, ServerRecord, ServerState};
use balancer_core::{Binding, Claim, Token, Want};

mod callbacks;
mod changes;
mod conformance;
mod file;
mod layout;
mod leases;
mod leftovers;
mod servers;

const DAY: Duration = Duration::from_secs(86_400);

/// A folder that is removed with everything in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("balancer-bbb-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn record(id: &str) -> ServerRecord {
    let mut r = ServerRecord::new(id, format!("https://{id}.example/bigbluebutton/api"), Secret::new("s3"));
    r.load_multiplier = Some("2.0".into());
    r.tag = Some("gpu".into());
    r
}

fn order(state: ServerState) -> ServerPatch {
    ServerPatch { state: Some(state), ..ServerPatch::default() }
}

fn polled(load: f64) -> PollRecord {
    PollRecord {
        online: Some(true),
        bbb_version: Some("3.0.1".into()),
        measured: Some((load, Figures { meetings: 3, users: 20, largest_meeting: 12, videos: 4 })),
        ..PollRecord::default()
    }
}

async fn bind(store: &dyn MeetingStore, id: &str, server: &str, load: f64) -> Binding {
    let want = Want { backend: server.into(), token: Token(7) };
    let bridges = ["715622307".to_owned()];
    let claim = MeetingClaim {
        id,
        over: None,
        want: &want,
        moderator_pw: "mp",
        bridges: &bridges,
        load,
        adopt: false,
        tenant: "",
        most: 0,
        registered: false,
        ttl: DAY,
    };
    match store.claim_meeting(&claim).await.unwrap().claim {
        Claim::Won(b) => b,
        other => panic!("{other:?}"),
    }
}
