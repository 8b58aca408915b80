//! Callbacks to front-ends: kept until they arrive, tried again with growing pauses, given up after a day.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use balancer_core::{StickError, random};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Cluster;
use crate::api::{Algorithm, TokenKind, signed_token};
use crate::client::host_of;
use crate::egress::{Egress, EgressError, Message};
use crate::service::Counts;
#[cfg(feature = "recordings")]
use crate::store::tenants::scoped_id;
use crate::store::{Delivery, DeliveryKind, tenant_meeting_id};

/// Callbacks under way at once.
const AT_ONCE: usize = 32;
/// How often the queue is looked at when nothing tells of a new one.
const LOOK: Duration = Duration::from_secs(2);
/// How long a token is good.
const TOKEN_LIFE: u64 = 86_400;
/// Scalelite's name, which receivers may look for.
const AGENT: &str = "BigBlueButton Analytics Callback";

/// What became of an attempt.
enum Attempt {
    Arrived,
    /// There is no use in another one.
    Hopeless(String),
    Failed(String),
}

impl Cluster {
    /// Tells a meeting's front-end that a recording is ready, if it asked for that; for whoever keeps the recordings.
    /// `true` when it did ask: the news then waits in the store until it is delivered.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; ask again then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the news handed in or not.
    pub async fn recording_ready(&self, meeting: &str, record: &str) -> Result<bool, StickError> {
        let kept = self.store.callback_store().urls(meeting).await?;
        let Some(url) = kept.recording_ready else { return Ok(false) };
        self.recording_ready_at(url, meeting, record, kept.tenant).await.map(|()| true)
    }

    /// The same for a recording that tells its tenant, whose meeting may have had a longer id on its server.
    #[cfg(feature = "recordings")]
    pub(crate) async fn recording_of_tenant_ready(
        &self,
        tenant: Option<&str>,
        meeting: &str,
        record: &str,
    ) -> Result<bool, StickError> {
        let longer = tenant.map(|tenant| scoped_id(tenant, meeting));
        for id in longer.as_deref().into_iter().chain([meeting]) {
            let kept = self.store.callback_store().urls(id).await?;
            // The plain id may be another tenant's.
            let own = kept.tenant.as_deref().is_none_or(|owner| Some(owner) == tenant);
            if let Some(url) = kept.recording_ready.filter(|_| own) {
                self.recording_ready_at(url, meeting, record, kept.tenant).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// [`recording_ready`](Self::recording_ready) at an address that is known otherwise.
    pub(crate) async fn recording_ready_at(
        &self,
        url: String,
        meeting: &str,
        record: &str,
        tenant: Option<String>,
    ) -> Result<(), StickError> {
        let known_as = tenant.as_deref().map_or(meeting, |tenant| tenant_meeting_id(tenant, meeting));
        let body = json!({ "meeting_id": known_as, "record_id": record }).to_string();
        self.hand_in(DeliveryKind::RecordingReady, url, body, tenant).await
    }

    /// Puts a callback into the queue.
    pub(crate) async fn hand_in(
        &self,
        kind: DeliveryKind,
        url: String,
        body: String,
        tenant: Option<String>,
    ) -> Result<(), StickError> {
        let mut delivery = Delivery::new(kind, url, body, self.store_ms());
        delivery.tenant = tenant;
        if self.store.callback_store().enqueue(&delivery, self.options.callbacks.queue).await? {
            self.handed_in.notify_one();
        } else {
            Counts::one(&self.counts.dropped);
            tracing::error!(host = host_of(&delivery.url), "a callback is dropped: too many wait already");
        }
        Ok(())
    }

    /// Delivers what is due, until dropped: what is under way then is tried again by whoever comes next.
    pub(super) async fn deliver_loop(self: &Arc<Self>) {
        let mut under_way: JoinSet<Option<Duration>> = JoinSet::new();
        let mut next = Instant::now();
        loop {
            let free = AT_ONCE - under_way.len();
            if free > 0 && Instant::now() >= next {
                next = Instant::now() + LOOK;
                match self.store.callback_store().take_due(free, self.lease()).await {
                    Ok(due) => {
                        for delivery in due {
                            let cluster = self.clone();
                            under_way.spawn(async move { cluster.deliver(delivery).await });
                        }
                    }
                    Err(e) => tracing::warn!(error = %e, "waiting callbacks cannot be read from the store"),
                }
            }
            tokio::select! {
                () = self.handed_in.notified() => next = Instant::now(),
                Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                    // More may wait for the slot that is free now; what is put off is due after its pause.
                    let pause = done.ok().flatten().unwrap_or_default();
                    next = next.min(Instant::now() + pause);
                }
                () = tokio::time::sleep_until(next), if under_way.len() < AT_ONCE => {}
            }
        }
    }

    /// Longer than an attempt with every secret takes.
    fn lease(&self) -> Duration {
        let secrets = u32::try_from(self.live().checksums.secrets().count()).unwrap_or(1);
        self.options.callbacks.timeout.saturating_mul(secrets.max(1)) + Duration::from_secs(30)
    }

    pub(crate) fn egress(&self) -> &Egress {
        let o = &self.options.callbacks;
        self.egress.get_or_init(|| Egress::new(o.allow.clone(), o.timeout))
    }

    /// One attempt. The answer is the pause until the next one, if there will be one.
    async fn deliver(&self, mut delivery: Delivery) -> Option<Duration> {
        let host = host_of(&delivery.url);
        let attempt = self.attempt(&delivery).await;
        let queue = self.store.callback_store();
        let why = match attempt {
            Attempt::Arrived => {
                Counts::one(&self.counts.delivered);
                tracing::debug!(host, kind = ?delivery.kind, "a callback arrived");
                return self.gone(queue.drop_delivery(delivery.id).await);
            }
            Attempt::Hopeless(why) => {
                Counts::one(&self.counts.given_up);
                tracing::warn!(host, kind = ?delivery.kind, reason = why, "a callback is given up");
                return self.gone(queue.drop_delivery(delivery.id).await);
            }
            Attempt::Failed(why) => why,
        };
        let o = &self.options.callbacks;
        let age = Duration::from_millis(self.store_ms().saturating_sub(delivery.since_ms));
        if age >= o.give_up {
            Counts::one(&self.counts.given_up);
            tracing::warn!(host, kind = ?delivery.kind, reason = why, "a callback is given up: it is too old");
            return self.gone(queue.drop_delivery(delivery.id).await);
        }
        Counts::one(&self.counts.retried);
        let pause = pause(o.first_pause, o.longest_pause, delivery.attempts);
        delivery.attempts = delivery.attempts.saturating_add(1);
        tracing::info!(host, kind = ?delivery.kind, attempts = delivery.attempts, reason = why, "a callback failed");
        if let Err(e) = queue.postpone(&delivery, pause).await {
            tracing::warn!(error = %e, "a callback that failed cannot be put off: it is repeated when its lease ends");
            return None;
        }
        Some(pause)
    }

    fn gone(&self, stored: Result<(), StickError>) -> Option<Duration> {
        if let Err(e) = stored {
            tracing::warn!(error = %e, "a callback cannot be forgotten: it may be repeated");
        }
        None
    }

    /// Tries each secret until one is accepted: nobody knows which one the front-end has.
    async fn attempt(&self, delivery: &Delivery) -> Attempt {
        let egress = self.egress();
        let mut failed = String::from("no secret is configured");
        let live = self.live();
        let mut checksums = Cow::Borrowed(&live.checksums);
        if let Some(id) = &delivery.tenant {
            // Nobody but the tenant signs what its front-ends are told.
            match self.tenant_of_id(id).await {
                Ok(Some(t)) => checksums = Cow::Owned(checksums.with_secrets(t.secret_list().map(str::to_owned))),
                Ok(None) => return Attempt::Hopeless("its tenant was removed".to_owned()),
                Err(e) => return Attempt::Failed(e.to_string()),
            }
        }
        for secret in checksums.secrets() {
            match self.send_callback(egress, delivery, secret).await {
                Ok(status) if status.is_success() => return Attempt::Arrived,
                Ok(status)
                    if delivery.kind == DeliveryKind::RecordingReady
                        && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) =>
                {
                    return Attempt::Hopeless(format!("HTTP {}", status.as_u16()));
                }
                Ok(status) => failed = format!("HTTP {}", status.as_u16()),
                Err(EgressError::Refused(e)) => return Attempt::Hopeless(e.to_string()),
                // Another secret would not be heard either.
                Err(e) => return Attempt::Failed(e.to_string()),
            }
        }
        Attempt::Failed(failed)
    }

    async fn send_callback(
        &self,
        egress: &Egress,
        delivery: &Delivery,
        secret: &str,
    ) -> Result<StatusCode, EgressError> {
        let url = delivery.url.as_str();
        match delivery.kind {
            DeliveryKind::Analytics => {
                let ends = self.wall_ms() / 1000 + TOKEN_LIFE;
                let token = signed_token(TokenKind::Hs512, secret, &json!({ "exp": ends }));
                let body = Bytes::from(delivery.body.clone());
                let message =
                    Message { url, content_type: "application/json", agent: AGENT, bearer: Some(&token), body };
                egress.post(message).await
            }
            DeliveryKind::RecordingReady => {
                let algorithms = self.live().checksums.algorithms();
                let only_512 = ![Algorithm::Sha1, Algorithm::Sha256].into_iter().any(|a| algorithms.allows(a));
                let kind = if only_512 { TokenKind::Hs512 } else { TokenKind::Hs256 };
                let claims: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
                // A token has no character that a form would encode.
                let body = Bytes::from(format!("signed_parameters={}", signed_token(kind, secret, &claims)));
                let content_type = "application/x-www-form-urlencoded";
                let agent = "BigBlueButton Recording Ready Callback";
                egress.post(Message { url, content_type, agent, bearer: None, body }).await
            }
        }
    }
}

/// The pause after so many attempts, a tenth more or less, so that what failed together is not repeated together.
fn pause(first: Duration, longest: Duration, attempts: u32) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(attempts.min(31)).unwrap_or(u32::MAX)).min(longest);
    let permille = u32::try_from(random() % 201).unwrap_or_default();
    doubled.saturating_mul(900 + permille) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(5), Duration::from_secs(600));
        for (attempts, about) in [(0, 5), (1, 10), (2, 20), (6, 320), (7, 600), (60, 600), (u32::MAX, 600)] {
            let found = pause(first, longest, attempts).as_secs_f64() / f64::from(about);
            assert!((0.89..1.11).contains(&found), "{attempts}: {found}");
        }
    }
}
