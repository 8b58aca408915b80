//! The right to change the trees in a bucket: one process at a time has it, whichever machine it runs on.
//!
//! It is an object that is written only where there is none, and taken over only as it was seen: when it says that it is
//! free, or by somebody who saw it unchanged for a whole lease. Its holder writes it anew several times in each lease, and
//! removes nothing when that did not succeed in time. Given back it says that it is free, and stays where it is: an order
//! to remove it could arrive when it is somebody else's.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::call::{Ask, Trouble};
use super::{FilesError, RecordingBucket};

const NAME: &str = ".lock";
/// What nobody holds.
const FREE: &str = "free\n";
/// How often somebody else's lock is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The right to change what is in the bucket, until it is dropped.
#[derive(Debug)]
pub(crate) struct BucketLock {
    _dropped: oneshot::Sender<()>,
}

/// A text that nobody else writes.
fn token() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {} {now} {}\n", host.trim(), std::process::id(), COUNT.fetch_add(1, Relaxed))
}

/// How the lock must be to be written.
enum Expected {
    Nothing,
    Tag(String),
}

impl Expected {
    fn header(&self) -> (&'static str, String) {
        match self {
            Self::Nothing => ("if-none-match", "*".to_owned()),
            Self::Tag(etag) => ("if-match", format!("\"{etag}\"")),
        }
    }
}

enum Try {
    Ours(String),
    Others,
    NoConditions,
}

impl RecordingBucket {
    fn lock_key(&self) -> String {
        format!("{}{NAME}", self.0.options.prefix)
    }

    /// Takes the lock, or takes it anew, if it is as expected.
    async fn write_lock(&self, was: &Expected) -> Result<Try, FilesError> {
        self.write_text(was, token()).await
    }

    /// Writes the lock if it is as expected; the tag it has then.
    async fn write_text(&self, was: &Expected, text: String) -> Result<Try, FilesError> {
        let (key, condition) = (self.lock_key(), was.header());
        let headers = [("content-type", "text/plain"), (condition.0, &*condition.1)];
        let body = Bytes::from(text.clone().into_bytes());
        match self.ask(&Ask { method: "PUT", key: &key, headers: &headers, body, ..Ask::default() }).await {
            Ok(written) => Ok(Try::Ours(written.etag().to_owned())),
            // Perhaps by ourselves: an answer was lost, and this was tried again.
            Err(e) if e.is(412) || e.is(409) => match self.read_lock().await? {
                Some((etag, found)) if *found == *text.as_bytes() => Ok(Try::Ours(etag)),
                _ => Ok(Try::Others),
            },
            // There was nothing to take over.
            Err(e) if e.is(404) && matches!(was, Expected::Tag(_)) => Ok(Try::Others),
            Err(e) if e.is(501) => Ok(Try::NoConditions),
            Err(e) => Err(self.failed(&key, &e)),
        }
    }

    async fn read_lock(&self) -> Result<Option<(String, Bytes)>, FilesError> {
        let key = self.lock_key();
        match self.ask(&Ask { method: "GET", key: &key, ..Ask::default() }).await {
            Ok(found) => Ok(Some((found.etag().to_owned(), found.body))),
            Err(Trouble::Refused { status: 404, code, .. }) if code != "NoSuchBucket" => Ok(None),
            Err(e) => Err(self.failed(&key, &e)),
        }
    }

    /// Waits for the right to change what is in the bucket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the right taken until its lease ends.
    pub(crate) async fn lock(&self, deadline: Instant) -> Result<Option<BucketLock>, FilesError> {
        if *self.0.keeps_conditions.lock().unwrap_or_else(PoisonError::into_inner) == Some(false) {
            return Ok(None);
        }
        let mut seen: Option<(String, Instant)> = None;
        let (etag, began) = loop {
            let (was, ended) = match self.read_lock().await? {
                None => (Some(Expected::Nothing), false),
                Some((etag, text)) if *text == *FREE.as_bytes() => (Some(Expected::Tag(etag)), false),
                Some((etag, _)) => match &seen {
                    Some((then, since)) if *then == etag => {
                        let ended = since.elapsed() > self.0.options.lease;
                        (ended.then_some(Expected::Tag(etag)), ended)
                    }
                    _ => {
                        seen = Some((etag, Instant::now()));
                        (None, false)
                    }
                },
            };
            if let Some(was) = was {
                let began = Instant::now();
                match self.write_lock(&was).await? {
                    Try::Ours(etag) => {
                        if ended {
                            tracing::warn!("the right to change recordings is taken over from a process that ended");
                        }
                        break (etag, began);
                    }
                    Try::NoConditions => return self.without_conditions().map(|()| None),
                    Try::Others => {}
                }
            }
            if Instant::now() > deadline {
                let why = "somebody else has been changing the recordings for too long; try again";
                return Err(self.wrong(&self.lock_key(), why));
            }
            sleep(LOOK).await;
        };
        self.hold_until(Some(began + self.0.options.lease));
        let asked = self.0.keeps_conditions.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !asked {
            for never in [Expected::Nothing, Expected::Tag("0".repeat(32))] {
                if !matches!(self.write_lock(&never).await?, Try::Others) {
                    return self.without_conditions().map(|()| None);
                }
            }
        }
        *self.0.keeps_conditions.lock().unwrap_or_else(PoisonError::into_inner) = Some(true);
        let (dropped, ended) = oneshot::channel();
        tokio::spawn(self.clone().keep_lock(etag, ended));
        Ok(Some(BucketLock { _dropped: dropped }))
    }

    fn without_conditions(&self) -> Result<(), FilesError> {
        tracing::warn!(
            bucket = self.describe(),
            "this server keeps no conditions (If-None-Match, If-Match): only processes that share the work folder know of one \
             another; let no others change recordings in this bucket"
        );
        *self.0.keeps_conditions.lock().unwrap_or_else(PoisonError::into_inner) = Some(false);
        self.hold_until(None);
        Ok(())
    }

    fn hold_until(&self, until: Option<Instant>) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Writes the lock anew until it is dropped, and gives it back then.
    async fn keep_lock(self, mut etag: String, mut ended: oneshot::Receiver<()>) {
        let every = self.0.options.lease / 4;
        while timeout(every, &mut ended).await.is_err() {
            let began = Instant::now();
            match self.write_lock(&Expected::Tag(etag.clone())).await {
                Ok(Try::Ours(now)) => {
                    etag = now;
                    self.hold_until(Some(began + self.0.options.lease));
                }
                Ok(_) => {
                    tracing::error!("another process has taken the right to change recordings over");
                    return self.hold_until(Some(Instant::now()));
                }
                Err(e) => tracing::warn!(error = %e, "the right to change recordings cannot be prolonged"),
            }
        }
        let ours = self.still_held().is_ok();
        self.hold_until(None);
        if ours {
            let reason = match self.write_text(&Expected::Tag(etag), FREE.to_owned()).await {
                Ok(Try::Ours(_)) => return,
                Ok(_) => "it was written meanwhile".to_owned(),
                Err(e) => e.to_string(),
            };
            tracing::warn!(reason, "the right to change recordings is not given back; it ends by itself");
        }
    }

    /// Refuses to go on when somebody else may have the right by now.
    pub(super) fn still_held(&self) -> Result<(), FilesError> {
        let held = *self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none_or(|until| Instant::now() < until) {
            return Ok(());
        }
        Err(self.wrong(
            &self.lock_key(),
            "the right to change recordings was lost to a network that was too slow; try again",
        ))
    }
}
