//! Where rooms are kept, and URLs without their passwords.

use std::path::PathBuf;

use balancer_core::RedisOptions;
use serde::{Deserialize, Serialize};

use super::{Span, Text};

/// `[store]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    pub(crate) url: Text,
    pub(crate) namespace: Text,
    pub(crate) timeout: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: Text::from("memory"), namespace: Text::from("haproxy"), timeout: Span::seconds(5) }
    }
}

/// Where rooms are kept.
#[derive(Debug)]
pub(crate) enum StoreKind {
    Memory,
    File(PathBuf),
    Redis(Box<RedisOptions>),
}

impl Store {
    /// What its URL names.
    pub(crate) fn kind(&self) -> Result<StoreKind, String> {
        let url = self.url.as_str();
        if url == "memory" {
            return Ok(StoreKind::Memory);
        }
        match url.strip_prefix("file:") {
            Some("") => return Err("store.url names no file: write file:PATH".to_owned()),
            Some(path) => return Ok(StoreKind::File(path.into())),
            None => {}
        }
        if !["redis", "unix:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(format!("store.url is {:?}: \"memory\", \"file:PATH\" or redis://…", without_password(url)));
        }
        let options = RedisOptions::from_url(url).map_err(|why| format!("store.url: {why}"))?;
        let options = options.namespace(self.namespace.as_str()).response_timeout(self.timeout.get());
        Ok(StoreKind::Redis(Box::new(options)))
    }
}

/// A URL without its password, wherever a password may stand that was not percent-encoded.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let shown = match rest.rsplit_once('@') {
        Some((who, host)) => format!("{}:***@{host}", who.split([':', '/', '?']).next().unwrap_or_default()),
        None => rest.to_owned(),
    };
    let (place, query) = shown.split_once('?').map_or((&*shown, None), |(place, query)| (place, Some(query)));
    let masked = query.map(|query| {
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("pass") => format!("{name}=***"),
            _ => part.to_owned(),
        });
        format!("?{}", parts.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{place}{}", masked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_may_stand() {
        for (url, shown) in [
            ("redis://u:secret@h:6379/0", "redis://u:***@h:6379/0"),
            ("redis://:se@cret@h", "redis://:***@h"),
            ("redis://:sec/ret@h:6379/0", "redis://:***@h:6379/0"),
            ("redis://:sec?ret@h/0?db=1", "redis://:***@h/0?db=1"),
            ("redis://h/0?db=1&password=secret", "redis://h/0?db=1&password=***"),
            ("redis://h/0?password=sec@ret", "redis://h:***@ret"),
            ("redis+unix:///run/r.sock?user=u&pass=secret", "redis+unix:///run/r.sock?user=u&pass=***"),
            ("redis+sentinel://a,b/m?sentinel_password=secret", "redis+sentinel://a,b/m?sentinel_password=***"),
            ("memory", "memory"),
            ("file:/var/lib/rooms.redb", "file:/var/lib/rooms.redb"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn a_store_is_known_by_its_url_before_it_is_opened() {
        let kind = |url: &str| Store { url: url.into(), ..Store::default() }.kind();
        assert!(matches!(kind("memory"), Ok(StoreKind::Memory)));
        assert!(matches!(kind("file:/a"), Ok(StoreKind::File(path)) if path.ends_with("a")));
        assert!(matches!(kind("rediss://:p@h/1"), Ok(StoreKind::Redis(_))));
        for odd in ["", "mysql://:secret@h", "file:", "redis+cluster:/secret", "redis://:secret@h:port/0"] {
            let why = kind(odd).unwrap_err();
            assert!(why.contains("store.url") && !why.contains("secret"), "{why}");
        }
    }
}
