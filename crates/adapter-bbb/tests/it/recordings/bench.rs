//! 100,000 recordings: `getRecordings` with each filter beside a bare SQL query that finds the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_bbb::{Payload, RecordingOptions, RecordingQuery, RequestHead, TENANT_KEY};
use real_servers::PostgresServer;
use tokio_postgres::Client;

use super::world::{World, connect, index};

/// Recordings in the index: each with six keys of metadata, two formats and three pictures.
const MANY: u32 = 100_000;

const ROUNDS: usize = 100;

fn line(title: &str, found: usize, ours: &mut [Duration], theirs: &mut [Duration]) {
    let [a, b] = [50, 99].map(|percent| percentile(ours, percent));
    let [c, d] = [50, 99].map(|percent| percentile(theirs, percent));
    println!("{title:<28}{found:>8}{a:>10.2}{b:>10.2}{c:>12.2}{d:>12.2}");
}

/// A call beside a query that finds the same, in turn.
async fn measure(world: &World, client: &Client, title: &str, query: &str, bare: &str) {
    let bare = format!("SELECT r.* FROM recordings r WHERE {bare}");
    let mut found = (0, 0);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let answer = world.call("getRecordings", query).await;
        ours.push(began.elapsed());
        found.0 = answer.body.matches("<recordID>").count();
        let began = Instant::now();
        found.1 = client.query_typed(&bare, &[]).await.unwrap().len();
        theirs.push(began.elapsed());
    }
    assert!(found.0 == found.1 && found.0 > 0, "{title}: {found:?}");
    line(title, found.0, &mut ours, &mut theirs);
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask bench recordings"]
async fn a_hundred_thousand_recordings() {
    let Some(server) = PostgresServer::start() else { return };
    let index = Arc::new(index(&server, "scalelite"));
    let world = World::new(index, RecordingOptions::default()).await;
    assert!(world.listed("").await.is_empty());
    let client = connect(&server, "scalelite").await;
    // Ours come by themselves when the tables are looked at first.
    let ours = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                WHERE i.indisvalid AND c.relname LIKE 'balancer\\_%'";
    let indexed = async || client.query_one(ours, &[]).await.unwrap().get::<_, i64>(0) == 3;
    crate::stage::until("the indexes are there", indexed).await;
    let fill = format!(
        "INSERT INTO recordings (record_id, meeting_id, name, published, participants, state, starttime, endtime) \
           SELECT md5(n::text) || '-' || 1600000000000 + n, 'meeting-' || n / 10, 'Meeting ' || n, n % 10 > 0, 12, \
             CASE WHEN n % 10 > 0 THEN 'published' ELSE 'unpublished' END, \
             timestamp '2024-01-01' + n * interval '5 minutes', timestamp '2024-01-01 01:00' + n * interval '5 minutes' \
           FROM generate_series(1, {MANY}) n; \
         INSERT INTO metadata (recording_id, key, value) SELECT r.id, 'key' || k, (r.id / 100 + k)::text \
           FROM recordings r, generate_series(1, 5) k; \
         INSERT INTO metadata (recording_id, key, value) SELECT r.id, 'tenant-id', 'ten-' || r.id % 50 FROM recordings r; \
         INSERT INTO playback_formats (recording_id, format, url, length) SELECT r.id, f, '/' || f || '/' || r.record_id, 60 \
           FROM recordings r, unnest(ARRAY['presentation', 'video']) f; \
         INSERT INTO thumbnails (playback_format_id, width, height, alt, url, sequence) \
           SELECT f.id, 176, 136, 'slide', f.url || '/' || s || '.png', s FROM playback_formats f, generate_series(0, 2) s \
           WHERE f.format = 'presentation'; ANALYZE"
    );
    client.batch_execute(&fill).await.unwrap();
    let one: String = client.query_one("SELECT record_id FROM recordings WHERE id = 77777", &[]).await.unwrap().get(0);
    let shown = "state IN ('published', 'unpublished')";
    let order = "ORDER BY starttime DESC NULLS LAST, id DESC";
    let page = format!("{order} LIMIT 100");
    let is = |key: &str, value: &str| {
        format!("m.key = '{key}' AND m.value = '{value}' AND \"left\"(m.value, 64) = '{value}'")
    };
    let exists = |what: &str| format!("EXISTS (SELECT FROM metadata m WHERE m.recording_id = r.id AND ({what}))");
    let with = |key: &str, value: &str| exists(&is(key, value));
    let several = (0..20).map(|n| format!("meeting-{}", n * 450));
    let several: Vec<String> = several.collect();
    let quoted = several.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let rows = [
        ("one recordID", format!("recordID={one}"), format!("{shown} AND record_id LIKE '{one}%' {order}")),
        ("a beginning of ids", "recordID=ab1".into(), format!("{shown} AND record_id LIKE 'ab1%' {order}")),
        ("one meetingID", "meetingID=meeting-777".into(), format!("{shown} AND meeting_id = 'meeting-777' {order}")),
        (
            "twenty meetingIDs",
            format!("meetingID={}", several.join(",")),
            format!("{shown} AND meeting_id IN ({quoted}) {order}"),
        ),
        ("state, a page of 100", "state=unpublished&limit=100".into(), format!("state = 'unpublished' {page}")),
        ("meta", "meta_key1=501".into(), format!("{shown} AND {} {order}", with("key1", "501"))),
        (
            "meta and meetingID",
            "meta_key1=78&meetingID=meeting-777".into(),
            format!("{shown} AND meeting_id = 'meeting-777' AND {} {order}", with("key1", "78")),
        ),
        (
            "two keys of meta",
            "meta_key1=501&meta_key2=502".into(),
            format!("{shown} AND {} {order}", exists(&format!("{} OR {}", is("key1", "501"), is("key2", "502")))),
        ),
        ("everything, a page of 100", "limit=100".into(), format!("{shown} {page}")),
        ("the 900th page", "limit=100&offset=90000".into(), format!("{shown} {order} LIMIT 100 OFFSET 90000")),
    ];
    println!("{MANY} recordings, milliseconds; bare: the one query that finds the rows, without what belongs to them");
    println!("{:<28}{:>8}{:>10}{:>10}{:>12}{:>12}", "filter", "found", "p50", "p99", "bare p50", "bare p99");
    for (title, query, bare) in &rows {
        measure(&world, &client, title, query, bare).await;
    }
    // Of one tenant among fifty: the index is asked as its calls ask it.
    let mut times = (Vec::new(), Vec::new());
    let mut q = RecordingQuery::default();
    (q.tenant, q.limit) = (Some("ten-7".into()), Some(100));
    let bare = format!("SELECT r.* FROM recordings r WHERE {shown} AND {} {page}", with(TENANT_KEY, "ten-7"));
    for _ in 0..ROUNDS {
        let began = Instant::now();
        assert_eq!(world.index.list(&q).await.unwrap().recordings.len(), 100);
        times.0.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(client.query_typed(&bare, &[]).await.unwrap().len(), 100);
        times.1.push(began.elapsed());
    }
    line("a tenant's, a page of 100", 100, &mut times.0, &mut times.1);
    let began = Instant::now();
    let (path, query) = crate::stage::signed("getRecordings", "state=any");
    let host = Some(crate::stage::HOST);
    let head = RequestHead { method: "GET", path: &path, query: &query, host, ..RequestHead::default() };
    let all = world.service.handle(head, Payload::Whole(bytes::Bytes::new())).await;
    let size = all.body().len() >> 20;
    println!("all of them at once: {:.1} s, {size} MiB", began.elapsed().as_secs_f64());
}
