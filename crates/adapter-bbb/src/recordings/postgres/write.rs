//! Adding and changing recordings.

use async_trait::async_trait;
use deadpool_postgres::Object;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::Work;
use super::read::{Find, Param};
use crate::recordings::index::{RecordingChange, TENANT_KEY};
use crate::recordings::record::{PlaybackFormat, Recording, RecordingState};

/// A time from milliseconds since the epoch, as UTC without a zone.
fn time(param: usize) -> String {
    format!("timestamp '1970-01-01' + ${param} * interval '1 millisecond'")
}

const UTC_NOW: &str = "now() AT TIME ZONE 'utc'";

pub(super) struct Import<'a>(pub(super) &'a Recording);

#[async_trait]
impl Work for Import<'_> {
    type Out = Recording;

    async fn on(&self, client: &mut Object) -> Result<Recording, Error> {
        let r = self.0;
        let tx = client.transaction().await?;
        // Whoever has chosen keeps their choice.
        let kept = |column: &str| {
            format!(
                "{column} = CASE WHEN recordings.publish_updated AND recordings.state IS DISTINCT FROM 'deleted' \
                 THEN recordings.{column} ELSE excluded.{column} END"
            )
        };
        let text = format!(
            "INSERT INTO recordings (record_id, meeting_id, name, published, participants, state, starttime, endtime, \
               deleted_at, protected, publish_updated) \
             VALUES ($1, $2, $3, $4, $5, $6, {}, {}, {}, $10, $11) \
             ON CONFLICT (record_id) DO UPDATE SET meeting_id = excluded.meeting_id, name = excluded.name, \
               participants = excluded.participants, starttime = excluded.starttime, endtime = excluded.endtime, \
               deleted_at = excluded.deleted_at, protected = excluded.protected, {}, {}, {} RETURNING id",
            time(7),
            time(8),
            time(9),
            kept("published"),
            kept("state"),
            kept("publish_updated"),
        );
        let state = r.state.map(RecordingState::as_str);
        let params: [Param<'_>; 11] = [
            (&r.record_id, Type::TEXT),
            (&r.meeting_id, Type::TEXT),
            (&r.name, Type::TEXT),
            (&r.published, Type::BOOL),
            (&r.participants, Type::INT4),
            (&state, Type::TEXT),
            (&r.start_ms, Type::INT8),
            (&r.end_ms, Type::INT8),
            (&r.deleted_ms, Type::INT8),
            (&r.protected, Type::BOOL),
            (&r.publish_updated, Type::BOOL),
        ];
        let id: i64 = tx.query_typed_one(&text, &params).await?.try_get(0)?;
        // A statement may set each key once.
        let mut once = Recording::default();
        r.metadata.iter().for_each(|m| once.set_meta(&*m.key, &*m.value));
        let (keys, values): (Vec<&str>, Vec<&str>) =
            once.metadata.iter().map(|m| (m.key.as_str(), m.value.as_str())).unzip();
        set_metadata(tx.client(), &[id], &keys, &values).await?;
        for format in &r.formats {
            set_format(tx.client(), id, format).await?;
        }
        tx.commit().await?;
        let ids = [r.record_id.clone()];
        let stored = Find(&ids).on(client).await?.pop();
        // Somebody else may have removed the row since; what was stored is what came.
        Ok(stored.unwrap_or_else(|| r.clone()))
    }
}

async fn set_metadata(client: &Client, ids: &[i64], keys: &[&str], values: &[&str]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let text = "INSERT INTO metadata (recording_id, key, value) \
                SELECT r.id, m.key, m.value FROM unnest($1) WITH ORDINALITY AS r (id, place), \
                  unnest($2, $3) WITH ORDINALITY AS m (key, value, place) ORDER BY r.place, m.place \
                ON CONFLICT (recording_id, key) DO UPDATE SET value = excluded.value";
    let params: [Param<'_>; 3] = [(&ids, Type::INT8_ARRAY), (&keys, Type::TEXT_ARRAY), (&values, Type::TEXT_ARRAY)];
    client.execute_typed(text, &params).await.map(drop)
}

async fn set_format(client: &Client, recording: i64, format: &PlaybackFormat) -> Result<(), Error> {
    let text = "INSERT INTO playback_formats (recording_id, format, url, length, processing_time) \
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT (recording_id, format) DO UPDATE SET url = excluded.url, \
                  length = excluded.length, processing_time = excluded.processing_time RETURNING id";
    let params: [Param<'_>; 5] = [
        (&recording, Type::INT8),
        (&format.format, Type::TEXT),
        (&format.url, Type::TEXT),
        (&format.length, Type::INT4),
        (&format.processing_time, Type::INT4),
    ];
    let id: i64 = client.query_typed_one(text, &params).await?.try_get(0)?;
    for picture in &format.thumbnails {
        let params: [Param<'_>; 6] = [
            (&id, Type::INT8),
            (&picture.sequence, Type::INT4),
            (&picture.width, Type::INT4),
            (&picture.height, Type::INT4),
            (&picture.alt, Type::TEXT),
            (&picture.url, Type::TEXT),
        ];
        let change = "UPDATE thumbnails SET width = $3, height = $4, alt = $5, url = $6 \
                      WHERE playback_format_id = $1 AND sequence = $2";
        if client.execute_typed(change, &params).await? == 0 {
            let add = "INSERT INTO thumbnails (playback_format_id, sequence, width, height, alt, url) \
                       VALUES ($1, $2, $3, $4, $5, $6)";
            client.execute_typed(add, &params).await?;
        }
    }
    Ok(())
}

pub(super) struct SetPublished<'a> {
    pub(super) record_id: &'a str,
    pub(super) published: bool,
}

#[async_trait]
impl Work for SetPublished<'_> {
    type Out = bool;

    async fn on(&self, client: &mut Object) -> Result<bool, Error> {
        let text = "UPDATE recordings SET published = $2, state = $3, publish_updated = true \
                    WHERE record_id = $1 AND state IN ('published', 'unpublished')";
        let state = RecordingState::of_published(self.published).as_str();
        let params: [Param<'_>; 3] =
            [(&self.record_id, Type::TEXT), (&self.published, Type::BOOL), (&state, Type::TEXT)];
        Ok(client.execute_typed(text, &params).await? > 0)
    }
}

pub(super) struct Update<'a> {
    pub(super) record_ids: &'a [String],
    pub(super) tenant: Option<&'a str>,
    pub(super) change: &'a RecordingChange,
}

#[async_trait]
impl Work for Update<'_> {
    type Out = bool;

    async fn on(&self, client: &mut Object) -> Result<bool, Error> {
        let mut wanted: Vec<&str> = self.record_ids.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let tx = client.transaction().await?;
        let text = format!(
            "SELECT r.id FROM recordings r WHERE r.record_id = ANY ($1) AND ($2 IS NULL OR EXISTS \
               (SELECT FROM metadata o WHERE o.recording_id = r.id AND o.key = '{TENANT_KEY}' AND o.value = $2)) \
             ORDER BY r.id FOR UPDATE"
        );
        let params: [Param<'_>; 2] = [(&wanted, Type::TEXT_ARRAY), (&self.tenant, Type::TEXT)];
        let rows = tx.query_typed(&text, &params).await?;
        if rows.len() != wanted.len() {
            return Ok(false);
        }
        let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let set = self.change.meta.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)));
        let (keys, values): (Vec<&str>, Vec<&str>) = set.unzip();
        set_metadata(tx.client(), &ids, &keys, &values).await?;
        let gone = self.change.meta.iter().filter(|(_, value)| value.is_none());
        let gone: Vec<&str> = gone.map(|(key, _)| key.as_str()).collect();
        if !gone.is_empty() {
            let text = "DELETE FROM metadata WHERE recording_id = ANY ($1) AND key = ANY ($2)";
            tx.execute_typed(text, &[(&ids, Type::INT8_ARRAY), (&gone, Type::TEXT_ARRAY)]).await?;
        }
        if let Some(protected) = self.change.protected {
            let text = "UPDATE recordings SET protected = $2 WHERE id = ANY ($1)";
            tx.execute_typed(text, &[(&ids, Type::INT8_ARRAY), (&protected, Type::BOOL)]).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

pub(super) struct MarkDeleted<'a>(pub(super) &'a str);

#[async_trait]
impl Work for MarkDeleted<'_> {
    type Out = bool;

    async fn on(&self, client: &mut Object) -> Result<bool, Error> {
        let tx = client.transaction().await?;
        let text = format!(
            "UPDATE recordings SET state = 'deleted', published = false, \
               deleted_at = coalesce(deleted_at, {UTC_NOW}) WHERE record_id = $1 RETURNING id"
        );
        let Some(row) = tx.query_typed_opt(&text, &[(&self.0, Type::TEXT)]).await? else { return Ok(false) };
        let id: i64 = row.try_get(0)?;
        for text in [
            "DELETE FROM thumbnails t USING playback_formats f WHERE t.playback_format_id = f.id AND f.recording_id = $1",
            "DELETE FROM playback_formats WHERE recording_id = $1",
            "DELETE FROM metadata WHERE recording_id = $1",
        ] {
            tx.execute_typed(text, &[(&id, Type::INT8)]).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

pub(super) struct AddToTenant<'a>(pub(super) &'a str);

#[async_trait]
impl Work for AddToTenant<'_> {
    type Out = u64;

    async fn on(&self, client: &mut Object) -> Result<u64, Error> {
        let text = format!(
            "INSERT INTO metadata (recording_id, key, value) SELECT r.id, '{TENANT_KEY}', $1 FROM recordings r \
             WHERE r.state IS DISTINCT FROM 'deleted' \
               AND NOT EXISTS (SELECT FROM metadata m WHERE m.recording_id = r.id AND m.key = '{TENANT_KEY}') \
             ON CONFLICT DO NOTHING"
        );
        client.execute_typed(&text, &[(&self.0, Type::TEXT)]).await
    }
}
