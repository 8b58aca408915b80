//! `redis://`, `rediss://`, `unix://` and `redis+unix://` addresses.
//!
//! No part of a URL is repeated in an error except its scheme: any other may be, or be mistaken for, a secret.

use percent_encoding::percent_decode_str;

use super::options::{Address, RedisOptions, config, parse_port};
use crate::stick::StickError;

const LONGEST: usize = 4096;

impl RedisOptions {
    /// Reads a URL.
    ///
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, the same with `rediss://` for TLS, `unix:///PATH[?db=DB&user=USER&password=PASSWORD]`, also written
    /// `redis+unix:`. Host 127.0.0.1, port 6379 and database 0 are assumed; `?db=`, `?user=` and `?password=` work in
    /// both forms. Special characters in names and passwords are written `%XX`.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] for anything else, and for `rediss://` without the feature `redis-tls`.
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
        let options = match scheme.to_ascii_lowercase().as_str() {
            "redis" => network(rest)?,
            "unix" | "redis+unix" => socket(rest)?,
            #[cfg(feature = "redis-tls")]
            "rediss" => network(rest)?.tls(),
            #[cfg(not(feature = "redis-tls"))]
            "rediss" => {
                return Err(config(
                    "Redis URL with rediss://",
                    "TLS to Redis is not compiled in (feature redis-tls); use redis:// over a private network or a local TLS tunnel",
                ));
            }
            _ => return Err(config("Redis URL", "must begin with redis://, rediss://, unix:// or redis+unix://")),
        };
        match query {
            Some(query) => parameters(options, query),
            None => Ok(options),
        }
    }
}

fn network(rest: &str) -> Result<RedisOptions, StickError> {
    let rest = rest.strip_prefix("//").ok_or_else(|| config("Redis URL", "must begin with redis://"))?;
    // A password may hold an unescaped `@`, and by mistake a `/`: the last `@` ends it.
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (host_port, db) = match place.split_once('/') {
        Some((host_port, db)) => (host_port, db.trim_end_matches('/')),
        None => (place, ""),
    };
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
    let port = port.filter(|port| !port.is_empty()).map_or(Ok(6379), parse_port)?;
    let mut options = RedisOptions::at(Address::Tcp { host, port });
    if !db.is_empty() {
        options = options.db(parse_db(db)?);
    }
    if let Some(user) = user {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        options = options.username(decode(name)?).password(decode(password)?);
    }
    Ok(options)
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
            _ => return Err(config("Redis URL", "has a parameter other than db, user and password")),
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

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    fn secret(options: &RedisOptions) -> Option<&str> {
        options.password.as_ref().map(|secret| secret.0.as_str())
    }

    #[test]
    fn every_form_is_read() {
        let plain = RedisOptions::from_url("redis://example.org").unwrap();
        assert_eq!((plain.address, plain.db), (tcp("example.org", 6379), 0));
        let full = RedisOptions::from_url("redis://ann:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!(full.address, tcp("::1", 7000));
        assert_eq!((full.username.as_deref(), secret(&full), full.db), (Some("ann"), Some("p@ss"), 3));
        let only = RedisOptions::from_url("redis://:a@b@10.0.0.1:6380/").unwrap();
        assert_eq!((only.address.clone(), secret(&only)), (tcp("10.0.0.1", 6380), Some("a@b")));
        let none = RedisOptions::from_url("redis://").unwrap();
        assert_eq!(none.address, tcp("127.0.0.1", 6379));
        for url in [
            "unix:///run/r.sock?db=2&password=x",
            "redis+unix:///run/r.sock?pass=x&db=2",
            "unix:/run/r.sock?db=2&pass=x",
        ] {
            let unix = RedisOptions::from_url(url).unwrap();
            assert_eq!(
                (unix.address.clone(), unix.db, secret(&unix)),
                (Address::Unix("/run/r.sock".into()), 2, Some("x"))
            );
        }
    }

    #[test]
    fn ports_come_as_number_or_text() {
        assert_eq!(RedisOptions::new("h").port("6390").unwrap().address, tcp("h", 6390));
        assert_eq!(RedisOptions::new("h").port(6390).unwrap().address, tcp("h", 6390));
        assert!(RedisOptions::new("h").port("redis").is_err());
        assert!(RedisOptions::new("h").port(0).is_err());
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_is_asked_for_by_the_scheme() {
        let options = RedisOptions::from_url("rediss://u:hunter2@h:6390/2").unwrap();
        assert!(options.tls && !format!("{options:?}").contains("hunter2"));
        assert_eq!((&options.address, options.db), (&tcp("h", 6390), 2));
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
        fn any_text_is_survived(url in "(redis|unix|redis[+]unix|)(:|://)?.{0,40}") {
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
