//! A process that imports, publishes and deletes in a bucket is killed at any moment.

use adapter_bbb::RecordingState;

use super::*;
use crate::importing::format_files;
use crate::importing::kills::{FOLDER, Rounds, imports_and_changes};

const VARIABLE: &str = "BALANCER_KILLED_BUCKET";
/// What a killed one leaves is taken over after this time; nobody alive stands still for so long.
const LEASE: Duration = Duration::from_secs(5);

/// What the process that is killed is told.
fn told(o: &BucketOptions) -> String {
    let endpoint = o.endpoint.as_deref().unwrap();
    format!("{} {} {endpoint} {}", o.key_id, o.secret.expose(), o.prefix)
}

/// The process that is killed; nothing but that when it is run as a test.
#[tokio::test]
async fn the_one_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let Ok(told) = std::env::var(VARIABLE) else { return };
    let told: Vec<_> = told.split(' ').collect();
    let mut o = BucketOptions::new(S3Server::BUCKET, told[0], Secret::new(told[1]));
    (o.endpoint, o.prefix, o.lease) = (Some(told[2].to_owned()), told[3].to_owned(), LEASE);
    let trees = RecordingTrees::in_bucket(bucket(&o), Path::new(&folder).join("work"));
    imports_and_changes(Path::new(&folder), trees).await;
}

async fn kill_again_and_again(times: u32) {
    let Some(server) = S3Server::shared() else { return };
    let mut o = options(server);
    o.lease = LEASE;
    let bucket = bucket(&o);
    let folder = Folder::new("s3-kills");
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    let mut rounds = Rounds::new("s3::kills::the_one_that_is_killed", 300_000);
    for _ in 0..times {
        rounds.kill(&folder, &[(VARIABLE, &told(&o))]);
        let now = objects(&bucket).await;
        let there: Vec<String> = rounds.versions.keys().cloned().collect();
        rounds.nothing_is_lost(&folder, &there, |id, version| {
            both_formats(id, version).iter().all(|(path, content)| {
                ["published", "unpublished"].iter().any(|tree| now.get(&format!("{tree}/{path}")) == Some(content))
            })
        });
        let trees = RecordingTrees::in_bucket(bucket.clone(), folder.join("work"));
        let (index, round) = (rounds.next(&folder, trees).await, rounds.round);
        let mut expected = BTreeMap::new();
        for (id, version) in rounds.versions.clone() {
            let row = index.get(&id).await.unwrap().unwrap();
            if row.state == Some(RecordingState::Deleted) {
                assert!(rounds.may_go(&id), "round {round}: {id} was not to be deleted");
                rounds.versions.remove(&id);
                rounds.ends += 1;
                continue;
            }
            let tree = if row.published { "published" } else { "unpublished" };
            for format in ["presentation", "video"] {
                expected.extend(in_tree(tree, &format_files(&id, format, version)));
            }
        }
        assert!(objects(&bucket).await == expected, "round {round}");
    }
    rounds.tell("files in a bucket");
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
