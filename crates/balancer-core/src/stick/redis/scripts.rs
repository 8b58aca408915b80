//! The scripts of the Redis store, one per operation.
//!
//! A shard has five keys with one hash tag: `b` hash of room to `EXPIRY STAMP TOKEN SERVER`, `x` rooms sorted by
//! expiry, `s` rooms by server (members `LENGTH:SERVER:ROOM`, all of one score, so they sort by text), `c` the closed
//! servers, `t` the last stamp. Times are milliseconds of the server's own clock, written without exponent.

use std::sync::LazyLock;

use super::link::RedisScript;

/// What every script begins with. `ARGV[1]` is the room, where there is one.
const HEAD: &str = r"
local b, x, s, c, t = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function text(number) return string.format('%.0f', number) end
local function member(server, room) return #server .. ':' .. server .. ':' .. room end
local function read(room)
  local row = redis.call('HGET', b, room)
  if not row then return nil end
  local till, rest = string.match(row, '^(%d+) (.*)$')
  if not rest then return nil end
  local stamp, token, server = string.match(rest, '^(%d+) (%x+) (.*)$')
  if not server then return nil end
  return { till = tonumber(till), whole = rest, stamp = stamp, token = token, server = server }
end
local function live(room)
  local found = read(room)
  if found and found.till > now then return found end
  return nil
end
local function drop(room)
  local found = read(room)
  if found then redis.call('ZREM', s, member(found.server, room)) end
  redis.call('HDEL', b, room)
  redis.call('ZREM', x, room)
end
local function sweep(most)
  for _, room in ipairs(redis.call('ZRANGEBYSCORE', x, '-inf', text(now), 'LIMIT', 0, most)) do drop(room) end
end
local function age()
  local last = redis.call('ZRANGE', x, -1, -1, 'WITHSCORES')
  if last[2] then
    local till = text(tonumber(last[2]))
    redis.call('PEXPIREAT', b, till)
    redis.call('PEXPIREAT', x, till)
    redis.call('PEXPIREAT', s, till)
  end
end
local function store(room, whole, till)
  redis.call('HSET', b, room, text(till) .. ' ' .. whole)
  redis.call('ZADD', x, text(till), room)
end
";

/// Arguments: room, extension in ms or an empty text.
const GET: &str = r"
local found = live(ARGV[1])
if not found then return false end
if ARGV[2] ~= '' then
  local till = now + tonumber(ARGV[2])
  if till > found.till then
    store(ARGV[1], found.whole, till)
    age()
  end
end
return { found.stamp, found.token, found.server }
";

/// Arguments: room, server, token, time to live in ms, what was seen (`STAMP TOKEN SERVER`) or an empty text.
///
/// The first write is one that a server without memory refuses; once a script has written, it refuses nothing more.
/// No key that is written again runs empty in between: where its slot is leaving the node, it would be looked for
/// elsewhere and the script would end half done. Hence the new row comes before the old one goes and before the sweep.
const PUT: &str = r"
local room, server, token = ARGV[1], ARGV[2], ARGV[3]
local found = live(room)
if found and found.whole ~= ARGV[5] then return { 'held', found.stamp, found.token, found.server } end
if redis.call('SISMEMBER', c, server) == 1 then return { 'closed' } end
local stamp = text(math.max(tonumber(redis.call('GET', t) or '0') + 1, now))
redis.call('SET', t, stamp)
local old = read(room)
store(room, stamp .. ' ' .. token .. ' ' .. server, now + tonumber(ARGV[4]))
redis.call('ZADD', s, 0, member(server, room))
if old and old.server ~= server then redis.call('ZREM', s, member(old.server, room)) end
sweep(16)
age()
return { 'won', stamp, token, server }
";

/// Arguments: room, time to live in ms, what was seen.
const RENEW: &str = r"
local found = live(ARGV[1])
if not found or found.whole ~= ARGV[3] then return 0 end
store(ARGV[1], found.whole, now + tonumber(ARGV[2]))
age()
return 1
";

/// Arguments: room, what was seen. `PERSIST` of a key that never expires changes nothing, yet only a server that may
/// write does it: a replica, or a master that has lost too many of its replicas, refuses.
const CONFIRM: &str = r"
redis.call('PERSIST', t)
local found = live(ARGV[1])
if found and found.whole == ARGV[2] then return 1 end
return 0
";

/// Arguments: room, what was seen.
const RELEASE: &str = r"
local found = live(ARGV[1])
if not found or found.whole ~= ARGV[2] then return 0 end
drop(ARGV[1])
return 1
";

/// Arguments: server, the member to go on behind or an empty text, how many. Writes nothing.
const LIST: &str = r"
local head = #ARGV[1] .. ':' .. ARGV[1]
local from = '[' .. head .. ':'
if ARGV[2] ~= '' then from = '(' .. head .. ':' .. ARGV[2] end
local members = redis.call('ZRANGEBYLEX', s, from, '(' .. head .. ';', 'LIMIT', 0, ARGV[3])
local answer = { #members, '' }
for _, name in ipairs(members) do
  local room = string.sub(name, #head + 2)
  answer[2] = room
  local found = live(room)
  if found and found.server == ARGV[1] then
    answer[#answer + 1] = room
    answer[#answer + 1] = found.stamp
    answer[#answer + 1] = found.token
  end
end
return answer
";

/// Arguments: server. Writes nothing.
const COUNT: &str = r"
local head = #ARGV[1] .. ':' .. ARGV[1]
local count = redis.call('ZLEXCOUNT', s, '[' .. head .. ':', '(' .. head .. ';')
if count == 0 then return 0 end
for _, room in ipairs(redis.call('ZRANGEBYSCORE', x, '-inf', text(now))) do
  local found = read(room)
  if found and found.server == ARGV[1] then count = count - 1 end
end
return count
";

fn script(body: &str) -> RedisScript {
    RedisScript::new(format!("{HEAD}{body}"))
}

pub(super) static GET_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(GET));
pub(super) static PUT_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(PUT));
pub(super) static RENEW_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(RENEW));
pub(super) static CONFIRM_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(CONFIRM));
pub(super) static RELEASE_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(RELEASE));
pub(super) static LIST_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(LIST));
pub(super) static COUNT_SCRIPT: LazyLock<RedisScript> = LazyLock::new(|| script(COUNT));
