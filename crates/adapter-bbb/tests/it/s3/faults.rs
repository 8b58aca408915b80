//! Whatever is wrong with the bucket or the way to it: the archive stays, and it is said what to do.

use adapter_bbb::ImportOutcome;
use real_servers::free_port;

use super::wire::{Fault, Wire};
use super::*;
use crate::importing::{Small, packed};

/// Imports what is there; why nothing came in.
async fn kept(shelf: &Shelf) -> String {
    match shelf.importer.import_now(false).await {
        Err(e) => e.to_string(),
        Ok(reports) => match reports.into_iter().next().unwrap().outcome {
            ImportOutcome::Kept { why, lasting: false } => why,
            odd => panic!("{odd:?}"),
        },
    }
}

/// One archive that cannot come in, and everything else as it was.
async fn stays(o: &BucketOptions) -> (Shelf, String) {
    let shelf = shelf(&bucket(o));
    let bytes = packed(&both_formats("rec-1", 1));
    shelf.arrives("rec-1.tar", &bytes);
    let why = kept(&shelf).await;
    assert_eq!(std::fs::read(shelf.spool("rec-1.tar")).unwrap(), bytes);
    assert!(shelf.index.get("rec-1").await.unwrap().is_none() && shelf.told().is_empty());
    (shelf, why)
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_remedy() {
    let Some(server) = S3Server::shared() else { return };
    let changed = |change: &dyn Fn(&mut BucketOptions)| {
        let mut o = options(server);
        o.attempts = 2;
        change(&mut o);
        o
    };
    let nobody = free_port();
    let wire = Wire::to(server.port()).await;
    wire.set(Fault::Silent);
    for (o, what, remedy) in [
        (
            changed(&|o| o.secret = Secret::new("hush-hush")),
            "the access key is refused: HTTP 403 (SignatureDoesNotMatch",
            "check its id, its secret",
        ),
        (
            changed(&|o| o.key_id = "AKIANOBODY".to_owned()),
            "the access key is refused: HTTP 403 (InvalidAccessKeyId",
            "check its id, its secret",
        ),
        (
            changed(&|o| o.bucket = "nowhere".to_owned()),
            "there is no such bucket: HTTP 404",
            "make it, or name another",
        ),
        (
            changed(&|o| o.endpoint = Some(format!("http://127.0.0.1:{nobody}"))),
            "refuses connections",
            "is the endpoint right, and does the server run?",
        ),
        (
            changed(&|o| o.endpoint = Some("http://s3.invalid".to_owned())),
            "s3.invalid cannot be reached",
            "is the endpoint right",
        ),
        (
            changed(&|o| {
                o.endpoint = Some(format!("http://127.0.0.1:{}", wire.port));
                (o.connect, o.response) = (Duration::from_millis(500), Duration::from_millis(500));
            }),
            "does not answer within 1 s",
            "does the server run?",
        ),
    ] {
        let (_, why) = stays(&o).await;
        assert!(why.contains(what) && why.contains(remedy), "{why}");
        assert!(why.starts_with(&format!("s3://{}/{}", o.bucket, o.prefix)), "{why}");
        assert!(!why.contains("hush"), "{why}");
        let probed = bucket(&o).probe().await.unwrap_err().to_string();
        assert!(probed.contains(what), "{probed}");
    }
}

#[tokio::test]
async fn a_wire_that_is_cut_loses_nothing() {
    let Some(server) = S3Server::shared() else { return };
    let wire = Wire::to(server.port()).await;
    let mut o = options(server);
    o.endpoint = Some(format!("http://127.0.0.1:{}", wire.port));
    // Where the right cannot be given back through the wire, the next look waits for the end of its lease.
    (o.attempts, o.part, o.lease) = (2, 5 << 20, Duration::from_secs(6));
    let bucket = bucket(&o);
    let shelf = shelf(&bucket);
    let mut old = both_formats("rec-1", 1);
    old.insert("video/rec-1/large.webm".to_owned(), vec![1; 11 << 20]);
    // In the middle of small files, and in the second part of the large one; the first time and when it is replaced.
    for version in [1, 2] {
        let mut files = both_formats("rec-1", version);
        files.insert("video/rec-1/large.webm".to_owned(), vec![u8::try_from(version).unwrap(); 11 << 20]);
        let bytes = packed(&files);
        for cut in [20_000, 8 << 20] {
            shelf.arrives("rec-1.tar", &bytes);
            wire.set(Fault::CutAfter(cut));
            let why = kept(&shelf).await;
            assert!(why.contains("connection") && why.contains("does the server run?"), "{why}");
            assert_eq!(wire.fault(), Fault::CutAfter(0));
            assert_eq!(std::fs::read(shelf.spool("rec-1.tar")).unwrap(), bytes);
            wire.set(Fault::Nothing);
            if version == 2 {
                // Each format is whole, the old one or the new one; the one that was cut is the old one.
                let now = objects(&bucket).await;
                let has = |all: &BTreeMap<String, Vec<u8>>, format: &str| {
                    let mut all = in_tree("published", all).into_iter().filter(|(key, _)| key.contains(format));
                    all.all(|(key, content)| now.get(&key) == Some(&content))
                };
                assert!(has(&old, "/video/"), "after {cut} bytes");
                assert!(has(&old, "/presentation/") || has(&files, "/presentation/"), "after {cut} bytes");
            }
        }
        // By itself, at the next look.
        let done = shelf.importer.import_now(false).await.unwrap();
        assert_eq!(done[0].outcome, ImportOutcome::Imported);
        assert!(objects(&bucket).await == in_tree("published", &files));
        assert!(shelf.keeper.check().await.unwrap().findings.is_empty(), "also no upload in parts is left");
        old = files;
    }
    // Publishing: the index hides it first, and an update ends what was begun.
    wire.set(Fault::CutAfter(9_000));
    assert!(shelf.keeper.publish("rec-1", false).await.is_err());
    assert!(!shelf.row("rec-1").await.published);
    wire.set(Fault::Nothing);
    assert!(shelf.keeper.update().await.unwrap().agrees());
    assert!(objects(&bucket).await == in_tree("unpublished", &old));
    assert!(shelf.keeper.check().await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    let Some(server) = S3Server::shared() else { return };
    let wire = Wire::to(server.port()).await;
    let mut o = options(server);
    o.endpoint = Some(format!("http://127.0.0.1:{}", wire.port));
    let bucket = bucket(&o);
    let shelf = shelf(&bucket);
    for n in 0..3 {
        shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", n)));
        wire.set(Fault::Busy(3));
        assert_eq!(shelf.import_one().await, None);
        assert!(!matches!(wire.fault(), Fault::Busy(1..)));
    }
    // Not for ever.
    wire.set(Fault::Busy(u32::MAX));
    let e = bucket.probe().await.unwrap_err().to_string();
    assert!(e.contains("HTTP 503") && e.contains("tried again by itself"), "{e}");
}

/// The server takes what arrives, and says nothing: only comparing finds it.
#[tokio::test]
async fn what_was_spoiled_on_the_way_is_not_taken_for_whole() {
    let Some(server) = S3Server::shared() else { return };
    let wire = Wire::to(server.port()).await;
    wire.set(Fault::Spoil(b"rec-1 video 1 1 rec-1"));
    let mut o = options(server);
    o.endpoint = Some(format!("http://127.0.0.1:{}", wire.port));
    let (shelf, why) = stays(&o).await;
    assert!(why.contains("published/video/rec-1/media/1.webm") && why.contains("is not the 3200 bytes"), "{why}");
    wire.set(Fault::Nothing);
    assert_eq!(shelf.import_one().await, None);
    assert!(objects(&bucket(&o)).await == in_tree("published", &both_formats("rec-1", 1)));
}

#[tokio::test]
async fn a_full_disk_keeps_the_archive() {
    let Some(server) = S3Server::shared() else { return };
    let folder = Folder::new("s3");
    let Some(disk) = Small::mount(&folder.join("work"), 200) else { return };
    let bucket = bucket(&options(server));
    let trees = RecordingTrees::in_bucket(bucket.clone(), folder.join("work"));
    let shelf = Shelf::on(folder, trees, Arc::new(LocalRecordings::memory()), |_| {});
    let mut files = both_formats("rec-1", 1);
    files.insert("video/rec-1/large.webm".to_owned(), vec![7; 300 << 10]);
    shelf.arrives("rec-1.tar", &packed(&files));
    let why = kept(&shelf).await;
    assert!(why.contains("No space left on device") && why.contains("make room"), "{why}");
    assert!(shelf.spool("rec-1.tar").exists() && objects(&bucket).await.is_empty());
    disk.grow(4096);
    assert_eq!(shelf.import_one().await, None);
    assert!(objects(&bucket).await == in_tree("published", &files));
}

#[tokio::test]
async fn a_server_that_hangs_in_the_middle_is_given_up() {
    let Some(server) = S3Server::start() else { return };
    // What hung may still take the right when the server goes on, and nobody gives that back.
    let mut o = options(&server);
    o.lease = Duration::from_secs(6);
    let patient = bucket(&o);
    let shelf = shelf(&patient);
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    assert_eq!(shelf.import_one().await, None);
    o.attempts = 2;
    (o.connect, o.response) = (Duration::from_millis(500), Duration::from_millis(1000));
    let folder = Folder::new("s3-hasty");
    let trees = RecordingTrees::in_bucket(bucket(&o), folder.join("work"));
    let hasty = Shelf::on(folder, trees, shelf.index.clone(), |_| {});
    server.signal("STOP");
    let newer = packed(&both_formats("rec-1", 2));
    hasty.arrives("rec-1.tar", &newer);
    assert!(kept(&hasty).await.contains("does not answer within"));
    assert_eq!(std::fs::read(hasty.spool("rec-1.tar")).unwrap(), newer);
    assert!(hasty.keeper.delete("rec-1").await.is_err());
    assert!(hasty.keeper.check().await.is_err());
    server.signal("CONT");
    shelf.arrives("rec-1.tar", &newer);
    assert_eq!(shelf.import_one().await, None);
    assert!(objects(&patient).await == in_tree("published", &both_formats("rec-1", 2)));
}
