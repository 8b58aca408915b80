//! In, between the trees, and out again.

use std::process::Command;

use adapter_bbb::{FindingKind, ImportOutcome, RecordingFiles as _, RecordingState};

use super::*;
use crate::importing::packed;

#[tokio::test]
async fn a_recording_comes_in_moves_and_goes() {
    let Some(server) = S3Server::shared() else { return };
    let bucket = bucket(&options(server));
    bucket.probe().await.unwrap();
    let shelf = shelf(&bucket);
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    shelf.arrives("rec-2.tar", &packed(&both_formats("rec-2", 1)));
    assert!(shelf.import().await.iter().all(|r| r.outcome == ImportOutcome::Imported));
    assert_eq!(shelf.told().len(), 2);
    assert!(!shelf.spool("rec-1.tar").exists() && is_tidy(&shelf.folder));
    let (one, two) = (both_formats("rec-1", 1), in_tree("published", &both_formats("rec-2", 1)));
    let with_two = |tree: &str, one| [in_tree(tree, one), two.clone()].into_iter().flatten().collect();
    let all: BTreeMap<_, _> = with_two("published", &one);
    assert!(objects(&bucket).await == all);
    let report = shelf.keeper.check().await.unwrap();
    assert_eq!((report.recordings, report.on_disk, report.agrees()), (2, 2, true));
    for published in [false, true, true, false] {
        assert!(shelf.keeper.publish("rec-1", published).await.unwrap());
        assert_eq!(shelf.row("rec-1").await.published, published);
        let all: BTreeMap<_, _> = with_two(if published { "published" } else { "unpublished" }, &one);
        assert!(objects(&bucket).await == all);
        assert!(shelf.keeper.check().await.unwrap().agrees());
    }
    // A new version replaces the old one, and leaves nothing of it; somebody's choice stays.
    let mut newer = both_formats("rec-1", 2);
    newer.remove("video/rec-1/media/2.webm");
    shelf.arrives("rec-1.tar", &packed(&newer));
    assert_eq!(shelf.import_one().await, None);
    let all: BTreeMap<_, _> = with_two("unpublished", &newer);
    assert!(objects(&bucket).await == all);
    assert!(shelf.keeper.delete("rec-1").await.unwrap());
    assert!(objects(&bucket).await == two);
    assert_eq!(shelf.row("rec-1").await.state, Some(RecordingState::Deleted));
    assert!(shelf.keeper.check().await.unwrap().agrees());
}

#[tokio::test]
async fn large_files_and_odd_names_arrive_whole() {
    let Some(server) = S3Server::shared() else { return };
    let mut o = options(server);
    o.part = 5 << 20;
    let bucket = bucket(&o);
    let shelf = shelf(&bucket);
    let mut files = both_formats("rec-1", 1);
    let large: Vec<u8> = (0..13_000_001_u32).map(|n| u8::try_from(n.wrapping_mul(n) % 251).unwrap()).collect();
    files.insert("video/rec-1/large.webm".to_owned(), large);
    files.insert("video/rec-1/exact.webm".to_owned(), vec![7; 10 << 20]);
    files.insert("video/rec-1/empty".to_owned(), Vec::new());
    for odd in ["a b & <c> +%2f=?#'\"", "ü/日本", "x~y*(z)!"] {
        files.insert(format!("presentation/rec-1/{odd}.txt"), odd.as_bytes().to_vec());
    }
    shelf.arrives("rec-1.tar", &packed(&files));
    assert_eq!(shelf.import_one().await, None);
    assert!(objects(&bucket).await == in_tree("published", &files));
    // The same again is put together aside and compared: sent in parts, and copied as a whole.
    shelf.arrives("rec-1.tar", &packed(&files));
    assert_eq!(shelf.import_one().await, None);
    assert!(shelf.keeper.publish("rec-1", false).await.unwrap());
    assert!(objects(&bucket).await == in_tree("unpublished", &files));
    assert!(shelf.keeper.check().await.unwrap().findings.is_empty());
    assert!(shelf.keeper.delete("rec-1").await.unwrap());
    assert!(objects(&bucket).await.is_empty());
}

/// What was put there by others is found, page by page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_sees_the_same() {
    const PROGRAM: &str = "
import sys, boto3
port, key_id, secret, prefix = sys.argv[1:]
s3 = boto3.client('s3', endpoint_url='http://127.0.0.1:' + port, region_name='us-east-1',
                  aws_access_key_id=key_id, aws_secret_access_key=secret)
bucket = 'lessons'
for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket, Prefix=prefix + 'published/'):
    for o in page.get('Contents', []):
        found = s3.get_object(Bucket=bucket, Key=o['Key'])
        print(o['Key'][len(prefix):], o['Size'], found['ContentType'], found['Metadata'].get('md5') == found['ETag'].strip('\"'))
for n in range(30):
    s3.put_object(Bucket=bucket, Key=prefix + 'unpublished/podcast/rec-9/%04d.ogg' % n, Body=b'x')
s3.put_object(Bucket=bucket, Key=prefix + 'published/podcast/rec-9/0000.ogg', Body=b'x')
";
    let Some(server) = S3Server::shared() else { return };
    let mut o = options(server);
    o.page = 7;
    let bucket = bucket(&o);
    let shelf = shelf(&bucket);
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    assert_eq!(shelf.import_one().await, None);
    let (id, secret) = server.key();
    let args = ["-c", PROGRAM, &server.port().to_string(), id, secret, &o.prefix];
    let told = tokio::task::block_in_place(|| Command::new(S3Server::python().unwrap()).args(args).output().unwrap());
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stdout).unwrap();
    let mut lines: Vec<_> = told.lines().map(str::to_owned).collect();
    lines.sort();
    let expected = in_tree("published", &both_formats("rec-1", 1)).into_iter().map(|(path, content)| {
        let kind = if path.ends_with(".xml") { "text/xml; charset=utf-8" } else { "video/webm" };
        format!("{path} {} {kind} True", content.len())
    });
    assert_eq!(lines, expected.collect::<Vec<_>>());
    // Rows as another program has them, and an object that is in both trees.
    let mut row = adapter_bbb::Recording::new("rec-9");
    (row.published, row.state) = (true, Some(RecordingState::Published));
    row.formats.push(adapter_bbb::PlaybackFormat::new("podcast", "/podcast/rec-9/"));
    shelf.index.import(&row).await.unwrap();
    assert_eq!(shelf.findings().await, [FindingKind::Doubled]);
    assert!(shelf.keeper.update().await.unwrap().agrees());
    assert!(shelf.keeper.check().await.unwrap().findings.is_empty());
    assert!(shelf.trees.has("rec-9", "podcast").await.unwrap());
    assert_eq!(objects(&bucket).await.keys().filter(|key| key.starts_with("published/podcast/rec-9/")).count(), 30);
    assert!(shelf.keeper.delete("rec-9").await.unwrap());
    assert!(objects(&bucket).await == in_tree("published", &both_formats("rec-1", 1)));
}

#[tokio::test]
async fn each_disagreement_is_found_and_what_can_be_is_set_right() {
    let Some(server) = S3Server::shared() else { return };
    let bucket = bucket(&options(server));
    let shelf = shelf(&bucket);
    for id in ["a", "b", "c", "d"] {
        shelf.arrives(&format!("{id}.tar"), &packed(&both_formats(id, 1)));
    }
    shelf.import().await;
    let file = |id: &str| both_formats(id, 1)[&format!("video/{id}/media/0.webm")].clone();
    // A kill in the middle of a move: a part is in both trees. What a kill in the middle of removing leaves.
    bucket.put_object("unpublished/video/a/media/0.webm", file("a")).await.unwrap();
    bucket.remove_object("published/video/a/media/0.webm").await.unwrap();
    bucket.put_object("unpublished/video/a/media/1.webm", b"another".to_vec()).await.unwrap();
    bucket.remove_object("published/video/a/media/1.webm").await.unwrap();
    // Two versions of one file.
    bucket.put_object("unpublished/video/b/media/0.webm", b"another".to_vec()).await.unwrap();
    for name in both_formats("c", 1).keys().filter(|name| name.starts_with("video/")) {
        bucket.remove_object(&format!("published/{name}")).await.unwrap();
    }
    assert!(shelf.index.mark_deleted("d").await.unwrap());
    bucket.put_object("published/podcast/stranger/audio.ogg", b"x".to_vec()).await.unwrap();
    bucket.put_object("incoming/video/e/half.webm", b"x".to_vec()).await.unwrap();
    bucket.begin_object("published/video/f/half.webm").await.unwrap();
    let kinds = [
        FindingKind::Leftover,
        FindingKind::Leftover,
        FindingKind::Doubled,
        FindingKind::Conflict,
        FindingKind::Missing,
        FindingKind::Deleted,
        FindingKind::Deleted,
        FindingKind::Unknown,
    ];
    let before = objects(&bucket).await;
    let report = shelf.keeper.check().await.unwrap();
    assert_eq!(report.findings.iter().map(|f| f.kind).collect::<Vec<_>>(), kinds);
    assert!(report.findings[0].folder.to_str().unwrap().starts_with("s3://lessons/school-"), "{report:?}");
    assert!(objects(&bucket).await == before, "a check changes nothing");
    // Two versions: nobody removes one of them.
    assert!(shelf.keeper.publish("b", false).await.unwrap_err().to_string().contains("`recordings check` tells more"));
    let updated = shelf.keeper.update().await.unwrap();
    assert!(updated.findings.iter().all(|f| f.mended == f.kind.is_mendable()), "{updated:?}");
    let mut left = shelf.findings().await;
    left.retain(|kind| kind.is_mendable());
    assert_eq!(left, [], "{:?}", shelf.keeper.check().await);
    let now = objects(&bucket).await;
    assert_eq!(now["published/video/a/media/1.webm"], b"another");
    assert!(now.contains_key("published/video/a/media/0.webm") && now.contains_key("unpublished/video/b/media/0.webm"));
    assert!(!now.keys().any(|key| key.contains("/d/") || key.starts_with("incoming")));
}
