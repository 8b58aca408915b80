//! Recordings for operators, and the way to their gate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admin::{error, text};
use super::{BbbService, RequestHead, fault, json as answer, recordings};
use crate::api::{Fault, Params};
use crate::recordings::{
    Ask, ImportError, ImportFigures, ImportOutcome, ImportReport, Importer, KeepError, PlaybackGate, Recording,
    RecordingIndex, RecordingKeeper, RecordingQuery, RecordingState, StateFilter, TENANT_KEY,
};

/// How long an import is waited for; it goes on when it takes longer.
const WAIT: Duration = Duration::from_secs(60);
/// How many recordings are listed when nobody says.
const LISTED: u64 = 100;
/// How many are listed at most.
const MOST: u64 = 10_000;

/// What operators can do with recordings.
#[derive(Clone, Debug)]
pub struct RecordingDesk {
    index: Arc<dyn RecordingIndex>,
    keeper: RecordingKeeper,
    importer: Option<Arc<Importer>>,
}

impl RecordingDesk {
    /// With this index and its folders, and the importer of this process, if there is one.
    pub fn new(index: Arc<dyn RecordingIndex>, keeper: RecordingKeeper, importer: Option<Arc<Importer>>) -> Self {
        Self { index, keeper, importer }
    }

    /// What the importer of this process did, if there is one.
    pub(super) fn import_figures(&self) -> Option<&ImportFigures> {
        self.importer.as_deref().map(Importer::figures)
    }
}

/// Names of calls of ours, and whether they change something.
const CALLS: [(&str, bool); 5] = [
    ("recordings", false),
    ("checkRecordings", false),
    ("settleRecordings", true),
    ("importRecordings", true),
    ("addRecordingsToTenant", true),
];

/// Whether a call of ours is one about recordings, and whether it changes something.
pub(super) fn known(name: &str) -> Option<(&'static str, bool)> {
    CALLS.into_iter().find(|(known, _)| *known == name)
}

impl BbbService {
    /// The same with recordings played through this gate.
    #[must_use]
    pub fn with_playback(mut self, gate: PlaybackGate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The same with operators' calls about recordings.
    #[must_use]
    pub fn with_recording_desk(mut self, desk: RecordingDesk) -> Self {
        self.desk = Some(desk);
        self
    }

    /// A path of playback.
    pub(super) async fn play(&self, head: &RequestHead<'_>) -> Response<Bytes> {
        let ask = Ask {
            method: head.method,
            path: head.path,
            query: head.query,
            cookie: head.cookie,
            agent: head.agent,
            tenant: self.tenant().map(|tenant| tenant.id.as_str()),
        };
        let played = match &self.gate {
            // Where there are tenants, each plays its own at its own name.
            Some(gate) if !self.is_nobody() => gate.answer(ask).await,
            _ => None,
        };
        played.unwrap_or_else(|| fault(&Fault::UnsupportedRequest))
    }

    /// A call about recordings; its signature was looked at.
    pub(super) async fn operate_recordings(&self, name: &str, params: &Params<'_>, body: &Value) -> Response<Bytes> {
        let Some(desk) = &self.desk else {
            return error(StatusCode::NOT_FOUND, "recordings are not kept here: RECORDING_DISABLED is set");
        };
        let given = if name == "addRecordingsToTenant" { text(body, "tenant") } else { params.present("tenant") };
        let tenant = match given.map(str::trim).filter(|tenant| !tenant.is_empty()) {
            Some(given) => match self.tenant_meant(given).await {
                Ok(Some(id)) => Some(id),
                Ok(None) => return super::tenants::not_meant(given),
                Err(e) => return super::admin::trouble(&e),
            },
            None => None,
        };
        let done = match name {
            "recordings" => desk.list(params, tenant).await,
            "checkRecordings" => desk.keeper.check().await.map(|report| answer(StatusCode::OK, &json!(report))),
            "settleRecordings" => desk.keeper.update().await.map(|report| answer(StatusCode::OK, &json!(report))),
            "importRecordings" => Ok(desk.import(body).await),
            _ => desk.add_to_tenant(tenant).await,
        };
        done.unwrap_or_else(|e| {
            tracing::error!(error = %e, call = name, "a call about recordings failed");
            error(StatusCode::SERVICE_UNAVAILABLE, e.to_string())
        })
    }
}

impl RecordingDesk {
    async fn list(&self, params: &Params<'_>, tenant: Option<String>) -> Result<Response<Bytes>, KeepError> {
        let list = |name: &str| params.present(name).map(recordings::list).unwrap_or_default();
        let mut query = RecordingQuery {
            prefixes: list("recordID"),
            meeting_ids: list("meetingID"),
            tenant,
            ..RecordingQuery::default()
        };
        let states = list("state");
        if states.iter().any(|state| state == "any") {
            query.states = StateFilter::Any;
        } else if !states.is_empty() {
            let mut read = Vec::new();
            for state in &states {
                match state.parse() {
                    Ok(state) => read.push(state),
                    Err(()) => return Ok(error(StatusCode::BAD_REQUEST, no_state(state))),
                }
            }
            query.states = StateFilter::Of(read);
        }
        let number = |name, none: u64| params.present(name).map_or(Ok(none), |n| n.trim().parse::<u64>());
        let (Ok(offset), Ok(limit)) = (number("offset", 0), number("limit", LISTED)) else {
            return Ok(error(StatusCode::BAD_REQUEST, "offset and limit are whole numbers"));
        };
        query.offset = offset;
        let limit = limit.clamp(1, MOST);
        // One more tells whether there are more.
        query.limit = Some(limit + 1);
        let page = self.index.list(&query).await?.recordings;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let recordings: Vec<Value> = page.iter().take(limit).map(shown).collect();
        Ok(answer(StatusCode::OK, &json!({ "recordings": recordings, "more": page.len() > limit })))
    }

    async fn import(&self, body: &Value) -> Response<Bytes> {
        let Some(importer) = self.importer.clone() else {
            return error(StatusCode::NOT_FOUND, "this process imports nothing: it has no spool");
        };
        let again = body.get("again").and_then(Value::as_bool).unwrap_or(true);
        let work = tokio::spawn(async move { importer.import_now(again).await });
        match tokio::time::timeout(WAIT, work).await {
            Err(_) => answer(StatusCode::ACCEPTED, &json!({ "running": true, "archives": [] })),
            Ok(Ok(Ok(reports))) => {
                let archives: Vec<Value> = reports.iter().map(reported).collect();
                answer(StatusCode::OK, &json!({ "running": false, "archives": archives }))
            }
            Ok(Ok(Err(ImportError::Busy))) => answer(StatusCode::ACCEPTED, &json!({ "running": true, "archives": [] })),
            Ok(Ok(Err(e))) => error(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
            Ok(Err(_)) => error(StatusCode::INTERNAL_SERVER_ERROR, "the import broke off"),
        }
    }

    async fn add_to_tenant(&self, tenant: Option<String>) -> Result<Response<Bytes>, KeepError> {
        let Some(tenant) = tenant else {
            return Ok(error(StatusCode::BAD_REQUEST, "tenant is needed"));
        };
        let added = self.index.add_to_tenant(&tenant).await?;
        Ok(answer(StatusCode::OK, &json!({ "tenant": tenant, "added": added })))
    }
}

fn no_state(given: &str) -> String {
    let known = [
        RecordingState::Processing,
        RecordingState::Processed,
        RecordingState::Published,
        RecordingState::Unpublished,
        RecordingState::Deleted,
    ];
    let known = known.map(RecordingState::as_str).join(", ");
    format!("there is no state {given:?}: {known} and any are")
}

fn shown(r: &Recording) -> Value {
    json!({
        "record_id": r.record_id,
        "meeting_id": r.meeting_id,
        "name": r.name,
        "state": r.state,
        "published": r.published,
        "protected": r.protected,
        "start_ms": r.start_ms,
        "end_ms": r.end_ms,
        "participants": r.participants,
        "tenant": r.meta(TENANT_KEY),
        "formats": r.formats.iter().map(|f| f.format.as_str()).collect::<Vec<_>>(),
    })
}

fn reported(report: &ImportReport) -> Value {
    let (imported, why, lasting) = match &report.outcome {
        ImportOutcome::Imported => (true, None, false),
        ImportOutcome::Kept { why, lasting } => (false, Some(why), *lasting),
    };
    let recordings: Vec<Value> =
        report.recordings.iter().map(|(id, formats)| json!({ "record_id": id, "formats": formats })).collect();
    json!({
        "archive": report.archive,
        "imported": imported,
        "error": why,
        "lasting": lasting,
        "recordings": recordings,
    })
}
