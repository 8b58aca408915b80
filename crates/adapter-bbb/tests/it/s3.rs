//! Recordings in a bucket, on a server that checks signatures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use adapter_bbb::{BucketOptions, LocalRecordings, RecordingBucket, RecordingTrees, Secret};
use real_servers::{Folder, S3Server};

use crate::importing::{Shelf, both_formats};

mod calls;
mod faults;
mod flow;
mod kills;
mod lock;
mod wire;

/// A prefix that no other test has.
fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("school-{}/{}/", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

/// Its own server and prefix; times as they are by default, so that nothing runs out by itself.
fn options(server: &S3Server) -> BucketOptions {
    let (id, secret) = server.key();
    let mut o = BucketOptions::new(S3Server::BUCKET, id, Secret::new(secret));
    o.endpoint = Some(format!("http://127.0.0.1:{}", server.port()));
    o.prefix = prefix();
    o
}

fn bucket(o: &BucketOptions) -> RecordingBucket {
    RecordingBucket::new(o.clone()).unwrap()
}

fn shelf(bucket: &RecordingBucket) -> Shelf {
    let folder = Folder::new("s3");
    let trees = RecordingTrees::in_bucket(bucket.clone(), folder.join("work"));
    Shelf::on(folder, trees, Arc::new(LocalRecordings::memory()), |_| {})
}

/// Everything in the bucket, but for the lock.
async fn objects(bucket: &RecordingBucket) -> BTreeMap<String, Vec<u8>> {
    let mut all = bucket.objects().await.unwrap();
    all.remove(".lock");
    all
}

/// Whether nobody may change what is in the bucket just now.
async fn is_free(bucket: &RecordingBucket) -> bool {
    bucket.objects().await.unwrap().get(".lock").is_some_and(|text| text == b"free\n")
}

fn in_tree(tree: &str, files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(path, content)| (format!("{tree}/{path}"), content.clone())).collect()
}

/// Whether the work folder has nothing but its locks.
fn is_tidy(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("work")).unwrap().all(|e| e.unwrap().path().extension().is_some_and(|e| e == "lock"))
}
