//! Who polls which server, and what the polls found. Beside Scalelite's keys: `balancer:processes`,
//! `balancer:poll:SERVER` (the lease and the last poll), `balancer:doubts:SERVER` and `balancer:breakout:MEETING`.

/// The lease of a server and its last poll lie in one hash: `holder`, `until` and `token` are the lease's; `number`,
/// `began`, `load` and `failed` the poll's.
pub(super) const LEASE: &str = "
local function live(p, process, now)
  local until_ms = redis.call('ZSCORE', p..'balancer:processes', process)
  return until_ms and tonumber(until_ms) > now
end
local function take(p, id, process, now, ttl)
  local key = p..'balancer:poll:'..id
  local l = redis.call('HMGET', key, 'holder', 'until', 'token')
  local token = tonumber(l[3] or '0')
  if l[1] ~= process or tonumber(l[2] or '0') <= now then token = token + 1 end
  redis.call('HSET', key, 'holder', process, 'until', text(now + ttl), 'token', text(token))
  return text(token)
end
local function holds(p, id, process, token)
  local l = redis.call('HMGET', p..'balancer:poll:'..id, 'holder', 'until', 'token')
  return l[1] == process and l[3] == token and tonumber(l[2] or '0') > now_ms()
end
";

/// The answer: the number and the silence in milliseconds of every live process.
pub(super) const ANNOUNCE: &str = "
local p, process, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
redis.call('ZADD', p..'balancer:processes', text(now + ttl), process)
redis.call('ZREMRANGEBYSCORE', p..'balancer:processes', '-inf', text(now))
redis.call('PEXPIRE', p..'balancer:processes', text(ttl * 2))
local out = redis.call('ZRANGE', p..'balancer:processes', 0, -1, 'WITHSCORES')
for i = 2, #out, 2 do out[i] = text(math.max(0, ttl - (tonumber(out[i]) - now))) end
return out
";

pub(super) const WITHDRAW: &str = "
local p, process = ARGV[1], ARGV[2]
redis.call('ZREM', p..'balancer:processes', process)
for _, id in ipairs(redis.call('SMEMBERS', p..'servers')) do
  local key = p..'balancer:poll:'..id
  if redis.call('HGET', key, 'holder') == process then redis.call('HDEL', key, 'holder', 'until') end
  redis.call('ZREM', p..'balancer:doubts:'..id, process)
end
return 1
";

/// The answer: a token for each server wanted, empty where somebody else holds the lease.
pub(super) const LEASES: &str = "
local p, process, ttl, force, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local out, now = {}, now_ms()
for i = 6, #ARGV do
  local id = ARGV[i]
  local l = redis.call('HMGET', p..'balancer:poll:'..id, 'holder', 'until')
  local known = redis.call('SISMEMBER', p..'servers', id) == 1
  if i > 5 + wanted then
    if l[1] == process then redis.call('HDEL', p..'balancer:poll:'..id, 'holder', 'until') end
  elseif not known then
    out[#out + 1] = ''
  elseif force ~= '' or not l[1] or l[1] == process or tonumber(l[2] or '0') <= now or not live(p, l[1], now) then
    out[#out + 1] = take(p, id, process, now, ttl)
  else
    out[#out + 1] = ''
  end
end
return out
";

pub(super) const RECORD_POLL: &str = "
local p, id, online, version, draining = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local process, token, began, keep, load = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local key, poll = p..'server:'..id, p..'balancer:poll:'..id
if redis.call('SISMEMBER', p..'servers', id) == 0 then return 0 end
if token ~= '' then
  if not holds(p, id, process, token) then return 0 end
  if load then
    redis.call('HINCRBY', poll, 'number', 1)
    redis.call('HSET', poll, 'began', began, 'load', load, 'failed', '0')
    for i = 15, #ARGV do redis.call('SET', p..'balancer:breakout:'..ARGV[i], id, 'PX', keep) end
  else
    redis.call('HSET', poll, 'failed', '1')
  end
end
if version ~= '' then redis.call('HSET', key, 'bbb_version', version) end
if online ~= '' and redis.call('HGET', key, 'online') ~= online then
  redis.call('HSET', key, 'online', online)
  bump(p)
end
if redis.call('HGET', key, 'online') ~= 'true' then
  redis.call('HSET', key, 'meetings', '0', 'users', '0', 'largest_meeting', '0', 'videos', '0')
  redis.call('ZREM', p..'server_load', id)
  redis.call('ZREM', p..'cordoned_server_load', id)
  return 1
end
if not load then return 1 end
redis.call('HSET', key, 'meetings', ARGV[11], 'users', ARGV[12], 'largest_meeting', ARGV[13], 'videos', ARGV[14])
local state = redis.call('HGET', key, 'state')
if not state then
  state = redis.call('SISMEMBER', p..'server_enabled', id) == 1 and 'enabled' or 'disabled'
end
if state == 'enabled' then
  redis.call('ZADD', p..'server_load', load, id)
elseif state == 'cordoned' then
  if draining ~= '' and tonumber(load) == 0 then
    redis.call('HSET', key, 'state', 'disabled')
    bump(p)
    redis.call('ZREM', p..'cordoned_server_load', id)
  else
    redis.call('ZADD', p..'cordoned_server_load', load, id)
  end
end
return 1
";

/// The answer: empty as long as another live process has to say so too, else the token of the lease, taken over.
pub(super) const DOUBT: &str = "
local p, id, process, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if redis.call('SISMEMBER', p..'servers', id) == 0 then return '' end
local key, now = p..'balancer:doubts:'..id, now_ms()
redis.call('ZADD', key, text(now + ttl), process)
redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now))
redis.call('PEXPIRE', key, text(ttl))
local alone = true
for _, other in ipairs(redis.call('ZRANGEBYSCORE', p..'balancer:processes', '('..text(now), '+inf')) do
  if other ~= process then
    if redis.call('ZSCORE', key, other) then return take(p, id, process, now, ttl) end
    alone = false
  end
end
return alone and take(p, id, process, now, ttl) or ''
";
