//! Hooks, callback addresses and the queue on Redis. All keys are ours: `balancer:hooks`, `balancer:hook_urls`,
//! `balancer:hooks_removed`, `balancer:urls:MEETING`, `balancer:outbox`, `balancer:outbox_rows` and `balancer:next_id`.

use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{RedisReply, StickError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RedisMeetings, millis, number, text};
use crate::store::callbacks::{
    CallbackStore, CallbackUrls, Delivery, HOOK_MEMORY, Hook, HookAdded, HookBook, MAX_HOOKS,
};

/// How keys of tokens for protected recordings begin: Scalelite's name for them.
const TOKEN: &str = "protector_token_";

pub(super) const HOOKS: &str = "
local p, now = ARGV[1], now_ms()
redis.call('ZREMRANGEBYSCORE', p..'balancer:hooks_removed', '-inf', text(now))
return {redis.call('HGETALL', p..'balancer:hooks'), redis.call('ZRANGE', p..'balancer:hooks_removed', 0, -1)}
";

pub(super) const ADD_HOOK: &str = "
local p, url, row, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local known = redis.call('HGET', p..'balancer:hook_urls', url)
if known then return {'known', known, redis.call('HGET', p..'balancer:hooks', known)} end
if redis.call('HLEN', p..'balancer:hooks') >= most then return {'full'} end
local id = text(redis.call('INCR', p..'balancer:next_id'))
redis.call('HSET', p..'balancer:hooks', id, row)
redis.call('HSET', p..'balancer:hook_urls', url, id)
redis.call('ZREM', p..'balancer:hooks_removed', url)
return {'new', id, row}
";

pub(super) const REMOVE_HOOK: &str = "
local p, id, memory = ARGV[1], ARGV[2], tonumber(ARGV[3])
local row = redis.call('HGET', p..'balancer:hooks', id)
if not row then return false end
local url = cjson.decode(row)['url']
redis.call('HDEL', p..'balancer:hooks', id)
redis.call('HDEL', p..'balancer:hook_urls', url)
redis.call('ZADD', p..'balancer:hooks_removed', text(now_ms() + memory), url)
return row
";

pub(super) const KEEP_URLS: &str = "
local key = ARGV[1]..'balancer:urls:'..ARGV[2]
for i = 4, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', key, ARGV[3])
return 1
";

pub(super) const ENQUEUE: &str = "
local p, row, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('ZCARD', p..'balancer:outbox') >= most then return 0 end
local id = text(redis.call('INCR', p..'balancer:next_id'))
redis.call('HSET', p..'balancer:outbox_rows', id, row)
redis.call('ZADD', p..'balancer:outbox', text(now_ms()), id)
return 1
";

pub(super) const TAKE_DUE: &str = "
local p, most, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now, out = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', p..'balancer:outbox', '-inf', text(now), 'LIMIT', 0, most)) do
  local row = redis.call('HGET', p..'balancer:outbox_rows', id)
  if row then
    redis.call('ZADD', p..'balancer:outbox', text(now + lease), id)
    out[#out + 1] = {id, row}
  else
    redis.call('ZREM', p..'balancer:outbox', id)
  end
end
return out
";

pub(super) const POSTPONE: &str = "
local p, id, row, delay = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if not redis.call('ZSCORE', p..'balancer:outbox', id) then return 0 end
redis.call('HSET', p..'balancer:outbox_rows', id, row)
redis.call('ZADD', p..'balancer:outbox', text(now_ms() + delay), id)
return 1
";

pub(super) const DROP_DELIVERY: &str = "
redis.call('ZREM', ARGV[1]..'balancer:outbox', ARGV[2])
redis.call('HDEL', ARGV[1]..'balancer:outbox_rows', ARGV[2])
return 1
";

fn row(of: &impl Serialize) -> String {
    // Plain text and numbers always serialise.
    serde_json::to_string(of).unwrap_or_default()
}

impl RedisMeetings {
    fn read<T: DeserializeOwned>(&self, reply: Option<&RedisReply>, what: &str) -> Result<T, StickError> {
        serde_json::from_str(text(reply)).map_err(|_| self.corrupt(what))
    }

    fn hook(&self, id: Option<&RedisReply>, row: Option<&RedisReply>) -> Result<Hook, StickError> {
        Ok(Hook { id: number(id), ..self.read(row, "a question for hooks")? })
    }
}

#[async_trait]
impl CallbackStore for RedisMeetings {
    async fn hooks(&self) -> Result<HookBook, StickError> {
        let reply = self.run(&self.scripts.hooks, &[]).await?;
        let [rows, removed] = reply.as_list() else { return Err(self.corrupt("a question for hooks")) };
        let mut hooks = Vec::new();
        for pair in rows.as_list().chunks(2) {
            hooks.push(self.hook(pair.first(), pair.get(1))?);
        }
        hooks.sort_by_key(|h| h.id);
        let removed = removed.as_list().iter().filter_map(RedisReply::as_str).map(str::to_owned).collect();
        Ok(HookBook { hooks, removed })
    }

    async fn add_hook(&self, hook: &Hook) -> Result<HookAdded, StickError> {
        let args = [hook.url.as_str(), &row(hook), &MAX_HOOKS.to_string()];
        let reply = self.run(&self.scripts.add_hook, &args).await?;
        let list = reply.as_list();
        match text(list.first()) {
            "new" => Ok(HookAdded::New(self.hook(list.get(1), list.get(2))?)),
            "known" => Ok(HookAdded::Known(self.hook(list.get(1), list.get(2))?)),
            "full" => Ok(HookAdded::Full),
            _ => Err(self.corrupt("a hook to add")),
        }
    }

    async fn remove_hook(&self, id: u64) -> Result<Option<Hook>, StickError> {
        let memory = millis(HOOK_MEMORY).to_string();
        let reply = self.run(&self.scripts.remove_hook, &[&id.to_string(), &memory]).await?;
        if reply.as_str().is_none() {
            return Ok(None);
        }
        Ok(Some(Hook { id, ..self.read(Some(&reply), "a hook to remove")? }))
    }

    async fn keep_urls(&self, meeting: &str, urls: &CallbackUrls, ttl: Duration) -> Result<(), StickError> {
        let ttl = millis(ttl).to_string();
        let mut args = vec![meeting, ttl.as_str()];
        let fields =
            [("analytics", &urls.analytics), ("recording_ready", &urls.recording_ready), ("tenant", &urls.tenant)];
        for (name, url) in fields {
            args.extend(url.as_deref().into_iter().flat_map(|url| [name, url]));
        }
        self.run(&self.scripts.keep_urls, &args).await.map(drop)
    }

    async fn urls(&self, meeting: &str) -> Result<CallbackUrls, StickError> {
        let key = self.key(&format!("balancer:urls:{meeting}"));
        let reply = self.link.call(&["HMGET", &key, "analytics", "recording_ready", "tenant"]).await?;
        let one = |at: usize| super::optional(reply.as_list().get(at));
        Ok(CallbackUrls { analytics: one(0), recording_ready: one(1), tenant: one(2) })
    }

    async fn enqueue(&self, delivery: &Delivery, most: u64) -> Result<bool, StickError> {
        let reply = self.run(&self.scripts.enqueue, &[&row(delivery), &most.to_string()]).await?;
        Ok(number(Some(&reply)) > 0)
    }

    async fn take_due(&self, most: usize, lease: Duration) -> Result<Vec<Delivery>, StickError> {
        let args = [most.to_string(), millis(lease).to_string()];
        let reply = self.run(&self.scripts.take_due, &[&args[0], &args[1]]).await?;
        let mut due = Vec::new();
        for pair in reply.as_list().iter().map(RedisReply::as_list) {
            due.push(Delivery { id: number(pair.first()), ..self.read(pair.get(1), "a question for deliveries")? });
        }
        Ok(due)
    }

    async fn postpone(&self, delivery: &Delivery, delay: Duration) -> Result<(), StickError> {
        let args = [delivery.id.to_string(), row(delivery), millis(delay).to_string()];
        self.run(&self.scripts.postpone, &[&args[0], &args[1], &args[2]]).await.map(drop)
    }

    async fn drop_delivery(&self, id: u64) -> Result<(), StickError> {
        self.run(&self.scripts.drop_delivery, &[&id.to_string()]).await.map(drop)
    }

    async fn keep_tokens(&self, tokens: &[(String, String)], ttl: Duration) -> Result<(), StickError> {
        let ttl = millis(ttl).to_string();
        for some in tokens.chunks(500) {
            let set = |(token, of): &(String, String)| {
                vec!["SET".to_owned(), self.key(&format!("{TOKEN}{token}")), of.clone(), "PX".to_owned(), ttl.clone()]
            };
            let commands: Vec<Vec<String>> = some.iter().map(set).collect();
            self.link.pipeline(&commands).await?;
        }
        Ok(())
    }

    async fn take_token(&self, token: &str, use_up: bool) -> Result<Option<String>, StickError> {
        let key = self.key(&format!("{TOKEN}{token}"));
        let reply = self.link.call(&[if use_up { "GETDEL" } else { "GET" }, key.as_str()]).await?;
        Ok(reply.as_str().map(str::to_owned))
    }

    async fn queued(&self) -> Result<u64, StickError> {
        let reply = self.link.call(&["ZCARD", &self.key("balancer:outbox")]).await?;
        Ok(number(Some(&reply)))
    }
}
