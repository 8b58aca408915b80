//! One script per operation: each is one step at the server. The first argument is always the key prefix.

use balancer_core::RedisScript;

use super::{callbacks, polls, tenants, tidy};

/// Fields of a meeting in the order in which every script gives them.
const FIELDS: &str = "
local function fields(p, id)
  local m = redis.call('HMGET', p..'meeting:'..id,
    'server_id', 'moderator_pw', 'voice_bridge', 'token', 'stamp', 'ending', 'tenant_id')
  return m
end
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function text(n)
  return string.format('%.0f', n)
end
local function same(m, server, token, stamp)
  return m[1] == server and (m[4] or '0') == token and (m[5] or '0') == stamp
end
local function forget(p, id, m)
  if m[3] and m[3] ~= '' and redis.call('HGET', p..'voice_bridges', m[3]) == id then
    redis.call('HDEL', p..'voice_bridges', m[3])
  end
  redis.call('DEL', p..'meeting:'..id)
  redis.call('SREM', p..'meetings', id)
  if m[7] and m[7] ~= '' then redis.call('SREM', p..'balancer:tenant_meetings:'..m[7], id) end
end
local function bump(p)
  -- From the clock: what a flushed store counted before must not come again.
  if not redis.call('SET', p..'balancer:epoch', text(now_ms()), 'NX') then redis.call('INCR', p..'balancer:epoch') end
end
local function epoch(p)
  -- A Scalelite changes the sizes only.
  return tonumber(redis.call('GET', p..'balancer:epoch') or '0') + redis.call('SCARD', p..'servers') + redis.call('SCARD', p..'server_enabled') * 100003
    + redis.call('ZCARD', p..'server_load') * 1000000007
    + redis.call('ZCARD', p..'cordoned_server_load') * 10000000019
end
";

const GET: &str = "
local p, id, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local m = fields(p, id)
if m[1] and ttl > 0 and redis.call('PTTL', p..'meeting:'..id) < ttl then
  redis.call('PEXPIRE', p..'meeting:'..id, text(ttl))
end
return m
";

const LOOK: &str = "
local p, id = ARGV[1], ARGV[2]
local m = fields(p, id)
local out = {m[1], m[2], m[3], m[4], m[5], 0, m[7], 0, false, 0, false, text(epoch(p))}
if m[1] then
  if m[6] and tonumber(m[6]) > now_ms() then out[6] = 1 end
  local s = redis.call('HMGET', p..'server:'..m[1], 'url', 'state', 'online')
  if s[1] then
    out[8] = 1
    out[9] = s[2]
    if not s[2] then out[10] = redis.call('SISMEMBER', p..'server_enabled', m[1]) end
    out[11] = s[3]
  end
end
return out
";

const CLAIM: &str = "
local p, id, server, token, pw = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local load, ttl = ARGV[6], ARGV[7]
local seen_server, seen_token, seen_stamp = ARGV[8], ARGV[9], ARGV[10]
local adopt, registered, tenant, most = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14])
local m = fields(p, id)
if m[1] and not (seen_server ~= '' and same(m, seen_server, seen_token, seen_stamp)) then
  return {'held', m[1], m[2], m[3], m[4], m[5], 0, m[7]}
end
if m[1] ~= server and registered ~= '' and redis.call('SISMEMBER', p..'servers', server) == 0 then
  return {'closed'}
end
if m[1] ~= server and adopt == '' then
  local state = redis.call('HGET', p..'server:'..server, 'state')
  if not state and registered ~= '' and redis.call('SISMEMBER', p..'server_enabled', server) == 0 then
    state = 'disabled'
  end
  if state == 'cordoned' or state == 'disabled' or redis.call('SISMEMBER', p..'balancer:closed', server) == 1 then
    return {'closed'}
  end
end
if not m[1] and tenant ~= '' and most > 0 then
  local own = p..'balancer:tenant_meetings:'..tenant
  for _, other in ipairs(redis.call('SMEMBERS', own)) do
    if redis.call('HGET', p..'meeting:'..other, 'tenant_id') ~= tenant then redis.call('SREM', own, other) end
  end
  if redis.call('SCARD', own) >= most then return {'full'} end
end
local bridge = m[3] or ''
if bridge == '' then
  for i = 15, #ARGV do
    redis.call('HSETNX', p..'voice_bridges', ARGV[i], id)
    if redis.call('HGET', p..'voice_bridges', ARGV[i]) == id then
      bridge = ARGV[i]
      break
    end
  end
end
if m[2] and m[2] ~= '' then pw = m[2] end
local last = tonumber(redis.call('GET', p..'balancer:stamp') or '0')
local stamp = text(math.max(now_ms(), last + 1))
redis.call('SET', p..'balancer:stamp', stamp)
local key = p..'meeting:'..id
redis.call('HSET', key, 'server_id', server, 'moderator_pw', pw, 'voice_bridge', bridge,
  'token', token, 'stamp', stamp)
if not m[1] then
  redis.call('HSETNX', key, 'tenant_id', tenant)
  if tenant ~= '' then redis.call('SADD', p..'balancer:tenant_meetings:'..tenant, id) end
end
redis.call('HDEL', key, 'ending')
redis.call('PEXPIRE', key, ttl)
redis.call('SADD', p..'meetings', id)
if redis.call('ZSCORE', p..'server_load', server) and tonumber(load) ~= 0 then
  redis.call('ZINCRBY', p..'server_load', load, server)
end
return {'won', server, pw, bridge, token, stamp, 0, m[1] and m[7] or tenant}
";

const RENEW: &str = "
local p, id = ARGV[1], ARGV[2]
if not same(fields(p, id), ARGV[3], ARGV[4], ARGV[5]) then return 0 end
redis.call('PEXPIRE', p..'meeting:'..id, ARGV[6])
return 1
";

const RELEASE: &str = "
local p, id = ARGV[1], ARGV[2]
local m = fields(p, id)
if not m[1] or not same(m, ARGV[3], ARGV[4], ARGV[5]) then return 0 end
forget(p, id, m)
return 1
";

const BEGIN_END: &str = "
local p, id = ARGV[1], ARGV[2]
local m = fields(p, id)
if not m[1] or not same(m, ARGV[3], ARGV[4], ARGV[5]) then return 0 end
local now = now_ms()
if m[6] and tonumber(m[6]) > now then return 0 end
redis.call('HSET', p..'meeting:'..id, 'ending', text(now + tonumber(ARGV[6])))
return 1
";

const MEETINGS: &str = "
local p, server = ARGV[1], ARGV[2]
local out, now = {}, now_ms()
local expired, any = {}, false
for _, id in ipairs(redis.call('SMEMBERS', p..'meetings')) do
  local m = fields(p, id)
  if not m[1] then
    redis.call('SREM', p..'meetings', id)
    expired[id], any = true, true
  elseif server == '' or m[1] == server then
    local ending = m[6] and tonumber(m[6]) > now and 1 or 0
    out[#out + 1] = {id, m[1], m[2], m[3], m[4], m[5], ending, m[7]}
  end
end
if any then
  local numbers = redis.call('HGETALL', p..'voice_bridges')
  for i = 1, #numbers, 2 do
    if expired[numbers[i + 1]] then redis.call('HDEL', p..'voice_bridges', numbers[i]) end
  end
end
return out
";

const SERVERS: &str = "
local p = ARGV[1]
local out = {text(epoch(p))}
for _, id in ipairs(redis.call('SMEMBERS', p..'servers')) do
  local s = redis.call('HMGET', p..'server:'..id, 'url', 'secret', 'tag', 'state', 'online', 'load_multiplier',
    'meetings', 'users', 'largest_meeting', 'videos', 'bbb_version')
  local row = {id}
  for i = 1, 11 do row[i + 1] = s[i] or '' end
  row[13] = redis.call('SISMEMBER', p..'server_enabled', id)
  row[14] = redis.call('ZSCORE', p..'server_load', id) or ''
  row[15] = redis.call('ZSCORE', p..'cordoned_server_load', id) or ''
  local poll = redis.call('HMGET', p..'balancer:poll:'..id, 'number', 'began', 'load', 'failed')
  for i = 1, 4 do row[15 + i] = poll[i] or '' end
  row[20] = redis.call('ZRANGEBYSCORE', p..'balancer:doubts:'..id, '('..text(now_ms()), '+inf')
  row[21] = redis.call('HGET', p..'balancer:old_secrets', id) or ''
  out[#out + 1] = row
end
return out
";

const ADD_SERVER: &str = "
local p, id, url, secret, multiplier, tag = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('SADD', p..'servers', id) == 0 then return 0 end
redis.call('HDEL', p..'balancer:old_secrets', id)
redis.call('HSET', p..'server:'..id, 'url', url, 'secret', secret, 'online', 'false', 'load_multiplier', multiplier)
if tag ~= '' then redis.call('HSET', p..'server:'..id, 'tag', tag) end
bump(p)
return 1
";

const UPDATE_SERVER: &str = "
local p, id = ARGV[1], ARGV[2]
local key = p..'server:'..id
if redis.call('SISMEMBER', p..'servers', id) == 0 then return 0 end
bump(p)
for i = 3, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  if field == 'tag' and value == '' then
    redis.call('HDEL', key, 'tag')
  elseif field == 'proved' then
    if redis.call('HGET', key, 'secret') == value then redis.call('HDEL', p..'balancer:old_secrets', id) end
  elseif field == 'secret' then
    local was, old = redis.call('HGET', key, 'secret'), redis.call('HGET', p..'balancer:old_secrets', id)
    if old == value then
      redis.call('HDEL', p..'balancer:old_secrets', id)
    elseif was and was ~= value and not old then
      redis.call('HSET', p..'balancer:old_secrets', id, was)
    end
    redis.call('HSET', key, 'secret', value)
  elseif field ~= 'state' then
    redis.call('HSET', key, field, value)
  else
    local load = redis.call('ZSCORE', p..'server_load', id)
    local kept = redis.call('ZSCORE', p..'cordoned_server_load', id)
    redis.call('HSET', key, 'state', value)
    if value == 'enabled' then
      redis.call('SADD', p..'server_enabled', id)
      if kept then redis.call('ZADD', p..'server_load', kept, id) end
      redis.call('ZREM', p..'cordoned_server_load', id)
    else
      redis.call('SREM', p..'server_enabled', id)
      redis.call('ZREM', p..'server_load', id)
      if value == 'cordoned' and load then
        redis.call('ZADD', p..'cordoned_server_load', load, id)
      elseif value == 'disabled' then
        redis.call('ZREM', p..'cordoned_server_load', id)
      end
    end
  end
end
return 1
";

const REMOVE_SERVER: &str = "
local p, id = ARGV[1], ARGV[2]
local known = redis.call('SREM', p..'servers', id)
bump(p)
redis.call('SREM', p..'server_enabled', id)
redis.call('SREM', p..'balancer:closed', id)
redis.call('HDEL', p..'balancer:old_secrets', id)
redis.call('ZREM', p..'server_load', id)
redis.call('ZREM', p..'cordoned_server_load', id)
redis.call('DEL', p..'server:'..id, p..id, p..'balancer:doubts:'..id, p..'balancer:poll:'..id)
for _, meeting in ipairs(redis.call('SMEMBERS', p..'meetings')) do
  local m = fields(p, meeting)
  if not m[1] or m[1] == id then forget(p, meeting, m) end
end
return known
";

const RENEW_SEEN: &str = "
local p, server, ttl = ARGV[1], ARGV[2], ARGV[3]
for i = 4, #ARGV do
  local key = p..'meeting:'..ARGV[i]
  if redis.call('HGET', key, 'server_id') == server then redis.call('PEXPIRE', key, ttl) end
end
return 1
";

const ADD_LOADS: &str = "
local p = ARGV[1]
for i = 2, #ARGV, 2 do
  if redis.call('ZSCORE', p..'server_load', ARGV[i]) then
    redis.call('ZINCRBY', p..'server_load', ARGV[i + 1], ARGV[i])
  end
end
return 1
";

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) get: RedisScript,
    pub(super) look: RedisScript,
    pub(super) claim: RedisScript,
    pub(super) renew: RedisScript,
    pub(super) release: RedisScript,
    pub(super) begin_end: RedisScript,
    pub(super) meetings: RedisScript,
    pub(super) servers: RedisScript,
    pub(super) add_server: RedisScript,
    pub(super) update_server: RedisScript,
    pub(super) remove_server: RedisScript,
    pub(super) record_poll: RedisScript,
    pub(super) renew_seen: RedisScript,
    pub(super) add_loads: RedisScript,
    pub(super) announce: RedisScript,
    pub(super) withdraw: RedisScript,
    pub(super) leases: RedisScript,
    pub(super) tidy: RedisScript,
    pub(super) tidy_keys: RedisScript,
    pub(super) doubt: RedisScript,
    pub(super) hooks: RedisScript,
    pub(super) add_hook: RedisScript,
    pub(super) remove_hook: RedisScript,
    pub(super) keep_urls: RedisScript,
    pub(super) enqueue: RedisScript,
    pub(super) take_due: RedisScript,
    pub(super) postpone: RedisScript,
    pub(super) drop_delivery: RedisScript,
    pub(super) of_tenants: tenants::TenantScripts,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |body: &str| RedisScript::new(format!("{FIELDS}{body}"));
        let leased = |body: &str| RedisScript::new(format!("{FIELDS}{}{body}", polls::LEASE));
        Self {
            get: script(GET),
            look: script(LOOK),
            claim: script(CLAIM),
            renew: script(RENEW),
            release: script(RELEASE),
            begin_end: script(BEGIN_END),
            meetings: script(MEETINGS),
            servers: script(SERVERS),
            add_server: script(ADD_SERVER),
            update_server: script(UPDATE_SERVER),
            remove_server: script(REMOVE_SERVER),
            record_poll: leased(polls::RECORD_POLL),
            renew_seen: script(RENEW_SEEN),
            add_loads: script(ADD_LOADS),
            announce: script(polls::ANNOUNCE),
            withdraw: script(polls::WITHDRAW),
            leases: leased(polls::LEASES),
            doubt: leased(polls::DOUBT),
            tidy: script(tidy::TIDY),
            tidy_keys: script(tidy::TIDY_KEYS),
            hooks: script(callbacks::HOOKS),
            add_hook: script(callbacks::ADD_HOOK),
            remove_hook: script(callbacks::REMOVE_HOOK),
            keep_urls: script(callbacks::KEEP_URLS),
            enqueue: script(callbacks::ENQUEUE),
            take_due: script(callbacks::TAKE_DUE),
            postpone: script(callbacks::POSTPONE),
            drop_delivery: script(callbacks::DROP_DELIVERY),
            of_tenants: tenants::TenantScripts::new(script),
        }
    }
}
