//! Tenants in the JSON admin API: Scalelite's calls, with learning records, limits and settings besides.

use balancer_core::StickError;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::admin::{numeral, text, uuid};
use super::{BbbService, callbacks, json as answer};
use crate::api::is_fixed_for_tenants;
use crate::secret::Secret;
use crate::store::tenants::LRS_FIELDS;
use crate::store::{TenantLimits, TenantPatch, TenantRecord, TenantSaved, TenantSetting};

/// Longest name of a tenant: it is a label of a host name.
const MAX_NAME: usize = 63;
/// Longest of anything else.
const MAX_TEXT: usize = 4096;
/// Most settings of one tenant.
const MAX_SETTINGS: usize = 500;

fn message(code: StatusCode, text: impl Into<String>) -> Response<Bytes> {
    answer(code, &json!({ "message": text.into() }))
}

fn unknown(id: &str) -> Response<Bytes> {
    answer(StatusCode::NOT_FOUND, &json!({ "error": format!("Couldn't find Tenant with id={id}") }))
}

/// An id that may be given as text or number.
fn id_of(body: &Value) -> String {
    body.get("id").and_then(numeral).unwrap_or_default()
}

fn object(t: &TenantRecord) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("id".into(), t.id.as_str().into());
    out.insert("name".into(), t.name.as_str().into());
    out.insert("secrets".into(), t.secrets.expose().into());
    out
}

/// Everything about a tenant.
fn whole(t: &TenantRecord) -> Value {
    let mut out = object(t);
    for field in LRS_FIELDS {
        out.insert(field.into(), t.lrs_field(field).into());
    }
    out.insert("limits".into(), json!(t.limits));
    out.insert("settings".into(), t.settings.iter().map(setting_object).collect());
    out.insert("new_record".into(), false.into());
    out.insert("destroyed".into(), false.into());
    out.into()
}

fn setting_object(s: &TenantSetting) -> Value {
    json!({ "id": s.id, "param": s.param, "value": s.value, "override": s.overrides })
}

/// Why a name cannot be one, if so.
fn bad_name(name: &str) -> Option<String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let fits = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(inner) && !name.starts_with('-');
    (!fits || name.ends_with('-')).then(|| {
        format!("Error: {name:?} cannot be a name: it is a label of a host name, of letters, digits and inner dashes")
    })
}

fn bad_secrets(secrets: &str) -> Option<String> {
    let empty = secrets.split(':').all(|secret| secret.trim().is_empty());
    (empty || secrets.len() > MAX_TEXT)
        .then(|| format!("Error: secrets must be 1 to {MAX_TEXT} characters, several separated by colons"))
}

/// A whole number of a limit: absent is kept, `null`, 0 and the empty text are none.
fn limit<T: std::str::FromStr + PartialOrd + Default>(
    of: &Value,
    name: &str,
    kept: Option<T>,
) -> Result<Option<T>, String> {
    match of.get(name) {
        None => Ok(kept),
        Some(Value::Null) => Ok(None),
        Some(given) => {
            let text = numeral(given).unwrap_or_else(|| given.to_string());
            if text.is_empty() {
                return Ok(None);
            }
            match text.parse::<T>() {
                Ok(n) if n > T::default() => Ok(Some(n)),
                Ok(n) if n == T::default() => Ok(None),
                _ => Err(format!("Error: the limit of {name} is {text:?}, it must be a number, or 0 for none")),
            }
        }
    }
}

/// What a body changes.
fn patch(tenant: &Value, kept: TenantLimits) -> Result<TenantPatch, String> {
    let mut patch = TenantPatch::default();
    let given = |name| text(tenant, name).filter(|t| !t.is_empty());
    if let Some(name) = given("name") {
        if let Some(why) = bad_name(name) {
            return Err(why);
        }
        patch.name = Some(name.to_owned());
    }
    if let Some(secrets) = given("secrets") {
        if let Some(why) = bad_secrets(secrets) {
            return Err(why);
        }
        patch.secrets = Some(Secret::new(secrets));
    }
    for field in LRS_FIELDS {
        if let Some(value) = tenant.get(field) {
            let value = match value {
                Value::Null => String::new(),
                _ => numeral(value).ok_or_else(|| format!("Error: {field} must be a text, or null to remove it"))?,
            };
            if value.len() > MAX_TEXT {
                return Err(format!("Error: {field} is longer than {MAX_TEXT} characters"));
            }
            patch.lrs.insert(field.to_owned(), Secret::new(value));
        }
    }
    if let Some(limits) = tenant.get("limits") {
        patch.limits = Some(TenantLimits {
            meetings: limit(limits, "meetings", kept.meetings)?,
            users: limit(limits, "users", kept.users)?,
            calls: limit(limits, "calls", kept.calls)?.filter(|n: &f64| n.is_finite()),
        });
    }
    Ok(patch)
}

impl BbbService {
    /// One tenant, from the store itself.
    async fn fresh_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StickError> {
        Ok(self.cluster.store.tenant_store().tenants().await?.into_iter().find(|t| t.id == id))
    }

    pub(super) async fn get_tenants(&self) -> Result<Response<Bytes>, StickError> {
        let all = self.cluster.store.tenant_store().tenants().await?;
        if all.is_empty() {
            return Ok(message(StatusCode::OK, "No tenants exist"));
        }
        Ok(answer(StatusCode::OK, &all.iter().map(|t| Value::from(object(t))).collect()))
    }

    pub(super) async fn get_tenant_info(&self, id: &str) -> Result<Response<Bytes>, StickError> {
        Ok(self.fresh_tenant(id).await?.map_or_else(|| unknown(id), |t| answer(StatusCode::OK, &whole(&t))))
    }

    pub(super) async fn add_tenant(&self, body: &Value) -> Result<Response<Bytes>, StickError> {
        let tenant = body.get("tenant").unwrap_or(&Value::Null);
        let patch = match patch(tenant, TenantLimits::default()) {
            Ok(patch) => patch,
            Err(why) => return Ok(message(StatusCode::BAD_REQUEST, why)),
        };
        let (Some(name), Some(secrets)) = (patch.name, patch.secrets) else {
            let why = "Error: both name and secrets are required to create a Tenant";
            return Ok(message(StatusCode::BAD_REQUEST, why));
        };
        let mut record = TenantRecord::new(uuid(), name, secrets);
        record.lrs = patch.lrs.into_iter().filter(|(_, value)| !value.expose().is_empty()).collect();
        record.limits = patch.limits.unwrap_or_default();
        let saved = self.cluster.store.tenant_store().add_tenant(&record).await?;
        self.cluster.forget_tenants();
        Ok(match saved {
            TenantSaved::NameTaken(other) => {
                let why = format!("Error: the name {} is taken by the tenant with id={other}", record.name);
                message(StatusCode::BAD_REQUEST, why)
            }
            _ => answer(StatusCode::CREATED, &json!({ "tenant": object(&record) })),
        })
    }

    pub(super) async fn update_tenant(&self, body: &Value) -> Result<Response<Bytes>, StickError> {
        let id = id_of(body);
        let Some(known) = self.fresh_tenant(&id).await? else { return Ok(unknown(&id)) };
        let patch = match patch(body.get("tenant").unwrap_or(&Value::Null), known.limits) {
            Ok(patch) => patch,
            Err(why) => return Ok(message(StatusCode::UNPROCESSABLE_ENTITY, why)),
        };
        let saved = self.cluster.store.tenant_store().update_tenant(&id, &patch).await?;
        self.cluster.forget_tenants();
        Ok(match saved {
            TenantSaved::NameTaken(other) => {
                let why = format!("Error: the name is taken by the tenant with id={other}");
                message(StatusCode::UNPROCESSABLE_ENTITY, why)
            }
            TenantSaved::Unknown => unknown(&id),
            TenantSaved::Done => match self.fresh_tenant(&id).await? {
                Some(t) => answer(StatusCode::OK, &json!({ "tenant": object(&t) })),
                None => unknown(&id),
            },
        })
    }

    pub(super) async fn delete_tenant(&self, body: &Value) -> Result<Response<Bytes>, StickError> {
        let id = id_of(body);
        let removed = self.cluster.store.tenant_store().remove_tenant(&id).await?;
        self.cluster.forget_tenants();
        if !removed {
            return Ok(unknown(&id));
        }
        Ok(answer(StatusCode::OK, &json!({ "success": format!("Tenant id={id} was destroyed") })))
    }

    /// All tenants, with everything about them: for the command line.
    pub(super) async fn list_tenants(&self) -> Result<Response<Bytes>, StickError> {
        let all = self.cluster.store.tenant_store().tenants().await?;
        Ok(answer(StatusCode::OK, &json!({ "tenants": all.iter().map(whole).collect::<Vec<_>>() })))
    }

    pub(super) async fn add_tenant_setting(&self, body: &Value) -> Result<Response<Bytes>, StickError> {
        let id = body.get("tenant_id").and_then(numeral).unwrap_or_default();
        let Some(t) = self.fresh_tenant(&id).await? else { return Ok(unknown(&id)) };
        let (param, value) = (text(body, "param").unwrap_or(""), body.get("value").and_then(numeral));
        let overrides = match body.get("override") {
            Some(Value::Bool(yes)) => Some(*yes),
            Some(Value::String(word)) => Some(word == "true"),
            None => Some(false),
            _ => None,
        };
        let (Some(value), Some(overrides)) = (value, overrides) else {
            let why = "Error: tenant_id, param, value and override are required to create a TenantSetting";
            return Ok(message(StatusCode::BAD_REQUEST, why));
        };
        if is_fixed_for_tenants(param) || param.len() > MAX_TEXT || value.len() > MAX_TEXT {
            return Ok(message(StatusCode::BAD_REQUEST, format!("Error: {param:?} cannot be a parameter of a tenant")));
        }
        if callbacks::is_document(param)
            && !value.trim().is_empty()
            && let Err(e) = self.cluster.live().callbacks.allow.check(&value)
        {
            let why = format!("Error: with this {param} none of the tenant's meetings could be created: {e}");
            return Ok(message(StatusCode::BAD_REQUEST, why));
        }
        if t.settings.len() >= MAX_SETTINGS {
            let why = format!("Error: the tenant has {MAX_SETTINGS} settings already");
            return Ok(message(StatusCode::BAD_REQUEST, why));
        }
        let setting = TenantSetting::new(uuid(), param, value, overrides);
        let known = self.cluster.store.tenant_store().add_setting(&id, &setting).await?;
        self.cluster.forget_tenants();
        Ok(if known { answer(StatusCode::CREATED, &setting_object(&setting)) } else { unknown(&id) })
    }

    pub(super) async fn remove_tenant_setting(&self, body: &Value) -> Result<Response<Bytes>, StickError> {
        let id = id_of(body);
        let removed = self.cluster.store.tenant_store().remove_setting(&id).await?;
        self.cluster.forget_tenants();
        if !removed {
            let why = format!("Couldn't find TenantSetting with id={id}");
            return Ok(answer(StatusCode::NOT_FOUND, &json!({ "error": why })));
        }
        Ok(answer(StatusCode::OK, &json!({ "success": format!("TenantSetting id={id} was destroyed") })))
    }
}
