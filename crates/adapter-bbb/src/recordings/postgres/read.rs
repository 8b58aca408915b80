//! Finding recordings.

use std::collections::HashMap;

use async_trait::async_trait;
use deadpool_postgres::Object;
use tokio::try_join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::Work;
use super::indexes::BEGINNING;
use crate::recordings::index::{RecordingQuery, StateFilter, TENANT_KEY};
use crate::recordings::record::{Metadatum, PlaybackFormat, Recording, Thumbnail};

/// More beginnings of ids than this are looked for by one condition.
const MOST_PATTERNS: usize = 100;

/// What a statement is given.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The columns of a recording, in the order in which [`recording`] reads them. Times are cut to milliseconds.
fn columns() -> String {
    let ms = |column: &str| {
        format!(
            "CASE WHEN isfinite(r.{column}) THEN \
             round(extract(epoch FROM date_trunc('milliseconds', r.{column})) * 1000)::bigint END"
        )
    };
    format!(
        "r.id, r.record_id, r.meeting_id, r.name, r.published, r.participants, r.state, {}, {}, {}, r.protected, \
         r.publish_updated",
        ms("starttime"),
        ms("endtime"),
        ms("deleted_at"),
    )
}

fn recording(row: &Row) -> Result<(i64, Recording), Error> {
    let text = |at: usize| row.try_get::<_, Option<String>>(at).map(Option::unwrap_or_default);
    let recording = Recording {
        record_id: text(1)?,
        meeting_id: text(2)?,
        name: text(3)?,
        published: row.try_get(4)?,
        participants: row.try_get(5)?,
        state: row.try_get::<_, Option<&str>>(6)?.and_then(|word| word.parse().ok()),
        start_ms: row.try_get(7)?,
        end_ms: row.try_get(8)?,
        deleted_ms: row.try_get(9)?,
        protected: row.try_get(10)?,
        publish_updated: row.try_get(11)?,
        metadata: Vec::new(),
        formats: Vec::new(),
    };
    Ok((row.try_get(0)?, recording))
}

/// These recordings, of these ids in the table, with all that belongs to them.
async fn whole(client: &Client, mut found: Vec<(i64, Recording)>) -> Result<Vec<Recording>, Error> {
    let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
    let ids: [Param<'_>; 1] = [(&ids, Type::INT8_ARRAY)];
    let metadata = "SELECT recording_id, key, value FROM metadata WHERE recording_id = ANY ($1) ORDER BY id";
    let formats = "SELECT recording_id, id, format, url, length, processing_time FROM playback_formats \
                   WHERE recording_id = ANY ($1) ORDER BY id";
    let pictures = "SELECT f.recording_id, t.playback_format_id, t.width, t.height, t.alt, t.url, t.sequence \
                    FROM playback_formats f JOIN thumbnails t ON t.playback_format_id = f.id \
                    WHERE f.recording_id = ANY ($1) ORDER BY t.sequence, t.id";
    // Sent together, so that all three take one round trip.
    let (metadata, formats, pictures) = try_join!(
        client.query_typed(metadata, &ids),
        client.query_typed(formats, &ids),
        client.query_typed(pictures, &ids),
    )?;
    let place: HashMap<i64, usize> = found.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    let text = |row: &Row, at: usize| row.try_get::<_, Option<String>>(at).map(Option::unwrap_or_default);
    for row in &metadata {
        let of: i64 = row.try_get(0)?;
        if let Some((_, recording)) = place.get(&of).and_then(|at| found.get_mut(*at)) {
            recording.metadata.push(Metadatum { key: text(row, 1)?, value: text(row, 2)? });
        }
    }
    let mut by_format: HashMap<i64, Vec<Thumbnail>> = HashMap::new();
    for row in &pictures {
        let picture = Thumbnail {
            width: row.try_get(2)?,
            height: row.try_get(3)?,
            alt: text(row, 4)?,
            url: text(row, 5)?,
            sequence: row.try_get::<_, Option<i32>>(6)?.unwrap_or_default(),
        };
        by_format.entry(row.try_get(1)?).or_default().push(picture);
    }
    for row in &formats {
        let (of, id): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if let Some((_, recording)) = place.get(&of).and_then(|at| found.get_mut(*at)) {
            recording.formats.push(PlaybackFormat {
                format: text(row, 2)?,
                url: text(row, 3)?,
                length: row.try_get(4)?,
                processing_time: row.try_get(5)?,
                thumbnails: by_format.remove(&id).unwrap_or_default(),
            });
        }
    }
    Ok(found.into_iter().map(|(_, recording)| recording).collect())
}

/// Conditions, and what their places stand for.
#[derive(Default)]
struct Filter<'a> {
    conditions: Vec<String>,
    params: Vec<Param<'a>>,
}

impl<'a> Filter<'a> {
    fn param(&mut self, value: &'a (dyn ToSql + Sync), of: Type) -> usize {
        self.params.push((value, of));
        self.params.len()
    }
}

/// The literal beginning of an id as a pattern.
fn pattern(prefix: &str) -> String {
    let mut out = String::with_capacity(prefix.len() + 1);
    for char in prefix.chars() {
        if matches!(char, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('%');
    out
}

pub(super) struct List<'a>(pub(super) &'a RecordingQuery);

#[async_trait]
impl Work for List<'_> {
    type Out = Vec<(i64, Recording)>;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, Error> {
        let q = self.0;
        let patterns: Vec<String> = q.prefixes.iter().map(|prefix| pattern(prefix)).collect();
        let states: Vec<&str> = match &q.states {
            StateFilter::Any => Vec::new(),
            StateFilter::Of(states) => states.iter().map(|state| state.as_str()).collect(),
        };
        // What is indexed of values.
        let begins = |value: &String| value.chars().take(BEGINNING).collect::<String>();
        let tenant_begins = q.tenant.as_ref().map(begins);
        let meta_begins: Vec<Vec<String>> = q.meta.values().map(|all| all.iter().map(begins).collect()).collect();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (offset, limit) = (number(q.offset), q.limit.map(number));
        let mut filter = Filter::default();
        if q.states != StateFilter::Any {
            let n = filter.param(&states, Type::TEXT_ARRAY);
            filter.conditions.push(format!("r.state = ANY (${n})"));
        }
        if patterns.len() > MOST_PATTERNS {
            let n = filter.param(&patterns, Type::TEXT_ARRAY);
            filter.conditions.push(format!("r.record_id LIKE ANY (${n})"));
        } else if !patterns.is_empty() {
            // One by one, so that an index may be used for each.
            let mut any = Vec::new();
            for pattern in &patterns {
                any.push(format!("r.record_id LIKE ${}", filter.param(pattern, Type::TEXT)));
            }
            filter.conditions.push(format!("({})", any.join(" OR ")));
        }
        if !q.meeting_ids.is_empty() {
            let n = filter.param(&q.meeting_ids, Type::TEXT_ARRAY);
            filter.conditions.push(format!("r.meeting_id = ANY (${n})"));
        }
        if let (Some(tenant), Some(begins)) = (&q.tenant, &tenant_begins) {
            let (n, b) = (filter.param(tenant, Type::TEXT), filter.param(begins, Type::TEXT));
            filter.conditions.push(format!(
                "EXISTS (SELECT FROM metadata o WHERE o.recording_id = r.id AND o.key = '{TENANT_KEY}' \
                   AND \"left\"(o.value, {BEGINNING}) = ${b} AND o.value = ${n})"
            ));
        }
        if !q.meta.is_empty() {
            let mut any = Vec::new();
            for ((key, values), begins) in q.meta.iter().zip(&meta_begins) {
                let (k, v) = (filter.param(key, Type::TEXT), filter.param(values, Type::TEXT_ARRAY));
                let b = filter.param(begins, Type::TEXT_ARRAY);
                any.push(format!(
                    "m.key = ${k} AND \"left\"(m.value, {BEGINNING}) = ANY (${b}) AND m.value = ANY (${v})"
                ));
            }
            let any = any.join(" OR ");
            filter.conditions.push(format!("EXISTS (SELECT FROM metadata m WHERE m.recording_id = r.id AND ({any}))"));
        }
        let all = if filter.conditions.is_empty() { "true".to_owned() } else { filter.conditions.join(" AND ") };
        let (o, l) = (filter.param(&offset, Type::INT8), filter.param(&limit, Type::INT8));
        // Times are worked out for the rows of the page alone.
        let order = "ORDER BY r.starttime DESC NULLS LAST, r.id DESC";
        let text = format!(
            "SELECT {} FROM (SELECT r.* FROM recordings r WHERE {all} {order} OFFSET ${o} LIMIT ${l}) r {order}",
            columns()
        );
        let rows = client.query_typed(&text, &filter.params).await?;
        rows.iter().map(recording).collect()
    }
}

/// What belongs to recordings that were found.
pub(super) struct Rest<'a>(pub(super) &'a [(i64, Recording)]);

#[async_trait]
impl Work for Rest<'_> {
    type Out = Vec<Recording>;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, Error> {
        whole(client, self.0.to_vec()).await
    }
}

pub(super) struct Find<'a>(pub(super) &'a [String]);

#[async_trait]
impl Work for Find<'_> {
    type Out = Vec<Recording>;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, Error> {
        let text = format!("SELECT {} FROM recordings r WHERE r.record_id = ANY ($1) ORDER BY r.record_id", columns());
        let rows = client.query_typed(&text, &[(&self.0, Type::TEXT_ARRAY)]).await?;
        let found = rows.iter().map(recording).collect::<Result<Vec<_>, _>>()?;
        whole(client, found).await
    }
}

pub(super) struct Ids<'a> {
    pub(super) after: &'a str,
    pub(super) limit: i64,
}

#[async_trait]
impl Work for Ids<'_> {
    type Out = Vec<(String, bool)>;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, Error> {
        let text = "SELECT record_id, published FROM recordings \
                    WHERE record_id COLLATE \"C\" > $1 AND state IS DISTINCT FROM 'deleted' \
                    ORDER BY record_id COLLATE \"C\" LIMIT $2";
        let params: [Param<'_>; 2] = [(&self.after, Type::TEXT), (&self.limit, Type::INT8)];
        let rows = client.query_typed(text, &params).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

/// Whether anything can be read at all; that the tables are right has been looked at before.
pub(super) struct Check;

#[async_trait]
impl Work for Check {
    type Out = ();

    async fn on(&self, client: &mut Object) -> Result<(), Error> {
        client.query_typed("SELECT id FROM recordings LIMIT 1", &[]).await.map(drop)
    }
}
