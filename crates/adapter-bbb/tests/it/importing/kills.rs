//! A process that imports, publishes and deletes is killed at any moment: nothing is lost, and the next one ends what
//! it had begun.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_bbb::{NoNews, PostgresOptions, PostgresRecordings, RecordingState};

use super::*;
use crate::recordings::world::{connect, fresh_database};
use crate::stage::PATIENCE;

pub(crate) const FOLDER: &str = "BALANCER_KILLED_FOLDER";
const IDS: usize = 6;
/// What it notes as it goes.
const POINTS: [&str; 3] = ["begun", "imported", "deleting"];

/// The index that the folder names, or one in a file of it.
async fn open(folder: &Path) -> Arc<dyn RecordingIndex> {
    if let Ok(url) = std::fs::read_to_string(folder.join("database")) {
        return Arc::new(PostgresRecordings::new(PostgresOptions::from_url(&url).unwrap()).unwrap());
    }
    // The killed one's lock on the file ends with it, perhaps not at once.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match LocalRecordings::open(folder.join("index.redb")).await {
            Ok(index) => return Arc::new(index),
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        tokio::task::yield_now().await;
    }
}

/// The process that is killed; nothing but that when it is run as a test.
#[tokio::test]
async fn the_one_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    imports_and_changes(&folder, trees(&folder)).await;
}

/// Imports what is there, publishes and unpublishes for ever, and deletes one of them.
pub(crate) async fn imports_and_changes(folder: &Path, trees: RecordingTrees) {
    let index = open(folder).await;
    let keeper = RecordingKeeper::new(trees.clone(), index.clone(), Some(folder.join("spool")));
    let options = ImportOptions::new(folder.join("spool"));
    let importer = Arc::new(Importer::new(options, trees, index.clone(), Arc::new(NoNews)));
    std::fs::write(folder.join("begun"), b"").unwrap();
    importer.import_now(true).await.unwrap();
    std::fs::write(folder.join("imported"), b"").unwrap();
    let victim = std::fs::read_to_string(folder.join("victim")).unwrap();
    for round in 0_usize.. {
        for n in 0..IDS {
            let published = (n + round) % 2 == 0;
            keeper.publish(&format!("rec-{n}"), published).await.unwrap();
        }
        if round == 0 {
            // Only what is written here first is deleted.
            std::fs::write(folder.join("deleting"), b"").unwrap();
            keeper.delete(&victim).await.unwrap();
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it; it has come to this point then.
fn start(folder: &Path, point: &str, test: &str, more: &[(&str, &str)]) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        .envs(more.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Killed(child);
    let deadline = Instant::now() + PATIENCE * 2;
    while !folder.join(point).exists() {
        assert!(Instant::now() < deadline, "the process does not come to this: {point}");
        std::thread::yield_now();
    }
    child
}

fn whole_in(folder: &Path, tree: &str, id: &str, version: u32) -> bool {
    both_formats(id, version)
        .iter()
        .all(|(path, content)| std::fs::read(folder.join(tree).join(path)).is_ok_and(|found| found == *content))
}

/// Both formats are whole, each in one of the trees.
fn whole(folder: &Path, id: &str, version: u32) -> bool {
    ["presentation", "video"].iter().all(|format| {
        ["published", "unpublished"].iter().any(|tree| {
            format_files(id, format, version)
                .iter()
                .all(|(path, content)| std::fs::read(folder.join(tree).join(path)).is_ok_and(|found| found == *content))
        })
    })
}

fn archive_is_there(folder: &Path, id: &str, version: u32) -> bool {
    let bytes = packed(&both_formats(id, version));
    [format!("{id}.tar"), format!(".{id}.tar.imported")]
        .iter()
        .any(|name| std::fs::read(folder.join("spool").join(name)).is_ok_and(|found| found == bytes))
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Waits until the database has ended what a killed one had asked of it.
async fn settled(server: &PostgresServer, database: &str) {
    let client = connect(server, "postgres").await;
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let deadline = Instant::now() + PATIENCE;
    while client.query_one(busy, &[&database]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < deadline, "the database still works for one that is gone");
        tokio::task::yield_now().await;
    }
}

/// Kills of one place after the other, and what they came to.
pub(crate) struct Rounds {
    random: Random,
    /// Kills end after at most so many microseconds from the point that was come to.
    within: u64,
    test: &'static str,
    pub(crate) round: u32,
    /// The newest version of each recording.
    pub(crate) versions: BTreeMap<String, u32>,
    /// Who is deleted in this round, and whether that was begun.
    pub(crate) victim: String,
    pub(crate) deleting: bool,
    in_spool: u32,
    half: u32,
    pub(crate) ends: u32,
}

impl Rounds {
    pub(crate) fn new(test: &'static str, within: u64) -> Self {
        Self {
            random: Random::new(),
            within,
            test,
            round: 0,
            versions: BTreeMap::new(),
            victim: String::new(),
            deleting: false,
            in_spool: 0,
            half: 0,
            ends: 0,
        }
    }

    /// Archives arrive, and the process that works on them is killed. The ids of those that arrived.
    pub(crate) fn kill(&mut self, folder: &Folder, more: &[(&str, &str)]) -> Vec<String> {
        self.round += 1;
        let mut came = Vec::new();
        for _ in 0..2 {
            let id = format!("rec-{}", self.random.below(IDS as u64));
            let version = self.versions.entry(id.clone()).or_default();
            *version += 1;
            arrives(folder, &format!("{id}.tar"), &packed(&both_formats(&id, *version)));
            came.push(id);
        }
        self.victim = format!("rec-{}", self.random.below(IDS as u64));
        folder.put("victim", &self.victim);
        for name in POINTS {
            let _ = std::fs::remove_file(folder.join(name));
        }
        let point = POINTS[usize::try_from(self.random.below(3)).unwrap()];
        let child = start(folder, point, self.test, more);
        // The moment is what the test is about.
        std::thread::sleep(Duration::from_micros(self.random.below(self.within)));
        drop(child);
        self.deleting = folder.join("deleting").exists();
        came
    }

    /// Whether this one may be gone.
    pub(crate) fn may_go(&self, id: &str) -> bool {
        self.deleting && id == self.victim
    }

    /// Each of these is in the spool, or `whole` where it is played from.
    pub(crate) fn nothing_is_lost(&mut self, folder: &Path, there: &[String], whole: impl Fn(&str, u32) -> bool) {
        for id in there {
            let version = self.versions[id];
            let archive = archive_is_there(folder, id, version);
            self.in_spool += u32::from(archive);
            assert!(archive || self.may_go(id) || whole(id, version), "round {}: {id} is lost", self.round);
        }
    }

    /// The next process ends what the killed one had begun; its index.
    pub(crate) async fn next(&mut self, folder: &Path, trees: RecordingTrees) -> Arc<dyn RecordingIndex> {
        let (index, round) = (open(folder).await, self.round);
        let keeper = RecordingKeeper::new(trees.clone(), index.clone(), Some(folder.join("spool")));
        self.half += u32::from(!keeper.check().await.unwrap().agrees());
        let options = ImportOptions::new(folder.join("spool"));
        let importer = Arc::new(Importer::new(options, trees, index.clone(), Arc::new(NoNews)));
        for report in importer.import_now(true).await.unwrap() {
            assert_eq!(report.outcome, ImportOutcome::Imported, "round {round}: {}", report.archive);
        }
        assert!(keeper.update().await.unwrap().agrees(), "round {round}");
        let report = keeper.check().await.unwrap();
        assert!(report.findings.is_empty() && report.waiting.is_empty(), "round {round}: {report:?}");
        index
    }

    pub(crate) fn tell(&self, place: &str) {
        let Self { round, in_spool, half, ends, .. } = self;
        println!(
            "{round} kills, {place}: {in_spool} archives still there, {half} times index and files disagreed until the \
             next start, {ends} deletions seen, nothing lost"
        );
    }
}

async fn kill_again_and_again(times: u32, server: Option<&PostgresServer>) {
    let folder = Folder::new("kills");
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    let database = match server {
        Some(server) => fresh_database(server).await,
        None => String::new(),
    };
    if let Some(server) = server {
        folder.put("database", server.url(&database));
    }
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut rounds = Rounds::new("importing::kills::the_one_that_is_killed", 20_000);
    for _ in 0..times {
        for id in rounds.kill(&folder, &[]) {
            gone.remove(&id);
        }
        if let Some(server) = server {
            settled(server, &database).await;
        }
        let there: Vec<String> = rounds.versions.keys().filter(|id| !gone.contains(*id)).cloned().collect();
        rounds.nothing_is_lost(&folder, &there, |id, version| whole(&folder, id, version));
        let (index, round) = (rounds.next(&folder, trees(&folder)).await, rounds.round);
        for (id, version) in rounds.versions.clone() {
            let row = index.get(&id).await.unwrap();
            let deleted = row.as_ref().is_none_or(|row| row.state == Some(RecordingState::Deleted));
            if deleted {
                assert!(gone.contains(&id) || rounds.may_go(&id), "round {round}: {id} was not to be deleted");
                gone.insert(id);
                rounds.ends += 1;
                continue;
            }
            let tree = if row.unwrap().published { "published" } else { "unpublished" };
            assert!(whole_in(&folder, tree, &id, version), "round {round}: {id} is not whole in {tree}");
        }
    }
    rounds.tell(if server.is_some() { "index in Postgres" } else { "index in a file" });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_importer_is_killed() {
    kill_again_and_again(25, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_postgres_when_the_importer_is_killed() {
    let Some(server) = PostgresServer::shared() else { return };
    kill_again_and_again(15, Some(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; cargo xtask soak recordings runs it"]
async fn long_kills() {
    let times = std::env::var("SOAK_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    kill_again_and_again(times, None).await;
    let server = PostgresServer::shared().expect("a soak needs Postgres");
    kill_again_and_again(times, Some(&server)).await;
}
