//! Scalelite's tables: made, taken over, left as they are.

use adapter_bbb::{IndexError, RecordingIndex, RecordingQuery, RecordingState};
use real_servers::PostgresServer;
use tokio_postgres::Client;

use super::world::{connect, index, recording};

const VERSIONS: [&str; 6] =
    ["20181123180008", "20210425184558", "20210630205630", "20210725200414", "20221111194252", "20230627141045"];

/// The tables as Scalelite's migrations leave them, and its rows in them.
const SCALELITE: &str = "
    CREATE TABLE schema_migrations (version character varying NOT NULL PRIMARY KEY);
    CREATE TABLE ar_internal_metadata (key character varying NOT NULL PRIMARY KEY, value character varying,
        created_at timestamp(6) without time zone NOT NULL, updated_at timestamp(6) without time zone NOT NULL);
    CREATE TABLE recordings (id bigserial PRIMARY KEY, record_id character varying, meeting_id character varying,
        name character varying, published boolean DEFAULT false NOT NULL, participants integer,
        state character varying, starttime timestamp without time zone, endtime timestamp without time zone,
        deleted_at timestamp without time zone, protected boolean DEFAULT false NOT NULL,
        publish_updated boolean DEFAULT false NOT NULL);
    CREATE UNIQUE INDEX index_recordings_on_record_id ON recordings USING btree (record_id);
    CREATE INDEX index_recordings_on_meeting_id ON recordings USING btree (meeting_id);
    CREATE TABLE metadata (id bigserial PRIMARY KEY, recording_id bigint, key character varying,
        value character varying);
    CREATE UNIQUE INDEX index_metadata_on_recording_id_and_key ON metadata USING btree (recording_id, key);
    CREATE TABLE playback_formats (id bigserial PRIMARY KEY, recording_id bigint, format character varying,
        url character varying, length integer, processing_time integer);
    CREATE UNIQUE INDEX index_playback_formats_on_recording_id_and_format
        ON playback_formats USING btree (recording_id, format);
    CREATE TABLE thumbnails (id bigserial PRIMARY KEY, playback_format_id bigint, width integer, height integer,
        alt character varying, url character varying, sequence integer);
    CREATE INDEX index_thumbnails_on_playback_format_id ON thumbnails USING btree (playback_format_id);
    CREATE TABLE callback_data (id bigserial PRIMARY KEY, meeting_id character varying, recording_id integer,
        callback_attributes text, created_at timestamp(6) without time zone NOT NULL,
        updated_at timestamp(6) without time zone NOT NULL);
    INSERT INTO ar_internal_metadata VALUES ('environment', 'production', '2023-07-01 10:00:00', '2023-07-01 10:00:00');
    INSERT INTO recordings (record_id, meeting_id, name, published, participants, state, starttime, endtime, protected,
        publish_updated) VALUES
        ('8f3e-1', 'room', 'Lesson', true, 12, 'published', '2023-05-04 08:00:00.123456', '2023-05-04 09:00:00', false,
         false),
        ('8f3e-2', 'room', NULL, false, NULL, 'unpublished', '2023-05-05 08:00:00', NULL, true, true),
        ('8f3e-3', NULL, NULL, false, NULL, NULL, 'infinity', NULL, false, false),
        ('8f3e-4', 'room', 'Gone', true, 1, 'deleted', '2023-05-01 08:00:00', '2023-05-01 08:30:00', false, false);
    INSERT INTO metadata (recording_id, key, value) VALUES (1, 'gl-listed', 'true'), (1, 'nothing', NULL);
    INSERT INTO playback_formats (recording_id, format, url, length, processing_time) VALUES
        (1, 'presentation', '/playback/presentation/2.3/8f3e-1', 60, 5000), (1, 'video', '/video/8f3e-1/', NULL, NULL);
    INSERT INTO thumbnails (playback_format_id, width, height, alt, url, sequence) VALUES
        (1, 176, 136, 'Second', '/presentation/8f3e-1/2.png', 1), (1, 176, 136, NULL, '/presentation/8f3e-1/1.png', 0);
    INSERT INTO callback_data (meeting_id, callback_attributes, created_at, updated_at) VALUES
        ('room', E'---\\n:recording_ready_url: https://lms.example.com/ready?x=1\\n', '2023-05-04', '2023-05-04');";

fn scalelite() -> String {
    let noted = VERSIONS.map(|v| format!("('{v}')")).join(",");
    format!("{SCALELITE} INSERT INTO schema_migrations VALUES {noted};")
}

/// Every column, index and row of a database as text.
async fn dump(client: &Client) -> String {
    let mut out = String::new();
    let columns = "SELECT table_name, column_name, data_type, coalesce(datetime_precision, -1), is_nullable, \
        coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2";
    for row in client.query(columns, &[]).await.unwrap() {
        let text = |at: usize| row.get::<_, String>(at);
        out += &format!("{}.{} {} {} {} {}\n", text(0), text(1), text(2), row.get::<_, i32>(3), text(4), text(5));
    }
    // Ours are beside Scalelite's, and come when they come.
    let indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE 'balancer\\_%' \
                   ORDER BY 1";
    for row in client.query(indexes, &[]).await.unwrap() {
        out += &format!("{}\n", row.get::<_, String>(0));
    }
    out
}

async fn rows(client: &Client, table: &str) -> String {
    let all = client.query(&format!("SELECT t::text FROM {table} t ORDER BY 1"), &[]).await.unwrap();
    all.iter().map(|row| format!("{}\n", row.get::<_, String>(0))).collect()
}

async fn everything(client: &Client) -> String {
    let mut out = dump(client).await;
    let tables = "schema_migrations ar_internal_metadata recordings metadata playback_formats thumbnails callback_data";
    for table in tables.split(' ') {
        out += &format!("{table}\n{}", rows(client, table).await);
    }
    out
}

async fn database(server: &PostgresServer, name: &str, text: &str) -> Client {
    let admin = connect(server, "postgres").await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let client = connect(server, name).await;
    client.batch_execute(text).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_as_scalelite_makes_them() {
    let Some(server) = PostgresServer::start() else { return };
    // Several processes at once, and again later.
    let many = (0..4).map(|_| index(&server, "scalelite")).map(|i| tokio::spawn(async move { i.check().await }));
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    index(&server, "scalelite").check().await.unwrap();
    let made = connect(&server, "scalelite").await;
    let theirs = database(&server, "theirs", &scalelite()).await;
    assert_eq!(dump(&made).await, dump(&theirs).await);
    assert_eq!(rows(&made, "schema_migrations").await, rows(&theirs, "schema_migrations").await);
    let books = rows(&made, "ar_internal_metadata").await;
    assert!(books.starts_with("(environment,production,") && books.lines().count() == 1, "{books}");
}

#[tokio::test]
async fn a_database_of_scalelites_is_taken_over_and_left_as_it_is() {
    let Some(server) = PostgresServer::start() else { return };
    let client = database(&server, "theirs", &scalelite()).await;
    let before = everything(&client).await;
    // Somebody who may change rows and no tables.
    client
        .batch_execute(
            "CREATE ROLE guest LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO guest",
        )
        .await
        .unwrap();
    let url = format!("postgresql://guest@127.0.0.1:{}/theirs", server.port());
    let options = adapter_bbb::PostgresOptions::from_url(&url).unwrap();
    let index = adapter_bbb::PostgresRecordings::new(options).unwrap();
    index.check().await.unwrap();
    let mut q = RecordingQuery::default();
    q.states = adapter_bbb::StateFilter::Any;
    let all = index.list(&q).await.unwrap().recordings;
    let ids: Vec<&str> = all.iter().map(|r| r.record_id.as_str()).collect();
    assert_eq!(ids, ["8f3e-3", "8f3e-2", "8f3e-1", "8f3e-4"]);
    let lesson = &all[2];
    assert_eq!((lesson.start_ms, lesson.participants), (Some(1_683_187_200_123), Some(12)));
    assert_eq!((lesson.meta("gl-listed"), lesson.meta("nothing")), (Some("true"), Some("")));
    let pictures: Vec<&str> = lesson.formats[0].thumbnails.iter().map(|t| t.url.as_str()).collect();
    assert_eq!(pictures, ["/presentation/8f3e-1/1.png", "/presentation/8f3e-1/2.png"]);
    assert_eq!((all[0].state, all[0].start_ms, all[0].name.as_str()), (None, None, ""));
    assert_eq!(everything(&client).await, before);

    // A change of one thing is a change of that thing.
    assert!(index.set_published("8f3e-2", true).await.unwrap());
    let changed = everything(&client).await;
    let (gone, new): (Vec<&str>, Vec<&str>) = (
        before.lines().filter(|line| !changed.contains(line)).collect(),
        changed.lines().filter(|line| !before.contains(line)).collect(),
    );
    assert_eq!(gone, [r#"(2,8f3e-2,room,,f,,unpublished,"2023-05-05 08:00:00",,,t,t)"#]);
    assert_eq!(new, [r#"(2,8f3e-2,room,,t,,published,"2023-05-05 08:00:00",,,t,t)"#]);

    // A new recording finds the address that a create left.
    let stored = index.import(&recording("8f3e-9", "room", 0, true)).await.unwrap();
    assert_eq!(stored.state, Some(RecordingState::Published));
    let linked = index.link_callbacks(&stored).await.unwrap().unwrap();
    assert_eq!(linked.recording_ready_url.as_deref(), Some("https://lms.example.com/ready?x=1"));
    assert!(rows(&client, "callback_data").await.starts_with("(1,room,5,"));
    // Once more is the same; another recording finds nothing.
    assert_eq!(index.link_callbacks(&stored).await.unwrap(), Some(linked));
    let other = index.import(&recording("8f3e-8", "room", 0, true)).await.unwrap();
    assert_eq!(index.link_callbacks(&other).await.unwrap(), None);
    assert_eq!(rows(&client, "schema_migrations").await.lines().count(), VERSIONS.len());
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date_and_a_strange_one_refused() {
    let Some(server) = PostgresServer::start() else { return };
    let old = scalelite()
        .replace(
            ", protected boolean DEFAULT false NOT NULL,\n        publish_updated boolean DEFAULT false NOT NULL",
            "",
        )
        .replace("endtime, protected,\n        publish_updated)", "endtime)")
        .replace(", false,\n         false)", ")")
        .replace("NULL, true, true)", "NULL)")
        .replace(", NULL, false, false)", ", NULL)")
        .replace("08:30:00', false, false)", "08:30:00')");
    let noted = VERSIONS[2..].iter().map(|v| format!(",('{v}')")).collect::<String>();
    let old = old.replace(&noted, "");
    let client = database(&server, "old", &old).await;
    index(&server, "old").check().await.unwrap();
    let theirs = database(&server, "theirs", &scalelite()).await;
    assert_eq!(dump(&client).await, dump(&theirs).await);
    assert_eq!(rows(&client, "schema_migrations").await, rows(&theirs, "schema_migrations").await);
    assert!(rows(&client, "recordings").await.contains("8f3e-1,room,Lesson,t,12,published"));

    let with_tenants = scalelite().replace(",('20230627141045')", "");
    let broken = scalelite().replace("processing_time integer", "time integer").replace("processing_time)", "time)");
    let strange = "CREATE TABLE recordings (id int); INSERT INTO recordings VALUES (1)".to_owned();
    let numbers = "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL); \
                   INSERT INTO schema_migrations VALUES (7, false)";
    for (name, text, want) in [
        ("tenants", with_tenants, "rake db:migrate"),
        ("strange", strange, "a table recordings that is not Scalelite's"),
        // As other programs keep their books.
        ("numbers", numbers.to_owned(), "a table schema_migrations that is not Scalelite's"),
        ("broken", broken, "playback_formats.processing_time is missing"),
    ] {
        let client = database(&server, name, &text).await;
        let before = dump(&client).await;
        let e = index(&server, name).check().await.unwrap_err();
        assert!(matches!(e, IndexError::Unusable { .. }) && !e.is_retryable(), "{e:?}");
        assert!(e.to_string().contains(want), "{e}");
        assert_eq!(dump(&client).await, before, "{name} is left alone");
    }
    let e = index(&server, "nowhere").check().await.unwrap_err();
    assert!(e.to_string().contains("createdb"), "{e}");
}

/// Tables that somebody takes away while we run are made again.
#[tokio::test]
async fn a_database_that_is_made_anew_is_used_again() {
    let Some(server) = PostgresServer::start() else { return };
    let index = index(&server, "scalelite");
    index.import(&recording("r", "m", 0, true)).await.unwrap();
    let client = connect(&server, "scalelite").await;
    // The database may end it in favour of an index that is being made.
    crate::stage::until("nothing is left", async || {
        client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.is_ok()
    })
    .await;
    assert!(index.get("r").await.is_err());
    assert_eq!(index.get("r").await.unwrap(), None);
    index.import(&recording("r", "m", 0, true)).await.unwrap();
}

/// What a partial restore lost of the bookkeeping, the indexes and the sequences is completed; the rows stay.
#[tokio::test]
async fn what_a_restore_lost_is_completed_and_the_rows_stay() {
    let Some(server) = PostgresServer::start() else { return };
    let client = database(&server, "restored", &scalelite()).await;
    let tables = ["recordings", "metadata", "playback_formats", "thumbnails", "callback_data"];
    let all = async || {
        let mut out = String::new();
        for table in tables {
            out += &rows(&client, table).await;
        }
        out
    };
    let before = all().await;
    client
        .batch_execute(
            "DROP TABLE ar_internal_metadata; DROP INDEX index_recordings_on_record_id; \
             DROP INDEX index_metadata_on_recording_id_and_key; \
             DROP INDEX index_playback_formats_on_recording_id_and_format; \
             INSERT INTO schema_migrations VALUES ('20990101000000')",
        )
        .await
        .unwrap();
    for table in tables {
        // As COPY leaves it.
        client.batch_execute(&format!("SELECT setval('{table}_id_seq', 1, false)")).await.unwrap();
    }
    let index = index(&server, "restored");
    index.check().await.unwrap();
    assert_eq!(all().await, before);
    let theirs = database(&server, "theirs", &scalelite()).await;
    assert_eq!(dump(&client).await, dump(&theirs).await);
    let noted = rows(&client, "schema_migrations").await;
    assert!(noted.contains("20990101000000") && noted.lines().count() == 7, "what is newer stays: {noted}");
    assert!(rows(&client, "ar_internal_metadata").await.starts_with("(environment,production,"));
    let mut new = recording("new", "room", 0, true);
    new.set_meta("key", "value");
    assert_eq!(index.import(&new).await.unwrap(), new);
    let id = "SELECT id FROM recordings WHERE record_id = 'new'";
    assert!(client.query_one(id, &[]).await.unwrap().get::<_, i64>(0) > 4);
    // Times are UTC without a zone, whatever zone the server is in.
    client.batch_execute("ALTER DATABASE restored SET timezone TO 'America/New_York'").await.unwrap();
    let far = super::world::index(&server, "restored");
    assert_eq!(far.import(&new).await.unwrap(), new);
    assert_eq!(far.get("8f3e-1").await.unwrap().unwrap().start_ms, Some(1_683_187_200_123));
    let started = "SELECT starttime::text FROM recordings WHERE record_id = 'new'";
    assert_eq!(client.query_one(started, &[]).await.unwrap().get::<_, &str>(0), "2020-09-13 12:26:40.123");
    assert!(far.mark_deleted("new").await.unwrap());
    let fresh = "SELECT abs(extract(epoch FROM (now() AT TIME ZONE 'utc') - deleted_at)) < 600 FROM recordings \
                 WHERE record_id = 'new'";
    assert!(client.query_one(fresh, &[]).await.unwrap().get::<_, bool>(0));

    // Rows that no index can tell apart are named.
    let twice = database(&server, "twice", &scalelite()).await;
    let doubled = "DROP INDEX index_recordings_on_record_id; INSERT INTO recordings (record_id) VALUES ('8f3e-1')";
    twice.batch_execute(doubled).await.unwrap();
    let before = everything(&twice).await;
    let e = super::world::index(&server, "twice").check().await.unwrap_err();
    assert!(matches!(e, IndexError::Unusable { .. }) && e.to_string().contains("rows with the same record_id"), "{e}");
    assert_eq!(everything(&twice).await, before);
}

/// Indexes of our own come by themselves, also after somebody was stopped in the middle of one; nobody waits for them.
#[tokio::test]
async fn indexes_of_our_own_are_added_beside_theirs() {
    let Some(server) = PostgresServer::start() else { return };
    let client = database(&server, "theirs", &scalelite()).await;
    let broken = "CREATE INDEX balancer_recordings_newest ON recordings (id); \
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'balancer_recordings_newest'::regclass";
    client.batch_execute(broken).await.unwrap();
    let ours = async |client: &Client| {
        let text = "SELECT string_agg(c.relname || ' ' || i.indisvalid, ',' ORDER BY c.relname) FROM pg_index i \
                    JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname LIKE 'balancer%'";
        client.query_one(text, &[]).await.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
    };
    let several = [0; 3].map(|_| index(&server, "theirs"));
    for index in &several {
        index.check().await.unwrap();
    }
    let want = "balancer_metadata_value true,balancer_recordings_newest true,balancer_recordings_record_id true";
    crate::stage::until("they are there", async || ours(&client).await == want).await;
    // Long values are found as well as short ones.
    let mut r = recording("long", "m", 0, true);
    let long = "ä".repeat(60_000);
    r.set_meta("note", &*long);
    r.set_meta("tenant-id", format!("{long}x"));
    several[0].import(&r).await.unwrap();
    let mut q = RecordingQuery::default();
    q.meta.insert("note".into(), vec![long.clone()]);
    assert_eq!(several[0].list(&q).await.unwrap().recordings.len(), 1);
    q.tenant = Some(format!("{long}x"));
    assert_eq!(several[0].list(&q).await.unwrap().recordings.len(), 1);
    q.tenant = Some(long);
    assert!(several[0].list(&q).await.unwrap().recordings.is_empty());

    let bare = database(&server, "bare", &scalelite()).await;
    let mut options = adapter_bbb::PostgresOptions::from_url(&server.url("bare")).unwrap();
    options.indexes = false;
    adapter_bbb::PostgresRecordings::new(options).unwrap().check().await.unwrap();
    assert_eq!(ours(&bare).await, "");
}

/// A migration that meets our indexes half made is not ended by the database; the indexes come when it is done.
#[tokio::test]
async fn indexes_of_our_own_make_way_for_migrations() {
    let Some(server) = PostgresServer::start() else { return };
    let client = database(&server, "theirs", &scalelite()).await;
    let beside = connect(&server, "theirs").await;
    // Whoever writes keeps an index waiting. That one gives up long before the database looks for a deadlock; here it
    // has more time for that, in which everybody may stand still for a while.
    client.batch_execute("SET deadlock_timeout = '20s'; BEGIN; UPDATE recordings SET name = 'Lesson'").await.unwrap();
    let index = index(&server, "theirs");
    index.check().await.unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY balancer%' \
                 AND wait_event_type = 'Lock'";
    let count = async |text: &str| beside.query_one(text, &[]).await.unwrap().get::<_, i64>(0);
    let begun = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                 WHERE c.relname LIKE 'balancer%' AND NOT i.indisvalid";
    crate::stage::until("an index is begun", async || count(begun).await == 1).await;
    // From then on the database would look for a deadlock no more for the index, only for the migration.
    let lately = format!("{waits} AND query_start > clock_timestamp() - interval '1100 ms'");
    crate::stage::until("it waits no longer, or long", async || count(&lately).await == 0).await;
    client.batch_execute("ALTER TABLE recordings ADD COLUMN more text; COMMIT").await.unwrap();
    let ours = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                WHERE c.relname LIKE 'balancer%' AND i.indisvalid";
    crate::stage::until("they are there", async || count(ours).await == 3).await;
}
