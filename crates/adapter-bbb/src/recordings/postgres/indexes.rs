//! Indexes of our own beside Scalelite's, by which long lists are found quickly.

use std::time::Duration;

use deadpool_postgres::{Connect as _, Pool};
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error};

use super::trouble;
use super::way::Way;

/// So many characters of a value are indexed: whole ones may be longer than an index takes.
pub(super) const BEGINNING: usize = 64;

/// We give up sooner than the database looks for deadlocks (`deadlock_timeout`, one second unless changed).
const PATIENCE: &str = "-c lock_timeout=500ms";
/// The first pause before another try; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// An index that was begun and given up costs each write something.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Their names, and what they are on.
const OURS: [(&str, &str, &str); 3] = [
    // Pages of the newest.
    ("balancer_recordings_newest", "recordings", "(starttime DESC NULLS LAST, id DESC)"),
    // Beginnings of ids, in whatever language the database sorts.
    ("balancer_recordings_record_id", "recordings", "(record_id varchar_pattern_ops)"),
    // What front-ends noted, and whose it is.
    ("balancer_metadata_value", "metadata", "(key, \"left\"(value, 64))"),
];

/// Adds what is missing of them, over a connection of its own, while everything else goes on; until that is done, or
/// `pool` is closed.
///
/// Whoever else is at work on the tables has the right of way: a migration that waits for one of them, while we wait for
/// its end, would be ended by the database.
pub(super) async fn add(pool: Pool, way: Way, mut config: Config) {
    // Said as the connection begins: what is said later stays behind for others where a pooler is in between. One that
    // takes no such word gets no indexes.
    let said = config.get_options().map(|said| format!("{said} ")).unwrap_or_default();
    config.options(format!("{said}{PATIENCE}"));
    let mut pause = PAUSE;
    while !pool.is_closed() {
        let done = match way.connect(&config).await {
            Ok((client, _)) => add_missing(&client).await,
            Err(e) => Err(e),
        };
        let e = match done {
            Ok(0) => return,
            Ok(added) => {
                tracing::info!(added, "indexes were added to the tables of recordings: long lists are quicker");
                return;
            }
            Err(e) => e,
        };
        let in_the_way = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
        // A server that goes down and comes again breaks the connection, or says so (class 57).
        let later = e.code().is_none_or(|code| in_the_way.contains(code) || code.code().starts_with("57"));
        let reason = trouble::words(&e);
        if !later {
            tracing::info!(reason, "the tables of recordings get no indexes of ours: long lists are slower");
            return;
        }
        if pause == LONGEST_PAUSE {
            tracing::info!(reason, "indexes of ours wait for others who are at work on the tables of recordings");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
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
