//! Scalelite's tables: made, taken over, brought up to date; and the bookkeeping of its migrations.

use deadpool_postgres::Object;
use tokio::try_join;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// Where the tables come from, and what each step adds to them: the versions that Scalelite's bookkeeping names.
const STEPS: [(&str, &str); 6] = [
    (
        "20181123180008",
        "CREATE TABLE recordings (id bigserial PRIMARY KEY, record_id character varying, \
           meeting_id character varying, name character varying, published boolean DEFAULT false NOT NULL, \
           participants integer, state character varying, starttime timestamp without time zone, \
           endtime timestamp without time zone, deleted_at timestamp without time zone); \
         CREATE UNIQUE INDEX index_recordings_on_record_id ON recordings (record_id); \
         CREATE INDEX index_recordings_on_meeting_id ON recordings (meeting_id); \
         CREATE TABLE metadata (id bigserial PRIMARY KEY, recording_id bigint, key character varying, \
           value character varying); \
         CREATE UNIQUE INDEX index_metadata_on_recording_id_and_key ON metadata (recording_id, key); \
         CREATE TABLE playback_formats (id bigserial PRIMARY KEY, recording_id bigint, format character varying, \
           url character varying, length integer, processing_time integer); \
         CREATE UNIQUE INDEX index_playback_formats_on_recording_id_and_format \
           ON playback_formats (recording_id, format); \
         CREATE TABLE thumbnails (id bigserial PRIMARY KEY, playback_format_id bigint, width integer, height integer, \
           alt character varying, url character varying, sequence integer); \
         CREATE INDEX index_thumbnails_on_playback_format_id ON thumbnails (playback_format_id);",
    ),
    (
        "20210425184558",
        "CREATE TABLE callback_data (id bigserial PRIMARY KEY, meeting_id character varying, recording_id integer, \
           callback_attributes text, created_at timestamp(6) without time zone NOT NULL, \
           updated_at timestamp(6) without time zone NOT NULL);",
    ),
    ("20210630205630", "ALTER TABLE recordings ADD COLUMN protected boolean DEFAULT false NOT NULL;"),
    ("20210725200414", "ALTER TABLE recordings ADD COLUMN publish_updated boolean DEFAULT false NOT NULL;"),
    // Tenants came into the database and went out of it again.
    ("20221111194252", ""),
    ("20230627141045", ""),
];

/// Between these two versions tenants are in the database, and only Scalelite can take them out.
const TENANTS: (&str, &str) = ("20221111194252", "20230627141045");

/// Columns that are read and written.
const COLUMNS: &str = "recordings.record_id recordings.meeting_id recordings.name recordings.published \
    recordings.participants recordings.state recordings.starttime recordings.endtime recordings.deleted_at \
    recordings.protected recordings.publish_updated metadata.recording_id metadata.key metadata.value \
    playback_formats.recording_id playback_formats.format playback_formats.url playback_formats.length \
    playback_formats.processing_time thumbnails.playback_format_id thumbnails.width thumbnails.height thumbnails.alt \
    thumbnails.url thumbnails.sequence callback_data.meeting_id callback_data.recording_id \
    callback_data.callback_attributes";

const BOOKS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (version character varying NOT NULL PRIMARY KEY); \
    CREATE TABLE IF NOT EXISTS ar_internal_metadata (key character varying NOT NULL PRIMARY KEY, \
      value character varying, created_at timestamp(6) without time zone NOT NULL, \
      updated_at timestamp(6) without time zone NOT NULL); \
    INSERT INTO ar_internal_metadata (key, value, created_at, updated_at) \
      VALUES ('environment', 'production', now() AT TIME ZONE 'utc', now() AT TIME ZONE 'utc') ON CONFLICT DO NOTHING;";

/// What is stored once each: imports rely on it.
const UNIQUE: [(&str, &str, &str); 3] = [
    ("recordings", "record_id", "index_recordings_on_record_id"),
    ("metadata", "recording_id, key", "index_metadata_on_recording_id_and_key"),
    ("playback_formats", "recording_id, format", "index_playback_formats_on_recording_id_and_format"),
];

/// Tables that number their rows by a sequence.
const NUMBERED: [&str; 5] = ["recordings", "metadata", "playback_formats", "thumbnails", "callback_data"];

/// Several processes may start at once: the first one changes the tables.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7227190416612935)";

/// Makes the tables what they should be. The inner error says why they cannot be, and what to do.
///
/// A database that is right is only read: its user needs no rights to change tables.
pub(super) async fn ensure(client: &mut Object) -> Result<Result<(), String>, Error> {
    if !missing(client).await?.is_empty() || !has_table(client, "ar_internal_metadata").await? {
        let tx = client.transaction().await?;
        tx.batch_execute(ONE_AT_A_TIME).await?;
        let missing = missing(tx.client()).await?;
        if let Err(why) = fits(tx.client(), &missing).await? {
            return Ok(Err(why));
        }
        tx.batch_execute(BOOKS).await?;
        for (version, change) in STEPS.iter().filter(|(version, _)| missing.contains(version)) {
            let noted = format!("{change} INSERT INTO schema_migrations (version) VALUES ('{version}');");
            tx.batch_execute(&noted).await?;
        }
        tx.commit().await?;
        tracing::info!(steps = missing.len(), "the tables of recordings are up to date");
    }
    // Asked together, so that all three take one round trip.
    let (have, lacking, behind) = try_join!(columns(client), lacking(client), behind(client))?;
    if let Some(column) = COLUMNS.split(' ').find(|column| !have.iter().any(|known| known == column)) {
        let why =
            format!("its column {column} is missing, though the bookkeeping says that it is there; restore a backup");
        return Ok(Err(why));
    }
    if !lacking.is_empty()
        && let Err(why) = complete_indexes(client).await?
    {
        return Ok(Err(why));
    }
    for table in behind {
        advance_sequence(client, &table).await?;
    }
    Ok(Ok(()))
}

/// Every column there is, after its table.
async fn columns(client: &Client) -> Result<Vec<String>, Error> {
    let text = "SELECT table_name || '.' || column_name FROM information_schema.columns \
                WHERE table_schema = ANY (current_schemas(false))";
    let rows = client.query_typed(text, &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Adds indexes without which nothing can be imported, as a partial restore loses them.
async fn complete_indexes(client: &mut Object) -> Result<Result<(), String>, Error> {
    let tx = client.transaction().await?;
    tx.batch_execute(ONE_AT_A_TIME).await?;
    for (table, columns, name) in lacking(tx.client()).await? {
        let made = tx.batch_execute(&format!("CREATE UNIQUE INDEX {name} ON {table} ({columns})")).await;
        match made {
            Err(e) if e.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                let why = format!(
                    "its table {table} has rows with the same {columns}, and lost the index {name} that keeps them \
                     apart; delete those that are too many"
                );
                return Ok(Err(why));
            }
            made => made?,
        }
        tracing::info!(index = name, "an index of recordings was missing and is there again");
    }
    tx.commit().await.map(Ok)
}

async fn lacking(client: &Client) -> Result<Vec<(&'static str, &'static str, &'static str)>, Error> {
    let text = "SELECT t.relname || ' ' || string_agg(a.attname, ', ' ORDER BY k.place) FROM pg_index i \
                JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace s ON s.oid = t.relnamespace \
                CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
                JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number \
                WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
                  AND s.nspname = ANY (current_schemas(false)) GROUP BY i.indexrelid, t.relname";
    let rows = client.query_typed(text, &[]).await?;
    let there = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    let is_there = |table: &str, columns: &str| there.iter().any(|known| *known == format!("{table} {columns}"));
    Ok(UNIQUE.into_iter().filter(|(table, columns, _)| !is_there(table, columns)).collect())
}

/// Tables whose sequence is behind their rows, as after rows were copied in with their numbers.
async fn behind(client: &Client) -> Result<Vec<String>, Error> {
    let each = NUMBERED.map(|table| {
        format!(
            "SELECT '{table}' AS name, (SELECT max(id) FROM {table}) AS last, \
               pg_get_serial_sequence('{table}', 'id') AS sequence"
        )
    });
    let text = format!(
        "SELECT q.name FROM ({}) q WHERE q.last > coalesce(pg_sequence_last_value(q.sequence::regclass), 0)",
        each.join(" UNION ALL ")
    );
    match client.query_typed(&text, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.try_get(0)).collect(),
        // Whoever may not look at them reads all the same.
        Err(e) if e.as_db_error().is_some() => {
            tracing::warn!(error = %e, "the sequences of the tables of recordings cannot be looked at");
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}

/// Lets a sequence go on after the rows. Whoever may not do that reads all the same.
async fn advance_sequence(client: &Client, table: &str) -> Result<(), Error> {
    let text = format!(
        "SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest((SELECT max(id) FROM {table}), \
           nextval(pg_get_serial_sequence('{table}', 'id'))))"
    );
    match client.query_typed_opt(&text, &[]).await {
        Ok(_) => tracing::info!(table, "the sequence of its ids was behind its rows and goes on after them"),
        Err(e) if e.as_db_error().is_some() => {
            tracing::warn!(table, error = %e, "the sequence of its ids is behind its rows and cannot be moved on");
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

/// The versions that the bookkeeping does not name.
async fn missing(client: &Client) -> Result<Vec<&'static str>, Error> {
    let all = STEPS.iter().map(|(version, _)| *version);
    if !has_table(client, "schema_migrations").await? {
        return Ok(all.collect());
    }
    // Other programs keep numbers in a table of this name.
    let rows = client.query_typed("SELECT coalesce(version::text, '') FROM schema_migrations", &[]).await?;
    let noted = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok(all.filter(|version| !noted.iter().any(|known| known == version)).collect())
}

/// Whether these steps can be made in what is there.
async fn fits(client: &Client, missing: &[&str]) -> Result<Result<(), String>, Error> {
    let strange =
        |table| format!("it has a table {table} that is not Scalelite's; name another database in DATABASE_URL");
    let first = STEPS.first().map_or("", |(version, _)| *version);
    if missing.contains(&first) && has_table(client, "recordings").await? {
        return Ok(Err(strange("recordings")));
    }
    // Rails notes texts there, and nothing else.
    let others = "SELECT EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'schema_migrations' \
                  AND table_schema = ANY (current_schemas(false)) \
                  AND (column_name <> 'version' OR data_type NOT IN ('character varying', 'text')))";
    if client.query_typed_one(others, &[]).await?.try_get(0)? {
        return Ok(Err(strange("schema_migrations")));
    }
    if missing.contains(&TENANTS.1) && !missing.contains(&TENANTS.0) {
        let why = "its tables are those of an older Scalelite, with tenants in them; bring it up to date first: \
                   rake db:migrate";
        return Ok(Err(why.to_owned()));
    }
    Ok(Ok(()))
}

/// Asks the catalogue itself: what names resolve to may be remembered from before another process made the table.
async fn has_table(client: &Client, name: &str) -> Result<bool, Error> {
    let text = format!(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE tablename = '{name}' AND schemaname = ANY (current_schemas(false)))"
    );
    client.query_typed_one(&text, &[]).await?.try_get(0)
}
