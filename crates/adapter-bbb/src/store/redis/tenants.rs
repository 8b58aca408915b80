//! Tenants on Redis, in Scalelite's keys. What Scalelite has no field for is in keys of ours: `balancer:tenant_limits:ID`,
//! `balancer:tenant_meetings:ID`, `balancer:tenant_joins:ID`, `balancer:tenant_people:SERVER` and `balancer:owner:MEETING`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, RedisReply, StickError, random};

use super::{RedisMeetings, millis, number, optional, text};
use crate::secret::Secret;
use crate::store::MeetingRecord;
use crate::store::tenants::{
    ARRIVAL_MS, JOINS_MS, LRS_FIELDS, SEEN_MS, TenantLimits, TenantPatch, TenantRecord, TenantSaved, TenantSetting,
    TenantStore,
};

pub(super) const TENANTS: &str = "
local p, out = ARGV[1], {}
for _, id in ipairs(redis.call('SMEMBERS', p..'tenants')) do
  local settings = {}
  for _, sid in ipairs(redis.call('SMEMBERS', p..'tenant_settings:'..id)) do
    local s = redis.call('HMGET', p..'tenant_setting:'..sid, 'param', 'value', 'override')
    settings[#settings + 1] = {sid, s[1] or '', s[2] or '', s[3] or ''}
  end
  local name = redis.call('HGET', p..'tenant:'..id, 'name')
  local led = name and redis.call('HGET', p..'tenant_name:'..name, 'id') == id
  out[#out + 1] = {id, redis.call('HGETALL', p..'tenant:'..id), settings,
    redis.call('HMGET', p..'balancer:tenant_limits:'..id, 'meetings', 'users', 'calls'), led and 1 or 0}
end
return out
";

/// What the other scripts need: who has a name.
const NAMES: &str = "
local function holder(p, name, but)
  for _, id in ipairs(redis.call('SMEMBERS', p..'tenants')) do
    local other = redis.call('HGET', p..'tenant:'..id, 'name')
    if id ~= but and other and string.lower(other) == string.lower(name) then return id end
  end
  return false
end
local function limits(p, id, meetings, users, calls)
  local key = p..'balancer:tenant_limits:'..id
  redis.call('DEL', key)
  if meetings ~= '' then redis.call('HSET', key, 'meetings', meetings) end
  if users ~= '' then redis.call('HSET', key, 'users', users) end
  if calls ~= '' then redis.call('HSET', key, 'calls', calls) end
end
";

const ADD_TENANT: &str = "
local p, id, name = ARGV[1], ARGV[2], ARGV[3]
local other = holder(p, name, '')
if other then return other end
redis.call('SADD', p..'tenants', id)
redis.call('HSET', p..'tenant:'..id, 'name', name, 'secrets', ARGV[4])
redis.call('HSET', p..'tenant_name:'..name, 'id', id)
limits(p, id, ARGV[5], ARGV[6], ARGV[7])
for i = 8, #ARGV, 2 do redis.call('HSET', p..'tenant:'..id, ARGV[i], ARGV[i + 1]) end
return ''
";

const UPDATE_TENANT: &str = "
local p, id, name, secrets = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = p..'tenant:'..id
if redis.call('SISMEMBER', p..'tenants', id) == 0 then return false end
if name ~= '' then
  local other = holder(p, name, id)
  if other then return other end
  local old = redis.call('HGET', key, 'name')
  if old and old ~= name and redis.call('HGET', p..'tenant_name:'..old, 'id') == id then
    redis.call('DEL', p..'tenant_name:'..old)
    -- A second one of the old name, as a Scalelite lets happen, is found by it again.
    local second = holder(p, old, id)
    if second then redis.call('HSET', p..'tenant_name:'..old, 'id', second) end
  end
  redis.call('HSET', key, 'name', name)
  redis.call('HSET', p..'tenant_name:'..name, 'id', id)
end
if secrets ~= '' then redis.call('HSET', key, 'secrets', secrets) end
if ARGV[5] ~= '' then limits(p, id, ARGV[6], ARGV[7], ARGV[8]) end
for i = 9, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
end
return ''
";

const REMOVE_TENANT: &str = "
local p, id = ARGV[1], ARGV[2]
if redis.call('SREM', p..'tenants', id) == 0 then return 0 end
local name = redis.call('HGET', p..'tenant:'..id, 'name')
if name and redis.call('HGET', p..'tenant_name:'..name, 'id') == id then
  redis.call('DEL', p..'tenant_name:'..name)
  local second = holder(p, name, id)
  if second then redis.call('HSET', p..'tenant_name:'..name, 'id', second) end
end
for _, sid in ipairs(redis.call('SMEMBERS', p..'tenant_settings:'..id)) do
  redis.call('DEL', p..'tenant_setting:'..sid)
end
redis.call('DEL', p..'tenant:'..id, p..'tenant_settings:'..id, p..'balancer:tenant_limits:'..id,
  p..'balancer:tenant_joins:'..id)
return 1
";

const ADD_SETTING: &str = "
local p, tenant, id = ARGV[1], ARGV[2], ARGV[3]
if redis.call('SISMEMBER', p..'tenants', tenant) == 0 then return 0 end
redis.call('HSET', p..'tenant_setting:'..id, 'param', ARGV[4], 'value', ARGV[5], 'override', ARGV[6],
  'tenant_id', tenant)
redis.call('SADD', p..'tenant_settings:'..tenant, id)
return 1
";

const REMOVE_SETTING: &str = "
local p, id = ARGV[1], ARGV[2]
local tenant = redis.call('HGET', p..'tenant_setting:'..id, 'tenant_id')
if tenant then redis.call('SREM', p..'tenant_settings:'..tenant, id) end
return redis.call('DEL', p..'tenant_setting:'..id)
";

const OWN_ID: &str = "
local p, tenant, id, scoped, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local m = redis.call('HMGET', p..'meeting:'..id, 'server_id', 'tenant_id')
if m[1] and m[2] ~= tenant then return 0 end
if not m[1] then
  local owner = redis.call('GET', p..'balancer:owner:'..id)
  if owner and owner ~= tenant then return 0 end
  if redis.call('EXISTS', p..'meeting:'..scoped) == 1 then return 0 end
end
redis.call('SET', p..'balancer:owner:'..id, tenant, 'PX', ttl)
return 1
";

const NOTE_PEOPLE: &str = "
local key = ARGV[1]..'balancer:tenant_people:'..ARGV[2]
redis.call('DEL', key)
redis.call('HSET', key, '', ARGV[3])
for i = 5, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', key, ARGV[4])
return 1
";

const ADMIT: &str = "
local p, tenant, server, most, member = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local arrival, memory = tonumber(ARGV[6]), tonumber(ARGV[7])
local now, people, began = now_ms(), 0, {}
for _, id in ipairs(redis.call('SMEMBERS', p..'servers')) do
  local seen = redis.call('HMGET', p..'balancer:tenant_people:'..id, tenant, '')
  people = people + (tonumber(seen[1] or '') or 0)
  began[id] = (tonumber(seen[2] or '') or 0) - arrival
end
local joins = p..'balancer:tenant_joins:'..tenant
redis.call('ZREMRANGEBYSCORE', joins, '-inf', text(now - memory))
local recent = redis.call('ZRANGE', joins, 0, -1, 'WITHSCORES')
for i = 1, #recent, 2 do
  local at = string.match(recent[i], '^[^ ]* (.*)$')
  if began[at] and tonumber(recent[i + 1]) > began[at] then people = people + 1 end
end
if people >= most then return 0 end
redis.call('ZADD', joins, text(now), member..' '..server)
redis.call('PEXPIRE', joins, memory)
return 1
";

const BY_BRIDGE: &str = "
local p, n = ARGV[1], ARGV[2]
local id = redis.call('HGET', p..'voice_bridges', n)
if not id then return {} end
local m = fields(p, id)
if not m[1] or m[3] ~= n then return {} end
local ending = m[6] and tonumber(m[6]) > now_ms() and 1 or 0
return {id, m[1], m[2], m[3], m[4], m[5], ending, m[7]}
";

/// The scripts about tenants.
#[derive(Debug)]
pub(super) struct TenantScripts {
    tenants: super::RedisScript,
    add: super::RedisScript,
    update: super::RedisScript,
    remove: super::RedisScript,
    add_setting: super::RedisScript,
    remove_setting: super::RedisScript,
    own_id: super::RedisScript,
    note_people: super::RedisScript,
    admit: super::RedisScript,
    by_bridge: super::RedisScript,
}

impl TenantScripts {
    pub(super) fn new(script: impl Fn(&str) -> super::RedisScript) -> Self {
        let named = |body: &str| script(&format!("{NAMES}{body}"));
        Self {
            tenants: script(TENANTS),
            add: named(ADD_TENANT),
            update: named(UPDATE_TENANT),
            remove: named(REMOVE_TENANT),
            add_setting: script(ADD_SETTING),
            remove_setting: script(REMOVE_SETTING),
            own_id: script(OWN_ID),
            note_people: script(NOTE_PEOPLE),
            admit: script(ADMIT),
            by_bridge: script(BY_BRIDGE),
        }
    }
}

/// The limits as a script takes them.
fn limits(of: &TenantLimits) -> [String; 3] {
    let show = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
    [show(of.meetings), show(of.users), of.calls.map(|n| n.to_string()).unwrap_or_default()]
}

fn record(row: &[RedisReply]) -> Option<TenantRecord> {
    let fields = row.get(1)?.as_list();
    let mut t = TenantRecord::new(text(row.first()), "", Secret::new(""));
    for pair in fields.chunks_exact(2) {
        let (name, value) = (text(pair.first()), text(pair.get(1)));
        match name {
            "name" => value.clone_into(&mut t.name),
            "secrets" => t.secrets = Secret::new(value),
            _ if LRS_FIELDS.contains(&name) => drop(t.lrs.insert(name.to_owned(), Secret::new(value))),
            _ => {}
        }
    }
    for s in row.get(2)?.as_list().iter().map(RedisReply::as_list) {
        let of = |at: usize| text(s.get(at));
        if !of(1).is_empty() {
            t.settings.push(TenantSetting::new(of(0), of(1), of(2), of(3) == "true"));
        }
    }
    t.settings.sort_by(|a, b| a.id.cmp(&b.id));
    let limits = row.get(3)?.as_list();
    let whole = |at: usize| optional(limits.get(at)).and_then(|n| n.parse().ok());
    t.limits.meetings = whole(0);
    t.limits.users = whole(1);
    t.limits.calls = optional(limits.get(2)).and_then(|n| n.parse().ok());
    (!t.name.is_empty()).then_some(t)
}

impl RedisMeetings {
    fn saved(reply: &RedisReply) -> TenantSaved {
        match reply.as_str() {
            None => TenantSaved::Unknown,
            Some("") => TenantSaved::Done,
            Some(other) => TenantSaved::NameTaken(other.to_owned()),
        }
    }
}

#[async_trait]
impl TenantStore for RedisMeetings {
    async fn tenants(&self) -> Result<Vec<TenantRecord>, StickError> {
        let reply = self.run(&self.scripts.of_tenants.tenants, &[]).await?;
        let rows = reply.as_list().iter().map(RedisReply::as_list);
        let mut all: Vec<(bool, TenantRecord)> =
            rows.filter_map(|row| Some((number(row.get(4)) == 0, record(row)?))).collect();
        all.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        Ok(all.into_iter().map(|(_, t)| t).collect())
    }

    async fn add_tenant(&self, t: &TenantRecord) -> Result<TenantSaved, StickError> {
        let limits = limits(&t.limits);
        let mut args = vec![t.id.as_str(), &t.name, t.secrets.expose()];
        args.extend(limits.iter().map(String::as_str));
        args.extend(t.lrs.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]));
        let saved = Self::saved(&self.run(&self.scripts.of_tenants.add, &args).await?);
        if saved == TenantSaved::Done {
            for s in &t.settings {
                self.add_setting(&t.id, s).await?;
            }
        }
        Ok(saved)
    }

    async fn update_tenant(&self, id: &str, patch: &TenantPatch) -> Result<TenantSaved, StickError> {
        let set = limits(&patch.limits.unwrap_or_default());
        let mut args = vec![
            id,
            patch.name.as_deref().unwrap_or(""),
            patch.secrets.as_ref().map_or("", Secret::expose),
            if patch.limits.is_some() { "1" } else { "" },
        ];
        args.extend(set.iter().map(String::as_str));
        args.extend(patch.lrs.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]));
        Ok(Self::saved(&self.run(&self.scripts.of_tenants.update, &args).await?))
    }

    async fn remove_tenant(&self, id: &str) -> Result<bool, StickError> {
        Ok(number(Some(&self.run(&self.scripts.of_tenants.remove, &[id]).await?)) > 0)
    }

    async fn add_setting(&self, tenant: &str, s: &TenantSetting) -> Result<bool, StickError> {
        let args = [tenant, &s.id, &s.param, &s.value, if s.overrides { "true" } else { "false" }];
        Ok(number(Some(&self.run(&self.scripts.of_tenants.add_setting, &args).await?)) > 0)
    }

    async fn remove_setting(&self, id: &str) -> Result<bool, StickError> {
        Ok(number(Some(&self.run(&self.scripts.of_tenants.remove_setting, &[id]).await?)) > 0)
    }

    async fn own_id(&self, tenant: &str, id: &str, scoped: &str, ttl: Duration) -> Result<bool, StickError> {
        let ttl = millis(ttl).to_string();
        Ok(number(Some(&self.run(&self.scripts.of_tenants.own_id, &[tenant, id, scoped, &ttl]).await?)) > 0)
    }

    async fn note_people(
        &self,
        server: &BackendId,
        people: &BTreeMap<String, u32>,
        began_ms: u64,
    ) -> Result<(), StickError> {
        let counts: Vec<String> = people.values().map(u32::to_string).collect();
        let [began, ttl] = [began_ms, SEEN_MS].map(|n| n.to_string());
        let mut args = vec![server.as_str(), &began, &ttl];
        args.extend(people.keys().zip(&counts).flat_map(|(tenant, n)| [tenant.as_str(), n.as_str()]));
        self.run(&self.scripts.of_tenants.note_people, &args).await.map(drop)
    }

    async fn admit(&self, tenant: &str, server: &BackendId, most: u32) -> Result<bool, StickError> {
        let (most, member) = (most.to_string(), random().to_string());
        let [arrival, memory] = [ARRIVAL_MS, JOINS_MS].map(|n| n.to_string());
        let args = [tenant, server.as_str(), &most, &member, &arrival, &memory];
        Ok(number(Some(&self.run(&self.scripts.of_tenants.admit, &args).await?)) > 0)
    }

    async fn by_voice_bridge(&self, bridge: &str) -> Result<Option<MeetingRecord>, StickError> {
        let reply = self.run(&self.scripts.of_tenants.by_bridge, &[bridge]).await?;
        let row = reply.as_list();
        Ok(row.get(1..).and_then(|rest| Self::meeting(text(row.first()), rest)))
    }
}
