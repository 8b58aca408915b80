//! A request in, a response out: the BigBlueButton API of a whole cluster.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::api::{BodyKind, Call, Fault, Params, Route, check_content_type, route, write_index};
use crate::cluster::Cluster;
use crate::options::RatePer;
use crate::recordings::Recordings;
use crate::request_id;

mod admin;
mod answers;
mod callbacks;
mod create;
mod dial_in;
mod documents;
mod hooks;
mod learning;
mod limit;
mod meeting;
mod metrics;
mod operate;
mod pass_on;
mod plan;
mod recording_figures;
mod recordings;
#[cfg(feature = "recordings")]
mod recordings_desk;
mod request;
mod status;
mod tenant_admin;
mod tenants;

pub(crate) use answers::plain;
use answers::{JSON, XML, fault, forbidden, json, relay, status, store_away, store_fault, with_body, xml};
pub(crate) use metrics::{ALL, Counts};
pub use request::{BodyPlan, Payload, RequestHead};

use limit::Caller;
#[cfg(feature = "recordings")]
pub use recordings_desk::RecordingDesk;
use tenants::Scope;

use pass_on::SessionBody;

/// What is answered at one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surface {
    /// Everything.
    #[default]
    Whole,
    /// What front-ends, servers and browsers need: nothing of the operators' calls and figures.
    Public,
    /// The operators' calls, figures and health pages alone, under any host name.
    Operators,
}

/// Answers the API for a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BbbService {
    cluster: Arc<Cluster>,
    surface: Surface,
    scope: Scope,
    recordings: Option<Arc<Recordings>>,
    #[cfg(feature = "recordings")]
    gate: Option<crate::recordings::PlaybackGate>,
    #[cfg(feature = "recordings")]
    desk: Option<recordings_desk::RecordingDesk>,
}

/// What the work on a call came to: a whole document, or a failure.
type Done = Result<Response<Bytes>, Fault>;

impl BbbService {
    /// A service for this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            surface: Surface::Whole,
            scope: Scope::All,
            recordings: None,
            #[cfg(feature = "recordings")]
            gate: None,
            #[cfg(feature = "recordings")]
            desk: None,
        }
    }

    /// The same with recordings. Without them `getRecordings` answers an empty list, and nothing is found to change.
    #[must_use]
    pub fn with_recordings(mut self, recordings: Arc<Recordings>) -> Self {
        self.recordings = Some(recordings);
        self
    }

    /// The same for an address where only a part is answered.
    #[must_use]
    pub fn with_surface(mut self, surface: Surface) -> Self {
        self.surface = surface;
        self
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// How the body of this request is to be read.
    pub fn body_plan(&self, head: &RequestHead<'_>) -> BodyPlan {
        let is_xml = head.content_type.is_some_and(|t| t.split(';').next().unwrap_or("").trim().ends_with("/xml"));
        match route(head.path, head.method) {
            Route::Call(Call::InsertDocument) if is_xml => BodyPlan::Stream,
            Route::Call(Call::Create) if is_xml => BodyPlan::Slides,
            _ => BodyPlan::Form,
        }
    }

    /// Whether the body of a request with slides is worth reading: nobody without a secret makes us hold a large one.
    pub(crate) async fn takes_slides(&self, head: &RequestHead<'_>) -> bool {
        let Route::Call(call) = route(head.path, head.method) else { return false };
        if !self.host_allowed(head) || !self.shows(head.path) {
            return false;
        }
        let Ok(params) = Params::parse(head.query.as_bytes()) else { return false };
        let Ok(me) = self.for_host(head.host).await else { return false };
        let o = self.cluster.live();
        let given = params.get("checksum").unwrap_or("");
        me.checksums(call, &o.checksums).verify(call.name(), head.query, given).is_ok()
    }

    fn refuse_checksum(&self, call: Call, head: &RequestHead<'_>, params: &Params<'_>) -> Option<Response<Bytes>> {
        let given = params.get("checksum").unwrap_or("");
        let o = self.cluster.live();
        match self.checksums(call, &o.checksums).fitting(call.name(), head.query, given) {
            Ok(secret) => self.refuse_signed(call, secret),
            Err(why) => {
                tracing::info!(call = call.name(), reason = %why, "checksum refused");
                Some(fault(&Fault::Checksum))
            }
        }
    }

    /// Like [`refuse_checksum`](Self::refuse_checksum), for a form: its checksum may, or must, cover the body too.
    fn refuse_form(
        &self,
        call: Call,
        head: &RequestHead<'_>,
        params: &Params<'_>,
        form: &[u8],
    ) -> Option<Response<Bytes>> {
        let o = self.cluster.live();
        let given = params.get("checksum").unwrap_or("");
        if !o.signed_forms
            && let Ok(secret) = self.checksums(call, &o.checksums).fitting(call.name(), head.query, given)
        {
            return self.refuse_signed(call, secret);
        }
        let form = String::from_utf8_lossy(form);
        let both = if head.query.is_empty() { form } else { format!("{}&{form}", head.query).into() };
        match self.checksums(call, &o.checksums).fitting(call.name(), &both, given) {
            Ok(secret) => self.refuse_signed(call, secret),
            Err(why) => {
                tracing::info!(call = call.name(), reason = %why, "checksum of a form refused");
                Some(fault(&Fault::Checksum))
            }
        }
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future answers nothing; a create or end that was begun is carried to its end all the same.
    pub async fn handle(&self, head: RequestHead<'_>, body: Payload) -> Response<Bytes> {
        let (began, call) = (Instant::now(), self.label(&head));
        let id = request_id::taken(head.request_id);
        let span = tracing::info_span!("request", id = %id, call);
        let mut answer = request_id::under(id.clone(), self.answer(head, body).instrument(span)).await;
        self.cluster.counts.calls.note(call, began.elapsed());
        if let Ok(id) = HeaderValue::try_from(&*id) {
            answer.headers_mut().insert(request_id::HEADER, id);
        }
        answer
    }

    /// What the request is called in figures and logs: one of few words, whatever was sent.
    fn label(&self, head: &RequestHead<'_>) -> &'static str {
        if let Some(name) = head.path.strip_prefix("/balancer/api/") {
            return operate::known(name);
        }
        match route(head.path, head.method) {
            Route::Call(call) if call.name().is_empty() => "index",
            Route::Call(call) => call.name(),
            Route::Health | Route::Live | Route::Ready => "health",
            Route::Dialplan => "fsapi",
            _ if head.path == "/metrics" => "metrics",
            _ => "other",
        }
    }

    /// The refusal of a caller who calls too often, if callers are told apart in this way. Whoever calls at the
    /// operators' own address never is.
    fn refuse_often(&self, caller: Caller) -> Option<Response<Bytes>> {
        if self.surface == Surface::Operators {
            return None;
        }
        let rule = self.cluster.live().rate?;
        let per =
            if matches!(caller, Caller::Secret(_) | Caller::Tenant(..)) { RatePer::Secret } else { RatePer::Address };
        if rule.per != per {
            return None;
        }
        let wait = self.cluster.counts.limiter.take(rule, caller, Instant::now()).err()?;
        tracing::info!(?caller, "a caller is refused: it calls too often");
        Some(limit::refused(&self.cluster.counts, wait))
    }

    async fn answer(&self, head: RequestHead<'_>, body: Payload) -> Response<Bytes> {
        if !self.host_allowed(&head) {
            return forbidden();
        }
        if !self.shows(head.path) {
            return fault(&Fault::UnsupportedRequest);
        }
        if let Some(name) = head.path.strip_prefix("/balancer/api/") {
            return self.operate(name, &head, body).await;
        }
        if head.path == "/metrics" && matches!(head.method, "GET" | "HEAD") {
            return self.metrics().await;
        }
        match route(head.path, head.method) {
            Route::Call(call) => match self.for_host(head.host).await {
                Ok(me) => me.in_own_words(me.call(call, &head, body).await),
                Err(e) => fault(&store_fault(&e)),
            },
            Route::Dialplan => self.dial_in(&head, body).await,
            Route::Health => self.health().await,
            Route::Live => plain(StatusCode::OK, "success"),
            Route::Ready => self.ready().await,
            #[cfg(feature = "recordings")]
            _ if self.gate.is_some() => match self.for_host(head.host).await {
                Ok(me) => me.play(&head).await,
                Err(e) => fault(&store_fault(&e)),
            },
            _ => fault(&Fault::UnsupportedRequest),
        }
    }

    /// Whether this path is answered here.
    fn shows(&self, path: &str) -> bool {
        if self.surface == Surface::Whole {
            return true;
        }
        let of_operators =
            path == "/metrics" || path.starts_with("/balancer/api/") || path.starts_with("/scalelite/api/");
        let of_both = matches!(path, "/" | "/health_check" | "/livez" | "/readyz");
        of_both || of_operators == (self.surface == Surface::Operators)
    }

    fn host_allowed(&self, head: &RequestHead<'_>) -> bool {
        if self.surface == Surface::Operators {
            return true;
        }
        let o = self.cluster.live();
        let Some(wanted) = o.url_host.as_deref().filter(|h| !h.is_empty()) else { return true };
        if head.path.contains("health_check") || matches!(head.path, "/livez" | "/readyz" | "/metrics") {
            return true;
        }
        let host = head.host.unwrap_or("");
        let name = tenants::host_name(host);
        let wanted = wanted.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case(wanted) || (o.multitenancy && tenants::is_below(name, wanted))
    }

    async fn health(&self) -> Response<Bytes> {
        match self.cluster.store.check().await {
            Ok(()) => plain(StatusCode::OK, "success"),
            Err(e) => plain(StatusCode::OK, &format!("Health Check Failure: {e}")),
        }
    }

    async fn ready(&self) -> Response<Bytes> {
        match self.cluster.readiness().await {
            Ok(None) => plain(StatusCode::OK, "success"),
            Ok(Some(away)) => {
                let limit = "known meetings are answered, new ones are refused";
                plain(StatusCode::OK, &format!("success, but {limit}: {away}"))
            }
            Err(e) => plain(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
        }
    }

    async fn call(&self, call: Call, head: &RequestHead<'_>, body: Payload) -> Response<Bytes> {
        // Servers that tell of recordings and statistics sign with tokens, and are not slowed down.
        let of_servers = matches!(call, Call::AnalyticsCallback | Call::RecordingReadyCallback);
        if !of_servers
            && let Some(ip) = head.caller
            && let Some(refusal) = self.refuse_often(ip.into())
        {
            return refusal;
        }
        let kind = match check_content_type(call.body_rule(), head.method, head.content_type, body.is_empty()) {
            Ok(kind) => kind,
            Err(f) => return fault(&f),
        };
        let whole = match &body {
            Payload::Whole(b) => b.clone(),
            Payload::Stream(_) | Payload::Slides { .. } => Bytes::new(),
        };
        let params = match parameters(head, kind, &whole) {
            Ok(p) => p,
            Err(e) => return plain(StatusCode::BAD_REQUEST, &e.to_string()),
        };
        if call.needs_checksum() {
            let refusal = if matches!(kind, BodyKind::Form | BodyKind::Multipart) {
                self.refuse_form(call, head, &params, &whole)
            } else {
                self.refuse_checksum(call, head, &params)
            };
            if let Some(refusal) = refusal {
                return recordings::refusal(call, refusal);
            }
        }
        if call.is_admin() {
            return self.admin(call, &params, &whole).await;
        }
        let done = match call {
            Call::Index => {
                let o = self.cluster.live();
                Ok(xml(64, |out| write_index(out, o.build.as_deref())))
            }
            Call::IsMeetingRunning => self.is_meeting_running(&params).await,
            Call::GetMeetingInfo => self.get_meeting_info(&params).await,
            Call::GetMeetings => self.get_meetings().await,
            Call::Create => {
                let document = if kind == BodyKind::Xml { body } else { Payload::Whole(Bytes::new()) };
                self.create(&params, document).await
            }
            Call::End => self.end(&params).await,
            Call::Join => self.join(&params).await,
            Call::InsertDocument => self.insert_document(&params, body).await,
            Call::GetRecordings
            | Call::PublishRecordings
            | Call::UpdateRecordings
            | Call::DeleteRecordings
            | Call::GetRecordingTextTracks
            | Call::PutRecordingTextTrack => self.about_recordings(call, head, &params, &whole).await,
            Call::AnalyticsCallback => {
                return self.analytics_callback(&params, kind, &whole, head.authorization).await;
            }
            Call::RecordingReadyCallback => return self.recording_ready_callback(&params).await,
            Call::SendChatMessage => self.send_chat_message(&params).await,
            // A session says nothing of its tenant, and any server may be asked for it.
            Call::GetJoinUrl | Call::Feedback if self.tenant().is_some() => Err(Fault::UnsupportedRequest),
            Call::GetJoinUrl | Call::Feedback => {
                self.about_session(call.name(), &params, SessionBody::of(kind, &whole)).await
            }
            Call::HooksCreate => self.hooks_create(&params).await,
            Call::HooksList => self.hooks_list(&params).await,
            Call::HooksDestroy => self.hooks_destroy(&params).await,
            _ => Err(Fault::UnsupportedRequest),
        };
        done.unwrap_or_else(|f| fault(&f))
    }
}

/// Query and form body merged; the body wins.
fn parameters<'a>(
    head: &RequestHead<'a>,
    kind: BodyKind,
    body: &'a [u8],
) -> Result<Params<'a>, crate::api::ParamError> {
    let mut params = Params::parse(head.query.as_bytes())?;
    match kind {
        BodyKind::Form => params.merge(Params::parse(body)?),
        BodyKind::Multipart => {
            params.merge(Params::parse_multipart(body, head.content_type.unwrap_or(""))?);
        }
        _ => {}
    }
    Ok(params)
}
