//! Callbacks: what front-ends ask for with a `create`, and what servers tell us for them.

use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::{BbbService, Bytes, plain, status};
use crate::api::{BodyKind, Fault, ParamRules, Params, TokenKind, verified_claims};
use crate::cluster::Cluster;
use crate::egress::{AddressRules, UrlRefusal};
use crate::secret::Secret;
use crate::store::tenants::in_tenants_words;
use crate::store::{CallbackUrls, DeliveryKind, TenantRecord};

const ANALYTICS: &str = "meta_analytics-callback-url";
const RECORDING_READY: [&str; 3] =
    ["meta_bn-recording-ready-url", "meta_bbb-recording-ready-url", "meta_canvas-recording-ready-url"];
/// The one that servers themselves know.
const SERVERS_READY: &str = "meta_bbb-recording-ready-url";
/// Whom servers call themselves when a meeting is over, under its two names.
const ENDED: [&str; 2] = ["meta_endCallbackUrl", "meetingEndedURL"];
const DOCUMENT: &str = "preUploadedPresentation";

/// The name under which an address is looked for, if this parameter holds one. An element of an array reaches the
/// server under the plain name, and servers take names behind `meta_` in any case.
fn address(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("[]").unwrap_or(name);
    if let Some(key) = name.strip_prefix("meta_") {
        let metas = RECORDING_READY.into_iter().chain([ANALYTICS, ENDED[0]]);
        return metas.into_iter().find(|known| known["meta_".len()..].eq_ignore_ascii_case(key));
    }
    [DOCUMENT, ENDED[1]].into_iter().find(|known| *known == name)
}

/// Whether a `create` names addresses that we have to look at. Most do not, and pay for a few comparisons only.
pub(super) fn named(params: &Params<'_>) -> bool {
    params.iter().any(|(name, _)| address(name).is_some())
}

/// A document whose address is not allowed.
pub(super) fn refused_document(why: &str) -> Fault {
    Fault::Passed { key: "invalidDocument".into(), message: format!("The document cannot be used: {why}") }
}

/// Whether a parameter of this name holds the address of a document.
pub(super) fn is_document(name: &str) -> bool {
    address(name) == Some(DOCUMENT)
}

/// Refuses a private address of a document that the rules put into a `create`, as one that a front-end sends.
pub(super) async fn check_rules(allow: &AddressRules, rules: &ParamRules, params: &Params<'_>) -> Result<(), Fault> {
    for (_, url) in rules.added(params).filter(|(name, url)| is_document(name) && !url.trim().is_empty()) {
        allow.check_resolved(url).await.map_err(|e| refused_document(&e.to_string()))?;
    }
    Ok(())
}

/// Puts our own addresses in the place of the front-end's, and keeps those; leaves out private ones that the server would
/// call itself; refuses a private address of a document.
pub(super) async fn take(
    cluster: &Cluster,
    tenant: Option<&TenantRecord>,
    meeting: &str,
    params: &mut Params<'static>,
) -> Result<(), Fault> {
    let o = cluster.live();
    params.rename(address);
    if let Some(url) = params.present(DOCUMENT) {
        o.callbacks.allow.check_resolved(url).await.map_err(|e| refused_document(&e.to_string()))?;
    }
    let mut urls = CallbackUrls::default();
    let below = tenant.map(|t| format!("{}.", t.name)).unwrap_or_default();
    let own = |call: &str| o.url_host.as_ref().map(|host| format!("https://{below}{host}/bigbluebutton/api/{call}"));
    let usable = |url: Option<&str>| -> Option<String> {
        let url = url?;
        match o.callbacks.allow.check(url) {
            Ok(_) => Some(url.to_owned()),
            Err(e) => {
                tell(meeting, &e);
                None
            }
        }
    };
    // Without a host name of our own, the server calls the front-end itself.
    let relayed = own("analytics_callback");
    for name in ENDED.into_iter().chain(relayed.is_none().then_some(ANALYTICS)) {
        if let Some(url) = params.present(name)
            && let Err(e) = o.callbacks.allow.check_resolved(url).await
        {
            tell(meeting, &e);
            params.remove(name);
        }
    }
    if params.contains(ANALYTICS)
        && let Some(ours) = relayed
    {
        urls.analytics = usable(params.present(ANALYTICS));
        match urls.analytics {
            Some(_) => params.set(ANALYTICS, ours),
            None => params.remove(ANALYTICS),
        }
    }
    if RECORDING_READY.iter().any(|name| params.contains(name)) {
        urls.recording_ready = usable(RECORDING_READY.iter().find_map(|name| params.present(name)));
        RECORDING_READY.iter().for_each(|name| params.remove(name));
        if urls.recording_ready.is_some()
            && o.callbacks.relay_recording_ready
            && let Some(ours) = own("recording_ready_callback")
        {
            params.set(SERVERS_READY, ours);
        }
    }
    if urls == CallbackUrls::default() {
        return Ok(());
    }
    urls.tenant = tenant.map(|t| t.id.clone());
    let store = cluster.store.callback_store();
    store.keep_urls(meeting, &urls, o.callbacks.keep_urls).await.map_err(|e| super::store_fault(&e))
}

fn tell(meeting: &str, refusal: &UrlRefusal) {
    tracing::warn!(meeting = ?meeting, reason = %refusal, "a callback address of a create is left out");
}

impl BbbService {
    /// Whether any of the servers signed this token.
    fn claims(&self, token: &str, kinds: &[TokenKind], must_end: bool) -> Option<Value> {
        let records = self.cluster.records();
        let secrets =
            records.iter().flat_map(|r| [Some(&r.secret), r.old_secret.as_ref()]).flatten().map(Secret::expose);
        verified_claims(token, kinds, secrets, self.cluster.wall_ms() / 1000, must_end)
    }

    /// Statistics of a meeting. The answer is the same whatever becomes of them.
    pub(super) async fn analytics_callback(
        &self,
        params: &Params<'_>,
        kind: BodyKind,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Response<Bytes> {
        let token = authorization.and_then(|a| a.split_once(' ')).filter(|(way, _)| way.eq_ignore_ascii_case("bearer"));
        let trusted = token.is_some_and(|(_, t)| self.claims(t.trim(), &[TokenKind::Hs512], true).is_some());
        if !trusted {
            tracing::info!("statistics are refused: no server signed their token, or it has ended");
            return status(StatusCode::NO_CONTENT);
        }
        let mut said: Map<String, Value> = match kind {
            BodyKind::Json => serde_json::from_slice(body).unwrap_or_default(),
            _ => Map::new(),
        };
        for (name, value) in params.iter().filter(|(name, _)| *name != "checksum") {
            said.entry(name).or_insert_with(|| value.unwrap_or_default().into());
        }
        let Some(meeting) = said.get("meeting_id").and_then(Value::as_str).map(str::to_owned) else {
            tracing::info!("statistics are refused: they name no meeting");
            return status(StatusCode::NO_CONTENT);
        };
        let kept = self.cluster.store.callback_store().urls(&meeting).await;
        let tenant = kept.as_ref().ok().and_then(|kept| kept.tenant.clone());
        let customer = match &tenant {
            Some(id) => self.cluster.tenant_of_id(id).await.ok().flatten().map_or_else(String::new, |t| t.name.clone()),
            None => "scalelite".to_owned(),
        };
        said.insert("customer".to_owned(), customer.into());
        let done = match kept {
            Ok(CallbackUrls { analytics: Some(url), .. }) => {
                let mut body = Value::Object(said).to_string();
                if let Some(id) = &tenant {
                    // Front-ends know their meetings by shorter ids.
                    body = in_tenants_words(id, &body).unwrap_or(body);
                }
                self.cluster.hand_in(DeliveryKind::Analytics, url, body, tenant).await
            }
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        };
        match done {
            Ok(()) => status(StatusCode::NO_CONTENT),
            // Not kept: whoever sent it may do so again.
            Err(e) => {
                tracing::error!(error = %e, "statistics cannot be kept");
                plain(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be asked")
            }
        }
    }

    /// A server says that a recording is ready.
    pub(super) async fn recording_ready_callback(&self, params: &Params<'_>) -> Response<Bytes> {
        const KINDS: &[TokenKind] = &[TokenKind::Hs256, TokenKind::Hs384, TokenKind::Hs512];
        let Some(claims) = params.get("signed_parameters").and_then(|token| self.claims(token, KINDS, false)) else {
            tracing::info!("the news of a recording is refused: no server signed it");
            return plain(StatusCode::UNAUTHORIZED, "no server signed this");
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let (Some(meeting), Some(record)) = (text("meeting_id"), text("record_id")) else {
            return plain(StatusCode::BAD_REQUEST, "meeting_id and record_id are needed");
        };
        match self.cluster.recording_ready(meeting, record).await {
            Ok(_) => status(StatusCode::OK),
            Err(e) => {
                tracing::error!(error = %e, "the news of a recording cannot be kept");
                plain(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be asked")
            }
        }
    }
}
