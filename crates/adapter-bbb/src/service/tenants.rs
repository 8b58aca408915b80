//! Tenants: whose call it is, which meetings it may see, and how much it may have.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use balancer_core::{StickError, StickKey};
use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::limit::{self, Caller};
use super::meeting::Home;
use super::{BbbService, store_fault};
use crate::api::{Call, Checksums, Fault, ParamRules};
use crate::cluster::lock;
use crate::options::{RateLimit, RatePer};
use crate::store::TenantRecord;
use crate::store::tenants::{in_tenants_words, looks_scoped, scoped_id};

/// How long an id stays a tenant's own: hooks, addresses for callbacks and recordings outlive a meeting.
const OWNED: Duration = Duration::from_secs(30 * 86_400);

/// Whose meetings a call may see.
#[derive(Clone, Debug, Default)]
pub(super) enum Scope {
    /// All: there are no tenants, or an operator calls.
    #[default]
    All,
    /// None: no tenant has the host name that was called.
    Nobody,
    /// Those of this tenant.
    Tenant(Arc<TenantRecord>),
}

/// What a tenant has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    Meetings,
    Users,
    Calls,
}

impl Limit {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meetings => "meetings",
            Self::Users => "users",
            Self::Calls => "calls",
        }
    }
}

/// The host name without its port.
pub(super) fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether a host name is below another one.
pub(super) fn is_below(name: &str, parent: &str) -> bool {
    let Some(at) = name.len().checked_sub(parent.len() + 1) else { return false };
    let ends = name.get(at + 1..).is_some_and(|end| end.eq_ignore_ascii_case(parent));
    ends && at > 0 && name.as_bytes()[at] == b'.'
}

/// The name of the tenant that a host name leads to: its first label. The bare name of the balancer leads to none.
fn tenant_label<'h>(host: &'h str, url_host: Option<&str>) -> Option<&'h str> {
    let name = host_name(host);
    match url_host.filter(|own| !own.is_empty()) {
        Some(own) if !is_below(name, own) => None,
        _ => name.split_once('.').map(|(label, _)| label).filter(|label| !label.is_empty()),
    }
}

impl BbbService {
    /// The same service for whoever calls this host name.
    pub(super) async fn for_host(&self, host: Option<&str>) -> Result<Self, StickError> {
        let o = self.cluster.live();
        if !o.multitenancy {
            return Ok(self.clone());
        }
        let tenant = match tenant_label(host.unwrap_or(""), o.url_host.as_deref()) {
            Some(label) => self.cluster.tenant_named(label).await?,
            None => None,
        };
        let scope = tenant.map_or(Scope::Nobody, Scope::Tenant);
        Ok(Self { scope, ..self.clone() })
    }

    /// The tenant that calls, if there are tenants.
    pub(crate) fn tenant(&self) -> Option<&Arc<TenantRecord>> {
        match &self.scope {
            Scope::Tenant(tenant) => Some(tenant),
            _ => None,
        }
    }

    /// Whether there are tenants, and none of them is called.
    #[cfg(feature = "recordings")]
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self.scope, Scope::Nobody)
    }

    /// The id of the tenant that calls; empty without tenants.
    pub(super) fn tenant_id(&self) -> &str {
        self.tenant().map_or("", |t| t.id.as_str())
    }

    /// The secrets that open a call.
    pub(super) fn checksums<'o>(&self, call: Call, own: &'o Checksums) -> Cow<'o, Checksums> {
        match &self.scope {
            Scope::Tenant(t) if !call.is_admin() => Cow::Owned(own.with_secrets(t.secret_list().map(str::to_owned))),
            Scope::Nobody if !call.is_admin() => Cow::Owned(own.with_secrets([])),
            _ => Cow::Borrowed(own),
        }
    }

    /// The refusal of a call that is signed right, but comes too often: by its secret, or by its tenant.
    pub(super) fn refuse_signed(&self, call: Call, secret: usize) -> Option<Response<Bytes>> {
        let Some(t) = self.tenant().filter(|_| !call.is_admin()) else {
            return self.refuse_often(Caller::Secret(secret));
        };
        if let Some(per_second) = t.limits.calls.filter(|n| *n > 0.0) {
            // As many at once as in a second; whoever may call once a minute may call once.
            let burst = Duration::from_secs_f64(per_second.clamp(1.0, 1e6)).as_secs();
            let burst = u32::try_from(burst).unwrap_or(u32::MAX);
            let rule = RateLimit { per_second, burst, per: RatePer::Secret };
            let counts = &self.cluster.counts;
            if let Err(wait) = counts.tenant_limiter.take(rule, Caller::tenant(&t.id, usize::MAX), Instant::now()) {
                self.note_refusal(Limit::Calls);
                return Some(limit::refused(counts, wait));
            }
        }
        self.refuse_often(Caller::tenant(&t.id, secret))
    }

    /// Counts a refusal for the figures.
    fn note_refusal(&self, what: Limit) {
        let Some(t) = self.tenant() else { return };
        tracing::info!(tenant = ?t.name, limit = what.name(), "a tenant is refused: it has as much as it may have");
        let mut refused = lock(&self.cluster.counts.tenants_refused);
        // Ids come from the store, which an operator fills.
        *refused.entry((t.id.clone(), what)).or_default() += 1;
    }

    /// How many meetings the tenant may have at once.
    pub(super) fn meetings_limit(&self) -> Option<u32> {
        self.tenant()?.limits.meetings
    }

    /// The failure of a create that would make one meeting too many.
    pub(super) fn too_many_meetings(&self) -> Fault {
        self.note_refusal(Limit::Meetings);
        let n = self.meetings_limit().unwrap_or_default();
        let message = format!("There are {n} meetings already, and no more are allowed at once. End one, or wait.");
        Fault::Passed { key: "tooManyMeetings".into(), message }
    }

    /// Counts somebody who joins; refuses one person too many.
    pub(super) async fn admit(&self, home: &Home) -> Result<(), Fault> {
        let Some((t, most)) = self.tenant().and_then(|t| Some((t, t.limits.users?))) else { return Ok(()) };
        let store = self.cluster.store.tenant_store();
        match store.admit(&t.id, &home.meeting.binding.backend, most).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.note_refusal(Limit::Users);
                let message = format!("There are {most} people in meetings already, and no more are allowed at once.");
                Err(Fault::Passed { key: "maxParticipantsReached".into(), message })
            }
            // Who is invited is not shut out by a store that is away.
            Err(e) if crate::cluster::is_away(&e) => Ok(()),
            Err(e) => Err(store_fault(&e)),
        }
    }

    /// Whether the caller may see a meeting.
    fn owns(&self, home: &Home) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Nobody => false,
            Scope::Tenant(t) => home.meeting.tenant == t.id,
        }
    }

    /// Where a meeting of the caller's lives: under its id, or under the longer one that it has when another tenant
    /// used the id first.
    pub(super) async fn home(&self, id: &str) -> Result<Option<Home>, Fault> {
        let Some(t) = self.tenant() else { return self.home_at(id).await };
        // An id that looks like a longer one is never given to servers as it is: it would name another meeting.
        if !looks_scoped(id)
            && let Some(home) = self.home_at(id).await?
        {
            return Ok(Some(home));
        }
        let scoped = scoped_id(&t.id, id);
        if StickKey::new(scoped.as_str()).is_err() {
            return Ok(None);
        }
        self.home_at(&scoped).await
    }

    /// The ids by which servers may know a meeting that the caller calls so. What looks like a longer one is never given
    /// to servers as it is: it would name another meeting.
    pub(super) fn ids_at_servers(&self, id: &str) -> impl Iterator<Item = String> + use<> {
        let plain = (self.tenant().is_none() || !looks_scoped(id)).then(|| id.to_owned());
        let longer = self.tenant().map(|tenant| scoped_id(&tenant.id, id));
        plain.into_iter().chain(longer)
    }

    /// Where the meeting lives that servers know by this id, if it is the caller's.
    pub(super) async fn home_at(&self, id: &str) -> Result<Option<Home>, Fault> {
        Ok(self.cluster.home(id).await?.filter(|home| self.owns(home)))
    }

    /// The id by which servers are to know a meeting that the caller creates, or wants to hear of.
    pub(super) async fn id_for_servers(&self, id: &str) -> Result<String, Fault> {
        let Some(t) = self.tenant() else { return Ok(id.to_owned()) };
        let scoped = scoped_id(&t.id, id);
        let store = self.cluster.store.tenant_store();
        if looks_scoped(id) {
            return Ok(scoped);
        }
        match store.own_id(&t.id, id, &scoped, OWNED).await {
            Ok(true) => Ok(id.to_owned()),
            Ok(false) => Ok(scoped),
            Err(e) => match self.home(id).await {
                // Seen before the store went away.
                Ok(Some(home)) if crate::cluster::is_away(&e) => Ok(home.meeting.id),
                _ => Err(store_fault(&e)),
            },
        }
    }

    /// An answer as the tenant knows its meetings.
    pub(super) fn in_own_words(&self, answer: Response<Bytes>) -> Response<Bytes> {
        let Some(t) = self.tenant() else { return answer };
        let told = std::str::from_utf8(answer.body()).ok().and_then(|text| in_tenants_words(&t.id, text));
        match told {
            Some(text) => answer.map(|_| Bytes::from(text)),
            None => answer,
        }
    }

    /// Rules for parameters with the tenant's settings.
    pub(super) fn rules<'r>(&self, rules: &'r ParamRules) -> Cow<'r, ParamRules> {
        match self.tenant() {
            Some(t) if !t.settings.is_empty() => Cow::Owned(with_settings(t, rules)),
            _ => Cow::Borrowed(rules),
        }
    }
}

/// The refusal of an operator's call that names a tenant there is not.
pub(super) fn not_meant(given: &str) -> Response<Bytes> {
    let why = format!("no tenant has the id or name {given:?}; `bbb-balancer tenants` lists them");
    super::admin::error(StatusCode::NOT_FOUND, why)
}

/// Rules for parameters with a tenant's settings.
pub(super) fn with_settings(t: &TenantRecord, rules: &ParamRules) -> ParamRules {
    rules.with_tenant(t.settings.iter().map(|s| (s.param.as_str(), s.value.as_str(), s.overrides)))
}

impl BbbService {
    /// The id of the tenant that somebody means by its id or name. Where there are no tenants, whatever he says.
    pub(super) async fn tenant_meant(&self, given: &str) -> Result<Option<String>, StickError> {
        let all = self.cluster.tenants().await?;
        let by_name = || all.iter().find(|t| t.name.eq_ignore_ascii_case(given));
        let found = all.iter().find(|t| t.id == given).or_else(by_name).map(|t| t.id.clone());
        Ok(found.or_else(|| (!self.cluster.live().multitenancy).then(|| given.to_owned())))
    }

    /// Figures of tenants, for those that are known now: refusals by tenant and limit, and meetings and people.
    pub(super) async fn tenant_figures(&self) -> TenantFigures {
        let c = &self.cluster;
        let Ok(book) = c.tenants().await else { return TenantFigures::default() };
        let name = |id: &str| book.iter().find(|t| t.id == id).map(|t| t.name.clone());
        let mut figures = TenantFigures::default();
        for ((id, what), n) in lock(&c.counts.tenants_refused).iter() {
            if let Some(name) = name(id) {
                figures.refused.push((name, what.name(), *n));
            }
        }
        let meetings = c.store.meetings(None).await.unwrap_or_default();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for m in &meetings {
            *counts.entry(m.tenant.as_str()).or_default() += 1;
        }
        for t in book.iter() {
            figures.meetings.push((t.name.clone(), counts.get(t.id.as_str()).copied().unwrap_or_default()));
            figures.users.push((t.name.clone(), c.people_of(&t.id)));
        }
        figures
    }
}

/// Figures of tenants by name.
#[derive(Debug, Default)]
pub(super) struct TenantFigures {
    pub(super) refused: Vec<(String, &'static str, u64)>,
    pub(super) meetings: Vec<(String, usize)>,
    pub(super) users: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_label_of_a_host_below_ours_names_the_tenant() {
        let rows = [
            ("t1.bbb.example.com", Some("bbb.example.com"), Some("t1")),
            ("T1.BBB.example.com:8443", Some("bbb.example.com"), Some("T1")),
            ("a.b.bbb.example.com", Some("bbb.example.com"), Some("a")),
            ("bbb.example.com", Some("bbb.example.com"), None),
            (".bbb.example.com", Some("bbb.example.com"), None),
            ("evilbbb.example.com", Some("bbb.example.com"), None),
            ("t1.other.example.com", Some("bbb.example.com"), None),
            ("t1.anything", None, Some("t1")),
            ("localhost", None, None),
            ("", None, None),
            ("[::1]:3000", None, None),
            ("ä.bbb.example.com", Some("bbb.example.com"), Some("ä")),
            ("äbb.example.com", Some("bbb.example.com"), None),
        ];
        for (host, own, label) in rows {
            assert_eq!(tenant_label(host, own), label, "{host}");
        }
    }
}
