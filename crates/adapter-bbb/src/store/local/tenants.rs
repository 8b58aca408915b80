//! Tenants of one process.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, StickError};
use serde::{Deserialize, Serialize};

use super::{LocalStore, State, millis};
#[cfg(feature = "file")]
use crate::secret::Secret;
use crate::store::MeetingRecord;
use crate::store::tenants::{
    ARRIVAL_MS, JOINS_MS, TenantLimits, TenantPatch, TenantRecord, TenantSaved, TenantSetting, TenantStore,
};

#[cfg(feature = "file")]
pub(super) const TENANT: &str = "tenant/";
#[cfg(feature = "file")]
pub(super) const OWNER: &str = "owner/";

/// Tenants, and what is counted for them.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    all: BTreeMap<String, TenantRecord>,
    /// Whose meetings servers know by an id, and until when.
    owners: HashMap<String, Owner>,
    /// What polls saw: when they began, and people by tenant.
    people: HashMap<BackendId, (u64, BTreeMap<String, u32>)>,
    /// Who joined lately: when and where, by tenant.
    joins: HashMap<String, Vec<(u64, BackendId)>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    tenant: String,
    until_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct SettingRow {
    id: String,
    param: String,
    value: String,
    #[serde(rename = "override")]
    overrides: bool,
}

#[derive(Serialize, Deserialize)]
struct TenantRow {
    id: String,
    name: String,
    secrets: String,
    #[serde(default)]
    lrs: BTreeMap<String, String>,
    #[serde(default)]
    limits: TenantLimits,
    #[serde(default)]
    settings: Vec<SettingRow>,
}

fn row(t: &TenantRecord) -> Option<Vec<u8>> {
    let row = TenantRow {
        id: t.id.clone(),
        name: t.name.clone(),
        secrets: t.secrets.expose().to_owned(),
        lrs: t.lrs.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
        limits: t.limits,
        settings: t
            .settings
            .iter()
            .map(|s| SettingRow {
                id: s.id.clone(),
                param: s.param.clone(),
                value: s.value.clone(),
                overrides: s.overrides,
            })
            .collect(),
    };
    // Plain text and numbers always serialise.
    serde_json::to_vec(&row).ok()
}

impl Tenants {
    /// Takes in a row of the file.
    #[cfg(feature = "file")]
    pub(super) fn load(&mut self, key: &str, row: &[u8]) -> Result<(), serde_json::Error> {
        if let Some(id) = key.strip_prefix(OWNER) {
            self.owners.insert(id.to_owned(), serde_json::from_slice(row)?);
            return Ok(());
        }
        let row: TenantRow = serde_json::from_slice(row)?;
        let mut t = TenantRecord::new(row.id, row.name, Secret::new(row.secrets));
        t.lrs = row.lrs.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        t.limits = row.limits;
        t.settings =
            row.settings.into_iter().map(|s| TenantSetting::new(s.id, s.param, s.value, s.overrides)).collect();
        self.all.insert(t.id.clone(), t);
        Ok(())
    }

    fn holder(&self, name: &str, but: &str) -> Option<String> {
        self.all.values().find(|t| t.id != but && t.name.eq_ignore_ascii_case(name)).map(|t| t.id.clone())
    }

    /// Forgets who owned what; the answer is what to delete.
    pub(super) fn drop_expired(&mut self, now: u64) -> Vec<String> {
        let gone: Vec<String> =
            self.owners.iter().filter(|(_, owner)| owner.until_ms <= now).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.owners.remove(id);
        }
        gone.into_iter().map(|id| format!("owner/{id}")).collect()
    }

    fn people_of(&self, tenant: &str, is_server: impl Fn(&BackendId) -> bool) -> u64 {
        let seen: u64 = self.people.values().filter_map(|(_, of)| of.get(tenant)).map(|n| u64::from(*n)).sum();
        let counts = |(at, server): &&(u64, BackendId)| {
            let began = self.people.get(server).map_or(0, |(began, _)| *began);
            is_server(server) && *at > began.saturating_sub(ARRIVAL_MS)
        };
        let joining = self.joins.get(tenant).map_or(0, |joins| joins.iter().filter(counts).count());
        seen + joining as u64
    }
}

impl State {
    fn save_tenant(&mut self, id: &str) {
        let row = self.tenants.all.get(id).and_then(row);
        self.mark(format!("tenant/{id}"), row);
    }
}

#[async_trait]
impl TenantStore for LocalStore {
    async fn tenants(&self) -> Result<Vec<TenantRecord>, StickError> {
        Ok(self.lock().tenants.all.values().cloned().collect())
    }

    async fn add_tenant(&self, tenant: &TenantRecord) -> Result<TenantSaved, StickError> {
        self.change(|s, _| {
            if let Some(other) = s.tenants.holder(&tenant.name, "") {
                return TenantSaved::NameTaken(other);
            }
            s.tenants.all.insert(tenant.id.clone(), tenant.clone());
            s.save_tenant(&tenant.id);
            TenantSaved::Done
        })
        .await
    }

    async fn update_tenant(&self, id: &str, patch: &TenantPatch) -> Result<TenantSaved, StickError> {
        self.change(|s, _| {
            let name = patch.name.as_deref().filter(|name| !name.is_empty());
            let taken = name.and_then(|name| s.tenants.holder(name, id));
            let Some(t) = s.tenants.all.get_mut(id) else { return TenantSaved::Unknown };
            if let Some(other) = taken {
                return TenantSaved::NameTaken(other);
            }
            if let Some(name) = name {
                name.clone_into(&mut t.name);
            }
            if let Some(secrets) = patch.secrets.as_ref().filter(|secrets| !secrets.expose().is_empty()) {
                t.secrets = secrets.clone();
            }
            if let Some(limits) = patch.limits {
                t.limits = limits;
            }
            for (name, value) in &patch.lrs {
                if value.expose().is_empty() {
                    t.lrs.remove(name);
                } else {
                    t.lrs.insert(name.clone(), value.clone());
                }
            }
            s.save_tenant(id);
            TenantSaved::Done
        })
        .await
    }

    async fn remove_tenant(&self, id: &str) -> Result<bool, StickError> {
        self.change(|s, _| {
            let known = s.tenants.all.remove(id).is_some();
            s.tenants.joins.remove(id);
            if known {
                s.save_tenant(id);
            }
            known
        })
        .await
    }

    async fn add_setting(&self, tenant: &str, setting: &TenantSetting) -> Result<bool, StickError> {
        self.change(|s, _| {
            let Some(t) = s.tenants.all.get_mut(tenant) else { return false };
            t.settings.retain(|old| old.id != setting.id);
            t.settings.push(setting.clone());
            t.settings.sort_by(|a, b| a.id.cmp(&b.id));
            s.save_tenant(tenant);
            true
        })
        .await
    }

    async fn remove_setting(&self, id: &str) -> Result<bool, StickError> {
        self.change(|s, _| {
            let of = s.tenants.all.values().find(|t| t.settings.iter().any(|old| old.id == id)).map(|t| t.id.clone());
            let Some(tenant) = of else { return false };
            if let Some(t) = s.tenants.all.get_mut(&tenant) {
                t.settings.retain(|old| old.id != id);
            }
            s.save_tenant(&tenant);
            true
        })
        .await
    }

    async fn own_id(&self, tenant: &str, id: &str, scoped: &str, ttl: Duration) -> Result<bool, StickError> {
        self.change(|s, now| {
            match s.seen(id, now) {
                Some(m) if m.tenant != tenant => return false,
                Some(_) => {}
                None => {
                    let owner = s.tenants.owners.get(id).filter(|owner| owner.until_ms > now);
                    if owner.is_some_and(|owner| owner.tenant != tenant) || s.seen(scoped, now).is_some() {
                        return false;
                    }
                }
            }
            let owner = Owner { tenant: tenant.to_owned(), until_ms: now.saturating_add(millis(ttl)) };
            s.mark(format!("owner/{id}"), serde_json::to_vec(&owner).ok());
            s.tenants.owners.insert(id.to_owned(), owner);
            true
        })
        .await
    }

    async fn note_people(
        &self,
        server: &BackendId,
        people: &BTreeMap<String, u32>,
        began_ms: u64,
    ) -> Result<(), StickError> {
        let mut s = self.lock();
        s.tenants.people.insert(server.clone(), (began_ms, people.clone()));
        Ok(())
    }

    async fn admit(&self, tenant: &str, server: &BackendId, most: u32) -> Result<bool, StickError> {
        let mut s = self.lock();
        let (s, now) = (&mut *s, self.clock.now_ms());
        s.tenants.people.retain(|id, _| s.servers.contains_key(id));
        if s.tenants.people_of(tenant, |id| s.servers.contains_key(id)) >= u64::from(most) {
            return Ok(false);
        }
        let joins = s.tenants.joins.entry(tenant.to_owned()).or_default();
        joins.retain(|(at, _)| at.saturating_add(JOINS_MS) > now);
        joins.push((now, server.clone()));
        Ok(true)
    }

    async fn by_voice_bridge(&self, number: &str) -> Result<Option<MeetingRecord>, StickError> {
        let mut s = self.lock();
        let now = self.clock.now_ms();
        let Some(id) = s.bridges.get(number).cloned() else { return Ok(None) };
        Ok(s.seen(&id, now).filter(|m| m.voice_bridge == number))
    }
}
