//! The database dies in the middle of imports, publications and deletions: no archive is lost, and when it is back, all
//! comes right by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use adapter_bbb::{PostgresOptions, PostgresRecordings, RecordingState};

use super::*;

const IDS: u64 = 6;

/// A shelf whose index is in a database of this server.
fn shelf_on(server: &PostgresServer) -> Shelf {
    let mut options = PostgresOptions::from_url(&server.url("scalelite")).unwrap();
    options.timeout = crate::stage::PATIENCE;
    Shelf::with(Folder::new("shelf"), Arc::new(PostgresRecordings::new(options).unwrap()), |_| {})
}

/// Both formats of this version are whole, each in one of the trees.
fn whole(shelf: &Shelf, id: &str, version: u32) -> bool {
    let trees = ["published", "unpublished"].map(|tree| files_below(&shelf.folder.join(tree)));
    ["presentation", "video"].iter().all(|format| {
        let files = format_files(id, format, version);
        trees.iter().any(|tree| files.iter().all(|(path, content)| tree.get(path) == Some(content)))
    })
}

async fn die_again_and_again(times: u32) {
    let Some(mut server) = PostgresServer::start() else { return };
    let shelf = shelf_on(&server);
    shelf.index.check().await.unwrap();
    let mut versions: BTreeMap<String, u32> = BTreeMap::new();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut kept, mut failed, mut half) = (0, 0, 0);
    for round in 0..times {
        for _ in 0..3 {
            let id = format!("rec-{}", random(IDS));
            let version = versions.entry(id.clone()).or_default();
            *version += 1;
            gone.remove(&id);
            shelf.arrives(&format!("{id}.tar"), &packed(&both_formats(&id, *version)));
        }
        let victim = format!("rec-{}", random(IDS));
        let (importer, keeper, doomed) = (shelf.importer.clone(), shelf.keeper.clone(), victim.clone());
        let work = tokio::spawn(async move {
            let imported = importer.import_now(true).await.is_ok();
            let mut done = vec![imported];
            for n in 0..IDS {
                done.push(keeper.publish(&format!("rec-{n}"), (u64::from(round) + n) % 2 == 0).await.is_ok());
            }
            done.push(keeper.delete(&doomed).await.is_ok());
            done
        });
        // The moment is what the test is about.
        tokio::time::sleep(Duration::from_micros(random(150_000))).await;
        server.kill();
        failed += work.await.unwrap().iter().filter(|done| !**done).count();
        for (id, version) in versions.iter().filter(|(id, _)| !gone.contains(*id)) {
            let archive = std::fs::read(shelf.spool(&format!("{id}.tar"))).ok();
            let there = archive == Some(packed(&both_formats(id, *version)));
            kept += u32::from(there);
            assert!(there || *id == victim || whole(&shelf, id, *version), "round {round}: {id} is lost");
        }
        server.resume();
        // Nobody restarts anything of ours.
        for report in shelf.importer.import_now(false).await.unwrap() {
            assert_eq!(report.outcome, ImportOutcome::Imported, "round {round}: {}", report.archive);
        }
        half += u32::from(!shelf.keeper.check().await.unwrap().agrees());
        assert!(shelf.keeper.update().await.unwrap().agrees(), "round {round}");
        let report = shelf.keeper.check().await.unwrap();
        assert!(report.findings.is_empty() && report.waiting.is_empty(), "round {round}: {report:?}");
        for (id, version) in &versions {
            let row = shelf.index.get(id).await.unwrap().expect("every one of them came in");
            if row.state == Some(RecordingState::Deleted) {
                assert!(gone.contains(id) || *id == victim, "round {round}: {id} was not to be deleted");
                gone.insert(id.clone());
            } else {
                assert!(whole(&shelf, id, *version), "round {round}: {id} is not whole");
            }
        }
    }
    println!(
        "{times} deaths of the database: {kept} archives still there, {failed} operations failed, {half} times index and \
         disk disagreed until it was back, {} deletions, nothing lost",
        gone.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_database_is_killed() {
    die_again_and_again(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; cargo xtask soak recordings runs it"]
async fn long_deaths() {
    assert!(std::env::var_os("CI").is_some(), "a soak needs Postgres");
    die_again_and_again(60).await;
}

/// An index that nobody can use says nothing about the archives: they come in when it has been mended.
#[tokio::test]
async fn what_is_wrong_with_the_database_is_not_held_against_archives() {
    let Some(mut server) = PostgresServer::start() else { return };
    let shelf = shelf_on(&server);
    server.put("pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\n");
    server.restart_with(&[]);
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    let (why, lasting) = shelf.import_one().await.unwrap();
    assert!(why.contains("sslmode=require") && !lasting, "{why}");
    server.put("pg_hba.conf", "host all all 127.0.0.1/32 trust\n");
    server.restart_with(&[]);
    let done = shelf.importer.import_now(false).await.unwrap();
    assert_eq!(done[0].outcome, ImportOutcome::Imported);
}

/// Scalelite's note of the front-end's address leads there, and the note gets its recording.
#[tokio::test]
async fn news_go_where_a_scalelite_has_noted() {
    let Some((server, index)) = shared_index().await else { return };
    index.check().await.unwrap();
    let target = index.describe();
    let database = target.rsplit('/').next().unwrap();
    let client = crate::recordings::world::connect(&server, database).await;
    let note = "INSERT INTO callback_data (meeting_id, callback_attributes, created_at, updated_at) VALUES \
        ('meeting-rec-1', E'---\\n:recording_ready_url: https://lms.example.com/ready\\n', '2024-01-01', '2024-01-01')";
    client.batch_execute(note).await.unwrap();
    let store = Arc::new(adapter_bbb::LocalStore::memory());
    let process = crate::stage::Process::start(crate::stage::options(), store.clone(), false).await;
    let shelf = Shelf::with(Folder::new("shelf"), Arc::new(index), |_| {});
    let options = ImportOptions::new(shelf.folder.join("spool"));
    let news = process.service.cluster().clone();
    let importer = Arc::new(Importer::new(options, shelf.trees.clone(), shelf.index.clone(), news));
    shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
    assert_eq!(importer.import_now(true).await.unwrap()[0].outcome, ImportOutcome::Imported);
    let due = adapter_bbb::MeetingStore::callback_store(&*store).take_due(10, Duration::from_secs(1)).await.unwrap();
    let due: Vec<&str> = due.iter().map(|delivery| delivery.url.as_str()).collect();
    assert_eq!(due, ["https://lms.example.com/ready"]);
    let linked = "SELECT c.recording_id = r.id FROM callback_data c, recordings r WHERE r.record_id = 'rec-1'";
    assert!(client.query_one(linked, &[]).await.unwrap().get::<_, bool>(0));
}
