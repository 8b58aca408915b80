//! `redis://`, `rediss://`, `unix://`, `redis+unix://`, `redis+sentinel://` and `redis+cluster://` addresses.
//!
//! No part of a URL is repeated in an error except its scheme: any other may be, or be mistaken for, a secret.

use percent_encoding::percent_decode_str;

use super::options::{Address, Place, RedisOptions, config, parse_port};
use crate::stick::StickError;

const LONGEST: usize = 4096;

impl RedisOptions {
    /// Reads a URL.
    ///
    /// | Form | Server |
    /// | --- | --- |
    /// | `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]` | one, by TCP |
    /// | `unix:///PATH`, also `redis+unix:` | one, by a Unix socket |
    /// | `redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DB]` | the master of this name, as these sentinels know it; feature `redis-sentinel` |
    /// | `redis+cluster://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]` | a Redis Cluster, by some of its nodes; feature `redis-cluster` |
    ///
    /// With `rediss` in place of `redis` TLS is spoken, to sentinels and nodes too (feature `redis-tls`). Host
    /// 127.0.0.1, port 6379 (of sentinels 26379) and database 0 are assumed. `?db=`, `?user=` and `?password=` work in
    /// every form; user and password are those of the server with the data, the sentinels' own are
    /// `?sentinel_user=` and `?sentinel_password=`. Special characters in names and passwords are written `%XX`.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] for anything else, and for a form whose feature is not compiled in.
    pub fn from_url(url: &str) -> Result<Self, StickError> {
        if url.len() > LONGEST {
            return Err(config("Redis URL", "is longer than 4096 bytes"));
        }
        let url = url.trim();
        let (scheme, rest) =
            url.split_once(':').ok_or_else(|| config("Redis URL", "must begin with redis:// or unix://"))?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let scheme = scheme.to_ascii_lowercase();
        let (secure, form) = match scheme.strip_prefix("rediss") {
            Some(form) => (true, form),
            None if scheme == "unix" => (false, "+unix"),
            None => (false, scheme.strip_prefix("redis").unwrap_or("unknown")),
        };
        let options = match form {
            "" => network(rest)?,
            "+unix" if !secure => socket(rest)?,
            #[cfg(feature = "redis-sentinel")]
            "+sentinel" => sentinels(rest)?,
            #[cfg(not(feature = "redis-sentinel"))]
            "+sentinel" => return Err(absent("redis+sentinel://", "Sentinel", "redis-sentinel")),
            #[cfg(feature = "redis-cluster")]
            "+cluster" => cluster(rest)?,
            #[cfg(not(feature = "redis-cluster"))]
            "+cluster" => return Err(absent("redis+cluster://", "Redis Cluster", "redis-cluster")),
            _ => {
                return Err(config(
                    "Redis URL",
                    "must begin with redis://, rediss://, unix://, redis+unix://, redis+sentinel://, \
                     rediss+sentinel://, redis+cluster:// or rediss+cluster://",
                ));
            }
        };
        #[cfg(feature = "redis-tls")]
        let options = if secure { options.tls() } else { options };
        #[cfg(not(feature = "redis-tls"))]
        if secure {
            return Err(config(
                &format!("Redis URL with {scheme}://"),
                "TLS to Redis is not compiled in (feature redis-tls); use redis:// over a private network or a local TLS tunnel",
            ));
        }
        match query {
            Some(query) => parameters(options, query),
            None => Ok(options),
        }
    }
}

#[cfg(not(all(feature = "redis-sentinel", feature = "redis-cluster")))]
fn absent(form: &str, what: &str, feature: &str) -> StickError {
    config(
        &format!("Redis URL with {form}"),
        &format!("{what} is not compiled in (feature {feature}); use redis:// with a single server"),
    )
}

/// What all forms with a host have in common: who, servers, and what comes behind them.
struct Parts<'a> {
    user: Option<&'a str>,
    servers: &'a str,
    path: &'a str,
}

fn parts(rest: &str) -> Result<Parts<'_>, StickError> {
    let rest = rest.strip_prefix("//").ok_or_else(|| config("Redis URL", "lacks the // behind its scheme"))?;
    // A password may hold an unescaped `@`, and by mistake a `/`: the last `@` ends it.
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (servers, path) = place.split_once('/').unwrap_or((place, ""));
    Ok(Parts { user, servers, path: path.trim_end_matches('/') })
}

fn server(host_port: &str, usual: u16) -> Result<(String, u16), StickError> {
    let (host, port) = if let Some(bracketed) = host_port.strip_prefix('[') {
        let (host, port) = bracketed
            .split_once(']')
            .ok_or_else(|| config("Redis host", "lacks the bracket that closes its address"))?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port),
            None if port.is_empty() => None,
            None => return Err(config("Redis host", "has something but a port behind its address")),
        };
        (host, port)
    } else {
        match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        }
    };
    let host = if host.is_empty() { "127.0.0.1".to_owned() } else { decode(host)? };
    Ok((host, port.filter(|port| !port.is_empty()).map_or(Ok(usual), parse_port)?))
}

fn with_user(options: RedisOptions, user: Option<&str>) -> Result<RedisOptions, StickError> {
    let Some(user) = user else { return Ok(options) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    Ok(options.username(decode(name)?).password(decode(password)?))
}

fn network(rest: &str) -> Result<RedisOptions, StickError> {
    let Parts { user, servers, path } = parts(rest)?;
    if servers.contains(',') {
        return Err(config(
            "Redis URL",
            "names several servers: write redis+sentinel:// and a master name behind them, or redis+cluster://",
        ));
    }
    let (host, port) = server(servers, 6379)?;
    let mut options = RedisOptions::at(Place::Server(Address::Tcp { host, port }));
    if !path.is_empty() {
        options = options.db(parse_db(path)?);
    }
    with_user(options, user)
}

#[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
fn several(servers: &str, usual: u16) -> Result<Vec<(String, u16)>, StickError> {
    servers.split(',').map(|one| server(one, usual)).collect()
}

#[cfg(feature = "redis-sentinel")]
fn sentinels(rest: &str) -> Result<RedisOptions, StickError> {
    let Parts { user, servers, path } = parts(rest)?;
    let (master, db) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(config(
            "Redis URL with sentinels",
            "lacks the name of the master, as in redis+sentinel://host1,host2,host3/mymaster",
        ));
    }
    let mut options = RedisOptions::sentinel(decode(master)?, several(servers, 26379)?);
    if !db.is_empty() {
        options = options.db(parse_db(db)?);
    }
    with_user(options, user)
}

#[cfg(feature = "redis-cluster")]
fn cluster(rest: &str) -> Result<RedisOptions, StickError> {
    let Parts { user, servers, path } = parts(rest)?;
    let mut options = RedisOptions::cluster(several(servers, 6379)?);
    if !path.is_empty() {
        options = options.db(parse_db(path)?);
    }
    with_user(options, user)
}

fn socket(rest: &str) -> Result<RedisOptions, StickError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(config("Redis URL of a socket", "must name an absolute path, as in unix:///run/redis.sock"));
    }
    Ok(RedisOptions::unix(decode(path)?))
}

fn parameters(mut options: RedisOptions, query: &str) -> Result<RedisOptions, StickError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        options = match name {
            "db" => options.db(parse_db(&value)?),
            "user" | "username" => options.username(value),
            "pass" | "password" => options.password(value),
            #[cfg(feature = "redis-sentinel")]
            "sentinel_user" | "sentinel_username" => options.sentinel_username(value),
            #[cfg(feature = "redis-sentinel")]
            "sentinel_pass" | "sentinel_password" => options.sentinel_password(value),
            _ => {
                return Err(config(
                    "Redis URL",
                    "has a parameter other than db, user, password, sentinel_user and sentinel_password",
                ));
            }
        };
    }
    Ok(options)
}

fn parse_db(text: &str) -> Result<u32, StickError> {
    text.parse().map_err(|_| config("Redis database in a URL", "must be a number, as in redis://host/0"))
}

fn decode(text: &str) -> Result<String, StickError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(config("Redis URL", "holds %XX that is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Server(Address::Tcp { host: host.to_owned(), port })
    }

    fn secret(options: &RedisOptions) -> Option<&str> {
        options.password.as_ref().map(|secret| secret.0.as_str())
    }

    #[test]
    fn every_form_is_read() {
        let plain = RedisOptions::from_url("redis://example.org").unwrap();
        assert_eq!((plain.place, plain.db), (tcp("example.org", 6379), 0));
        let full = RedisOptions::from_url("redis://ann:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!(full.place, tcp("::1", 7000));
        assert_eq!((full.username.as_deref(), secret(&full), full.db), (Some("ann"), Some("p@ss"), 3));
        let only = RedisOptions::from_url("redis://:a@b@10.0.0.1:6380/").unwrap();
        assert_eq!((only.place.clone(), secret(&only)), (tcp("10.0.0.1", 6380), Some("a@b")));
        let none = RedisOptions::from_url("redis://").unwrap();
        assert_eq!(none.place, tcp("127.0.0.1", 6379));
        for url in [
            "unix:///run/r.sock?db=2&password=x",
            "redis+unix:///run/r.sock?pass=x&db=2",
            "unix:/run/r.sock?db=2&pass=x",
        ] {
            let unix = RedisOptions::from_url(url).unwrap();
            assert_eq!(
                (unix.place.clone(), unix.db, secret(&unix)),
                (Place::Server(Address::Unix("/run/r.sock".into())), 2, Some("x"))
            );
        }
    }

    #[test]
    fn ports_come_as_number_or_text() {
        assert_eq!(RedisOptions::new("h").port("6390").unwrap().place, tcp("h", 6390));
        assert_eq!(RedisOptions::new("h").port(6390).unwrap().place, tcp("h", 6390));
        assert!(RedisOptions::new("h").port("redis").is_err());
        assert!(RedisOptions::new("h").port(0).is_err());
    }

    #[cfg(feature = "redis-sentinel")]
    #[test]
    fn sentinels_are_named_with_their_master() {
        let url = "redis+sentinel://ann:hunter2@a,b:7,[::1]:8/my%20master/3?sentinel_password=hunter2s&sentinel_user=s";
        let options = RedisOptions::from_url(url).unwrap();
        let address = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        let sentinels = vec![address("a", 26379), address("b", 7), address("::1", 8)];
        assert_eq!(options.place, Place::Sentinels { sentinels, master: "my master".into() });
        assert_eq!((options.username.as_deref(), secret(&options), options.db), (Some("ann"), Some("hunter2"), 3));
        assert_eq!(options.sentinel_password.as_ref().map(|secret| secret.0.as_str()), Some("hunter2s"));
        assert_eq!(options.target(), "redis master \"my master\" by the sentinels a:26379, b:7, [::1]:8");
        assert!(!format!("{options:?}").contains("hunter2"));
        assert!(options.port(1).is_err());
        for wrong in ["redis+sentinel://a,b", "redis+sentinel://a:x/m", "redis://a,b", "rediss+unix:///x"] {
            assert!(RedisOptions::from_url(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "redis-cluster")]
    #[test]
    fn a_cluster_is_named_by_some_nodes() {
        let options = RedisOptions::from_url("redis+cluster://:hunter2@a,b:7001/").unwrap();
        assert_eq!((options.target().as_str(), secret(&options)), ("redis cluster a:6379, b:7001", Some("hunter2")));
        options.validate().unwrap();
        assert!(RedisOptions::from_url("redis+cluster://a/2").unwrap().validate().is_err());
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_is_asked_for_by_the_scheme() {
        let options = RedisOptions::from_url("rediss://u:hunter2@h:6390/2").unwrap();
        assert!(options.tls && !format!("{options:?}").contains("hunter2"));
        assert_eq!((&options.place, options.db), (&tcp("h", 6390), 2));
        assert!(!RedisOptions::from_url("redis://h").unwrap().tls);
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn tls_is_refused_by_name() {
        let error = RedisOptions::from_url("rediss://:hunter2@h").unwrap_err().to_string();
        assert!(error.contains("TLS") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn no_message_repeats_a_password() {
        for url in [
            "redis://:hunter2#/x@h/none",
            "redis://h:hunter2",
            "redis:/:hunter2@h",
            "http://:hunter2@h",
            "redis://h?secret=hunter2",
            "redis://[hunter2",
            "redis://h/hunter2",
            "hunter2",
        ] {
            let error = RedisOptions::from_url(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let options = RedisOptions::from_url("redis://u:hunter2@h").unwrap();
        assert!(!format!("{options:?} {}", options.target()).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(url in "(rediss?|unix|rediss?[+](unix|sentinel|cluster)|)(:|://)?.{0,40}") {
            let _ = RedisOptions::from_url(&url);
        }

        #[test]
        fn encoded_passwords_come_back(password in ".{1,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
            let options = RedisOptions::from_url(&format!("redis://:{encoded}@h/1")).unwrap();
            prop_assert_eq!(secret(&options), Some(password.as_str()));
        }
    }
}
