//! What may be shown of the settings: the effective configuration, notices and warnings.

use super::keys::{KEYS, Key, Show, without_effect};
use super::sources::{Source, Sources};

/// One line of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The setting's name in the file.
    pub(crate) name: &'static str,
    /// Its value, without anything secret.
    pub(crate) value: String,
    /// Where it came from.
    pub(crate) source: Source,
}

/// The effective configuration, redacted.
pub(crate) fn lines(sources: &Sources) -> Vec<Line> {
    let line = |key: &'static Key| {
        let found = sources.find(key);
        Line { name: key.name, value: shown(key, &found.text), source: found.source }
    };
    KEYS.iter().map(line).collect()
}

/// What may be shown of a value.
pub(crate) fn shown(key: &Key, text: &str) -> String {
    let text = match key.show {
        Show::Plain => text.to_owned(),
        Show::Secret => text.split(':').map(masked).collect::<Vec<_>>().join(":"),
        Show::Url => without_password(text),
        Show::Names => {
            let names = text.split(',').filter(|item| !item.trim().is_empty());
            names
                .map(|item| format!("{}=...", item.split('=').next().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(",")
        }
    };
    console::printable(&text)
}

/// The first and last four characters of a long secret, dots for a short one.
pub(crate) fn masked(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    match chars.len() {
        0 => String::new(),
        // Eight characters must not be half of it.
        1..=23 => "...".to_owned(),
        n => chars[..4].iter().chain("...".chars().collect::<Vec<_>>().iter()).chain(&chars[n - 4..]).collect(),
    }
}

/// A URL whose password is dots.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?..."));
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:...@{host}{query}")
        }
        None => format!("{scheme}://{rest}{query}"),
    }
}

/// Known names that were set and change nothing, with the reason.
pub(super) fn idle(sources: &Sources) -> Vec<String> {
    let from_env = sources.env_names().filter_map(|name| {
        let taken = KEYS.iter().any(|key| key.env.contains(&name));
        let why = without_effect(name).filter(|_| !taken)?;
        Some(format!("{name} has no effect: {why}"))
    });
    from_env.chain(sources.idle.iter().cloned()).collect()
}

/// Secrets that everybody knows.
const KNOWN: &[&str] = &["8cd8ef52e8e101574e400365b55e11a6", "changeme", "secret", "password", "bbb", "test"];

/// What is weak about a secret, if anything.
pub(crate) fn weakness(secret: &str) -> Option<String> {
    if KNOWN.contains(&secret.to_ascii_lowercase().as_str()) || secret.contains("SECRET") {
        return Some("is an example that everybody knows".to_owned());
    }
    let length = secret.chars().count();
    (length < 32).then(|| format!("has only {}", console::counted(length, "character")))
}

/// What is weak about the secrets.
pub(crate) fn weak(secrets: &[String]) -> Vec<String> {
    let weak = (1..).zip(secrets).filter_map(|(at, secret)| {
        let why = weakness(secret)?;
        Some(format!("secret {at} {why}: make a new one with `openssl rand -hex 32`"))
    });
    weak.collect()
}
