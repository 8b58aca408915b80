//! The calls about recordings.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use super::{BbbService, Done, RequestHead, json as json_answer, xml};
use crate::api::{Call, Fault, Params, uploaded_file, write_empty_recordings, write_success};
use crate::recordings::{
    IndexError, Listing, Recording, RecordingChange, RecordingQuery, Recordings, StateFilter, TENANT_KEY, TrackError,
    TrackUpload, is_language, is_shown,
};
use crate::request_id::carried;

/// At most so many recordings are listed when a limit is asked for.
const LARGEST_PAGE: u64 = 100;

/// A refusal in the words that clients of this call read: JSON about text tracks, XML otherwise.
pub(super) fn refusal(call: Call, answer: Response<Bytes>) -> Response<Bytes> {
    let is_xml = answer.headers().get(http::header::CONTENT_TYPE) == Some(&super::XML);
    if is_xml && matches!(call, Call::GetRecordingTextTracks | Call::PutRecordingTextTrack) {
        return failed(&Fault::Checksum);
    }
    answer
}

/// A failure about text tracks.
fn failed(f: &Fault) -> Response<Bytes> {
    failed_with(f.key(), &f.message())
}

fn failed_with(key: &str, message: &str) -> Response<Bytes> {
    let answer = json!({ "response": { "returncode": "FAILED", "messageKey": key, "message": message } });
    json_answer(StatusCode::OK, &answer)
}

/// What is separated by commas, each once.
pub(super) fn list(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(*item)).map(findable).collect()
}

/// A text to look for: databases cannot even be asked for one with a NUL in it.
fn findable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Recordings that a call names.
fn record_ids(params: &Params<'_>) -> Result<Vec<String>, Fault> {
    params.present("recordID").map(list).filter(|ids| !ids.is_empty()).ok_or(Fault::MissingRecordId)
}

fn away(e: &IndexError) -> Fault {
    tracing::error!(error = %e, "the index of recordings cannot be used");
    let message = "The recordings cannot be reached at the moment. Try again.".to_owned();
    Fault::Passed { key: "internalError".into(), message }
}

/// The parameters that begin with `meta_`, by what follows.
fn meta<'a>(params: &'a Params<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    params.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("meta_").filter(|name| !name.is_empty())?;
        Some((name, value.unwrap_or_default()))
    })
}

/// Reads the filters of `getRecordings`.
fn query(params: &Params<'_>, tenant: Option<&str>, most: u64) -> RecordingQuery {
    let named = |name: &str| params.present(name).map(list).unwrap_or_default();
    let mut q = RecordingQuery {
        prefixes: named("recordID"),
        meeting_ids: named("meetingID"),
        tenant: tenant.map(str::to_owned),
        limit: Some(most),
        ..RecordingQuery::default()
    };
    let states = named("state");
    if states.iter().any(|word| word == "any") {
        q.states = StateFilter::Any;
    } else if !states.is_empty() {
        q.states = StateFilter::Of(states.iter().filter_map(|word| word.parse().ok()).collect());
    }
    for (name, value) in meta(params) {
        // Servers write the names of metadata in lower case, whatever a `create` had.
        let keys = HashSet::from([findable(name), findable(&name.to_lowercase())]);
        for key in keys {
            q.meta.entry(key).or_default().extend(list(value));
        }
    }
    let number = |name: &str| params.present(name).and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(limit) = number("limit") {
        q.limit = Some(limit.clamp(1, LARGEST_PAGE));
        q.offset = number("offset").unwrap_or_default();
    }
    q
}

/// Reads what `updateRecordings` is to change.
fn change(params: &Params<'_>, tenant: Option<&str>) -> RecordingChange {
    let mut wanted = BTreeMap::new();
    for (name, value) in meta(params) {
        let (key, value) = (name.to_lowercase(), value.replace('\0', ""));
        // A recording stays with its tenant.
        if key.contains('\0') || (tenant.is_some() && key == TENANT_KEY) {
            continue;
        }
        wanted.insert(key, Some(value).filter(|value| !value.trim().is_empty()));
    }
    let protected = params.present("protect").map(|text| text.trim().eq_ignore_ascii_case("true"));
    RecordingChange { meta: wanted, protected }
}

impl BbbService {
    /// Answers a call about recordings whose checksum is right.
    pub(super) async fn about_recordings(
        &self,
        call: Call,
        head: &RequestHead<'_>,
        params: &Params<'_>,
        body: &[u8],
    ) -> Done {
        // Whose recordings are meant: everybody's as long as there are no tenants.
        let tenant = self.tenant().map(|tenant| tenant.id.as_str());
        match (call, self.recordings.clone()) {
            (Call::GetRecordings, Some(all)) => self.get_recordings(&all, head, params, tenant).await,
            (Call::GetRecordings, None) => Ok(xml(256, write_empty_recordings)),
            (Call::PublishRecordings, all) => publish(all, params, tenant).await,
            (Call::UpdateRecordings, all) => update(all, params, tenant).await,
            (Call::DeleteRecordings, all) => delete(all, params, tenant).await,
            (Call::GetRecordingTextTracks, Some(all)) => {
                Ok(self.get_text_tracks(&all, head, params, tenant).await.unwrap_or_else(|f| failed(&f)))
            }
            (Call::PutRecordingTextTrack, Some(all)) => {
                let file = head.content_type.and_then(|of| uploaded_file(body, of, "file")).unwrap_or_default();
                Ok(put_text_track(all, params, file, tenant).await.unwrap_or_else(|f| failed(&f)))
            }
            _ => Err(Fault::UnsupportedRequest),
        }
    }

    /// Scheme and host of the request, as its sender knows them.
    fn prefix(&self, head: &RequestHead<'_>) -> String {
        let o = self.cluster.live();
        let first = |text: &str| text.split(',').next().unwrap_or_default().trim().to_ascii_lowercase();
        let scheme = if head.forwarded_proto.map(first).as_deref() == Some("https") { "https" } else { "http" };
        let host = head.host.or(o.url_host.as_deref()).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }

    async fn get_recordings(
        &self,
        all: &Arc<Recordings>,
        head: &RequestHead<'_>,
        params: &Params<'_>,
        tenant: Option<&str>,
    ) -> Done {
        let q = query(params, tenant, all.options.most);
        if all.options.filtered && q.prefixes.is_empty() && q.meeting_ids.is_empty() {
            return Err(Fault::MissingFilter);
        }
        let found = all.index.list(&q).await.map_err(|e| away(&e))?.recordings;
        if found.len() as u64 >= all.options.most {
            tracing::warn!(listed = found.len(), "getRecordings lists the newest recordings only: there are too many");
        }
        let guarded = found.iter().filter(|r| all.options.protected && r.protected);
        let guarded = guarded.flat_map(|r| r.formats.iter().map(|f| (r.record_id.as_str(), f.format.as_str())));
        let guarded: Vec<(&str, &str)> = guarded.collect();
        let mut tokens = HashMap::new();
        if let Some(giver) = all.tokens.as_ref().filter(|_| !guarded.is_empty()) {
            let given = giver.issue(&guarded).await.map_err(|why| {
                tracing::error!(%why, "no tokens for protected recordings");
                super::store_away()
            })?;
            tokens = guarded.into_iter().zip(given).collect();
        }
        let prefix = self.prefix(head);
        let listing = Listing { prefix: &prefix, recordings: &found, protected: all.options.protected, tokens };
        Ok(xml(256 + found.len() * 2048, |out| listing.write(out)))
    }

    async fn get_text_tracks(
        &self,
        all: &Arc<Recordings>,
        head: &RequestHead<'_>,
        params: &Params<'_>,
        tenant: Option<&str>,
    ) -> Done {
        let id = params.present("recordID").map(str::trim).ok_or(Fault::MissingRecordId)?;
        let Some(r) = recording(all, id, tenant).await? else { return Ok(unknown(id)) };
        let tracks = all.text_tracks(&r).await.map_err(|e| {
            tracing::error!(error = %e, recording = id, "text tracks cannot be read");
            let message = "The text tracks cannot be read at the moment.".to_owned();
            Fault::Passed { key: "internalError".into(), message }
        })?;
        let prefix = self.prefix(head);
        let tracks = tracks.iter().map(|(t, path)| {
            json!({ "href": format!("{prefix}{path}"), "kind": t.kind, "label": t.label, "lang": t.lang,
                    "source": t.source })
        });
        let tracks: Vec<_> = tracks.collect();
        Ok(json_answer(StatusCode::OK, &json!({ "response": { "returncode": "SUCCESS", "tracks": tracks } })))
    }
}

/// One that is there, and not deleted.
async fn recording(all: &Recordings, id: &str, tenant: Option<&str>) -> Result<Option<Recording>, Fault> {
    let found = all.of_tenant(&[findable(id)], tenant).await.map_err(|e| away(&e))?;
    Ok(found.into_iter().find(is_shown))
}

fn unknown(id: &str) -> Response<Bytes> {
    failed_with("noRecordings", &format!("No recording was found for {id}."))
}

async fn publish(all: Option<Arc<Recordings>>, params: &Params<'_>, tenant: Option<&str>) -> Done {
    let ids = record_ids(params)?;
    let published = params.present("publish").ok_or(Fault::MissingPublish)?.trim().eq_ignore_ascii_case("true");
    let all = all.ok_or(Fault::RecordingsNotFound)?;
    let refused = |e: &dyn std::fmt::Display| {
        tracing::error!(error = %e, "a recording cannot be published or unpublished");
        Fault::PublishFailed
    };
    let mut found = all.of_tenant(&ids, tenant).await.map_err(|e| refused(&e))?;
    found.retain(is_shown);
    if found.is_empty() {
        return Err(Fault::RecordingsNotFound);
    }
    // Carried to its end when the front-end goes away.
    let work = tokio::spawn(carried(async move { all.publish(&found, published).await }));
    work.await.map_err(|e| refused(&e))?.map_err(|e| refused(&e))?;
    let word = if published { "true" } else { "false" };
    Ok(xml(128, |out| write_success(out, &[("published", word)])))
}

async fn update(all: Option<Arc<Recordings>>, params: &Params<'_>, tenant: Option<&str>) -> Done {
    let ids = record_ids(params)?;
    let change = change(params, tenant);
    let updated = match all {
        Some(all) if !change.is_empty() => {
            let work = tokio::spawn(carried({
                let tenant = tenant.map(str::to_owned);
                async move { all.index.update(&ids, tenant.as_deref(), &change).await }
            }));
            let broken =
                |_| Fault::Passed { key: "internalError".into(), message: "Unable to update recording.".into() };
            work.await.map_err(broken)?.map_err(|e| away(&e))?
        }
        _ => false,
    };
    let word = if updated { "true" } else { "false" };
    Ok(xml(128, |out| write_success(out, &[("updated", word)])))
}

async fn delete(all: Option<Arc<Recordings>>, params: &Params<'_>, tenant: Option<&str>) -> Done {
    let ids = record_ids(params)?;
    let all = all.ok_or(Fault::RecordingsNotFound)?;
    let refused = |e: &dyn std::fmt::Display| {
        tracing::error!(error = %e, "a recording cannot be deleted");
        Fault::DeleteFailed
    };
    let found = all.of_tenant(&ids, tenant).await.map_err(|e| refused(&e))?;
    if found.is_empty() {
        return Err(Fault::RecordingsNotFound);
    }
    let work = tokio::spawn(carried(async move { all.delete(&found).await }));
    work.await.map_err(|e| refused(&e))?.map_err(|e| refused(&e))?;
    Ok(xml(128, |out| write_success(out, &[("deleted", "true")])))
}

async fn put_text_track(all: Arc<Recordings>, params: &Params<'_>, file: &[u8], tenant: Option<&str>) -> Done {
    let wanted = |name: &'static str| {
        let missing = || Fault::Passed { key: "paramError".into(), message: format!("Missing param {name}.") };
        params.present(name).map(str::trim).ok_or_else(missing)
    };
    let (id, kind) = (wanted("recordID")?, wanted("kind")?);
    if !matches!(kind, "subtitles" | "captions") {
        return Ok(failed_with("invalidKind", "The kind parameter is not set to a permitted value."));
    }
    let lang = wanted("lang")?.replace('_', "-");
    if !is_language(&lang) {
        return Ok(failed_with("invalidLang", "The lang parameter is not a well-formed language tag."));
    }
    if file.is_empty() {
        return Ok(failed_with("empty_uploaded_text_track", "Empty uploaded text track."));
    }
    let Some(r) = recording(&all, id, tenant).await? else { return Ok(unknown(id)) };
    let upload = TrackUpload::new(&lang, params.present("label").map_or(lang.as_str(), str::trim), kind, file);
    let work = tokio::spawn(carried(async move { all.put_text_track(&r, upload).await }));
    let (returncode, key, message) = match work.await {
        Ok(Ok(())) => ("SUCCESS", "upload_text_track_success", "Text track uploaded successfully"),
        Ok(Err(e)) => {
            if matches!(e, TrackError::Format) {
                tracing::info!(error = %e, recording = id, "a text track is refused");
            } else {
                tracing::error!(error = %e, recording = id, "a text track cannot be added");
            }
            ("FAILED", "upload_text_track_failed", "Text track upload failed.")
        }
        Err(_) => ("FAILED", "upload_text_track_failed", "Text track upload failed."),
    };
    let answer = json!({ "response": { "returncode": returncode, "recordId": id, "messageKey": key,
        "message": message } });
    Ok(json_answer(StatusCode::OK, &answer))
}
