//! Leftovers, most of them of a Scalelite on the same Redis: found and removed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use balancer_core::{RedisReply, StickError};

use super::{RedisMeetings, number, text};

/// Entries of servers that are not there, at once, and old secrets that are in use again; numbers whose meeting is not there when they were so before, since a
/// Scalelite takes the number before it stores the meeting. The answer: how many were removed, then such numbers.
pub(super) const TIDY: &str = "
local p = ARGV[1]
local removed, left = 0, {}
local function gone(id) return redis.call('SISMEMBER', p..'servers', id) == 0 end
for _, id in ipairs(redis.call('SMEMBERS', p..'server_enabled')) do
  if gone(id) then removed = removed + redis.call('SREM', p..'server_enabled', id) end
end
for _, set in ipairs({'server_load', 'cordoned_server_load'}) do
  for _, id in ipairs(redis.call('ZRANGE', p..set, 0, -1)) do
    if gone(id) then removed = removed + redis.call('ZREM', p..set, id) end
  end
end
for _, id in ipairs(redis.call('SMEMBERS', p..'servers')) do
  if redis.call('HEXISTS', p..'server:'..id, 'url') == 0 then
    -- A removal that broke off, or figures stored after it.
    redis.call('SREM', p..'servers', id)
    redis.call('SREM', p..'server_enabled', id)
    redis.call('ZREM', p..'server_load', id)
    redis.call('ZREM', p..'cordoned_server_load', id)
    redis.call('DEL', p..'server:'..id, p..'balancer:poll:'..id, p..'balancer:doubts:'..id)
    bump(p)
    removed = removed + 1
  else
    -- A poller that read the state before an order and wrote after it.
    local state = redis.call('HGET', p..'server:'..id, 'state')
    local enabled = redis.call('SISMEMBER', p..'server_enabled', id) == 1
    if not state then state = enabled and 'enabled' or 'disabled' end
    if enabled and state ~= 'enabled' then removed = removed + redis.call('SREM', p..'server_enabled', id) end
    if not enabled and state == 'enabled' then removed = removed + redis.call('SADD', p..'server_enabled', id) end
    if state ~= 'enabled' then removed = removed + redis.call('ZREM', p..'server_load', id) end
    if state ~= 'cordoned' then removed = removed + redis.call('ZREM', p..'cordoned_server_load', id) end
  end
end
local old = redis.call('HGETALL', p..'balancer:old_secrets')
for i = 1, #old, 2 do
  local id, secret = old[i], old[i + 1]
  local back = redis.call('HGET', p..'server:'..id, 'secret') == secret
  if gone(id) or back then
    removed = removed + redis.call('HDEL', p..'balancer:old_secrets', id)
    if back then bump(p) end
  end
end
for _, id in ipairs(redis.call('SMEMBERS', p..'meetings')) do
  local m = fields(p, id)
  if not m[1] then
    removed = removed + redis.call('SREM', p..'meetings', id)
  elseif gone(m[1]) then
    forget(p, id, m)
    removed = removed + 1
  else
    -- Bound by a Scalelite: how old the binding is counts from here on.
    if not m[5] then redis.call('HSET', p..'meeting:'..id, 'stamp', text(now_ms())) end
    if m[3] and m[3] ~= '' then redis.call('HSETNX', p..'voice_bridges', m[3], id) end
    if m[7] and m[7] ~= '' and redis.call('SISMEMBER', p..'tenants', m[7]) == 1 then redis.call('SADD', p..'balancer:tenant_meetings:'..m[7], id) end
  end
end
local before = {}
for i = 2, #ARGV, 2 do before[ARGV[i]] = ARGV[i + 1] end
local numbers = redis.call('HGETALL', p..'voice_bridges')
for i = 1, #numbers, 2 do
  local n, id = numbers[i], numbers[i + 1]
  if redis.call('HGET', p..'meeting:'..id, 'voice_bridge') ~= n then
    if before[n] == id then
      removed = removed + redis.call('HDEL', p..'voice_bridges', n)
    else
      left[#left + 1] = n
      left[#left + 1] = id
    end
  end
end
return {removed, left}
";

/// Keys that belong to nobody: hashes of servers and meetings that are not listed, and counters at the bare ids of
/// servers that are gone.
pub(super) const TIDY_KEYS: &str = "
local p, removed = ARGV[1], 0
for i = 2, #ARGV do
  local key = ARGV[i]
  local rest = string.sub(key, #p + 1)
  local server, meeting = string.match(rest, '^server:(.*)'), string.match(rest, '^meeting:(.*)')
  if redis.call('TYPE', key)['ok'] == 'hash' then
    if server then
      if redis.call('SISMEMBER', p..'servers', server) == 0 then removed = removed + redis.call('DEL', key) end
    elseif meeting then
      -- A Scalelite looks at the hash: what it still leads to is listed again.
      if redis.call('SISMEMBER', p..'meetings', meeting) == 0 then
        local m = fields(p, meeting)
        if m[1] and redis.call('SISMEMBER', p..'servers', m[1]) == 1 then
          redis.call('SADD', p..'meetings', meeting)
        else
          forget(p, meeting, m)
        end
        removed = removed + 1
      end
    elseif redis.call('SISMEMBER', p..'servers', rest) == 0 then
      local counters = redis.call('HEXISTS', key, 'healthy_counter') + redis.call('HEXISTS', key, 'unhealthy_counter')
      if counters > 0 and redis.call('HLEN', key) == counters then removed = removed + redis.call('DEL', key) end
    end
  end
end
return removed
";

/// How many keys are looked at in one step.
const PART: &str = "500";

/// Voice bridge numbers without a meeting, when they were last looked for.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<HashMap<String, String>>);

impl RedisMeetings {
    /// Removes leftovers. Numbers without a meeting go when the call before saw them too.
    pub(super) async fn tidy_up(&self) -> Result<u64, StickError> {
        let before: Vec<String> = {
            let mut left = self.leftovers.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *left).into_iter().flat_map(|(number, id)| [number, id]).collect()
        };
        let args: Vec<&str> = before.iter().map(String::as_str).collect();
        let reply = self.run(&self.scripts.tidy, &args).await?;
        let [removed, left] = reply.as_list() else { return Err(self.corrupt("a look for leftovers")) };
        let pairs = left.as_list().chunks_exact(2).map(|p| (text(p.first()).to_owned(), text(p.get(1)).to_owned()));
        *self.leftovers.0.lock().unwrap_or_else(PoisonError::into_inner) = pairs.collect();
        Ok(number(Some(removed)) + self.tidy_keys().await?)
    }

    async fn tidy_keys(&self) -> Result<u64, StickError> {
        // What a pattern would take for one of its signs.
        let mut pattern = String::with_capacity(self.prefix.len() + 1);
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        let (mut cursor, mut removed) = ("0".to_owned(), 0);
        loop {
            let reply = self.link.call(&["SCAN", &cursor, "MATCH", &pattern, "COUNT", PART]).await?;
            let [next, keys] = reply.as_list() else { return Err(self.corrupt("a scan")) };
            let keys: Vec<&str> =
                keys.as_list().iter().filter_map(RedisReply::as_str).filter(|k| self.may_be_left(k)).collect();
            if !keys.is_empty() {
                removed += number(Some(&self.run(&self.scripts.tidy_keys, &keys).await?));
            }
            text(Some(next)).clone_into(&mut cursor);
            if cursor == "0" || cursor.is_empty() {
                return Ok(removed);
            }
        }
    }

    /// Whether a key is one that a server or a meeting may leave behind.
    fn may_be_left(&self, key: &str) -> bool {
        let Some(rest) = key.strip_prefix(self.prefix.as_str()) else { return false };
        match rest.split_once(':') {
            Some((kind, id)) => matches!(kind, "server" | "meeting") && !id.is_empty(),
            // A bare id; every other name without a colon has another type, or other fields.
            None => !rest.is_empty(),
        }
    }
}
