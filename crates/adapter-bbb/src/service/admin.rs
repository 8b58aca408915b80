//! Scalelite's JSON admin API.

use balancer_core::{BackendId, random};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{BbbService, json as answer, plain};
use crate::api::{Call, Params};
use crate::client::host_of;
use crate::cluster::Cluster;
use crate::secret::Secret;
use crate::store::{ServerPatch, ServerRecord, ServerState};

/// Deepest and longest JSON an administrator may send is bounded by the form limit and serde's own depth limit.
pub(super) fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

pub(super) fn text<'v>(v: &'v Value, name: &str) -> Option<&'v str> {
    v.get(name).and_then(Value::as_str)
}

/// A number that may be given as number or text.
pub(super) fn numeral(v: &Value) -> Option<String> {
    match v {
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => Some(s.clone()),
        _ => None,
    }
}

pub(super) fn error(code: StatusCode, message: impl Into<String>) -> Response<Bytes> {
    answer(code, &json!({ "error": message.into() }))
}

pub(super) fn unknown(id: &str) -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, format!("Couldn't find server with id={id}"))
}

pub(super) fn trouble(e: &balancer_core::StickError) -> Response<Bytes> {
    tracing::error!(error = %e, "the store cannot be asked");
    error(StatusCode::SERVICE_UNAVAILABLE, format!("the store cannot be asked: {e}"))
}

/// The multiplier as Scalelite shows it: `1` becomes `1.0`.
fn multiplier_text(r: &ServerRecord) -> String {
    let m = r.multiplier();
    if m.fract() == 0.0 { format!("{m:.1}") } else { m.to_string() }
}

fn server_object(r: &ServerRecord) -> Value {
    json!({
        "id": r.id,
        "url": r.url,
        "secret": r.secret.expose(),
        "tag": r.tag.as_deref().unwrap_or(""),
        "bbb_version": r.bbb_version.as_deref().unwrap_or(""),
        "state": r.state.as_str(),
        "load": r.load.map_or(json!("unavailable"), |l| json!(l)),
        "load_multiplier": multiplier_text(r),
        "online": if r.online { "online" } else { "offline" },
    })
}

/// A random UUID, version 4.
pub(super) fn uuid() -> String {
    let (a, b) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}

impl Cluster {
    /// Reads one server from the store itself, so that what others changed is seen.
    pub(super) async fn fresh_record(&self, id: &str) -> Result<Option<ServerRecord>, balancer_core::StickError> {
        let registry = self.store.servers().await?;
        Ok(registry.servers.into_iter().find(|r| r.id.as_str() == id))
    }
}

impl BbbService {
    pub(super) async fn admin(&self, call: Call, params: &Params<'_>, body: &[u8]) -> Response<Bytes> {
        if call.is_about_tenants() && !self.cluster.live().multitenancy {
            return answer(StatusCode::PRECONDITION_FAILED, &json!({ "message": "Multitenancy is disabled" }));
        }
        let done = match call {
            Call::GetServers => self.get_servers().await,
            Call::GetServerInfo => self.get_server_info(params.get("id").unwrap_or("")).await,
            Call::AddServer => self.add_server(&parse(body)).await,
            Call::UpdateServer => self.update_server(&parse(body)).await,
            Call::DeleteServer => self.delete_server(&parse(body)).await,
            Call::PanicServer => self.panic_server(&parse(body)).await,
            Call::GetTenants => self.get_tenants().await,
            Call::GetTenantInfo => self.get_tenant_info(params.get("id").unwrap_or("")).await,
            Call::AddTenant => self.add_tenant(&parse(body)).await,
            Call::UpdateTenant => self.update_tenant(&parse(body)).await,
            Call::DeleteTenant => self.delete_tenant(&parse(body)).await,
            _ => Ok(plain(StatusCode::NOT_FOUND, "no such call")),
        };
        done.unwrap_or_else(|e| trouble(&e))
    }

    async fn get_servers(&self) -> Result<Response<Bytes>, balancer_core::StickError> {
        let registry = self.cluster.store.servers().await?;
        if registry.servers.is_empty() {
            return Ok(error(StatusCode::NOT_FOUND, "No servers are configured"));
        }
        let all: Vec<Value> = registry.servers.iter().map(server_object).collect();
        Ok(answer(StatusCode::OK, &Value::Array(all)))
    }

    async fn get_server_info(&self, id: &str) -> Result<Response<Bytes>, balancer_core::StickError> {
        Ok(match self.cluster.fresh_record(id).await? {
            Some(r) => answer(StatusCode::OK, &server_object(&r)),
            None => unknown(id),
        })
    }

    async fn add_server(&self, body: &Value) -> Result<Response<Bytes>, balancer_core::StickError> {
        let server = body.get("server").unwrap_or(&Value::Null);
        let (Some(url), Some(secret)) =
            (text(server, "url").filter(|u| !u.is_empty()), text(server, "secret").filter(|s| !s.is_empty()))
        else {
            return Ok(error(StatusCode::BAD_REQUEST, "Server needs a URL and a secret"));
        };
        // Calls are written behind it as it is: a query or a fragment would swallow them.
        let usable = (url.starts_with("http://") || url.starts_with("https://"))
            && !url.contains(['?', '#'])
            && url.parse::<http::Uri>().is_ok_and(|u| u.host().is_some_and(|host| !host.is_empty()));
        if !usable {
            let message = format!("{url} is not a URL of a server: write https://HOST/bigbluebutton/api");
            return Ok(error(StatusCode::BAD_REQUEST, message));
        }
        if url.parse::<http::Uri>().is_ok_and(|u| u.authority().is_some_and(|a| a.as_str().contains('@'))) {
            let message = "the URL holds a user name, which every browser that joins would be sent: leave it away";
            return Ok(error(StatusCode::BAD_REQUEST, message));
        }
        let known = self.cluster.store.servers().await?.servers;
        let same = |r: &&ServerRecord| r.url.trim_end_matches('/') == url.trim_end_matches('/');
        if let Some(r) = known.iter().find(same) {
            return Ok(error(StatusCode::BAD_REQUEST, format!("{url} is in the pool already, with id={}", r.id)));
        }
        let named = text(server, "id");
        let fits = |id: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            !id.is_empty() && id.len() <= 255 && id.bytes().all(inner)
        };
        if let Some(id) = named.filter(|id| !fits(id)) {
            let message = format!("{id:?} cannot be an id: write letters, digits, `.`, `-` and `_`");
            return Ok(error(StatusCode::BAD_REQUEST, message));
        }
        let id = if let Some(id) = named {
            id.to_owned()
        } else if self.cluster.live().id_is_hostname {
            let host = host_of(url);
            let name = match host.strip_prefix('[') {
                Some(v6) => v6.split(']').next(),
                None => host.split(':').next(),
            };
            name.unwrap_or(&host).to_lowercase()
        } else {
            uuid()
        };
        let mut record = ServerRecord::new(id.as_str(), url, Secret::new(secret));
        record.tag = text(server, "tag").filter(|t| !t.is_empty()).map(str::to_owned);
        let multiplier = server.get("load_multiplier").and_then(numeral);
        record.load_multiplier = multiplier.filter(|m| m.parse::<f64>().is_ok_and(|m| m.is_finite() && m > 0.0));
        if !self.cluster.store.add_server(&record).await? {
            return Ok(error(StatusCode::BAD_REQUEST, format!("a server with id={id} is in the pool already")));
        }
        self.cluster.sync().await?;
        Ok(answer(StatusCode::CREATED, &server_object(&record)))
    }

    async fn update_server(&self, body: &Value) -> Result<Response<Bytes>, balancer_core::StickError> {
        let id = text(body, "id").unwrap_or("");
        let server = body.get("server").unwrap_or(&Value::Null);
        // What is null was left out.
        let given = |name: &str| server.get(name).filter(|value| !value.is_null());
        let Some(_) = self.cluster.fresh_record(id).await? else { return Ok(unknown(id)) };
        let mut patch = ServerPatch::default();
        if let Some(state) = given("state") {
            let word = state.as_str().map_or_else(|| state.to_string(), str::to_owned);
            patch.state = match word.as_str() {
                "enable" => Some(ServerState::Enabled),
                "cordon" => Some(ServerState::Cordoned),
                "disable" => Some(ServerState::Disabled),
                _ => return Ok(error(StatusCode::BAD_REQUEST, format!("Invalid state parameter: {word}"))),
            };
        }
        if let Some(m) = given("load_multiplier") {
            let m = numeral(m).filter(|m| m.parse::<f64>().is_ok_and(|m| m.is_finite() && m > 0.0));
            let Some(m) = m else {
                return Ok(error(StatusCode::BAD_REQUEST, "Load-multiplier must be a non-zero number"));
            };
            patch.load_multiplier = Some(m);
        }
        patch.secret = text(server, "secret").filter(|s| !s.is_empty()).map(Secret::new);
        patch.tag = text(server, "tag").map(str::to_owned);
        self.cluster.store.update_server(&BackendId::from(id), &patch).await?;
        self.cluster.sync().await?;
        if patch.secret.is_some()
            && let Some(server) = self.cluster.server(&BackendId::from(id))
        {
            // A server that knows the new one already needs no old one.
            self.cluster.secret_for(&server).await;
        }
        Ok(match self.cluster.fresh_record(id).await? {
            Some(r) => answer(StatusCode::OK, &server_object(&r)),
            None => unknown(id),
        })
    }

    async fn delete_server(&self, body: &Value) -> Result<Response<Bytes>, balancer_core::StickError> {
        let id = text(body, "id").unwrap_or("");
        if self.remove(id).await? {
            return Ok(answer(StatusCode::OK, &json!({ "success": format!("Server id={id} was destroyed") })));
        }
        Ok(unknown(id))
    }

    /// Removes a server and everything that is stored about it; its meetings are ended there, if it answers.
    pub(super) async fn remove(&self, id: &str) -> Result<bool, balancer_core::StickError> {
        let backend = BackendId::from(id);
        // Closed first: nothing is bound to it between the listing and the removal.
        let patch = ServerPatch { state: Some(ServerState::Disabled), ..ServerPatch::default() };
        if !self.cluster.store.update_server(&backend, &patch).await? {
            return Ok(false);
        }
        let meetings = self.cluster.store.meetings(Some(&backend)).await?;
        self.cluster.end_later(&backend, meetings);
        let known = self.cluster.store.remove_server(&backend).await?;
        self.cluster.sync().await?;
        Ok(known)
    }

    async fn panic_server(&self, body: &Value) -> Result<Response<Bytes>, balancer_core::StickError> {
        let id = text(body, "id").unwrap_or("");
        let flag = body.get("keep_state").or_else(|| body.get("server")?.get("keep_state"));
        let is_set = |f: &Value| f.as_bool() == Some(true) || f.as_str() == Some("true");
        let keep = flag.is_some_and(is_set);
        let skip_ends = body.get("skip_end_calls").is_some_and(is_set);
        let backend = BackendId::from(id);
        if self.cluster.fresh_record(id).await?.is_none() {
            return Ok(unknown(id));
        }
        if !keep {
            let patch = ServerPatch { state: Some(ServerState::Disabled), ..ServerPatch::default() };
            self.cluster.store.update_server(&backend, &patch).await?;
        }
        let meetings = self.cluster.store.meetings(Some(&backend)).await?;
        for m in &meetings {
            if let Ok(key) = balancer_core::StickKey::new(m.id.as_str()) {
                self.cluster.store.release(&key, &m.binding).await?;
            }
        }
        if !skip_ends {
            self.cluster.end_later(&backend, meetings);
        }
        self.cluster.sync().await?;
        let message = format!("Server id={id} has been disabled and the meetings have been destroyed");
        Ok(answer(StatusCode::OK, &json!({ "success": message })))
    }
}
