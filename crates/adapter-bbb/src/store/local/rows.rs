//! How servers and meetings are written into the file.

use balancer_core::{BackendId, Binding};
use serde::{Deserialize, Serialize};

use super::Held;
#[cfg(feature = "file")]
use crate::secret::Secret;
#[cfg(feature = "file")]
use crate::store::MeetingRecord;
use crate::store::{ServerRecord, ServerState};

pub(super) const CHECK_KEY: &str = "check";

pub(super) fn server_key(id: &str) -> String {
    format!("server/{id}")
}

pub(super) fn meeting_key(id: &str) -> String {
    format!("meeting/{id}")
}

pub(super) fn closed_key(id: &str) -> String {
    format!("closed/{id}")
}

#[derive(Serialize, Deserialize)]
struct ServerRow {
    id: BackendId,
    url: String,
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    state: ServerState,
    online: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_multiplier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bbb_version: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct MeetingRow {
    id: String,
    binding: Binding,
    moderator_pw: String,
    voice_bridge: String,
    expires_ms: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
}

pub(super) fn server(r: &ServerRecord) -> Vec<u8> {
    let row = ServerRow {
        id: r.id.clone(),
        url: r.url.clone(),
        secret: r.secret.expose().to_owned(),
        old_secret: r.old_secret.as_ref().map(|old| old.expose().to_owned()),
        tag: r.tag.clone(),
        state: r.state,
        online: r.online,
        load_multiplier: r.load_multiplier.clone(),
        bbb_version: r.bbb_version.clone(),
    };
    // Plain text and numbers always serialise.
    serde_json::to_vec(&row).unwrap_or_default()
}

pub(super) fn meeting(h: &Held) -> Vec<u8> {
    let m = &h.record;
    let row = MeetingRow {
        id: m.id.clone(),
        binding: m.binding.clone(),
        moderator_pw: m.moderator_pw.clone(),
        voice_bridge: m.voice_bridge.clone(),
        expires_ms: h.expires_ms,
        tenant: m.tenant.clone(),
    };
    serde_json::to_vec(&row).unwrap_or_default()
}

#[cfg(feature = "file")]
pub(super) fn read_server(row: &[u8]) -> Result<ServerRecord, serde_json::Error> {
    let row: ServerRow = serde_json::from_slice(row)?;
    let mut r = ServerRecord::new(row.id, row.url, Secret::new(row.secret));
    r.old_secret = row.old_secret.map(Secret::new);
    r.tag = row.tag;
    r.state = row.state;
    r.online = row.online;
    r.load_multiplier = row.load_multiplier;
    r.bbb_version = row.bbb_version;
    Ok(r)
}

#[cfg(feature = "file")]
pub(super) fn read_meeting(row: &[u8]) -> Result<Held, serde_json::Error> {
    let row: MeetingRow = serde_json::from_slice(row)?;
    let record = MeetingRecord {
        id: row.id,
        binding: row.binding,
        moderator_pw: row.moderator_pw,
        voice_bridge: row.voice_bridge,
        ending: false,
        tenant: row.tenant,
    };
    Ok(Held { record, expires_ms: row.expires_ms, ending_until_ms: 0 })
}
