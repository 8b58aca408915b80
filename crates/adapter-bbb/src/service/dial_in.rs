//! Dial-in: a telephone server asks what to do with a call, and is answered with a dialplan.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use subtle::ConstantTimeEq;

use super::tenants::Scope;
use super::{BbbService, Payload, RequestHead, plain, store_fault, with_body};
use crate::api::{
    BodyKind, BodyRule, Fault, Params, Prompt, again, bridge, caller_name, check_content_type, not_found, welcome,
};
use crate::client::host_of;
use crate::store::MeetingRecord;
use crate::store::tenants::scoped_id;

/// The user that telephone servers call themselves.
const USER: &str = "fsapi";
/// The longest number that is looked for.
const MAX_PIN: usize = 64;
/// A longer number may be that of a breakout room: a digit more than its meeting's.
const BREAKOUT_OVER: usize = 5;

fn xml(text: String) -> Response<Bytes> {
    const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
    with_body(StatusCode::OK, XML, text)
}

/// User and password of an `Authorization` header.
fn basic(header: Option<&str>) -> Option<(String, String)> {
    let (way, rest) = header?.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    way.eq_ignore_ascii_case("basic").then(|| (user.to_owned(), password.to_owned()))
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

impl BbbService {
    pub(super) async fn dial_in(&self, head: &RequestHead<'_>, body: Payload) -> Response<Bytes> {
        // Nobody tries passwords faster than he may call.
        if let Some(ip) = head.caller
            && let Some(refusal) = self.refuse_often(ip.into())
        {
            return refusal;
        }
        let me = match self.for_host(head.host).await {
            Ok(me) => me,
            Err(e) => return plain(StatusCode::SERVICE_UNAVAILABLE, &store_fault(&e).message()),
        };
        if !me.dial_in_allowed(head.authorization) {
            tracing::info!("a telephone server is refused: user or password is wrong");
            return me.ask_for_password();
        }
        let Payload::Whole(body) = body else { return xml(not_found()) };
        let kind = check_content_type(BodyRule::Any, head.method, head.content_type, body.is_empty());
        let params = match kind.unwrap_or(BodyKind::None) {
            // Callers' names are in whatever encoding their telephones have; nobody is turned away for that.
            BodyKind::Form => Params::parse_lossy(&body),
            BodyKind::Multipart => Params::parse_multipart(&body, head.content_type.unwrap_or("")),
            _ => Ok(Params::new()),
        };
        match params {
            Ok(params) => match me.dialplan(&params).await {
                Ok(plan) => xml(plan),
                Err(fault) => plain(StatusCode::SERVICE_UNAVAILABLE, &fault.message()),
            },
            Err(e) => plain(StatusCode::BAD_REQUEST, &e.to_string()),
        }
    }

    /// Where a tenant is called, its own secrets open it as well.
    fn dial_in_allowed(&self, authorization: Option<&str>) -> bool {
        let o = self.cluster.live();
        let own = match &o.dial_in.password {
            Some(password) => password.expose(),
            None => o.checksums.first_secret().unwrap_or(""),
        };
        if own.is_empty() && o.dial_in.password.is_some() {
            return true;
        }
        let Some((user, password)) = basic(authorization) else { return false };
        let fits = |secret: &str| !secret.is_empty() && same(&password, secret);
        let mut good = fits(own);
        if let Some(t) = self.tenant() {
            good = t.secret_list().fold(good, |good, secret| fits(secret) | good);
        }
        same(&user, USER) & good
    }

    fn ask_for_password(&self) -> Response<Bytes> {
        let o = self.cluster.live();
        let realm = o.url_host.as_deref().filter(|host| !host.is_empty()).unwrap_or("bbb-balancer");
        let realm = realm.replace(['"', '\\'], "");
        let mut r = plain(StatusCode::UNAUTHORIZED, "HTTP Basic: Access denied.\n");
        if let Ok(value) = HeaderValue::try_from(format!("Basic realm=\"{realm}\"")) {
            r.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        r
    }

    async fn dialplan(&self, params: &Params<'_>) -> Result<String, Fault> {
        let Some(number) =
            params.present("Caller-Destination-Number").filter(|_| params.get("section") == Some("dialplan"))
        else {
            return Ok(not_found());
        };
        let o = self.cluster.live();
        let longest = u64::from(o.dial_in.max_minutes.unwrap_or(o.max_duration)) * 60;
        let prompt = Prompt { digits: o.dial_in.digits, longest };
        let Some(pin) = params.present("variable_pin") else { return Ok(welcome(number, prompt)) };
        let Some((meeting, host)) = self.dialled(pin).await? else {
            tracing::info!("a caller typed a number that no meeting has");
            return Ok(again(number, prompt));
        };
        let hides = |what: &str| params.get(what) == Some("true");
        let name = params.get("Caller-Caller-ID-Name").unwrap_or("");
        let caller = caller_name(name, hides("Caller-Privacy-Hide-Name"), hides("Caller-Privacy-Hide-Number"));
        // Telephone servers keep it as a variable: as the front-end knows it.
        let mark = scoped_id(&meeting.tenant, "");
        let id = meeting.id.strip_prefix(&mark).unwrap_or(&meeting.id);
        Ok(bridge(number, id, &caller, pin, &host))
    }

    /// The meeting that has this number, and the host name of its server.
    async fn dialled(&self, pin: &str) -> Result<Option<(MeetingRecord, String)>, Fault> {
        if pin.len() > MAX_PIN || !pin.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(None);
        }
        let mut found = self.by_number(pin).await?;
        if found.is_none() && pin.len() > BREAKOUT_OVER {
            found = self.by_number(&pin[..pin.len() - 1]).await?;
        }
        let Some(meeting) = found else { return Ok(None) };
        let Some(record) = self.cluster.record(&meeting.binding.backend) else { return Ok(None) };
        let host = host_of(&record.url);
        let bare = super::tenants::host_name(&host).to_owned();
        Ok(Some((meeting, if host.starts_with('[') { format!("[{bare}]") } else { bare })))
    }

    async fn by_number(&self, number: &str) -> Result<Option<MeetingRecord>, Fault> {
        let found = self.cluster.store.tenant_store().by_voice_bridge(number).await.map_err(|e| store_fault(&e))?;
        Ok(found.filter(|m| match &self.scope {
            // The balancer's own host name is the operator's: one telephone number for all tenants.
            Scope::All | Scope::Nobody => true,
            Scope::Tenant(t) => m.tenant == t.id,
        }))
    }
}
