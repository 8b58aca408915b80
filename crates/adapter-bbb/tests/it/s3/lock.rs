//! Several machines that change recordings in one bucket.

use std::time::Instant;

use adapter_bbb::{RecordingFiles as _, RecordingKeeper};

use super::wire::{Fault, Wire};
use super::*;
use crate::importing::packed;
use crate::stage::until;

/// The one and the other: each with a work folder of its own, as on two machines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_do_not_lose_a_recording_between_them() {
    let Some(server) = S3Server::shared() else { return };
    let o = options(server);
    let here = shelf(&bucket(&o));
    here.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    assert_eq!(here.import_one().await, None);
    let folder = Folder::new("s3-other");
    let trees = RecordingTrees::in_bucket(bucket(&o), folder.join("work"));
    let there = RecordingKeeper::new(trees, here.index.clone(), None);
    let turns = async |keeper: RecordingKeeper, published: bool| {
        for _ in 0..8 {
            keeper.publish("rec-1", published).await.unwrap();
        }
    };
    tokio::join!(turns(here.keeper.clone(), false), turns(there, true));
    let report = here.keeper.check().await.unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    let tree = if here.row("rec-1").await.published { "published" } else { "unpublished" };
    assert!(objects(&bucket(&o)).await == in_tree(tree, &both_formats("rec-1", 1)));
}

#[tokio::test]
async fn the_right_of_one_that_died_is_taken_over_after_its_lease() {
    let Some(server) = S3Server::shared() else { return };
    let mut o = options(server);
    o.lease = Duration::from_secs(1);
    let one = bucket(&o);
    one.put_object(".lock", b"somebody who was killed".to_vec()).await.unwrap();
    let shelf = shelf(&one);
    let began = Instant::now();
    let held = shelf.trees.hold().await.unwrap();
    assert!(began.elapsed() > o.lease, "{:?}", began.elapsed());
    assert_ne!(one.objects().await.unwrap()[".lock"], b"somebody who was killed");
    drop(held);
    until("it is given back", async || is_free(&one).await).await;
    // Given back: nobody waits for a lease.
    let mut o = options(server);
    o.lease = Duration::from_secs(600);
    let trees = RecordingTrees::in_bucket(bucket(&o), shelf.folder.join("other"));
    for _ in 0..3 {
        drop(trees.hold().await.unwrap());
    }
}

/// One that hung for longer than its lease does not go on as if nothing had happened.
#[tokio::test]
async fn who_has_lost_the_right_removes_nothing() {
    let Some(server) = S3Server::shared() else { return };
    let wire = Wire::to(server.port()).await;
    let mut o = options(server);
    o.lease = Duration::from_secs(5);
    let shelf = shelf(&bucket(&o));
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    assert_eq!(shelf.import_one().await, None);
    o.lease = Duration::from_secs(1);
    let other = bucket(&o);
    o.endpoint = Some(format!("http://127.0.0.1:{}", wire.port));
    let folder = Folder::new("s3-other");
    let trees = RecordingTrees::in_bucket(bucket(&o), folder.join("cut off"));
    let held = trees.hold().await.unwrap();
    wire.set(Fault::Silent);
    let theirs = RecordingTrees::in_bucket(other.clone(), folder.join("work")).hold().await.unwrap();
    wire.set(Fault::Nothing);
    let e = trees.delete("rec-1").await.unwrap_err().to_string();
    assert!(e.contains("the right to change recordings was lost"), "{e}");
    assert!(objects(&other).await == in_tree("published", &both_formats("rec-1", 1)));
    drop((held, theirs));
    shelf.keeper.delete("rec-1").await.unwrap();
    assert!(objects(&other).await.is_empty());
}

/// A word of giving it back that was long on its way takes the right from nobody.
#[tokio::test]
async fn what_is_given_back_too_late_is_given_back_in_vain() {
    let Some(server) = S3Server::shared() else { return };
    let wire = Wire::to(server.port()).await;
    let mut o = options(server);
    o.lease = Duration::from_secs(1);
    let other = bucket(&o);
    o.endpoint = Some(format!("http://127.0.0.1:{}", wire.port));
    (o.lease, o.response) = (Duration::from_secs(60), Duration::from_secs(3));
    let folder = Folder::new("s3-other");
    let held = RecordingTrees::in_bucket(bucket(&o), folder.join("cut off")).hold().await.unwrap();
    wire.set(Fault::Silent);
    drop(held);
    let theirs = RecordingTrees::in_bucket(other.clone(), folder.join("work")).hold().await.unwrap();
    wire.set(Fault::Nothing);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert!(!is_free(&other).await && other.objects().await.unwrap().contains_key(".lock"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(theirs);
    until("it is given back", async || is_free(&other).await).await;
}
