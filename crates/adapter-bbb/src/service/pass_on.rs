//! Calls that are passed on as they came: to the meeting's server, or to whichever server knows the session.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{Either, Full};
use serde_json::Value;
use tokio::task::JoinSet;

use super::meeting::meeting_id;
use super::{BbbService, BodyKind, Done, JSON, relay, with_body};
use crate::api::{Fault, Params, Reply};
use crate::client::Upload;
use crate::request_id::carried;
use crate::store::ServerState;

/// What a server made of a call that is about a session.
fn answered(bytes: &[u8]) -> Result<bool, Fault> {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        let of = value.get("response").unwrap_or(&value);
        let word = |name: &str| of.get(name).and_then(Value::as_str);
        return Ok(word("returncode") == Some("SUCCESS") || word("status") == Some("ok"));
    }
    Reply::parse(bytes).map(|reply| reply.is_success()).map_err(|_| Fault::NoReturncode)
}

/// The answer in the form in which the server gave it.
fn passed(bytes: &Bytes) -> Done {
    if serde_json::from_slice::<Value>(bytes).is_ok() {
        return Ok(with_body(StatusCode::OK, JSON, bytes.clone()));
    }
    relay(bytes, Fault::AccessMeetingFailed)
}

/// All that the front-end sent, without its checksum.
fn forwarded(params: &Params<'_>) -> Params<'static> {
    let mut forward = params.borrowed().into_owned();
    forward.collapse();
    forward.remove("checksum");
    forward
}

impl BbbService {
    pub(super) async fn send_chat_message(&self, params: &Params<'_>) -> Done {
        let home = self.home(meeting_id(params)?).await?.ok_or(Fault::MeetingNotFound)?;
        let mut forward = forwarded(params);
        forward.set("meetingID", home.meeting.id.clone());
        let answer = self.cluster.ask(&home.server, "sendChatMessage", &forward, None, !home.online).await;
        relay(&answer.map_err(|_| Fault::AccessMeetingFailed)?, Fault::AccessMeetingFailed)
    }

    /// `getJoinUrl` and `feedback`: with a meeting its server is asked; a session alone is looked for on every server
    /// that is online, and the one that knows it answers.
    pub(super) async fn about_session(&self, call: &'static str, params: &Params<'_>, body: SessionBody) -> Done {
        let forward = forwarded(params);
        if let Some(id) = params.present("meetingID")
            && let Some(home) = self.cluster.home(id).await?
        {
            let answer = self.cluster.ask(&home.server, call, &forward, body.upload(), !home.online).await;
            return passed(&answer.map_err(|_| Fault::AccessMeetingFailed)?);
        }
        if params.present("sessionToken").is_none() {
            let message = "You must provide a session token.".into();
            return Err(Fault::Passed { key: "missingToken".into(), message });
        }
        let mut asked = JoinSet::new();
        for r in self.cluster.records() {
            let Some(server) = self.cluster.server(&r.id).filter(|_| r.online && r.state != ServerState::Disabled)
            else {
                continue;
            };
            let (cluster, forward, upload) = (self.cluster.clone(), forward.clone(), body.upload());
            asked.spawn(carried(async move { cluster.ask(&server, call, &forward, upload, false).await }));
        }
        let mut last = None;
        while let Some(done) = asked.join_next().await {
            let Ok(Ok(bytes)) = done else { continue };
            match answered(&bytes) {
                Ok(true) => return passed(&bytes),
                Ok(false) => last = Some(passed(&bytes)),
                Err(fault) => last = last.or(Some(Err(fault))),
            }
        }
        last.unwrap_or(Err(Fault::AccessServerFailed))
    }
}

/// What comes with a call about a session.
#[derive(Clone)]
pub(super) enum SessionBody {
    None,
    Json(Bytes),
    /// Its parameters go along in the query, which is signed.
    Form,
}

impl SessionBody {
    pub(super) fn of(kind: BodyKind, body: &Bytes) -> Self {
        match kind {
            BodyKind::Json => Self::Json(body.clone()),
            BodyKind::Form | BodyKind::Multipart => Self::Form,
            _ => Self::None,
        }
    }

    fn upload(&self) -> Option<Upload> {
        let (content_type, body) = match self {
            Self::None => return None,
            Self::Json(body) => ("application/json", body.clone()),
            Self::Form => ("application/x-www-form-urlencoded", Bytes::new()),
        };
        Some(Upload { content_type, body: Either::Left(Full::new(body)) })
    }
}
