//! `tenants`: list, add and change, with their settings.

use adapter_bbb::LRS_FIELDS;
use serde_json::{Map, Value, json};

use super::{View, good, items, ok, text};
use crate::cli::Output;
use crate::client::{Api, Client};
use crate::settings::{masked, weak};
use console::printable;
use console::{Failure, Outcome};

/// What to do with tenants. There is no `Debug`: orders carry secrets.
#[derive(Clone, PartialEq)]
pub(crate) enum TenantOrder {
    /// Print every tenant.
    List {
        /// Whether secrets are printed in full.
        show_secrets: bool,
    },
    /// Add a tenant.
    Add {
        /// Its name, a label of a host name.
        name: String,
        /// Its secrets, separated by colons.
        secrets: String,
        /// How much it may have.
        limits: Limits,
    },
    /// Change a tenant.
    Update {
        /// Id or name.
        tenant: String,
        /// Fields and their new values.
        fields: Vec<(&'static str, String)>,
        /// How much it may have.
        limits: Limits,
    },
    /// Remove a tenant.
    Remove {
        /// Id or name.
        tenant: String,
    },
    /// Print the settings of every tenant.
    Settings,
    /// Add a setting.
    Set {
        /// Id or name.
        tenant: String,
        /// The parameter.
        param: String,
        /// Its value.
        value: String,
        /// Whether it counts whatever front-ends send.
        overrides: bool,
    },
    /// Remove a setting.
    Unset {
        /// Its id.
        id: String,
    },
}

/// New limits as they were written; what is `None` stays, 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Meetings at once.
    pub(crate) meetings: Option<String>,
    /// People at once.
    pub(crate) users: Option<String>,
    /// Calls per second.
    pub(crate) calls: Option<String>,
}

impl Limits {
    fn json(&self) -> Value {
        let of = [("meetings", &self.meetings), ("users", &self.users), ("calls", &self.calls)];
        let given = of.into_iter().filter_map(|(name, n)| Some((name.to_owned(), Value::from(n.clone()?))));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

/// Carries out one order.
pub(super) async fn run(client: &Client, order: TenantOrder, view: View) -> Result<Outcome, Failure> {
    match order {
        TenantOrder::List { show_secrets } => list(client, show_secrets, view).await,
        TenantOrder::Settings => settings(client, view).await,
        TenantOrder::Add { name, secrets, limits } => {
            let tenant = json!({ "name": name, "secrets": secrets, "limits": limits.json() });
            let answer = client.post(Api::Scalelite, "addTenant", &json!({ "tenant": tenant })).await?;
            let answer = good(answer, "the tenant was not added")?;
            let id = printable(text(&answer.json["tenant"], "id"));
            Ok(with_line(ok(&answer, view), view, &format!("New Tenant id: {id}")).with_notes(weak_among(&secrets)))
        }
        TenantOrder::Update { tenant, fields, limits } => {
            let id = id_of(client, &tenant).await?;
            let new = fields.iter().filter(|(name, _)| *name == "secrets");
            let weak: Vec<String> = new.flat_map(|(_, secrets)| weak_among(secrets)).collect();
            let mut changes: Map<String, Value> =
                fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            if limits != Limits::default() {
                changes.insert("limits".into(), limits.json());
            }
            let body = json!({ "id": id, "tenant": changes });
            let answer = client.post(Api::Scalelite, "updateTenant", &body).await?;
            let answer = good(answer, "the tenant was not changed")?;
            let line = format!("Updated Tenant id: {}", printable(&id));
            Ok(with_line(ok(&answer, view), view, &line).with_notes(weak))
        }
        TenantOrder::Remove { tenant } => {
            let id = id_of(client, &tenant).await?;
            let answer = client.post(Api::Scalelite, "deleteTenant", &json!({ "id": id })).await?;
            Ok(ok(&good(answer, "the tenant was not removed")?, view))
        }
        TenantOrder::Set { tenant, param, value, overrides } => {
            let id = id_of(client, &tenant).await?;
            let body = json!({ "tenant_id": id, "param": param, "value": value, "override": overrides });
            let answer = good(client.post(Api::Own, "addTenantSetting", &body).await?, "the setting was not added")?;
            let id = printable(text(&answer.json, "id"));
            Ok(with_line(ok(&answer, view), view, &format!("New TenantSetting id: {id}")))
        }
        TenantOrder::Unset { id } => {
            let answer = client.post(Api::Own, "removeTenantSetting", &json!({ "id": id })).await?;
            Ok(ok(&good(answer, "the setting was not removed")?, view))
        }
    }
}

/// What is weak about secrets that were just given.
fn weak_among(secrets: &str) -> Vec<String> {
    let all: Vec<String> = secrets.split(':').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    weak(&all).into_iter().map(|why| format!("warning: {why}")).collect()
}

/// A line more for people.
fn with_line(mut outcome: Outcome, view: View, line: &str) -> Outcome {
    if view.output != Output::Json {
        outcome.out.push_str(line);
        outcome.out.push('\n');
    }
    outcome
}

async fn all(client: &Client) -> Result<Value, Failure> {
    let answer = good(client.get(Api::Own, "tenants", &[]).await?, "the tenants cannot be listed")?;
    items(&answer, "tenants")?;
    Ok(answer.json)
}

fn each(all: &Value) -> impl Iterator<Item = &Value> {
    all["tenants"].as_array().into_iter().flatten()
}

/// The id of the tenant with this id or name.
async fn id_of(client: &Client, name: &str) -> Result<String, Failure> {
    let all = all(client).await?;
    let by_id = each(&all).find(|t| text(t, "id") == name);
    let found = by_id.or_else(|| each(&all).find(|t| text(t, "name").eq_ignore_ascii_case(name)));
    if let Some(tenant) = found {
        return Ok(text(tenant, "id").to_owned());
    }
    let failure = Failure::failed(format!("No tenant found with id: {}", printable(name)));
    let names = each(&all).flat_map(|t| [text(t, "id"), text(t, "name")]);
    Err(match crate::nearest::nearest(name, names) {
        Some(near) => failure.hint(format!("did you mean {}?", printable(near))),
        None => failure.hint("`bbb-balancer tenants` lists them"),
    })
}

async fn list(client: &Client, show_secrets: bool, view: View) -> Result<Outcome, Failure> {
    let all = all(client).await?;
    if view.output == Output::Json {
        return Ok(if show_secrets { Outcome::done(format!("{all:#}\n")) } else { super::json(&all) });
    }
    let mut out: String = each(&all).map(|t| block(t, show_secrets)).collect();
    out.push_str(&format!("Total number of tenants: {}\n", each(&all).count()));
    Ok(Outcome::done(out))
}

/// One tenant, in the manner of `rake tenants`.
fn block(tenant: &Value, show_secrets: bool) -> String {
    let hidden = |secret: &str| {
        let one = |secret: &str| if show_secrets { secret.to_owned() } else { masked(secret) };
        secret.split(':').map(one).collect::<Vec<_>>().join(":")
    };
    let mut out = format!("id: {}\n\tname: {}\n", printable(text(tenant, "id")), printable(text(tenant, "name")));
    out.push_str(&format!("\tsecrets: {}\n", printable(&hidden(text(tenant, "secrets")))));
    for field in LRS_FIELDS {
        let value = text(tenant, field);
        if !value.is_empty() {
            let secret = field.contains("secret") || field.contains("password");
            let shown = if secret && !show_secrets { masked(value) } else { value.to_owned() };
            out.push_str(&format!("\t{field}: {}\n", printable(&shown)));
        }
    }
    for (name, shown) in [("meetings", "meetings"), ("users", "users"), ("calls", "calls per second")] {
        if let Some(n) = tenant["limits"][name].as_f64() {
            out.push_str(&format!("\tlimit of {shown}: {n}\n"));
        }
    }
    out
}

async fn settings(client: &Client, view: View) -> Result<Outcome, Failure> {
    let all = all(client).await?;
    if view.output == Output::Json {
        let all: Vec<Value> =
            each(&all).map(|t| json!({ "id": t["id"], "name": t["name"], "settings": t["settings"] })).collect();
        return Ok(super::json(&json!({ "tenants": all })));
    }
    let mut out = String::new();
    for tenant in each(&all) {
        out.push_str(&format!("Tenant: {}\n", printable(text(tenant, "name"))));
        let settings = tenant["settings"].as_array().map(Vec::as_slice).unwrap_or_default();
        for s in settings {
            let (id, param, value) = (text(s, "id"), text(s, "param"), text(s, "value"));
            let [id, param, value] = [id, param, value].map(printable);
            out.push_str(&format!("  id: {id}\n\tparam: {param}\n\tvalue: {value}\n\toverride: {}\n", s["override"]));
        }
        if settings.is_empty() {
            out.push_str("  No custom settings are configured\n");
        }
    }
    Ok(if out.is_empty() { Outcome::note("No tenants exist") } else { Outcome::done(out) })
}
