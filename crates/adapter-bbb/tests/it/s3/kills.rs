//! A process that imports, publishes and deletes in a bucket is killed at any moment.

use adapter_bbb::{ImportOptions, ImportOutcome, Importer, NoNews, RecordingKeeper, RecordingState};

use super::*;
use crate::importing::kills::{IDS, POINTS, Random, archive_is_there, imports_and_changes, open, start};
use crate::importing::{arrives, format_files, packed};

const VARIABLE: &str = "BALANCER_KILLED_BUCKET";

/// What the process that is killed is told.
fn told(o: &BucketOptions) -> String {
    let endpoint = o.endpoint.as_deref().unwrap();
    format!("{} {} {endpoint} {}", o.key_id, o.secret.expose(), o.prefix)
}

/// The process that is killed; nothing but that when it is run as a test.
#[tokio::test]
async fn the_one_that_is_killed() {
    let Some(folder) = std::env::var_os(crate::importing::kills::FOLDER) else { return };
    let Ok(told) = std::env::var(VARIABLE) else { return };
    let told: Vec<_> = told.split(' ').collect();
    let mut o = BucketOptions::new(S3Server::BUCKET, told[0], Secret::new(told[1]));
    (o.endpoint, o.prefix, o.lease) = (Some(told[2].to_owned()), told[3].to_owned(), Duration::from_millis(800));
    let trees = RecordingTrees::in_bucket(bucket(&o), Path::new(&folder).join("work"));
    imports_and_changes(Path::new(&folder), trees).await;
}

async fn kill_again_and_again(times: u32) {
    let Some(server) = S3Server::shared() else { return };
    let mut o = options(server);
    o.lease = Duration::from_millis(800);
    let bucket = bucket(&o);
    let folder = Folder::new("s3-kills");
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    let mut versions: BTreeMap<String, u32> = BTreeMap::new();
    let mut random = Random::new();
    let (mut in_spool, mut half, mut ends) = (0, 0, 0);
    for round in 0..times {
        for _ in 0..2 {
            let id = format!("rec-{}", random.below(IDS as u64));
            let version = versions.entry(id.clone()).or_default();
            *version += 1;
            arrives(&folder, &format!("{id}.tar"), &packed(&both_formats(&id, *version)));
        }
        let victim = format!("rec-{}", random.below(IDS as u64));
        folder.put("victim", &victim);
        for name in POINTS {
            let _ = std::fs::remove_file(folder.join(name));
        }
        let point = POINTS[usize::try_from(random.below(3)).unwrap()];
        let child = start(&folder, point, "s3::kills::the_one_that_is_killed", &[(VARIABLE, &told(&o))]);
        // The moment is what the test is about.
        std::thread::sleep(Duration::from_micros(random.below(300_000)));
        drop(child);
        let deleting = folder.join("deleting").exists();
        let now = objects(&bucket).await;
        for (id, version) in &versions {
            let archive = archive_is_there(&folder, id, *version);
            in_spool += u32::from(archive);
            let whole = both_formats(id, *version).iter().all(|(path, content)| {
                ["published", "unpublished"].iter().any(|tree| now.get(&format!("{tree}/{path}")) == Some(content))
            });
            assert!(archive || whole || (deleting && *id == victim), "round {round}: {id} is lost");
        }
        let index = open(&folder).await;
        let trees = RecordingTrees::in_bucket(bucket.clone(), folder.join("work"));
        let keeper = RecordingKeeper::new(trees.clone(), index.clone(), Some(folder.join("spool")));
        half += u32::from(!keeper.check().await.unwrap().agrees());
        let options = ImportOptions::new(folder.join("spool"));
        let importer = Arc::new(Importer::new(options, trees, index.clone(), Arc::new(NoNews)));
        for report in importer.import_now(true).await.unwrap() {
            assert_eq!(report.outcome, ImportOutcome::Imported, "round {round}: {}", report.archive);
        }
        assert!(keeper.update().await.unwrap().agrees(), "round {round}");
        let report = keeper.check().await.unwrap();
        assert!(report.findings.is_empty() && report.waiting.is_empty(), "round {round}: {report:?}");
        let mut expected = BTreeMap::new();
        for (id, version) in versions.clone() {
            let row = index.get(&id).await.unwrap().unwrap();
            if row.state == Some(RecordingState::Deleted) {
                assert!(deleting && id == victim, "round {round}: {id} was not to be deleted");
                versions.remove(&id);
                ends += 1;
                continue;
            }
            let tree = if row.published { "published" } else { "unpublished" };
            for format in ["presentation", "video"] {
                expected.extend(in_tree(tree, &format_files(&id, format, version)));
            }
        }
        assert!(objects(&bucket).await == expected, "round {round}");
    }
    println!(
        "{times} kills with a bucket: {in_spool} archives still there, {half} times index and bucket disagreed until \
         the next start, {ends} deletions seen, nothing lost"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_importer_is_killed() {
    kill_again_and_again(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; cargo xtask soak recordings runs it"]
async fn long_kills() {
    let times = std::env::var("SOAK_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    kill_again_and_again(times).await;
}
