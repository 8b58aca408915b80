//! Playing from a bucket, and text tracks in it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use adapter_bbb::{
    BucketWay, GateOptions, LocalStore, MeetingStore, PlaybackGate, PlaybackTokens as _, RecordingFiles as _,
    Recordings,
};

use super::*;
use crate::importing::calls::get;
use crate::importing::packed;
use crate::recordings::tracks::{VTT, listed, sent};
use crate::stage::{Process, options as service_options, until};

/// Fetches by a link, as a browser does.
fn fetch(port: u16, link: &str, more: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let path = link.strip_prefix(&format!("http://127.0.0.1:{port}")).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer[at + 4..].to_vec())
}

#[tokio::test]
async fn files_are_played_by_links_that_only_those_get_who_may() {
    let Some(server) = S3Server::start() else { return };
    let bucket = bucket(&options(&server));
    let folder = Folder::new("s3");
    let trees = RecordingTrees::in_bucket(bucket.clone(), folder.join("work"));
    let shelf = Shelf::on(folder, trees, Arc::new(LocalRecordings::memory()), |o| o.protected = true);
    let mut files = both_formats("rec-1", 1);
    files.insert("video/rec-1/a b.webm".to_owned(), b"0123456789".to_vec());
    shelf.arrives("rec-1.tar", &packed(&files));
    assert_eq!(shelf.import_one().await, None);
    let store: Arc<dyn MeetingStore> = Arc::new(LocalStore::memory());
    let mut o = GateOptions::default();
    o.key = Some(Secret::new("the key of the cookies"));
    let gate = PlaybackGate::new(o, shelf.index.clone(), store.clone());
    let process = Process::start(service_options(), store, false).await;
    let gate_by = |way| gate.clone().with_bucket(bucket.clone(), way, Duration::from_secs(600));
    let service = process.service.clone().with_playback(gate_by(BucketWay::Redirect));
    let path = "/video/rec-1/a%20b.webm";
    assert_eq!(get(&service, path, None).await.status(), 404);
    let token = gate.issue(&[("rec-1", "video")]).await.unwrap().remove(0);
    let entry = get(&service, &format!("/recording/rec-1/video?token={token}"), None).await;
    let cookie = entry.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let found = get(&service, path, Some(&cookie)).await;
    assert_eq!((found.status().as_u16(), found.headers()["cache-control"].to_str().unwrap()), (307, "no-store"));
    let link = found.headers()["location"].to_str().unwrap();
    assert!(link.contains("X-Amz-Expires=600&") && !link.contains(server.key().1), "{link}");
    // What is given back behind would be believed as well, instead of what follows.
    until("nothing is under way", async || is_free(&bucket).await).await;
    // This server checks signatures of heads alone; those of links are compared with published ones elsewhere.
    server.believe(2);
    assert_eq!(fetch(server.port(), link, ""), (200, b"0123456789".to_vec()));
    assert_eq!(fetch(server.port(), link, "Range: bytes=2-4\r\n"), (206, b"234".to_vec()));
    assert_eq!(get(&service, "/video/rec-1/../rec-2/x", Some(&cookie)).await.status(), 404);
    assert_eq!(get(&service, "/video/rec-1/%2e%2e/x", Some(&cookie)).await.status(), 404);
    // By the web server in front.
    let service = process.service.clone().with_playback(gate_by(BucketWay::Accel));
    let found = get(&service, path, Some(&cookie)).await;
    let to = found.headers()["x-accel-redirect"].to_str().unwrap();
    assert!(found.status() == 200 && to.starts_with("/bucket-resource/lessons/school-"), "{to}");
    assert!(to.contains("/published/video/rec-1/a%20b.webm?X-Amz-Algorithm="), "{to}");
    assert!(shelf.keeper.publish("rec-1", false).await.unwrap());
    assert_eq!(get(&service, path, Some(&cookie)).await.status(), 404);
}

/// What browsers do not show is saved; a folder is its index.
#[tokio::test]
async fn other_formats_are_saved() {
    let Some(server) = S3Server::shared() else { return };
    let bucket = bucket(&options(server));
    let index = Arc::new(LocalRecordings::memory());
    let mut row = adapter_bbb::Recording::new("rec-1");
    (row.published, row.state) = (true, Some(adapter_bbb::RecordingState::Published));
    row.formats.push(adapter_bbb::PlaybackFormat::new("podcast", "/podcast/rec-1/"));
    adapter_bbb::RecordingIndex::import(&*index, &row).await.unwrap();
    let store: Arc<dyn MeetingStore> = Arc::new(LocalStore::memory());
    let gate = PlaybackGate::new(GateOptions::default(), index, store.clone());
    let process = Process::start(service_options(), store, false).await;
    let gate = gate.with_bucket(bucket, BucketWay::Redirect, Duration::from_secs(60));
    let service = process.service.clone().with_playback(gate);
    for path in ["/podcast/rec-1/", "/podcast/rec-1"] {
        let found = get(&service, path, None).await;
        let link = found.headers()["location"].to_str().unwrap();
        assert!(link.contains("/published/podcast/rec-1/index.html?"), "{link}");
        assert!(link.contains("response-content-disposition=attachment"), "{link}");
    }
}

#[tokio::test]
async fn text_tracks_lie_beside_the_recording() {
    let Some(server) = S3Server::shared() else { return };
    let bucket = bucket(&options(server));
    let shelf = shelf(&bucket);
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    assert_eq!(shelf.import_one().await, None);
    let store: Arc<dyn MeetingStore> = Arc::new(LocalStore::memory());
    let process = Process::start(service_options(), store, false).await;
    let recordings = Recordings::new(shelf.index.clone()).with_files(Arc::new(shelf.trees.clone()));
    let service = process.service.clone().with_recordings(Arc::new(recordings));
    assert_eq!(listed(&service, "rec-1").await["tracks"].as_array().unwrap().len(), 0);
    let answer = sent(&service, "recordID=rec-1&kind=captions&lang=pt-BR&label=Brasil", Some(VTT)).await;
    assert_eq!(answer["returncode"], "SUCCESS", "{answer}");
    assert_eq!(objects(&bucket).await["published/presentation/rec-1/caption_pt-BR.vtt"], VTT.as_bytes());
    let tracks = listed(&service, "rec-1").await;
    assert_eq!(tracks["tracks"][0]["lang"], "pt-BR", "{tracks}");
    // They move with it.
    assert!(shelf.keeper.publish("rec-1", false).await.unwrap());
    let read = shelf.trees.read("rec-1", "presentation", "caption_pt-BR.vtt", 1000).await.unwrap();
    assert_eq!(read.as_deref(), Some(VTT.as_bytes()));
    let e = shelf.trees.read("rec-1", "presentation", "caption_pt-BR.vtt", 10).await.unwrap_err().to_string();
    assert!(e.contains("too long"), "{e}");
}
