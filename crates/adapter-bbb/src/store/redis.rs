//! Servers and meetings in Scalelite's Redis layout, so that a Scalelite on the same Redis understands them.
//!
//! What we add stays beside it: the hash of a meeting has the extra fields `token`, `stamp` and `ending`, and the keys
//! `balancer:…` are ours. A Redis
//! Cluster cannot hold this layout: the keys of one step are not in one slot. A master that sentinels name can.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{
    BackendId, Binding, Claim, RedisLink, RedisReply, RedisScript, StickError, StickKey, StickPage, StickStore, Token,
    Want,
};

use super::{
    Claimed, Doubt, Fence, Figures, Look, MeetingClaim, MeetingRecord, MeetingStore, Peer, PollRecord, Registry,
    ServerPatch, ServerRecord, ServerState, SharedPoll,
};
use crate::secret::Secret;
use crate::store::callbacks::CallbackStore;
use crate::store::tenants::TenantStore;

mod callbacks;
mod polls;
mod scripts;
mod tenants;
mod tidy;

/// Servers and meetings on a Redis server that any number of processes share.
#[derive(Debug)]
pub struct RedisMeetings {
    link: RedisLink,
    prefix: String,
    scripts: scripts::Scripts,
    leftovers: tidy::Leftovers,
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn text(reply: Option<&RedisReply>) -> &str {
    reply.and_then(RedisReply::as_str).unwrap_or("")
}

fn number(reply: Option<&RedisReply>) -> u64 {
    text(reply).parse().ok().or_else(|| reply?.as_int().and_then(|n| u64::try_from(n).ok())).unwrap_or(0)
}

fn optional(reply: Option<&RedisReply>) -> Option<String> {
    reply.and_then(RedisReply::as_str).map(str::to_owned)
}

fn state_of(word: &str, enabled: u64) -> ServerState {
    // Old data has no state: then membership of the enabled set decides.
    ServerState::parse(word).unwrap_or(if enabled > 0 { ServerState::Enabled } else { ServerState::Disabled })
}

/// How long breakout rooms are found after a poll saw them.
const BREAKOUTS: &str = "600000";

/// `number, began, load, failed, doubters` behind the other columns of a server.
fn shared_poll(row: &[RedisReply]) -> SharedPoll {
    let doubters = row.get(19).map(RedisReply::as_list).unwrap_or_default();
    SharedPoll {
        number: number(row.get(15)),
        began_ms: number(row.get(16)),
        load: text(row.get(17)).parse().unwrap_or_default(),
        failed: text(row.get(18)) == "1",
        doubters: doubters.iter().map(|d| number(Some(d))).collect(),
    }
}

/// The lease behind an answer that is its token, or empty.
fn fence(process: u64, token: &RedisReply) -> Option<Fence> {
    let token = number(Some(token));
    (token > 0).then_some(Fence { process, token })
}

impl RedisMeetings {
    /// On this Redis; every key begins with `namespace` and a colon (`scalelite` in production).
    pub fn new(link: RedisLink, namespace: &str) -> Self {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}:") };
        Self { link, prefix, scripts: scripts::Scripts::new(), leftovers: tidy::Leftovers::default() }
    }

    /// Checks that the server answers, may be written to and is not a Cluster.
    ///
    /// # Errors
    ///
    /// [`StickError`] naming the server, the reason and the remedy.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing of value.
    pub async fn probe(&self) -> Result<(), StickError> {
        let cluster = self.link.is_cluster() || {
            let info = self.link.call(&["INFO", "cluster"]).await?;
            info.as_str().is_some_and(|t| t.contains("cluster_enabled:1"))
        };
        if cluster {
            return Err(StickError::Refused {
                target: self.link.target(),
                why: "it is a Redis Cluster: one step touches a meeting, its server and the lists of both, whose \
                      keys in Scalelite's layout are not in one slot; use a single Redis (redis://), or for high \
                      availability a replicated one behind Sentinel (redis+sentinel://HOST,HOST,HOST/MASTER)"
                    .into(),
            });
        }
        self.check().await
    }

    async fn run(&self, script: &RedisScript, args: &[&str]) -> Result<RedisReply, StickError> {
        let mut all: Vec<&str> = Vec::with_capacity(args.len() + 1);
        all.push(&self.prefix);
        all.extend_from_slice(args);
        self.link.script(script, &[] as &[&str], &all).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn corrupt(&self, what: &str) -> StickError {
        StickError::Corrupt { target: self.link.target(), why: format!("unexpected answer to {what}") }
    }

    /// `server_id, moderator_pw, voice_bridge, token, stamp, ending, tenant_id` as the scripts give them.
    fn meeting(id: &str, row: &[RedisReply]) -> Option<MeetingRecord> {
        let server = text(row.first());
        if server.is_empty() {
            return None;
        }
        let binding = Binding { backend: server.into(), token: Token(number(row.get(3))), stamp: number(row.get(4)) };
        Some(MeetingRecord {
            id: id.to_owned(),
            binding,
            moderator_pw: text(row.get(1)).to_owned(),
            voice_bridge: text(row.get(2)).to_owned(),
            ending: number(row.get(5)) > 0,
            tenant: text(row.get(6)).to_owned(),
        })
    }

    async fn plain(
        &self,
        key: &StickKey,
        over: Option<&Binding>,
        want: &Want,
        ttl: Duration,
    ) -> Result<Claim, StickError> {
        let bridges: Vec<String> = crate::api::VoiceBridges::new(key.as_str(), 9).take(10).collect();
        let claim = MeetingClaim {
            id: key.as_str(),
            over,
            want,
            moderator_pw: "",
            bridges: &bridges,
            load: 0.0,
            adopt: false,
            tenant: "",
            most: 0,
            registered: false,
            ttl,
        };
        Ok(self.claim_meeting(&claim).await?.claim)
    }
}

#[async_trait]
impl StickStore for RedisMeetings {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        let ttl = extend.map_or(0, millis).to_string();
        let row = self.run(&self.scripts.get, &[key.as_str(), &ttl]).await?;
        Ok(Self::meeting(key.as_str(), row.as_list()).map(|m| m.binding))
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.plain(key, None, want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.plain(key, Some(seen), want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        let (token, stamp, ttl) = (seen.token.0.to_string(), seen.stamp.to_string(), millis(ttl).to_string());
        let args = [key.as_str(), seen.backend.as_str(), &token, &stamp, &ttl];
        Ok(number(Some(&self.run(&self.scripts.renew, &args).await?)) > 0)
    }

    async fn confirm(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.link.recheck().await?;
        // Changes nothing, yet only who may write does it: neither a replica nor a master that lost its replicas.
        self.link.call(&["PERSIST", &self.key("balancer:stamp")]).await?;
        Ok(self.get(key, None).await?.as_ref() == Some(seen))
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        let (token, stamp) = (seen.token.0.to_string(), seen.stamp.to_string());
        let args = [key.as_str(), seen.backend.as_str(), &token, &stamp];
        Ok(number(Some(&self.run(&self.scripts.release, &args).await?)) > 0)
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        let command = if closed { "SADD" } else { "SREM" };
        self.link.call(&[command, &self.key("balancer:closed"), backend.as_str()]).await.map(drop)
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        super::page(self.meetings(Some(backend)).await?, from)
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        Ok(self.meetings(Some(backend)).await?.len() as u64)
    }
}

#[async_trait]
impl MeetingStore for RedisMeetings {
    fn generation(&self) -> u64 {
        self.link.generation()
    }

    async fn look(&self, id: &str) -> Result<Look, StickError> {
        let reply = self.run(&self.scripts.look, &[id]).await?;
        let row = reply.as_list();
        let meeting = Self::meeting(id, row);
        let known = number(row.get(7)) > 0;
        let server = (meeting.is_some() && known)
            .then(|| (state_of(text(row.get(8)), number(row.get(9))), text(row.get(10)) == "true"));
        Ok(Look { meeting, server, epoch: number(row.get(11)) })
    }

    async fn claim_meeting(&self, claim: &MeetingClaim<'_>) -> Result<Claimed, StickError> {
        StickKey::new(claim.id)?;
        let (token, load, ttl) =
            (claim.want.token.0.to_string(), claim.load.to_string(), millis(claim.ttl).to_string());
        let most = claim.most.to_string();
        let seen = claim.over.map(|b| (b.backend.as_str(), b.token.0.to_string(), b.stamp.to_string()));
        let (seen_server, seen_token, seen_stamp) =
            seen.as_ref().map_or(("", "", ""), |(s, t, n)| (*s, t.as_str(), n.as_str()));
        let mut args = vec![
            claim.id,
            claim.want.backend.as_str(),
            &token,
            claim.moderator_pw,
            &load,
            &ttl,
            seen_server,
            seen_token,
            seen_stamp,
            if claim.adopt { "1" } else { "" },
            if claim.registered { "1" } else { "" },
            claim.tenant,
            &most,
        ];
        args.extend(claim.bridges.iter().map(String::as_str));
        let reply = self.run(&self.scripts.claim, &args).await?;
        let row = reply.as_list();
        let word = text(row.first());
        if word == "closed" {
            return Ok(Claimed { claim: Claim::Closed, meeting: None });
        }
        if word == "full" {
            return Err(StickError::Full { capacity: usize::try_from(claim.most).unwrap_or(usize::MAX) });
        }
        let meeting = Self::meeting(claim.id, row.get(1..).unwrap_or(&[])).ok_or_else(|| self.corrupt("a claim"))?;
        let binding = meeting.binding.clone();
        let claim = if word == "won" { Claim::Won(binding) } else { Claim::Held(binding) };
        Ok(Claimed { claim, meeting: Some(meeting) })
    }

    async fn begin_end(&self, id: &str, seen: &Binding, at_most: Duration) -> Result<bool, StickError> {
        let (token, stamp, ms) = (seen.token.0.to_string(), seen.stamp.to_string(), millis(at_most).to_string());
        let args = [id, seen.backend.as_str(), &token, &stamp, &ms];
        Ok(number(Some(&self.run(&self.scripts.begin_end, &args).await?)) > 0)
    }

    async fn meetings(&self, server: Option<&BackendId>) -> Result<Vec<MeetingRecord>, StickError> {
        let reply = self.run(&self.scripts.meetings, &[server.map_or("", BackendId::as_str)]).await?;
        let rows = reply.as_list().iter().map(RedisReply::as_list);
        Ok(rows.filter_map(|row| Self::meeting(text(row.first()), row.get(1..)?)).collect())
    }

    async fn servers(&self) -> Result<Registry, StickError> {
        let reply = self.run(&self.scripts.servers, &[]).await?;
        let mut rows = reply.as_list().iter();
        let epoch = number(rows.next());
        let (mut servers, mut polls) = (Vec::new(), HashMap::new());
        for row in rows.map(RedisReply::as_list) {
            // id url secret tag state online multiplier meetings users largest videos version enabled load cordoned
            let id = text(row.first());
            if id.is_empty() || text(row.get(1)).is_empty() {
                continue;
            }
            let mut r = ServerRecord::new(id, text(row.get(1)), Secret::new(text(row.get(2))));
            r.old_secret = optional(row.get(20)).filter(|old| !old.is_empty()).map(Secret::new);
            r.tag = optional(row.get(3)).filter(|t| !t.is_empty());
            r.state = state_of(text(row.get(4)), number(row.get(12)));
            r.online = text(row.get(5)) == "true";
            r.load_multiplier = optional(row.get(6)).filter(|t| !t.is_empty());
            r.figures = Figures {
                meetings: number(row.get(7)),
                users: number(row.get(8)),
                largest_meeting: number(row.get(9)),
                videos: number(row.get(10)),
            };
            r.bbb_version = optional(row.get(11)).filter(|t| !t.is_empty());
            let score = |i: usize| text(row.get(i)).parse::<f64>().ok();
            r.load = score(13).or_else(|| score(14));
            polls.insert(r.id.clone(), shared_poll(row));
            servers.push(r);
        }
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Registry { servers, epoch, polls })
    }

    async fn add_server(&self, r: &ServerRecord) -> Result<bool, StickError> {
        let multiplier = r.load_multiplier.clone().unwrap_or_else(|| "1.0".into());
        let tag = r.tag.as_deref().unwrap_or("");
        let args = [r.id.as_str(), r.url.as_str(), r.secret.expose(), multiplier.as_str(), tag];
        Ok(number(Some(&self.run(&self.scripts.add_server, &args).await?)) > 0)
    }

    async fn update_server(&self, id: &BackendId, patch: &ServerPatch) -> Result<bool, StickError> {
        let mut args = vec![id.as_str()];
        if let Some(state) = patch.state {
            args.extend(["state", state.as_str()]);
        }
        if let Some(secret) = &patch.secret {
            args.extend(["secret", secret.expose()]);
        }
        if let Some(secret) = &patch.proved {
            args.extend(["proved", secret.expose()]);
        }
        if let Some(tag) = &patch.tag {
            args.extend(["tag", tag]);
        }
        if let Some(m) = &patch.load_multiplier {
            args.extend(["load_multiplier", m]);
        }
        Ok(number(Some(&self.run(&self.scripts.update_server, &args).await?)) > 0)
    }

    async fn remove_server(&self, id: &BackendId) -> Result<bool, StickError> {
        Ok(number(Some(&self.run(&self.scripts.remove_server, &[id.as_str()]).await?)) > 0)
    }

    async fn record_poll(&self, id: &BackendId, poll: &PollRecord) -> Result<bool, StickError> {
        let online = poll.online.map_or("", |o| if o { "true" } else { "false" });
        let version = poll.bbb_version.as_deref().unwrap_or("");
        let measured: Vec<String> = match &poll.measured {
            Some((load, f)) => [load.to_string()]
                .into_iter()
                .chain([f.meetings, f.users, f.largest_meeting, f.videos].map(|n| n.to_string()))
                .collect(),
            None => Vec::new(),
        };
        let draining = if poll.draining { "1" } else { "" };
        let [process, token] =
            poll.fence.map_or_else(Default::default, |f| [f.process, f.token].map(|n| n.to_string()));
        let began = poll.began_ms.to_string();
        let mut args = vec![id.as_str(), online, version, draining, &process, &token, &began, BREAKOUTS];
        args.extend(measured.iter().map(String::as_str));
        if !measured.is_empty() {
            args.extend(poll.breakouts.iter().map(String::as_str));
        }
        Ok(number(Some(&self.run(&self.scripts.record_poll, &args).await?)) > 0)
    }

    async fn renew_seen(&self, server: &BackendId, seen: &[String], ttl: Duration) -> Result<(), StickError> {
        let ttl = millis(ttl).to_string();
        for part in seen.chunks(1000) {
            let mut args = vec![server.as_str(), ttl.as_str()];
            args.extend(part.iter().map(String::as_str));
            self.run(&self.scripts.renew_seen, &args).await?;
        }
        Ok(())
    }

    async fn add_loads(&self, loads: &[(BackendId, f64)]) -> Result<(), StickError> {
        let numbers: Vec<String> = loads.iter().map(|(_, more)| more.to_string()).collect();
        let mut args = Vec::with_capacity(loads.len() * 2);
        for ((id, _), more) in loads.iter().zip(&numbers) {
            args.extend([id.as_str(), more.as_str()]);
        }
        self.run(&self.scripts.add_loads, &args).await.map(drop)
    }

    async fn announce(&self, process: u64, ttl: Duration) -> Result<Vec<Peer>, StickError> {
        let args = [process.to_string(), millis(ttl).to_string()];
        let reply = self.run(&self.scripts.announce, &[&args[0], &args[1]]).await?;
        let peer = |p: &[RedisReply]| Peer::new(number(p.first()), Duration::from_millis(number(p.get(1))));
        Ok(reply.as_list().chunks_exact(2).map(peer).collect())
    }

    async fn withdraw(&self, process: u64) -> Result<(), StickError> {
        self.run(&self.scripts.withdraw, &[&process.to_string()]).await.map(drop)
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn take_leases(
        &self,
        process: u64,
        wanted: &[BackendId],
        release: &[BackendId],
        ttl: Duration,
        force: bool,
    ) -> Result<Vec<Option<Fence>>, StickError> {
        if wanted.is_empty() && release.is_empty() {
            return Ok(Vec::new());
        }
        let [who, ttl, count] = [process, millis(ttl), wanted.len() as u64].map(|n| n.to_string());
        let mut args = vec![who.as_str(), &ttl, if force { "1" } else { "" }, &count];
        args.extend(wanted.iter().chain(release).map(BackendId::as_str));
        let reply = self.run(&self.scripts.leases, &args).await?;
        let tokens = reply.as_list();
        if tokens.len() != wanted.len() {
            return Err(self.corrupt("a call for leases"));
        }
        Ok(tokens.iter().map(|token| fence(process, token)).collect())
    }

    async fn breakout(&self, id: &str) -> Result<Option<BackendId>, StickError> {
        let reply = self.link.call(&["GET", &self.key(&format!("balancer:breakout:{id}"))]).await?;
        Ok(reply.as_str().map(BackendId::from))
    }

    async fn tidy(&self) -> Result<u64, StickError> {
        self.tidy_up().await
    }

    async fn doubt(&self, server: &BackendId, process: u64, ttl: Duration) -> Result<Doubt, StickError> {
        let (who, ttl) = (process.to_string(), millis(ttl).to_string());
        let token = self.run(&self.scripts.doubt, &[server.as_str(), &who, &ttl]).await?;
        Ok(fence(process, &token).map_or(Doubt::Alone, |f| Doubt::Agreed(Some(f))))
    }

    async fn trust(&self, server: &BackendId, process: u64) -> Result<(), StickError> {
        let key = self.key(&format!("balancer:doubts:{server}"));
        self.link.call(&["ZREM", &key, &process.to_string()]).await.map(drop)
    }

    async fn clock_ms(&self) -> Result<Option<u64>, StickError> {
        let reply = self.link.call(&["TIME"]).await?;
        match reply.as_list() {
            [seconds, micros] => Ok(Some(number(Some(seconds)) * 1000 + number(Some(micros)) / 1000)),
            _ => Err(self.corrupt("a question for the time")),
        }
    }

    fn callback_store(&self) -> &dyn CallbackStore {
        self
    }

    fn tenant_store(&self) -> &dyn TenantStore {
        self
    }

    async fn check(&self) -> Result<(), StickError> {
        let key = self.key("__health_check_set__");
        let set = ["SET", key.as_str(), "true", "EX", "10"].map(str::to_owned).to_vec();
        let get = ["GET", key.as_str()].map(str::to_owned).to_vec();
        let replies = self.link.pipeline(&[set, get]).await?;
        if text(replies.get(1)) == "true" { Ok(()) } else { Err(self.corrupt("a health check")) }
    }

    fn describe(&self) -> String {
        format!("{} (namespace {:?})", self.link.target(), self.prefix.trim_end_matches(':'))
    }
}
