//! `import scalelite`: what an existing deployment has, and what would become of it. Nothing is written.

mod found;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use balancer_core::{RedisLink, RedisOptions, RedisReply, StickError};

use crate::cli::Output;
use crate::settings::{Settings, Sources, Store, source_lines};
use console::{Failure, Outcome};
use found::{Found, Server};

/// Meetings, servers or tenants that are looked at one by one.
const MOST: usize = 100_000;
/// Commands in one round trip.
const AT_ONCE: usize = 500;

/// Reads the settings and the Redis, and says what was found.
///
/// # Errors
///
/// Settings without a Redis, a Redis that does not answer or holds other types of keys than Scalelite writes.
///
/// # Cancel safety
///
/// Nothing is left behind: only reading commands are sent.
pub(crate) async fn run(
    sources: &Sources,
    settings: &Result<Settings, Vec<String>>,
    output: Output,
) -> Result<Outcome, Failure> {
    let (url, namespace, timeout) = match settings.as_ref().map(|s| &s.store) {
        Ok(Store::Redis { url, namespace, timeout, .. }) => (url.expose().to_owned(), namespace.clone(), *timeout),
        // Its Redis can be read though another setting cannot be used.
        Err(_) if sources.set("redis_url").is_some() => (
            sources.set("redis_url").unwrap_or_default(),
            sources.set("redis_namespace").unwrap_or_else(|| "scalelite".to_owned()),
            Duration::from_secs(5),
        ),
        _ => {
            return Err(Failure::failed("REDIS_URL is not set, and Scalelite keeps everything in Redis").hint(
                "run this with the environment Scalelite is started with: set REDIS_URL, such as redis://HOST:6379",
            ));
        }
    };
    let lost = |e: &StickError| Failure::failed("the Redis of Scalelite cannot be read").cause(e.to_string());
    let options = RedisOptions::from_url(&url).map_err(|e| lost(&e))?;
    let options = options.connections(1).connect_tries(1).response_timeout(timeout);
    let link = RedisLink::new(options).map_err(|e| lost(&e))?;
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}:") };
    let mut found = read(&link, &prefix).await.map_err(|e| {
        lost(&e).hint("is REDIS_URL right, and REDIS_NAMESPACE the prefix of its keys (`scalelite` in production)?")
    })?;
    found.place = link.target();
    found.namespace = namespace;
    let lines = source_lines(sources);
    let given = lines.into_iter().filter(|line| line.source != crate::settings::Source::Default);
    found.settings = given.map(|line| (line.name, line.value, line.source.to_string())).collect();
    match settings {
        Ok(s) => {
            found.idle = s.notices().to_vec();
            found.weak.extend_from_slice(s.warnings());
            found.serves_tenants = s.multitenancy;
        }
        Err(errors) => found.refused.clone_from(errors),
    }
    Ok(found.outcome(output == Output::Json))
}

struct Reader<'l> {
    link: &'l RedisLink,
    prefix: &'l str,
}

impl Reader<'_> {
    async fn set(&self, name: &str) -> Result<BTreeSet<String>, StickError> {
        let reply = self.link.call(&["SMEMBERS", &format!("{}{name}", self.prefix)]).await?;
        Ok(reply.as_list().iter().filter_map(RedisReply::as_str).take(MOST).map(str::to_owned).collect())
    }

    async fn scores(&self, name: &str) -> Result<BTreeMap<String, String>, StickError> {
        let reply = self.link.call(&["ZRANGE", &format!("{}{name}", self.prefix), "0", "-1", "WITHSCORES"]).await?;
        let rows = reply.as_list();
        // One list of members and scores in turn, or a list of pairs.
        let flat: Vec<&RedisReply> = rows
            .iter()
            .flat_map(|r| if r.as_list().is_empty() { vec![r] } else { r.as_list().iter().collect() })
            .collect();
        let pair = |two: &[&RedisReply]| {
            let score = two.get(1)?;
            let score = score.as_str().map(str::to_owned).or_else(|| score.as_int().map(|n| n.to_string()))?;
            Some((two.first()?.as_str()?.to_owned(), score))
        };
        Ok(flat.chunks(2).filter_map(pair).take(MOST).collect())
    }

    /// One command for each of these keys, in the order of the names.
    async fn each(&self, command: &str, kind: &str, names: &BTreeSet<String>) -> Result<Vec<RedisReply>, StickError> {
        let all: Vec<Vec<String>> =
            names.iter().map(|name| vec![command.to_owned(), format!("{}{kind}{name}", self.prefix)]).collect();
        let mut replies = Vec::with_capacity(all.len());
        for some in all.chunks(AT_ONCE) {
            replies.extend(self.link.pipeline(some).await?);
        }
        Ok(replies)
    }

    async fn hashes(&self, kind: &str, names: &BTreeSet<String>) -> Result<Vec<BTreeMap<String, String>>, StickError> {
        Ok(self.each("HGETALL", kind, names).await?.iter().map(fields).collect())
    }
}

fn fields(reply: &RedisReply) -> BTreeMap<String, String> {
    let pair = |two: &[RedisReply]| Some((two.first()?.as_str()?.to_owned(), two.get(1)?.as_str()?.to_owned()));
    reply.as_list().chunks(2).filter_map(pair).collect()
}

async fn read(link: &RedisLink, prefix: &str) -> Result<Found, StickError> {
    let redis = Reader { link, prefix };
    let mut found = Found::default();
    let ids = redis.set("servers").await?;
    let enabled = redis.set("server_enabled").await?;
    let load = redis.scores("server_load").await?;
    let cordoned = redis.scores("cordoned_server_load").await?;
    for (id, hash) in ids.iter().zip(redis.hashes("server:", &ids).await?) {
        if hash.get("url").is_none_or(String::is_empty) {
            found.left_over.push(format!("server {id} is listed, but has no hash: it is passed over"));
            continue;
        }
        let field = |name: &str| hash.get(name).cloned().unwrap_or_default();
        // What is old has no state; then the set decides.
        let state = Some(field("state")).filter(|s| !s.is_empty());
        let state = state.unwrap_or_else(|| if enabled.contains(id) { "enabled" } else { "disabled" }.to_owned());
        found.servers.insert(
            id.clone(),
            Server {
                url: field("url"),
                secret: field("secret"),
                state,
                online: field("online") == "true",
                load: load.get(id).or_else(|| cordoned.get(id)).cloned(),
                multiplier: Some(field("load_multiplier"))
                    .filter(|m| !m.is_empty())
                    .unwrap_or_else(|| "1.0".to_owned()),
                tag: field("tag"),
                meetings: 0,
            },
        );
    }
    for (name, members) in [
        ("server_enabled", enabled.iter().collect::<Vec<_>>()),
        ("server_load", load.keys().collect()),
        ("cordoned_server_load", cordoned.keys().collect()),
    ] {
        for id in members.into_iter().filter(|id| !ids.contains(*id)) {
            found.left_over.push(format!("{name} names the server {id}, which was removed"));
        }
    }
    let meetings = redis.set("meetings").await?;
    let ttls = redis.each("PTTL", "meeting:", &meetings).await?;
    for ((id, hash), ttl) in meetings.iter().zip(redis.hashes("meeting:", &meetings).await?).zip(ttls) {
        let Some(server) = hash.get("server_id") else {
            found.left_over.push(format!("meeting {id} is listed, but its hash has expired"));
            continue;
        };
        found.meetings += 1;
        if ttl.as_int() == Some(-1) {
            found.left_over.push(format!("meeting {id} never expires"));
        }
        match found.servers.get_mut(server) {
            Some(server) => server.meetings += 1,
            None => found.left_over.push(format!("meeting {id} is on the server {server}, which was removed")),
        }
    }
    let bridges = fields(&link.call(&["HGETALL", &format!("{prefix}voice_bridges")]).await?);
    found.bridges = bridges.len();
    for (number, meeting) in bridges.iter().filter(|(_, meeting)| !meetings.contains(*meeting)) {
        found.left_over.push(format!("the voice bridge {number} belongs to {meeting}, which is over"));
    }
    let tenants = redis.set("tenants").await?;
    found.tenants = tenants.len();
    let mut names: BTreeMap<String, &String> = BTreeMap::new();
    for (id, hash) in tenants.iter().zip(redis.hashes("tenant:", &tenants).await?) {
        let name = hash.get("name").map(|name| name.to_lowercase()).unwrap_or_default();
        if let Some(other) = names.insert(name.clone(), id) {
            let why = "only the one that tenant_name leads to is served; rename or remove one";
            found.weak.push(format!("the tenants {other} and {id} have one name, {name}: {why}"));
        }
    }
    Ok(found)
}
