//! What must hold: after each hundred requests, and when everything has healed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use balancer_core::RedisReply;

use super::Soak;
use super::model::{State, name};
use super::turn::ask;
use super::world::{POLL, lock};

/// So long an undisturbed server may take to list its meetings.
const LISTED: Duration = Duration::from_secs(10);

/// Everything that is out of step in Redis, and the server of every meeting, in one step.
pub(super) const STEP: &str = "
local p = 'scalelite:'
local bad, homes = {}, {}
local function add(text) bad[#bad + 1] = text end
local function is(set, id) return redis.call('SISMEMBER', p..set, id) == 1 end
for _, id in ipairs(redis.call('SMEMBERS', p..'servers')) do
  if redis.call('HEXISTS', p..'server:'..id, 'url') == 0 then add('server '..id..' has no hash') end
end
for _, id in ipairs(redis.call('SMEMBERS', p..'meetings')) do
  local m = redis.call('HMGET', p..'meeting:'..id, 'server_id', 'voice_bridge')
  if not m[1] then
    add('meeting '..id..' has no hash')
  else
    homes[#homes + 1] = id
    homes[#homes + 1] = m[1]
    if not is('servers', m[1]) then add('meeting '..id..' is bound to '..m[1]..', which is no server') end
    if redis.call('HGET', p..'voice_bridges', m[2] or '') ~= id then add('meeting '..id..' has no number') end
  end
end
for _, id in ipairs(redis.call('SMEMBERS', p..'server_enabled')) do
  if not is('servers', id) then add('server_enabled has '..id) end
end
for _, z in ipairs({'server_load', 'cordoned_server_load'}) do
  for _, id in ipairs(redis.call('ZRANGE', p..z, 0, -1)) do
    if not is('servers', id) then add(z..' has '..id) end
    if (z == 'server_load') ~= is('server_enabled', id) then add(id..' is in '..z..' with another state') end
  end
end
local numbers = redis.call('HGETALL', p..'voice_bridges')
for i = 1, #numbers, 2 do
  if redis.call('HGET', p..'meeting:'..numbers[i + 1], 'voice_bridge') ~= numbers[i] then
    add('number '..numbers[i]..' belongs to '..numbers[i + 1]..', which does not have it')
  end
end
local known = {servers = 1, meetings = 1, server_enabled = 1, server_load = 1, cordoned_server_load = 1,
  voice_bridges = 1, __health_check_set__ = 1}
for _, key in ipairs(redis.call('KEYS', p..'*')) do
  local rest = string.sub(key, #p + 1)
  local server, meeting = string.match(rest, '^server:(.*)'), string.match(rest, '^meeting:(.*)')
  if server then
    if not is('servers', server) then add('a hash is left of server '..server) end
  elseif meeting then
    if not is('meetings', meeting) then add('meeting '..meeting..' has a hash and is not listed') end
  elseif not known[rest] and string.sub(rest, 1, 9) ~= 'balancer:' and not is('servers', rest) then
    add('key '..rest..' is left over')
  end
end
for _, id in ipairs(ARGV) do
  if is('servers', id) or is('balancer:closed', id) then add('removed server '..id..' is listed') end
end
return {bad, homes}
";

/// The servers at one moment: what each undisturbed one lists.
type Lists = BTreeMap<u16, BTreeSet<String>>;

pub(super) fn words(reply: &RedisReply) -> Vec<String> {
    reply.as_list().iter().filter_map(RedisReply::as_str).map(str::to_owned).collect()
}

impl Soak {
    /// What is out of step in Redis, and where every meeting is bound (by port; 0 for an id nobody knows).
    async fn redis_state(&self) -> (Vec<String>, BTreeMap<String, u16>) {
        let removed = lock(&self.world.removed).clone();
        let mut command = vec!["EVAL", STEP, "0"];
        command.extend(removed.iter().map(String::as_str));
        let reply = self.world.ask_redis(&command).await;
        let parts = reply.as_list();
        let bad = parts.first().map(words).unwrap_or_default();
        let homes = parts.get(1).map(words).unwrap_or_default();
        let homes = homes.chunks(2).map(|c| (c[0].clone(), self.world.port_of(&c[1]).unwrap_or(0)));
        (bad, homes.collect())
    }

    /// The lists of the servers that were undisturbed all the while.
    async fn lists(&self) -> Lists {
        let mut lists = Lists::new();
        let asked = self.world.servers.iter().map(|s| async move {
            let since = s.calm.since()?;
            let list = s.meetings(LISTED).await;
            (s.calm.since() == Some(since)).then_some((s.port, list))
        });
        for found in join_all(asked).await.into_iter().flatten() {
            match found {
                (port, Some(list)) => {
                    lists.insert(port, list.into_iter().collect());
                }
                (port, None) => println!("note: server {port} is undisturbed and lists nothing within {LISTED:?}"),
            }
        }
        lists
    }

    fn calm_since(&self, port: u16) -> Option<Instant> {
        self.world.server_at(port)?.calm.since()
    }

    /// The home of a meeting whose create was acknowledged and whose server has not been disturbed since (nor shortly
    /// before): it must have it now.
    fn firm(&self, state: State) -> Option<u16> {
        let State::Alive { since, home: Some(home) } = state else { return None };
        self.calm_since(home).filter(|calm| *calm + self.world.times.margin() < since).map(|_| home)
    }

    /// What must hold at any time, of the meetings nobody asks for.
    pub(super) async fn check(&self, sample: &[usize]) {
        let model = &self.model;
        let idle = model.idle();
        let (bad, homes) = self.redis_state().await;
        let lists = self.lists().await;
        for text in bad {
            let of = text.split(' ').find_map(|w| w.strip_prefix("soak-")?.parse().ok());
            model.violate(of, &format!("Redis: {text}"));
        }
        let mut firm = 0;
        for &(n, turns, state, last) in &idle {
            if !model.untouched(n, turns) {
                continue;
            }
            let id = name(n);
            let home = homes.get(&id).copied();
            for (port, list) in &lists {
                if list.contains(&id) && home != Some(*port) {
                    self.judge_stray(n, *port, home, last, state);
                }
            }
            if let Some(port) = self.firm(state) {
                firm += 1;
                if home != Some(port) {
                    model.violate(Some(n), &format!("{id} was acknowledged at {port} and is bound to {home:?}"));
                } else if lists.get(&port).is_some_and(|l| !l.contains(&id)) {
                    model.violate(Some(n), &format!("{id} was acknowledged at {port}, which does not have it"));
                }
            }
        }
        for &at in sample {
            let Some(&(n, turns, state, _)) = idle.get(at % idle.len().max(1)) else { continue };
            if matches!(state, State::Alive { .. }) {
                self.check_joins(n, turns, state).await;
            }
        }
        model.count("checks", "done");
        model.add("looked at", "idle meetings", idle.len());
        model.add("looked at", "acknowledged at an undisturbed server", firm);
    }

    fn judge_stray(&self, n: usize, port: u16, home: Option<u16>, last: Instant, state: State) {
        self.model.count("strays", "seen");
        let redis = self.world.redis.calm.since();
        let (Some(server), Some(redis)) = (self.calm_since(port), redis) else { return };
        let quiet = server.max(redis).max(last).elapsed();
        if quiet > self.world.times.stray_limit() {
            let what =
                format!("{} runs on {port} and is bound to {home:?}, {quiet:?} after the last disturbance", name(n));
            self.model.violate(Some(n), &what);
        } else if let State::Ended { since } = state
            && server + self.world.times.margin() < since
        {
            self.model.count("strays", "of ended meetings, on an undisturbed server");
        }
    }

    /// Both balancers lead to one server.
    async fn check_joins(&self, n: usize, turns: u64, state: State) {
        let firm = self.firm(state);
        let mut ports = Vec::new();
        for through in 0..2 {
            match ask(self, n, "join", through).await {
                Ok(answer) => ports.extend(answer.port()),
                Err(_) => return,
            }
        }
        if !self.model.untouched(n, turns) || firm != self.firm(state) {
            return;
        }
        ports.dedup();
        if ports.len() > 1 {
            self.model.violate(Some(n), &format!("{} leads to {ports:?}", name(n)));
        }
        if let (Some(home), Some(port)) = (firm, ports.first())
            && home != *port
        {
            self.model.violate(Some(n), &format!("{} was acknowledged at {home} and leads to {port}", name(n)));
        }
    }

    /// Waits until everything is seen to be whole: every server online for both balancers, no copy astray, Redis in
    /// step. What does not become so in time is a violation.
    pub(super) async fn settle(&self) {
        let end = Instant::now() + self.world.times.stray_limit() * 3;
        let mut whole: Option<Instant> = None;
        loop {
            let mut left = Vec::new();
            for (b, balancer) in ["a", "b"].iter().zip(&self.world.balancers) {
                let status = balancer.status().await.unwrap_or_default();
                let up = status.iter().filter(|s| s["online"] == true && s["state"] == "enabled").count();
                if up != self.world.servers.len() {
                    left.push((None, format!("balancer {b} has {up} servers online and enabled")));
                }
            }
            let (bad, homes) = self.redis_state().await;
            left.extend(bad.into_iter().map(|text| (None, format!("Redis: {text}"))));
            for (port, list) in self.lists().await {
                for id in list {
                    let home = homes.get(&id).copied();
                    if home != Some(port) {
                        let n = id.strip_prefix("soak-").and_then(|n| n.parse().ok());
                        left.push((n, format!("{id} runs on {port} and is bound to {home:?}")));
                    }
                }
            }
            if left.is_empty() {
                // Still so when whatever the balancers had under way is over.
                if whole.get_or_insert_with(Instant::now).elapsed() > self.world.times.call() {
                    return;
                }
            } else {
                whole = None;
            }
            if Instant::now() > end && !left.is_empty() {
                for (n, text) in left {
                    self.model.violate(n, &format!("does not settle: {text}"));
                }
                return;
            }
            tokio::time::sleep(POLL / 2).await;
        }
    }

    /// At the end: every acknowledged meeting is where it was acknowledged, or anew on one server for all.
    pub(super) async fn last_word(&self) {
        let idle = self.model.idle();
        assert_eq!(idle.len(), self.plan.meetings, "a turn is still under way");
        let firm: BTreeMap<usize, u16> =
            idle.iter().filter_map(|(n, _, state, _)| Some((*n, self.firm(*state)?))).collect();
        self.check(&[]).await;
        let mut led: BTreeMap<usize, u16> = BTreeMap::new();
        for part in idle.chunks(20) {
            let asked = part.iter().filter(|(_, _, s, _)| matches!(s, State::Alive { .. })).map(|&(n, ..)| {
                let firm = &firm;
                async move { Some((n, self.lead_all(n, firm.contains_key(&n)).await?)) }
            });
            led.extend(join_all(asked).await.into_iter().flatten());
        }
        let (bad, homes) = self.redis_state().await;
        for text in bad {
            self.model.violate(None, &format!("at the end, Redis: {text}"));
        }
        let lists = self.lists().await;
        if lists.len() != self.world.servers.len() {
            self.model.violate(None, &format!("at the end, {} servers answer", lists.len()));
        }
        for (n, port) in led {
            let id = name(n);
            let on: Vec<u16> = lists.iter().filter(|(_, l)| l.contains(&id)).map(|(p, _)| *p).collect();
            if on != [port] || homes.get(&id) != Some(&port) {
                let home = homes.get(&id);
                self.model
                    .violate(Some(n), &format!("at the end, joins lead to {port}, it is on {on:?}, bound to {home:?}"));
            }
            if let Some(home) = firm.get(&n)
                && *home != port
            {
                self.model.violate(Some(n), &format!("at the end, it has left {home}, undisturbed, for {port}"));
            }
            self.model.count("at the end", if firm.contains_key(&n) { "kept" } else { "led to one server" });
        }
    }

    /// One create, then a join through each balancer: the one port they lead to.
    async fn lead_all(&self, n: usize, firm: bool) -> Option<u16> {
        let created = ask(self, n, "create", n % 2).await;
        let Some(created) = created.ok().filter(super::http::Answer::ok) else {
            self.model.violate(Some(n), "at the end, a create fails");
            return None;
        };
        if firm && created.text("messageKey") != Some("duplicateWarning") {
            self.model.violate(Some(n), "at the end, an acknowledged meeting had to be made anew");
        }
        let mut ports = Vec::new();
        for through in 0..2 {
            ports.push(ask(self, n, "join", through).await.ok().and_then(|a| a.port()));
        }
        if ports[0].is_none() || ports[0] != ports[1] {
            self.model.violate(Some(n), &format!("at the end, the balancers lead to {ports:?}"));
        }
        ports[0]
    }
}

/// Waits for all of them, side by side.
pub(super) async fn join_all<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut waiting = false;
        for (future, done) in &mut all {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(all.iter_mut().filter_map(|(_, done)| done.take()).collect())
    })
    .await
}
