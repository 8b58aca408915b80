//! Tenants as they are stored: who they are, what their meetings get, and how much they may have.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, StickError};
use serde::{Deserialize, Serialize};

use super::MeetingRecord;
use crate::secret::Secret;

/// The fields of a tenant that say where learning records go, as they are named in the store.
pub const LRS_FIELDS: [&str; 8] = [
    "lrs_endpoint",
    "lrs_username",
    "lrs_password",
    "kc_token_url",
    "kc_client_id",
    "kc_client_secret",
    "kc_username",
    "kc_password",
];

/// How much a tenant may have. Absent means without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantLimits {
    /// Meetings at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meetings: Option<u32>,
    /// People at once, in all of its meetings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// Calls per second in the long run, for each process; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<f64>,
}

/// A parameter that a tenant's `create` and `join` calls get.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantSetting {
    /// Its id.
    pub id: String,
    /// The parameter.
    pub param: String,
    /// Its value.
    pub value: String,
    /// Whether it counts whatever the front-end sends; else only when it sends nothing.
    pub overrides: bool,
}

impl TenantSetting {
    /// A setting.
    pub fn new(id: impl Into<String>, param: impl Into<String>, value: impl Into<String>, overrides: bool) -> Self {
        Self { id: id.into(), param: param.into(), value: value.into(), overrides }
    }
}

impl fmt::Debug for TenantSetting {
    /// Without the value, which may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantSetting")
            .field("id", &self.id)
            .field("param", &self.param)
            .field("overrides", &self.overrides)
            .finish_non_exhaustive()
    }
}

/// A tenant: a host name, secrets and meetings of its own.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TenantRecord {
    /// Its id.
    pub id: String,
    /// Its name: the first label of the host name that its front-ends call.
    pub name: String,
    /// Its secrets, separated by colons; any of them opens its calls.
    pub secrets: Secret,
    /// Where its learning records go: `lrs_endpoint`, `lrs_username`, `lrs_password`, or `kc_…` for a token.
    pub lrs: BTreeMap<String, Secret>,
    /// How much it may have.
    pub limits: TenantLimits,
    /// What its `create` and `join` calls get, by id.
    pub settings: Vec<TenantSetting>,
}

impl TenantRecord {
    /// A tenant with nothing but a name and secrets.
    pub fn new(id: impl Into<String>, name: impl Into<String>, secrets: Secret) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            secrets,
            lrs: BTreeMap::new(),
            limits: TenantLimits::default(),
            settings: Vec::new(),
        }
    }

    /// The secrets one by one.
    pub fn secret_list(&self) -> impl Iterator<Item = &str> {
        self.secrets.expose().split(':').filter(|secret| !secret.is_empty())
    }

    /// One of the fields that say where learning records go; blank ones count as missing.
    #[cfg(feature = "http")]
    pub(crate) fn lrs_field(&self, name: &str) -> Option<&str> {
        self.lrs.get(name).map(Secret::expose).filter(|value| !value.trim().is_empty())
    }
}

/// What an administrator changes of a tenant; absent means kept.
#[derive(Clone, Debug, Default)]
pub struct TenantPatch {
    /// A new name.
    pub name: Option<String>,
    /// New secrets, a colon list.
    pub secrets: Option<Secret>,
    /// New fields about learning records; an empty one removes it.
    pub lrs: BTreeMap<String, Secret>,
    /// New limits, all of them.
    pub limits: Option<TenantLimits>,
}

/// What became of a tenant that was to be added or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSaved {
    /// It is stored.
    Done,
    /// There is no tenant of this id.
    Unknown,
    /// Another tenant has its name: this one.
    NameTaken(String),
}

/// What marks an id of a meeting that two tenants use: `~TENANT~ID`.
const MARK: char = '~';

/// The id by which servers know a tenant's meeting when the id itself is another tenant's.
#[cfg(feature = "http")]
pub(crate) fn scoped_id(tenant: &str, id: &str) -> String {
    format!("{MARK}{tenant}{MARK}{id}")
}

/// Whether an id looks like one of [`scoped_id`]: then it is never given to a server as it is.
#[cfg(feature = "http")]
pub(crate) fn looks_scoped(id: &str) -> bool {
    id.starts_with(MARK)
}

/// The id that a tenant's front-end gave a meeting, whose servers, recordings and events may call it by a longer one:
/// that has the tenant's id before it when another tenant used the same id first.
#[must_use]
pub fn tenant_meeting_id<'m>(tenant: &str, meeting: &'m str) -> &'m str {
    let own = meeting.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(tenant)).and_then(|r| r.strip_prefix(MARK));
    own.unwrap_or(meeting)
}

/// A text in which servers name a tenant's meetings, as the tenant knows them; `None` when nothing changes.
#[cfg(feature = "http")]
pub(crate) fn in_tenants_words(tenant: &str, text: &str) -> Option<String> {
    let mark = scoped_id(tenant, "");
    let (first, mut rest) = text.split_once(&mark)?;
    let mut out = String::with_capacity(text.len());
    out.push_str(first);
    loop {
        // A second mark right behind belongs to an id that its front-end has made up like this.
        if let Some(own) = rest.strip_prefix(&mark) {
            out.push_str(&mark);
            rest = own;
        }
        let Some((before, after)) = rest.split_once(&mark) else { break };
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// Tenants, and what is counted for them, beside the meetings.
///
/// # Cancel safety
///
/// Dropping a future leaves each operation done or not done, never half done.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// All tenants with their settings, by id; those last whose name leads to another one, as a Scalelite lets happen.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; so for every other operation.
    async fn tenants(&self) -> Result<Vec<TenantRecord>, StickError>;

    /// Adds a tenant, unless another one has its name, in whatever case.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn add_tenant(&self, tenant: &TenantRecord) -> Result<TenantSaved, StickError>;

    /// Changes a tenant.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn update_tenant(&self, id: &str, patch: &TenantPatch) -> Result<TenantSaved, StickError>;

    /// Removes a tenant with its settings; `false` when there is none of this id. Its meetings go on, unseen.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn remove_tenant(&self, id: &str) -> Result<bool, StickError>;

    /// Adds a setting; `false` when there is no such tenant.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn add_setting(&self, tenant: &str, setting: &TenantSetting) -> Result<bool, StickError>;

    /// Removes a setting; `false` when there is none of this id.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn remove_setting(&self, id: &str) -> Result<bool, StickError>;

    /// Makes the tenant, for so long, the only one whose meetings servers know by this id; `false` when another tenant
    /// is that, or a meeting of another tenant has the id, or the tenant's own has `scoped`.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn own_id(&self, tenant: &str, id: &str, scoped: &str, ttl: Duration) -> Result<bool, StickError>;

    /// Notes how many people of which tenants a poll saw on a server; `began_ms` is when it was begun, by the store's
    /// clock.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn note_people(
        &self,
        server: &BackendId,
        people: &BTreeMap<String, u32>,
        began_ms: u64,
    ) -> Result<(), StickError>;

    /// Counts somebody who joins there, if the tenant then has no more people than this; `false` when it has.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn admit(&self, tenant: &str, server: &BackendId, most: u32) -> Result<bool, StickError>;

    /// The meeting that telephones reach by this number.
    ///
    /// # Errors
    ///
    /// As for [`tenants`](Self::tenants).
    async fn by_voice_bridge(&self, number: &str) -> Result<Option<MeetingRecord>, StickError>;
}

/// How long somebody who joins counts besides what a poll saw, in milliseconds before the poll began: browsers take
/// their time.
pub(super) const ARRIVAL_MS: u64 = 10_000;
/// How long joins are remembered at most, in milliseconds.
pub(super) const JOINS_MS: u64 = 300_000;

/// How long what a poll saw counts when no other one comes, in milliseconds.
#[cfg(feature = "redis")]
pub(super) const SEEN_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_meetings_come_back_from_their_tenant_only() {
        let wire = scoped_id("t1", "lesson");
        assert!(looks_scoped(&wire) && !looks_scoped("lesson"));
        assert_eq!(tenant_meeting_id("t1", &wire), "lesson");
        assert_eq!(tenant_meeting_id("t", &wire), wire);
        assert_eq!(tenant_meeting_id("t1", "lesson"), "lesson");
        assert_eq!(tenant_meeting_id("t1", &scoped_id("t1", &wire)), wire);
        let told = |text: &str| in_tenants_words("t1", text);
        assert_eq!(told("<a>lesson</a>"), None);
        assert_eq!(told("<a>~t1~lesson</a><b>~t1~x</b>~t2~y"), Some("<a>lesson</a><b>x</b>~t2~y".to_owned()));
        assert_eq!(told("~t1~~t1~lesson ~t1~"), Some("~t1~lesson ".to_owned()));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut t = TenantRecord::new("1", "school", Secret::new("hunter2:hunter3"));
        t.lrs.insert("lrs_password".into(), Secret::new("hunter2"));
        t.settings.push(TenantSetting::new("s", "moderatorPW", "hunter2", true));
        let shown = format!("{t:?}");
        assert!(!shown.contains("hunter") && shown.contains("moderatorPW"), "{shown}");
        assert_eq!(t.secret_list().collect::<Vec<_>>(), ["hunter2", "hunter3"]);
    }
}
