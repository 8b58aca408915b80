//! Indexes of our own beside Scalelite's, by which long lists are found quickly.

use deadpool_postgres::Pool;
use tokio_postgres::{Client, Error};

/// So many characters of a value are indexed: whole ones may be longer than an index takes.
pub(super) const BEGINNING: usize = 64;

/// Their names, and what they are on.
const OURS: [(&str, &str, &str); 3] = [
    // Pages of the newest.
    ("balancer_recordings_newest", "recordings", "(starttime DESC NULLS LAST, id DESC)"),
    // Beginnings of ids, in whatever language the database sorts.
    ("balancer_recordings_record_id", "recordings", "(record_id varchar_pattern_ops)"),
    // What front-ends noted, and whose it is.
    ("balancer_metadata_value", "metadata", "(key, \"left\"(value, 64))"),
];

/// Adds what is missing of them, over a connection of its own, while everything else goes on.
pub(super) async fn add(pool: Pool) {
    let Ok(object) = pool.get().await else { return };
    // It counts no longer among those that calls share.
    let client = deadpool_postgres::Object::take(object);
    match add_missing(&client).await {
        Ok(0) => {}
        Ok(added) => tracing::info!(added, "indexes were added to the tables of recordings: long lists are quicker"),
        Err(e) => {
            let why = e.as_db_error().map_or_else(|| e.to_string(), |e| e.message().to_owned());
            tracing::info!(reason = why, "the tables of recordings get no indexes of ours: long lists are slower");
        }
    }
}

async fn add_missing(client: &Client) -> Result<usize, Error> {
    // Of several processes one does it; the lock ends with the connection.
    let turn = client.query_typed_one("SELECT pg_try_advisory_lock(7227190416612936)", &[]).await?;
    if !turn.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let mut added = 0;
    for (name, table, columns) in OURS {
        let known = format!(
            "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_namespace s ON s.oid = c.relnamespace \
             WHERE c.relname = '{name}' AND s.nspname = ANY (current_schemas(false))"
        );
        match client.query_typed_opt(&known, &[]).await?.map(|row| row.try_get(0)).transpose()? {
            Some(true) => continue,
            // Somebody was stopped in the middle of it.
            Some(false) => client.batch_execute(&format!("DROP INDEX CONCURRENTLY {name}")).await?,
            None => {}
        }
        // Nobody waits for it: it may be read and written meanwhile.
        client.batch_execute(&format!("CREATE INDEX CONCURRENTLY {name} ON {table} {columns}")).await?;
        added += 1;
    }
    if added > 0 {
        client.batch_execute("ANALYZE recordings").await?;
        client.batch_execute("ANALYZE metadata").await?;
    }
    Ok(added)
}
