//! Stick tables.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::Instant;

use adapter_haproxy::runtime::{Client, Command, RefusalKind, RuntimeError, TableFilter, TableKey, TableTest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::live::{Live, binaries};
use super::refused;
use crate::alone::is_alone;

pub(super) async fn entries(client: &Client) {
    let key = |text: &str| TableKey::Text(text.to_owned());
    let hall = key("big hall; 1\\2 \"q\" é=x");
    client.set_table("rooms", &hall, &[("server_id", 2)]).await.unwrap();
    client.set_table("rooms", &key("plain"), &[("server_id", 1)]).await.unwrap();
    let entry = client.table_entry("rooms", &hall).await.unwrap().unwrap();
    assert_eq!((TableKey::Text(entry.key), entry.server_id, entry.server_key), (hall.clone(), Some(2), None));
    assert!(entry.expires.as_secs() > 3500);
    assert_eq!(client.table_entry("rooms", &key("absent")).await.unwrap(), None);
    let second = TableFilter::Data(vec![("server_id".to_owned(), TableTest::Ge, 2)]);
    assert_eq!(client.table_entries("rooms", &second).await.unwrap().len(), 1);
    client.order(&Command::clear_table("rooms", &second).unwrap()).await.unwrap();
    assert_eq!(client.table_entry("rooms", &hall).await.unwrap(), None);

    let v4 = TableKey::V4(Ipv4Addr::new(192, 0, 2, 1));
    client.set_table("addresses", &v4, &[("gpc0", 3)]).await.unwrap();
    assert_eq!(client.table_entry("addresses", &v4).await.unwrap().unwrap().data, [("gpc0".to_owned(), 3)]);
    // 2.6 would store a text as 0.0.0.0.
    let wrong = client.set_table("addresses", &key("no address"), &[("gpc0", 3)]).await;
    assert!(matches!(wrong, Err(RuntimeError::Command(_))), "{wrong:?}");
    // A refused figure leaves no entry behind.
    let other = TableKey::V4(Ipv4Addr::new(192, 0, 2, 2));
    let data = [("gpc0", 1), ("http_req_cnt", 3)];
    assert_eq!(refused(client.set_table("addresses", &other, &data).await), RefusalKind::Value);
    assert_eq!(client.table_entry("addresses", &other).await.unwrap(), None);
    for absent in ["nobody", "lb/nobody"] {
        assert_eq!(refused(client.table_entries(absent, &TableFilter::All).await), RefusalKind::NoTable);
    }
    client.order(&Command::clear_table("addresses", &TableFilter::All).unwrap()).await.unwrap();
    client.order(&Command::clear_table("rooms", &TableFilter::Key(key("plain"))).unwrap()).await.unwrap();
    let mut lines = 0;
    let info = client
        .table_each("rooms", &TableFilter::All, |_| {
            lines += 1;
            ControlFlow::Continue(())
        })
        .await
        .unwrap();
    assert_eq!((info.unwrap().used, lines), (0, 0));
}

/// Any key that can be sent comes back as it was.
#[test]
fn keys_come_back_from_the_process() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = live.client();
        let mut runner =
            TestRunner::new(Config { cases: 96, failure_persistence: None, max_shrink_iters: 20, ..Config::default() });
        let result = runner.run(&"([ -~é]|<<){1,24}", |text| {
            let key = TableKey::Text(text.clone());
            prop_assume!(Command::set_table("rooms", &key, &[]).is_ok());
            runtime.block_on(async {
                client.order(&Command::set_table("rooms", &key, &[("server_id", 1)]).unwrap()).await.unwrap();
                let found = client.table_entry("rooms", &key).await.unwrap();
                prop_assert_eq!(found.map(|e| e.key), Some(text));
                Ok(())
            })
        });
        result.unwrap();
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}

async fn fill(client: &Client, rooms: std::ops::Range<u32>) {
    let mut key = String::new();
    for start in rooms.clone().step_by(10_000) {
        let mut commands = Vec::with_capacity(10_000);
        for n in start..rooms.end.min(start + 10_000) {
            key.clear();
            write!(key, "room-{n:08}").unwrap();
            commands.push(Command::set_table("rooms", &TableKey::Text(key.clone()), &[("server_id", 1)]).unwrap());
        }
        for reply in client.call_all(&commands).await.unwrap() {
            reply.unwrap();
        }
    }
}

/// A million lines in the release at hand; `RUNTIME_ENTRIES` says another number.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_million_entries_takes_no_memory() {
    if !is_alone("runtime::tables::a_table_of_a_million_entries_takes_no_memory") {
        return;
    }
    let wanted = std::env::var("RUNTIME_ENTRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000_u32);
    for binary in binaries().into_iter().take(1) {
        let live = Live::start(&binary);
        let client = live.client();
        let began = Instant::now();
        fill(&client, 0..wanted).await;
        let filled = began.elapsed();
        let (mut count, mut most, before) = (0_u32, 0, resident());
        let began = Instant::now();
        let command = Command::show_table("rooms", &TableFilter::All).unwrap();
        let mut bytes = 0;
        let lines = client.lines(&command, |line| {
            bytes += line.len() + 1;
            count += 1;
            if count % 10_000 == 0 {
                most = most.max(resident());
            }
            ControlFlow::Continue(())
        });
        assert_eq!(lines.await.unwrap(), u64::from(wanted) + 1);
        let grown = most.saturating_sub(before) >> 20;
        println!(
            "{}: {wanted} entries set in {filled:?}, {} MiB read in {:?}, {grown} MiB more resident",
            live.version,
            bytes >> 20,
            began.elapsed()
        );
        assert!(grown < 48, "{grown} MiB");
        // Read as entries, and left early.
        let mut seen = 0;
        client
            .table_each("rooms", &TableFilter::All, |_| {
                seen += 1;
                if seen == 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await
            .unwrap();
        assert_eq!(seen, 1000);
        client.info().await.unwrap();
    }
}
