//! What Scalelite noted at a `create`: where to tell of the recording.

use async_trait::async_trait;
use deadpool_postgres::Object;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::Work;
use super::read::Param;
use crate::recordings::index::CallbackRow;
use crate::recordings::record::Recording;

pub(super) struct Link<'a>(pub(super) &'a Recording);

#[async_trait]
impl Work for Link<'_> {
    type Out = Option<CallbackRow>;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, Error> {
        // Meetings of one id follow one another: the newest one without a recording is meant, unless this recording
        // has been linked before.
        let text = "UPDATE callback_data SET recording_id = r.id, updated_at = now() AT TIME ZONE 'utc' \
                    FROM recordings r WHERE r.record_id = $2 AND callback_data.id = \
                      (SELECT c.id FROM callback_data c WHERE c.meeting_id = $1 \
                       AND (c.recording_id IS NULL OR c.recording_id = r.id) \
                       ORDER BY c.recording_id IS NULL, c.id DESC LIMIT 1) \
                    RETURNING callback_data.callback_attributes";
        let params: [Param<'_>; 2] = [(&self.0.meeting_id, Type::TEXT), (&self.0.record_id, Type::TEXT)];
        let Some(row) = client.query_typed_opt(text, &params).await? else { return Ok(None) };
        let text: Option<&str> = row.try_get(0)?;
        Ok(Some(attributes(text.unwrap_or_default())))
    }
}

/// Reads the addresses from a YAML map whose keys are symbols: `:recording_ready_url: https://…`.
fn attributes(text: &str) -> CallbackRow {
    let of = |wanted: &str| {
        let value =
            text.lines().find_map(|line| line.trim().strip_prefix(':')?.strip_prefix(wanted)?.strip_prefix(':'))?;
        let value = value.trim();
        let plain = match (value.strip_prefix('\''), value.strip_prefix('"')) {
            (Some(quoted), _) => quoted.strip_suffix('\'')?.replace("''", "'"),
            (_, Some(quoted)) => quoted.strip_suffix('"')?.replace("\\\"", "\"").replace("\\\\", "\\"),
            _ => value.to_owned(),
        };
        Some(plain).filter(|url| url.starts_with("http://") || url.starts_with("https://"))
    };
    CallbackRow { recording_ready_url: of("recording_ready_url"), analytics_url: of("analytics_callback_url") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_maps_as_rails_writes_them() {
        let both = attributes(
            "---\n:analytics_callback_url: https://lms/a?b=c#d\n:recording_ready_url: 'https://lms/it''s'\n",
        );
        assert_eq!(both.analytics_url.as_deref(), Some("https://lms/a?b=c#d"));
        assert_eq!(both.recording_ready_url.as_deref(), Some("https://lms/it's"));
        let one = attributes("---\n:recording_ready_url: \"https://lms/\\\"q\\\"\"\n");
        assert_eq!(one.recording_ready_url.as_deref(), Some("https://lms/\"q\""));
        assert_eq!(one.analytics_url, None);
        for odd in ["", "--- {}\n", "---\n:recording_ready_url:\n", ":recording_ready_url: '", "\u{0}:::"] {
            assert_eq!(attributes(odd), CallbackRow::default(), "{odd:?}");
        }
    }
}
