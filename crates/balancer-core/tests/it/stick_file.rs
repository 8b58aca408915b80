//! The store in a file.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use balancer_core::{
    Binding, Claim, FileOptions, FileStore, StickError, StickErrorKind, StickKey, StickStore, TableChange, Token,
    WallClock, Want,
};
use tokio::task::JoinSet;

const HOUR: Duration = Duration::from_secs(3600);
/// Names the file to a test that runs as a process of its own.
const CHILD: &str = "BALANCER_TEST_FILE";
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("balancer-file-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("sticks.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(name: impl Into<String>) -> StickKey {
    StickKey::new(name.into()).unwrap()
}

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

fn open(path: &Path) -> FileStore {
    FileStore::open(path, &FileOptions::new()).unwrap()
}

async fn win(store: &FileStore, name: &str, backend: &str, ttl: Duration) -> Binding {
    match store.claim(&key(name), &want(backend, 1), ttl).await.unwrap() {
        Claim::Won(binding) => binding,
        other => panic!("{other:?}"),
    }
}

/// A clock that starts at the real time and moves when told.
fn clock() -> (Arc<AtomicU64>, WallClock) {
    let now = Arc::new(AtomicU64::new(WallClock::system().now_ms()));
    let read = Arc::clone(&now);
    (now, WallClock::from_fn(move || read.load(Ordering::SeqCst)))
}

#[cfg(feature = "testing")]
mod suite {
    use balancer_core::conformance::{Clock, run};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn conforms() {
        let folder = Folder::new();
        let make = async || open(&folder.0.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string()));
        run(make, &Clock::Real).await;

        let (now, clock) = clock();
        let make = async || {
            let options = FileOptions::new().wall_clock(clock.clone());
            FileStore::open(folder.0.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string()), &options).unwrap()
        };
        let advance = move |by: Duration| {
            now.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
            std::future::ready(())
        };
        run(make, &Clock::moved(advance)).await;
    }
}

#[tokio::test]
async fn everything_outlives_the_store() {
    let folder = Folder::new();
    let (now, clock) = clock();
    let options = FileOptions::new().wall_clock(clock);
    let store = FileStore::open(folder.file(), &options).unwrap();
    let kept = win(&store, "kept", "one", HOUR * 2).await;
    win(&store, "over", "one", HOUR).await;
    let gone = win(&store, "gone", "one", HOUR * 9).await;
    win(&store, "extended", "two", HOUR).await;
    assert!(store.release(&key("gone"), &gone).await.unwrap());
    assert!(store.get(&key("extended"), Some(HOUR * 3)).await.unwrap().is_some());
    store.close(&"three".into(), true).await.unwrap();
    store.table("servers").put("one", "https://one.example").await.unwrap();
    drop(store);

    // The clock has moved on while nobody ran, and then back a little.
    now.fetch_add(3_600_000, Ordering::SeqCst);
    let store = FileStore::open(folder.file(), &options).unwrap();
    assert_eq!(store.get(&key("kept"), None).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.get(&key("over"), None).await.unwrap(), None);
    assert_eq!(store.get(&key("gone"), None).await.unwrap(), None);
    assert!(store.get(&key("extended"), None).await.unwrap().is_some(), "extensions are flushed at the end");
    assert_eq!(store.count(&"one".into()).await.unwrap(), 1);
    assert_eq!(store.claim(&key("new"), &want("three", 1), HOUR).await.unwrap(), Claim::Closed);
    assert_eq!(store.table("servers").get("one").await.unwrap().as_deref(), Some(&b"https://one.example"[..]));
    now.fetch_sub(7_200_000, Ordering::SeqCst);
    assert!(win(&store, "later", "one", HOUR).await.stamp > gone.stamp.max(kept.stamp));
}

#[tokio::test]
async fn expired_rows_leave_the_file() {
    let folder = Folder::new();
    let (now, clock) = clock();
    let options = FileOptions::new().wall_clock(clock).capacity(100);
    let store = FileStore::open(folder.file(), &options).unwrap();
    for number in 0..100 {
        win(&store, &format!("room {number}"), "one", HOUR).await;
    }
    let full = store.claim(&key("one more"), &want("one", 1), HOUR).await;
    assert!(matches!(full, Err(StickError::Full { capacity: 100 })), "{full:?}");
    now.fetch_add(3_600_000, Ordering::SeqCst);
    assert_eq!(store.count(&"one".into()).await.unwrap(), 0);
    drop(store);
    // With the clock turned back, rows still in the file would live again.
    now.fetch_sub(3_600_000, Ordering::SeqCst);
    let store = FileStore::open(folder.file(), &options).unwrap();
    assert_eq!(store.count(&"one".into()).await.unwrap(), 0);
}

#[tokio::test]
async fn tables_are_ordered_and_apart() {
    let folder = Folder::new();
    let store = open(&folder.file());
    let (servers, meetings) = (store.table("servers"), store.table("meetings"));
    assert_eq!(servers.list("").await.unwrap(), []);
    for name in ["b", "a/2", "a/1", "a0", "é"] {
        servers.put(name, name.as_bytes()).await.unwrap();
    }
    let names = |rows: Vec<(String, Vec<u8>)>| rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(servers.list("").await.unwrap()), ["a/1", "a/2", "a0", "b", "é"]);
    assert_eq!(names(servers.list("a/").await.unwrap()), ["a/1", "a/2"]);
    assert_eq!(meetings.get("b").await.unwrap(), None);
    let changes = vec![
        TableChange::Put("b".to_owned(), vec![1]),
        TableChange::Delete("a0".to_owned()),
        TableChange::Put("c".to_owned(), vec![]),
        TableChange::Delete("c".to_owned()),
    ];
    servers.batch(changes).await.unwrap();
    servers.delete("none").await.unwrap();
    assert!(servers.put("", "x").await.is_err());
    // A table keeps the file open, and shows the same after a restart.
    drop((store, meetings));
    assert_eq!(servers.get("b").await.unwrap(), Some(vec![1]));
    drop(servers);
    let again = open(&folder.file()).table("servers");
    assert_eq!(names(again.list("").await.unwrap()), ["a/1", "a/2", "b", "é"]);
}

/// Starts one of the tests below as a process of its own, with its standard input and output piped.
fn child(test: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("stick_file::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Not a test by itself: claims, rebinds and stores, and says what was answered, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    let store = Arc::new(open(Path::new(&file)));
    let table = store.table("rows");
    let mut tasks = JoinSet::new();
    for task in 0..32_u64 {
        let (store, table) = (Arc::clone(&store), table.clone());
        tasks.spawn(async move {
            for round in 0.. {
                let name = format!("room-{task}-{round}");
                let won = store.claim(&key(name.clone()), &want("one", task), HOUR).await.unwrap();
                let Claim::Won(mut binding) = won else { panic!("{won:?}") };
                if round % 2 == 1 {
                    let moved = store.rebind(&key(name.clone()), &binding, &want("two", task), HOUR).await.unwrap();
                    let Claim::Won(second) = moved else { panic!("{moved:?}") };
                    binding = second;
                }
                say(&format!("stick {name} {} {} end", binding.backend, binding.stamp));
                table.put(&name, binding.stamp.to_string()).await.unwrap();
                say(&format!("row {name} {} end", binding.stamp));
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_answered() {
    let folder = Folder::new();
    let mut answered = 0;
    for _ in 0..3 {
        let mut child = child("child_that_writes", &folder.file());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said: Vec<String> = lines.by_ref().filter(|line| line.ends_with(" end")).take(500).collect();
        assert_eq!(said.len(), 500, "the child ended early");
        child.kill().unwrap();
        said.extend(lines.filter(|line| line.ends_with(" end")));
        child.wait().unwrap();

        let store = open(&folder.file());
        let table = store.table("rows");
        for line in &said {
            let words: Vec<&str> = line.split(' ').collect();
            let Some(at) = words.iter().position(|word| *word == "stick" || *word == "row") else { continue };
            match words[at..] {
                ["stick", name, backend, stamp, "end"] => {
                    let found = store.get(&key(name), None).await.unwrap();
                    let found = found.unwrap_or_else(|| panic!("lost: {line}"));
                    assert_eq!((found.backend.as_str(), found.stamp.to_string().as_str()), (backend, stamp));
                }
                ["row", name, stamp, "end"] => {
                    assert_eq!(table.get(name).await.unwrap().as_deref(), Some(stamp.as_bytes()), "{line}");
                }
                _ => continue,
            }
            answered += 1;
        }
        drop((store, table));
        std::fs::remove_file(folder.file()).unwrap();
    }
    assert!(answered >= 1500, "{answered}");
}

/// Not a test by itself: owns the file until its input ends.
#[test]
fn child_that_owns() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    let _store = open(Path::new(&file));
    say("open end");
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_second_owner_is_refused_by_name() {
    let folder = Folder::new();
    let mut child = child("child_that_owns", &folder.file());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("open end")));
    let error = FileStore::open(folder.file(), &FileOptions::new()).unwrap_err();
    let words = error.to_string();
    assert_eq!(error.kind(), StickErrorKind::Refused);
    assert!(words.contains(&format!("process {}", child.id())) && words.contains("sticks.redb"), "{words}");
    // A killed owner leaves nothing in the way.
    child.kill().unwrap();
    child.wait().unwrap();
    let store = open(&folder.file());
    let error = FileStore::open(folder.file(), &FileOptions::new()).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(store);
    open(&folder.file());
}

#[tokio::test]
async fn damage_is_named_and_never_a_panic() {
    let folder = Folder::new();
    let file = folder.file();
    std::fs::write(&file, b"this is a letter, not a database\n".repeat(200)).unwrap();
    let error = FileStore::open(&file, &FileOptions::new()).unwrap_err();
    assert_eq!(error.kind(), StickErrorKind::Corrupt, "{error}");
    let words = error.to_string();
    assert!(words.contains("sticks.redb") && words.contains("backup"), "{words}");

    std::fs::remove_file(&file).unwrap();
    let store = open(&file);
    for number in 0..50 {
        win(&store, &format!("room {number}"), "one", HOUR).await;
    }
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let mut corrupt = 0;
    for part in 0..40 {
        let mut bytes = whole.clone();
        match part {
            0 => bytes.truncate(whole.len() / 2),
            1 => bytes.truncate(100),
            _ => {
                let at = (part * 997) % 9000 % whole.len();
                bytes[at..(at + 64).min(whole.len())].fill(0xa5);
            }
        }
        std::fs::write(&file, bytes).unwrap();
        match FileStore::open(&file, &FileOptions::new()) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), StickErrorKind::Corrupt, "{error}");
                corrupt += 1;
            }
        }
    }
    assert!(corrupt >= 2, "{corrupt}");

    let error = FileStore::open("/nowhere/sticks.redb", &FileOptions::new()).unwrap_err();
    assert_eq!(error.kind(), StickErrorKind::Input, "{error}");
}
