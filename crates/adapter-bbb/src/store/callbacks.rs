//! What is kept beside meetings for those who want to hear of them: hooks, callback addresses, and what waits to be
//! delivered.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::StickError;
use serde::{Deserialize, Serialize};

/// The most hooks a store keeps.
pub const MAX_HOOKS: usize = 1_000;

/// How long servers that come back late are told of a hook that was removed.
pub(crate) const HOOK_MEMORY: Duration = Duration::from_secs(30 * 86_400);

/// An address that hears of events.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hook {
    /// Its number; the store gives it.
    #[serde(skip)]
    pub id: u64,
    /// Where events go. No two hooks have the same.
    pub url: String,
    /// The only meeting it hears of; of all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<String>,
    /// The only events it hears of, separated by commas; of all without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// Whether it gets events as servers keep them.
    #[serde(default)]
    pub raw: bool,
    /// When it was asked for by the store's clock, in milliseconds since the epoch.
    #[serde(default)]
    pub since_ms: u64,
    /// The id of the tenant whose hook it is; it hears of that one's meetings alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl Hook {
    /// A hook for every event of every meeting.
    pub fn new(url: impl Into<String>) -> Self {
        Self { id: 0, url: url.into(), meeting: None, events: None, raw: false, since_ms: 0, tenant: None }
    }
}

/// What became of a hook to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookAdded {
    /// It is there now.
    New(Hook),
    /// One with its address was there already, and stays as it was.
    Known(Hook),
    /// There are [`MAX_HOOKS`].
    Full,
}

/// All hooks, and what servers may still have of removed ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HookBook {
    /// The hooks, by number.
    pub hooks: Vec<Hook>,
    /// Addresses of hooks that were removed in the last 30 days.
    pub removed: Vec<String>,
}

/// Where a meeting's front-end wants to be called.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallbackUrls {
    /// For the statistics of the meeting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analytics: Option<String>,
    /// For the news that a recording is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_ready: Option<String>,
    /// The id of the tenant whose front-end it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryKind {
    /// Statistics of a meeting, as JSON.
    Analytics,
    /// The news that a recording is ready, as a signed form.
    RecordingReady,
}

/// A callback that waits to be delivered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivery {
    /// Its number; the store gives it.
    #[serde(skip)]
    pub id: u64,
    /// What it is.
    pub kind: DeliveryKind,
    /// Where it goes.
    pub url: String,
    /// What it says, as JSON.
    pub body: String,
    /// When it was handed in by the store's clock, in milliseconds since the epoch.
    pub since_ms: u64,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// The id of the tenant whose front-end it is for, whose secrets sign it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl Delivery {
    /// One that was never tried.
    pub fn new(kind: DeliveryKind, url: impl Into<String>, body: impl Into<String>, since_ms: u64) -> Self {
        Self { id: 0, kind, url: url.into(), body: body.into(), since_ms, attempts: 0, tenant: None }
    }
}

/// An address as it may be shown: a path or query may hold a front-end's own token.
struct Shown<'a>(&'a str);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", self.0));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        write!(f, "{scheme}://{host}/...")
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("id", &self.id)
            .field("url", &Shown(&self.url))
            .field("meeting", &self.meeting)
            .field("events", &self.events)
            .field("raw", &self.raw)
            .field("since_ms", &self.since_ms)
            .finish()
    }
}

impl fmt::Debug for HookBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed: Vec<Shown<'_>> = self.removed.iter().map(|url| Shown(url)).collect();
        f.debug_struct("HookBook").field("hooks", &self.hooks).field("removed", &removed).finish()
    }
}

impl fmt::Debug for CallbackUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackUrls")
            .field("analytics", &self.analytics.as_deref().map(Shown))
            .field("recording_ready", &self.recording_ready.as_deref().map(Shown))
            .finish()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("url", &Shown(&self.url))
            .field("since_ms", &self.since_ms)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Hooks, callback addresses and waiting deliveries, as lasting as the meetings beside them.
///
/// # Cancel safety
///
/// Dropping a future leaves each operation done or not done, never half done.
#[async_trait]
pub trait CallbackStore: Send + Sync {
    /// All hooks.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; so for every other operation.
    async fn hooks(&self) -> Result<HookBook, StickError>;

    /// Adds a hook; the store gives its number.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn add_hook(&self, hook: &Hook) -> Result<HookAdded, StickError>;

    /// Removes a hook; `None` when there is none of this number.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn remove_hook(&self, id: u64) -> Result<Option<Hook>, StickError>;

    /// Keeps the addresses of a meeting's front-end for so long. What is not among these stays as it was.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn keep_urls(&self, meeting: &str, urls: &CallbackUrls, ttl: Duration) -> Result<(), StickError>;

    /// The addresses of a meeting's front-end.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn urls(&self, meeting: &str) -> Result<CallbackUrls, StickError>;

    /// Puts a delivery at the end of the queue; `false` when so many wait already.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn enqueue(&self, delivery: &Delivery, most: u64) -> Result<bool, StickError>;

    /// Takes deliveries that are due, oldest first. Nobody else gets them for so long; whoever takes one says what
    /// became of it with [`postpone`](Self::postpone) or [`drop_delivery`](Self::drop_delivery), and if it is killed
    /// before, another one gets it.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn take_due(&self, most: usize, lease: Duration) -> Result<Vec<Delivery>, StickError>;

    /// Puts a taken delivery back, with its number of attempts, until so much later.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn postpone(&self, delivery: &Delivery, delay: Duration) -> Result<(), StickError>;

    /// Removes a delivery: it arrived, or is given up.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn drop_delivery(&self, id: u64) -> Result<(), StickError>;

    /// Keeps tokens that can be used once, each with what it stands for, for this long.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn keep_tokens(&self, tokens: &[(String, String)], ttl: Duration) -> Result<(), StickError>;

    /// What a token stands for. With `use_up`, it stands for nothing from then on; of several who ask at once, one is
    /// answered.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn take_token(&self, token: &str, use_up: bool) -> Result<Option<String>, StickError>;

    /// How many deliveries wait.
    ///
    /// # Errors
    ///
    /// As for [`hooks`](Self::hooks).
    async fn queued(&self) -> Result<u64, StickError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_of_a_front_end_is_shown() {
        let url = "https://user:hunter2@a.example:8443/hunter2?token=hunter2#hunter2";
        let mut urls = CallbackUrls::default();
        (urls.analytics, urls.recording_ready) = (Some(url.into()), Some(url.into()));
        let book = HookBook { hooks: vec![Hook::new(url)], removed: vec![url.into()] };
        let delivery = Delivery::new(DeliveryKind::Analytics, url, "{\"a\":\"hunter2\"}", 1);
        let shown = format!("{urls:?} {book:?} {delivery:?}");
        assert!(!shown.contains("hunter2") && shown.contains("https://a.example:8443/..."), "{shown}");
    }
}
