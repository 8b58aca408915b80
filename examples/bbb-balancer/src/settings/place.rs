//! Where to listen, and where to keep things.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use adapter_bbb::{PostgresOptions, Secret};
use console::Failure;

use super::read::Reader;
use super::sources::Source;
use super::{Listen, Recordings, RecordingsAt, Sources, Store};

pub(super) fn listen(r: &mut Reader<'_>) -> Listen {
    let port = u16::try_from(r.number("port", 0, 65_535)).unwrap_or_default();
    let usual = Listen::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    if r.text("bind").is_none() {
        return usual;
    }
    r.with("bind", |text| bound(text, port)).unwrap_or(usual)
}

/// Where operators' calls are answered, when that is apart; a port has to be named.
pub(super) fn admin_listen(r: &mut Reader<'_>) -> Option<Listen> {
    r.text("admin_bind")?;
    let found = r.with("admin_bind", |text| bound(text, 0))?;
    if matches!(&found, Listen::Tcp(at) if at.port() == 0) && !r.found("admin_bind").text.ends_with(":0") {
        r.refuse("admin_bind", "names no port: write 127.0.0.1:3001");
    }
    Some(found)
}

/// Where the balancer of these settings is called from its own machine by operators, whatever else is wrong with them.
///
/// # Errors
///
/// A place that cannot be read, or that only programs of this machine can reach.
pub(crate) fn local(sources: &Sources) -> Result<String, Failure> {
    let mut r = Reader::new(sources);
    let found = admin_listen(&mut r).unwrap_or_else(|| listen(&mut r));
    let hint = "give the balancer's address with --url or BALANCER_URL";
    if !r.errors.is_empty() {
        return Err(Failure::usage("where the balancer listens cannot be read").cause(r.errors.join("; ")).hint(hint));
    }
    match found {
        Listen::Tcp(mut at) => {
            if at.ip().is_unspecified() {
                at.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
            }
            Ok(format!("http://{at}"))
        }
        Listen::Unix(path) => {
            Err(Failure::usage("the balancer listens on a unix socket, which this command cannot call")
                .cause(path.display().to_string())
                .hint(format!(
                    "{hint}: that of the proxy before it, or BALANCER_ADMIN_BIND=127.0.0.1:3001 for `serve`"
                )))
        }
    }
}

/// `HOST:PORT`, `HOST`, either after `tcp://`, or `unix://PATH`.
fn bound(text: &str, port: u16) -> Result<Listen, String> {
    let want = || {
        "must be an address such as 127.0.0.1:3000, tcp://0.0.0.0:3000, tcp://[::]:3000 or unix:///run/bbb.sock"
            .to_owned()
    };
    if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
        let path = path.split('?').next().unwrap_or_default();
        return if path.is_empty() { Err(want()) } else { Ok(Listen::Unix(path.into())) };
    }
    let address = text.strip_prefix("tcp://").unwrap_or(text).trim_end_matches('/');
    if let Ok(address) = address.parse() {
        return Ok(Listen::Tcp(address));
    }
    if let Ok(ip) = address.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return Ok(Listen::Tcp(SocketAddr::new(ip, port)));
    }
    if address.contains("://") || address.is_empty() {
        return Err(want());
    }
    let whole = if address.contains(':') { address.to_owned() } else { format!("{address}:{port}") };
    let first = whole.to_socket_addrs().ok().and_then(|mut all| all.next());
    first.map(Listen::Tcp).ok_or_else(want)
}

pub(super) fn store(r: &mut Reader<'_>, notices: &mut Vec<String>) -> Store {
    let (memory, redis) = (r.found("memory").source, r.found("redis_url").source);
    let in_memory = r.switch("memory");
    if in_memory && r.text("redis_url").is_some() {
        match memory.rank().cmp(&redis.rank()) {
            std::cmp::Ordering::Equal => {
                r.refuse("memory", "redis_url is set as well: remove one of the two");
                return Store::Memory;
            }
            std::cmp::Ordering::Greater => notices.push(format!("redis_url ({redis}) is not used: {memory} is set")),
            std::cmp::Ordering::Less => notices.push(format!("memory ({memory}) is not used: {redis} is set")),
        }
    }
    let namespace = r.text("redis_namespace").unwrap_or_default();
    let connections = r.count("redis_pool", 1, 64);
    let timeout = r.seconds("pool_timeout", 600.0);
    match r.text("redis_url") {
        Some(url) if !in_memory || memory.rank() < redis.rank() => {
            let known = [
                "redis://",
                "rediss://",
                "unix://",
                "redis+unix://",
                "redis+sentinel://",
                "rediss+sentinel://",
                "valkey://",
                "valkeys://",
            ];
            if url.starts_with("redis+cluster://") || url.starts_with("rediss+cluster://") {
                r.refuse(
                    "redis_url",
                    "names a Redis Cluster, which cannot hold Scalelite's keys (those of one step are not in one slot): \
                     use redis:// with a single Redis, or redis+sentinel:// for a replicated one",
                );
            } else if !known.iter().any(|scheme| url.starts_with(scheme)) {
                r.refuse("redis_url", "must begin with redis://, rediss://, redis+sentinel:// or unix://");
            }
            Store::Redis { url: Secret::new(url), namespace, connections, timeout }
        }
        _ if in_memory => Store::Memory,
        _ => Store::File(r.text("data_dir").unwrap_or_default().into()),
    }
}

/// Where the index of recordings is kept: beside the meetings when there is no database, unless others share those.
pub(super) fn recordings(r: &mut Reader<'_>, store: &Store) -> Recordings {
    let read = |text: &str| if text.is_empty() { Ok(None) } else { PostgresOptions::from_url(text).map(Some) };
    let (database, retries) = (r.with("database_url", read).flatten(), r.number("db_connection_retry_count", 0, 100));
    let indexes = r.switch("database_indexes");
    let (without, off) = (r.switch("db_disabled"), r.switch("recording_disabled"));
    let folder = r.found("data_dir");
    let at = match (database, store) {
        _ if off => RecordingsAt::Nowhere,
        (Some(mut options), _) if !without => {
            (options.retries, options.indexes) = (retries, indexes);
            RecordingsAt::Postgres(Box::new(options))
        }
        (_, Store::Memory) => RecordingsAt::Memory,
        (_, Store::File(dir)) => RecordingsAt::File(dir.clone()),
        // A folder that somebody has named is meant for this process.
        (_, Store::Redis { .. }) if folder.source != Source::Default => RecordingsAt::File(folder.text.into()),
        (_, Store::Redis { .. }) => RecordingsAt::Unset,
    };
    Recordings { at, filtered: r.switch("get_recordings_api_filtered") }
}
