//! Maps.

use std::time::{Duration, Instant};

use adapter_haproxy::runtime::{Client, ClientOptions, Command, MapEntry, MapUpdate, RefusalKind, RuntimeError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::live::{Live, binaries};
use super::refused;

fn entry(key: &str, value: &str) -> MapEntry {
    MapEntry::new(key, value).unwrap()
}

async fn shown(client: &Client, map: &str) -> Vec<(String, String)> {
    client.map_entries(map).await.unwrap().into_iter().map(|l| (l.key, l.value)).collect()
}

pub(super) async fn entries(client: &Client, map: &str) {
    client.replace_map(map, &[entry("/join", "rooms")]).await.unwrap();
    client
        .order(&Command::add_map(map, &entry("/a;b\\c\"'", "value with blanks; and \\ more")).unwrap())
        .await
        .unwrap();
    client.order(&Command::set_map(map, &entry("/a;b\\c\"'", "another; value\\")).unwrap()).await.unwrap();
    let want = [("/join", "rooms"), ("/a;b\\c\"'", "another; value\\")];
    assert_eq!(shown(client, map).await, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(client.map_lookup(map, "/join/x").await.unwrap().found, Some(("/join".into(), "rooms".into())));
    assert_eq!(client.map_lookup(map, "/none").await.unwrap().found, None);
    assert_eq!(
        refused(client.order(&Command::set_map(map, &entry("/none", "x")).unwrap()).await),
        RefusalKind::NoEntry
    );
    client.order(&Command::del_map(map, "/a;b\\c\"'").unwrap()).await.unwrap();
    assert_eq!(refused(client.order(&Command::del_map(map, "/a;b\\c\"'").unwrap()).await), RefusalKind::NoEntry);

    let mut update = MapUpdate::begin(client, map).await.unwrap();
    update.add(&[entry("/x", "1"), entry("/y", "2")]).await.unwrap();
    assert_eq!(shown(client, map).await.len(), 1, "the old version is in force");
    update.add(&[entry("/z", "3")]).await.unwrap();
    let version = update.version();
    let done = update.commit().await.unwrap();
    assert_eq!((done.version, done.entries), (version, 3));
    assert_eq!(shown(client, map).await.len(), 3);
    assert_eq!(refused(client.order(&Command::commit_map(map, version).unwrap()).await), RefusalKind::NoVersion);
    let dropped = MapUpdate::begin(client, map).await.unwrap();
    dropped.abandon().await.unwrap();
    let all = client.maps().await.unwrap();
    assert_eq!(all.iter().find(|m| m.path == map).unwrap().entries, 3, "nothing stays behind");
    client.replace_map(map, &[]).await.unwrap();
    assert!(shown(client, map).await.is_empty());
    client.replace_map(map, &[entry("/join", "rooms")]).await.unwrap();
    client.order(&Command::clear_map(map, None).unwrap()).await.unwrap();
    assert_eq!(refused(client.replace_map("nobody", &[]).await), RefusalKind::NoMap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_entries_in_one_step() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = live.client();
        let entries: Vec<MapEntry> = (0..100_000).map(|n| entry(&format!("/room-{n:08}"), "rooms")).collect();
        let began = Instant::now();
        let done = client.replace_map(&live.map(), &entries).await.unwrap();
        println!(
            "{}: {} entries replaced in {:?} by {} commands",
            live.version,
            done.entries,
            began.elapsed(),
            done.commands
        );
        assert_eq!(client.map_lookup(&live.map(), "/room-00099999").await.unwrap().found.unwrap().1, "rooms");
        let small = Client::new(live.address("admin"), ClientOptions::default().with_max_request(500));
        assert!(small.replace_map(&live.map(), &entries[..500]).await.unwrap().commands > 20);
        assert_eq!(shown(&client, &live.map()).await.len(), 500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_belongs_to_one_process() {
    for binary in binaries() {
        let mut live = Live::start(&binary);
        let client = live.client();
        let mut update = MapUpdate::begin(&client, &live.map()).await.unwrap();
        update.add(&[entry("/x", "1")]).await.unwrap();
        let was = live.pid();
        live.kill();
        live.start_again();
        let error = update.add(&[entry("/y", "2")]).await.unwrap_err();
        let error = match error {
            RuntimeError::NewProcess { was: before, is, .. } => {
                assert_eq!((before, is), (was, live.pid()));
                RuntimeError::NewProcess { address: String::new(), was: before, is }
            }
            // The connection was still young, and is lost now.
            RuntimeError::Lost { .. } => update.add(&[entry("/y", "2")]).await.unwrap_err(),
            other => panic!("{other}"),
        };
        assert!(matches!(error, RuntimeError::NewProcess { .. }), "{error}");
        assert!(matches!(update.commit().await, Err(RuntimeError::NewProcess { .. })));
        assert_eq!(shown(&client, &live.map()).await, [("/join".to_owned(), "rooms".to_owned())]);
        assert_eq!(client.process().await.unwrap().generation, 2);
    }
}

/// Any entry that can be sent comes back as it was.
#[test]
fn entries_come_back_from_the_process() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for binary in binaries() {
        let live = Live::start(&binary);
        let options = ClientOptions::default().with_keep(Duration::from_secs(1), Duration::from_secs(1));
        let client = Client::new(live.address("admin"), options);
        let map = live.map();
        let mut runner =
            TestRunner::new(Config { cases: 96, failure_persistence: None, max_shrink_iters: 20, ..Config::default() });
        let result =
            runner.run(&("([!-~é]|<<){1,16}", "([ -~é]|<<){1,24}", "([ -~é]|<<){1,24}"), |(key, first, second)| {
                let (Ok(one), Ok(two)) = (MapEntry::new(&*key, &*first), MapEntry::new(&*key, &*second)) else {
                    return Err(TestCaseError::reject("cannot be sent"));
                };
                runtime.block_on(async {
                    client.replace_map(&map, std::slice::from_ref(&one)).await.unwrap();
                    prop_assert_eq!(shown(&client, &map).await, [(key.clone(), first.clone())]);
                    client.order(&Command::set_map(&map, &two).unwrap()).await.unwrap();
                    prop_assert_eq!(shown(&client, &map).await, [(key.clone(), second.clone())]);
                    client.order(&Command::del_map(&map, &key).unwrap()).await.unwrap();
                    prop_assert_eq!(shown(&client, &map).await.len(), 0);
                    Ok(())
                })
            });
        result.unwrap();
    }
}
