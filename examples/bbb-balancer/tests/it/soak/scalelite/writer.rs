//! A Scalelite as its Redis sees it: the commands of its api, its poller and its tasks, in their order, with the
//! weaknesses that they have. What it asks of the servers it asks the fakes.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_core::{RedisLink, RedisReply};

use super::super::fakes::FAKE_SECRET;
use super::super::http::{Answer, http, signed};
use super::super::model::Chance;

const DAY: &str = "86400";

/// One connection, used by one task: what is watched is watched on it.
pub(super) struct Writer {
    link: RedisLink,
    pub(super) chance: Chance,
    aborted: u64,
}

fn words(reply: &RedisReply) -> Vec<String> {
    reply.as_list().iter().filter_map(RedisReply::as_str).map(str::to_owned).collect()
}

fn key(name: &str) -> String {
    format!("scalelite:{name}")
}

impl Writer {
    pub(super) fn new(link: RedisLink, chance: Chance) -> Self {
        Self { link, chance, aborted: 0 }
    }

    /// Transactions that met somebody else.
    pub(super) fn aborted(&self) -> u64 {
        self.aborted
    }

    async fn call(&self, command: &[&str]) -> RedisReply {
        self.link.call(command).await.unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    async fn text(&self, command: &[&str]) -> Option<String> {
        self.call(command).await.as_str().map(str::to_owned)
    }

    async fn hash(&self, name: &str) -> BTreeMap<String, String> {
        let flat = words(&self.call(&["HGETALL", &key(name)]).await);
        flat.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())).collect()
    }

    /// MULTI with these commands; `None` when what was watched changed.
    async fn multi(&mut self, commands: &[Vec<String>]) -> Option<Vec<RedisReply>> {
        self.call(&["MULTI"]).await;
        for command in commands {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            self.call(&command).await;
        }
        let done = self.call(&["EXEC"]).await;
        if done == RedisReply::Nil {
            self.aborted += 1;
            return None;
        }
        Some(done.as_list().to_vec())
    }

    async fn server(&self, id: &str) -> Option<(String, String)> {
        let server = self.hash(&format!("server:{id}")).await;
        Some((server.get("url")?.clone(), server.get("secret")?.clone()))
    }

    /// One call to a server.
    async fn ask(&self, id: &str, call: &str, pairs: &[(&str, &str)]) -> Option<Answer> {
        let (url, secret) = self.server(id).await?;
        let port = url.split('/').nth(2)?.rsplit(':').next()?.parse().ok()?;
        let path = signed("/bigbluebutton/api", call, pairs, &secret);
        http(port, &path, None, Duration::from_secs(5)).await.ok()
    }

    /// `create`: the least loaded server, a number, a claim under WATCH of all meetings, the load, the server's call.
    pub(super) async fn create(&mut self, id: &str) -> &'static str {
        let name = format!("meeting:{id}");
        let mut found = self.hash(&name).await;
        if let Some(server) = found.get("server_id")
            && self.hash(&format!("server:{server}")).await.get("state").is_some_and(|s| s == "cordoned")
        {
            let running = self.ask(server, "isMeetingRunning", &[("meetingID", id)]).await;
            if running.is_none_or(|a| a.text("running") != Some("true")) {
                self.forget(id).await;
                found.clear();
            }
        }
        if !found.contains_key("server_id") {
            let best = words(&self.call(&["ZRANGE", &key("server_load"), "0", "0"]).await);
            let Some(server) = best.first() else { return "no server" };
            found = self.claim(id, server).await;
            self.more_load(found.get("server_id").map_or("", String::as_str)).await;
        }
        let Some(server) = found.get("server_id") else { return "no server" };
        let bridge = found.get("voice_bridge").map_or("", String::as_str);
        let pairs = [("meetingID", id), ("moderatorPW", "mp"), ("attendeePW", "ap"), ("voiceBridge", bridge)];
        match self.ask(server, "create", &pairs).await {
            Some(answer) if answer.ok() => "done",
            Some(_) => "refused",
            None => "its server is gone",
        }
    }

    async fn claim(&mut self, id: &str, server: &str) -> BTreeMap<String, String> {
        let name = format!("meeting:{id}");
        loop {
            self.call(&["WATCH", &key("meetings")]).await;
            let found = self.hash(&name).await;
            if found.contains_key("server_id") {
                self.call(&["UNWATCH"]).await;
                return found;
            }
            let bridge = self.bridge(id).await;
            let set = |field: &str, value: &str| ["HSETNX", &key(&name), field, value].map(str::to_owned).to_vec();
            let commands = [
                set("server_id", server),
                set("moderator_pw", "mp"),
                set("voice_bridge", &bridge),
                set("tenant_id", ""),
                ["HGETALL", &key(&name)].map(str::to_owned).to_vec(),
                ["EXPIRE", &key(&name), DAY].map(str::to_owned).to_vec(),
                ["SADD", &key("meetings"), id].map(str::to_owned).to_vec(),
            ];
            if let Some(done) = self.multi(&commands).await {
                let flat = words(&done[4]);
                return flat.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())).collect();
            }
        }
    }

    async fn bridge(&mut self, id: &str) -> String {
        let bridges = key("voice_bridges");
        loop {
            let number = (100_000_000 + self.chance.below(900_000_000)).to_string();
            self.call(&["HSETNX", &bridges, &number, id]).await;
            if self.text(&["HGET", &bridges, &number]).await.as_deref() == Some(id) {
                return number;
            }
        }
    }

    async fn more_load(&self, server: &str) {
        if self.call(&["ZSCORE", &key("server_load"), server]).await != RedisReply::Nil {
            self.call(&["ZADD", &key("server_load"), "XX", "INCR", "1", server]).await;
        }
    }

    /// `join`: the load grows; nobody is asked.
    pub(super) async fn join(&self, id: &str) -> &'static str {
        let found = self.hash(&format!("meeting:{id}")).await;
        let Some(server) = found.get("server_id") else { return "not found" };
        self.more_load(server).await;
        "done"
    }

    async fn forget(&mut self, id: &str) -> Option<String> {
        loop {
            self.call(&["WATCH", &key("meetings")]).await;
            let found = self.hash(&format!("meeting:{id}")).await;
            let server = found.get("server_id").cloned();
            let commands = [
                ["DEL", &key(&format!("meeting:{id}"))].map(str::to_owned).to_vec(),
                ["SREM", &key("meetings"), id].map(str::to_owned).to_vec(),
                ["HDEL", &key("voice_bridges"), found.get("voice_bridge").map_or("-", String::as_str)]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            if self.multi(&commands).await.is_some() {
                return server;
            }
        }
    }

    /// `end`: forgotten first, ended then.
    pub(super) async fn end(&mut self, id: &str) -> &'static str {
        let found = self.hash(&format!("meeting:{id}")).await;
        if !found.contains_key("server_id") {
            return "not found";
        }
        let Some(server) = self.forget(id).await else { return "not found" };
        let ended = self.ask(&server, "end", &[("meetingID", id), ("password", "mp")]).await;
        if ended.is_some_and(|a| a.ok()) { "done" } else { "not there" }
    }

    /// One round of the poller over one server, by the state that it read first.
    pub(super) async fn poll(&mut self, id: &str) -> &'static str {
        let server = self.hash(&format!("server:{id}")).await;
        let enabled = self.call(&["SISMEMBER", &key("server_enabled"), id]).await.as_int() == Some(1);
        let state = server.get("state").cloned().unwrap_or_else(|| if enabled { "enabled" } else { "disabled" }.into());
        let Some(list) = self.ask(id, "getMeetings", &[]).await else { return "no answer" };
        let meetings = list.body.matches("<meetingID>").count().to_string();
        self.call(&["HSET", &key(id), "healthy_counter", "0", "unhealthy_counter", "0"]).await;
        let name = key(&format!("server:{id}"));
        let mut commands = vec![
            vec!["HSET", name.as_str(), "online", "true", "meetings", &meetings, "users", "0", "largest_meeting", "0"],
            vec!["HSET", name.as_str(), "videos", "0"],
        ];
        let (load, cordoned) = (key("server_load"), key("cordoned_server_load"));
        match state.as_str() {
            "enabled" => commands.push(vec!["ZADD", load.as_str(), &meetings, id]),
            "cordoned" => commands.push(vec!["ZADD", cordoned.as_str(), &meetings, id]),
            _ => {}
        }
        let commands: Vec<Vec<String>> =
            commands.into_iter().map(|c| c.into_iter().map(str::to_owned).collect()).collect();
        self.call(&["WATCH", &key("servers")]).await;
        if self.call(&["SISMEMBER", &key("servers"), id]).await.as_int() != Some(1) {
            self.call(&["UNWATCH"]).await;
            return "removed";
        }
        self.multi(&commands).await.map_or("aborted", |_| "done")
    }

    /// The poller's look at one meeting.
    pub(super) async fn poll_meeting(&mut self, id: &str) -> &'static str {
        let found = self.hash(&format!("meeting:{id}")).await;
        let Some(server) = found.get("server_id") else { return "not found" };
        let asked = self.ask(server, "getMeetingInfo", &[("meetingID", id)]).await;
        if asked.is_some_and(|a| a.text("messageKey") == Some("notFound")) {
            self.forget(id).await;
            return "forgotten";
        }
        "there"
    }

    pub(super) async fn health(&self) -> &'static str {
        let name = key("__health_check_set__");
        self.call(&["SET", &name, "true", "EX", "10"]).await;
        if self.text(&["GET", &name]).await.as_deref() == Some("true") { "done" } else { "wrong" }
    }

    /// `servers:add`.
    pub(super) async fn add(&mut self, id: &str, port: u16) {
        let url = format!("http://127.0.0.1:{port}/bigbluebutton/api");
        let name = key(&format!("server:{id}"));
        self.call(&["WATCH", &key("servers")]).await;
        let fields = ["HSET", &name, "url", &url, "secret", FAKE_SECRET, "online", "false", "load_multiplier", "1.0"];
        let commands = [fields.map(str::to_owned).to_vec(), ["SADD", &key("servers"), id].map(str::to_owned).to_vec()];
        while self.multi(&commands).await.is_none() {}
    }

    /// `servers:remove`: its meetings and counters stay.
    pub(super) async fn remove(&mut self, id: &str) {
        let of = |command: &str, name: &str| [command, &key(name), id].map(str::to_owned).to_vec();
        let commands = [
            of("SREM", "servers"),
            of("SREM", "server_enabled"),
            of("ZREM", "server_load"),
            of("ZREM", "cordoned_server_load"),
            ["DEL", &key(&format!("server:{id}"))].map(str::to_owned).to_vec(),
        ];
        while self.multi(&commands).await.is_none() {}
    }

    /// `servers:enable`, `servers:cordon`, `servers:disable`.
    pub(super) async fn set_state(&mut self, id: &str, state: &str) {
        let name = key(&format!("server:{id}"));
        let load = self.text(&["ZSCORE", &key("server_load"), id]).await;
        let kept = self.text(&["ZSCORE", &key("cordoned_server_load"), id]).await;
        let set = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let mut commands = vec![set(&["HSET", &name, "state", state])];
        commands.push(set(&[if state == "enabled" { "SADD" } else { "SREM" }, &key("server_enabled"), id]));
        if state == "enabled" {
            if let Some(kept) = &kept {
                commands.push(set(&["ZADD", &key("server_load"), kept, id]));
            }
        } else {
            commands.push(set(&["ZREM", &key("server_load"), id]));
        }
        match (state, &load) {
            ("cordoned", Some(load)) => commands.push(set(&["ZADD", &key("cordoned_server_load"), load, id])),
            ("cordoned", None) => {}
            _ => commands.push(set(&["ZREM", &key("cordoned_server_load"), id])),
        }
        while self.multi(&commands).await.is_none() {}
    }
}
