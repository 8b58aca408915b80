//! Where a tenant's learning records go: told to the servers of its meetings, encrypted.

use std::time::Duration;

use balancer_core::random;
use serde_json::{Value, json};

use crate::api::payload;
use crate::cluster::Cluster;
use crate::egress::Message;
use crate::store::TenantRecord;

/// Longest answer with a token.
const MAX_ANSWER: usize = 64 << 10;
/// Longest wait for a token: a create waits for it.
const WAIT: Duration = Duration::from_secs(5);

/// What a server is to be told; nothing when the tenant has no such thing, or no token can be had.
pub(super) async fn records_of(cluster: &Cluster, tenant: &TenantRecord) -> Option<String> {
    let endpoint = tenant.lrs_field("lrs_endpoint")?;
    if let (Some(user), Some(password)) = (tenant.lrs_field("lrs_username"), tenant.lrs_field("lrs_password")) {
        return Some(json!({ "lrs_endpoint": endpoint, "lrs_username": user, "lrs_password": password }).to_string());
    }
    match token_of(cluster, tenant).await {
        Ok(token) => Some(json!({ "lrs_endpoint": endpoint, "lrs_token": token }).to_string()),
        Err(why) => {
            tracing::warn!(tenant = ?tenant.name, reason = why, "a meeting is created without learning records");
            None
        }
    }
}

async fn token_of(cluster: &Cluster, tenant: &TenantRecord) -> Result<String, String> {
    let field = |name: &str| tenant.lrs_field(name).ok_or_else(|| format!("{name} is not set"));
    let url = field("kc_token_url")?;
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", field("kc_client_id")?)
        .append_pair("client_secret", field("kc_client_secret")?)
        .append_pair("username", field("kc_username")?)
        .append_pair("password", field("kc_password")?)
        .append_pair("grant_type", "password")
        .finish();
    let message = Message {
        url,
        content_type: "application/x-www-form-urlencoded",
        agent: "bbb-balancer",
        bearer: None,
        body: form.into(),
    };
    let egress = cluster.egress();
    let answer = tokio::time::timeout(WAIT, egress.ask(message, MAX_ANSWER)).await;
    let (status, body) = answer.map_err(|_| "no token in time".to_owned())?.map_err(|e| e.to_string())?;
    if !status.is_success() {
        return Err(format!("the token was refused: HTTP {}", status.as_u16()));
    }
    let answer: Value =
        serde_json::from_slice(&body).map_err(|_| "the answer with the token is not JSON".to_owned())?;
    let token = answer.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    token.map(str::to_owned).ok_or_else(|| "the answer has no access_token".to_owned())
}

/// The records encrypted for the server with this secret. Deriving the key takes some milliseconds of work.
pub(super) async fn sealed(secret: &str, records: &str) -> Option<String> {
    let (secret, records) = (secret.to_owned(), records.to_owned());
    let (random, salt) = (random().to_le_bytes(), random().to_le_bytes());
    tokio::task::spawn_blocking(move || payload(&secret, &records, random, salt)).await.ok()
}
