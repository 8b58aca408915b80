//! One request to a bucket's server: signed, bounded in time, tried again when what was wrong may pass.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use super::sign::{Signed, encoded_path, encoded_query, sha256};
use super::{FilesError, RecordingBucket};
use crate::client::{CallError, classify, read, root};

/// The most of an answer that is read as a whole.
const LONGEST: usize = 16 << 20;
/// The slowest network that a body is sent through, in bytes a second.
const SLOWEST: u64 = 64 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A request.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    /// The object; empty for the bucket.
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Names in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Bytes,
    /// The body's digest, when it is known.
    pub(super) digest: Option<[u8; 32]>,
}

/// Why a request was not fulfilled.
#[derive(Debug)]
pub(super) enum Trouble {
    Refused {
        status: u16,
        code: String,
        message: String,
    },
    Call(CallError),
    /// The answer makes no sense.
    Odd(&'static str),
}

impl Trouble {
    fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, code, .. } => {
                matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
                    || matches!(code.as_str(), "InternalError" | "SlowDown" | "RequestTimeout" | "ServiceUnavailable")
            }
            Self::Call(e) => !matches!(e, CallError::TooLarge { .. }),
            Self::Odd(_) => true,
        }
    }

    pub(super) const fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// What went wrong, and what to do about it.
    fn words(&self) -> String {
        match self {
            Self::Refused { status, code, message } => {
                let said = [code.as_str(), message.as_str()];
                let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
                let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join(": ")) };
                let (what, remedy) = match (code.as_str(), status) {
                    ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken", _) => {
                        ("the access key is refused", "check its id, its secret, and the session if it has one")
                    }
                    ("RequestTimeTooSkewed" | "RequestExpired", _) => {
                        ("the clocks differ", "set the clock of this machine right")
                    }
                    ("NoSuchBucket", _) => ("there is no such bucket", "make it, or name another"),
                    (
                        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                        _,
                    )
                    | (_, 301 | 307) => ("the bucket is in another region", "set its region, and its endpoint"),
                    (_, 401 | 403) => (
                        "access is refused",
                        "check the access key; it needs GetObject, PutObject, DeleteObject, ListBucket, \
                         AbortMultipartUpload and ListBucketMultipartUploads",
                    ),
                    (_, 404) => ("there is no such bucket or object", "check the bucket's name and the endpoint"),
                    (_, 507) | ("QuotaExceeded" | "XMinioStorageFull", _) => {
                        ("there is no room left", "make room, it is tried again by itself")
                    }
                    (_, 500..) => ("the server is in trouble", "look at its log; it is tried again by itself"),
                    _ => ("the server refuses", "see what it says"),
                };
                format!("{what}: HTTP {status}{said}; {remedy}")
            }
            Self::Call(e) => format!("{e}; is the endpoint right, and does the server run?"),
            Self::Odd(what) => format!("the answer {what}; is it a server that speaks S3?"),
        }
    }
}

/// An answer that says yes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The entity tag without its quotes.
    pub(super) fn etag(&self) -> &str {
        self.header("etag").trim_matches('"')
    }
}

/// How long to wait before the next try: anything up to a bound that doubles.
fn pause(attempt: u32) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    let chance = u32::try_from(RandomState::new().hash_one(attempt) >> 32).unwrap_or(u32::MAX);
    most.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

impl RecordingBucket {
    /// Tells of a failure at an object, or at the bucket.
    pub(super) fn failed(&self, key: &str, trouble: &Trouble) -> FilesError {
        self.wrong(key, trouble.words())
    }

    pub(super) fn wrong(&self, key: &str, why: impl Into<String>) -> FilesError {
        let (bucket, host) = (&self.0.options.bucket, &self.0.endpoint.host);
        FilesError::Bucket { place: format!("s3://{bucket}/{key} at {host}"), why: why.into() }
    }

    async fn again<T, F: Future<Output = Result<T, Trouble>>>(&self, work: impl Fn() -> F) -> Result<T, Trouble> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match work().await {
                Err(e) if e.may_pass() && attempt < self.0.options.attempts => {
                    tracing::debug!(attempt, reason = e.words(), "a request to the bucket is tried again");
                    tokio::time::sleep(pause(attempt)).await;
                }
                done => return done,
            }
        }
    }

    /// A request, tried until it is answered for good.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let digest = ask.digest.unwrap_or_else(|| sha256(&ask.body));
        self.again(|| async {
            let (answer, due) = self.begin(ask, &digest).await?;
            let (parts, body) = answer.into_parts();
            let body = self.whole(body, due).await?;
            let said = if parts.status.is_success() && ask.method == "GET" { None } else { answer::refusal(&body) };
            match said {
                // A copy is refused under a status that says yes, too.
                Some((code, message)) => {
                    Err(Trouble::Refused { status: parts.status.as_u16(), code, message: shortened(&message) })
                }
                None if parts.status.is_success() => Ok(Answer { headers: parts.headers, body }),
                None => {
                    let (code, message) = (String::new(), String::new());
                    Err(Trouble::Refused { status: parts.status.as_u16(), code, message })
                }
            }
        })
        .await
    }

    /// The digest of an object as it is there now, read through.
    pub(super) async fn read_through(&self, key: &str) -> Result<[u8; 32], Trouble> {
        let ask = Ask { method: "GET", key, ..Ask::default() };
        let none = sha256(b"");
        self.again(|| async {
            let (answer, due) = self.begin(&ask, &none).await?;
            let (parts, mut body) = answer.into_parts();
            if !parts.status.is_success() {
                let (code, message) = answer::refusal(&self.whole(body, due).await?).unwrap_or_default();
                return Err(Trouble::Refused { status: parts.status.as_u16(), code, message: shortened(&message) });
            }
            let mut digest = Sha256::new();
            loop {
                // Each piece has its time: an object may be of any size.
                let frame = timeout(self.0.options.response, body.frame()).await.map_err(|_| self.late())?;
                let Some(frame) = frame else { return Ok(digest.finalize().into()) };
                let broken = |e| Trouble::Call(CallError::Broken { host: self.0.endpoint.host.clone(), why: root(&e) });
                if let Ok(data) = frame.map_err(broken)?.into_data() {
                    digest.update(&data);
                }
            }
        })
        .await
    }

    fn late(&self) -> Trouble {
        let seconds = (self.0.options.connect + self.0.options.response).as_secs_f64();
        Trouble::Call(CallError::Timeout { host: self.0.endpoint.host.clone(), seconds })
    }

    async fn whole(&self, body: Incoming, due: Instant) -> Result<Bytes, Trouble> {
        let host = &self.0.endpoint.host;
        timeout_at(due, read(body, LONGEST, host)).await.map_err(|_| self.late())?.map_err(Trouble::Call)
    }

    /// Sends a request once. The answer's head, and until when the rest of it has to be there.
    async fn begin(&self, ask: &Ask<'_>, digest: &[u8; 32]) -> Result<(Response<Incoming>, Instant), Trouble> {
        let (endpoint, options) = (&self.0.endpoint, &self.0.options);
        let path = self.path(ask.key);
        let signed = Signed {
            method: ask.method,
            host: &endpoint.host,
            path: &path,
            query: ask.query,
            headers: ask.headers,
            at: self.0.clock.now_ms() / 1000,
        };
        let query = encoded_query(ask.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder()
            .method(ask.method)
            .uri(format!("{}://{}{path}{mark}{query}", endpoint.scheme, endpoint.host));
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.0.signer.headers(&signed, digest) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(ask.body.clone())).map_err(|_| Trouble::Odd("cannot be asked for"))?;
        let sending = Duration::from_secs(ask.body.len() as u64 / SLOWEST);
        let due = Instant::now() + options.connect + options.response + sending;
        let answer = timeout_at(due, self.0.client.request(request)).await.map_err(|_| self.late())?;
        let answer = answer.map_err(|e| Trouble::Call(classify(&e, &endpoint.host, options.connect)))?;
        Ok((answer, due + options.response))
    }

    /// The path of an object, or of the bucket.
    pub(super) fn path(&self, key: &str) -> String {
        let bucket = &self.0.options.bucket;
        let key = encoded_path(key);
        match (self.0.endpoint.bucket_in_path, key.is_empty()) {
            (true, true) => format!("/{bucket}"),
            (true, false) => format!("/{bucket}/{key}"),
            (false, _) => format!("/{key}"),
        }
    }
}

/// A server's words, in one short line.
fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        for attempt in 1..40 {
            let most = FIRST_PAUSE * (1 << attempt.min(10));
            assert!((0..20).all(|_| pause(attempt) <= most.min(LONGEST_PAUSE)), "{attempt}");
        }
    }

    #[test]
    fn refusals_name_their_remedy() {
        let said = |status, code: &str| {
            let refused = Trouble::Refused { status, code: code.to_owned(), message: "M".to_owned() };
            (refused.words(), refused.may_pass())
        };
        for (status, code, remedy, may_pass) in [
            (403, "InvalidAccessKeyId", "check its id, its secret", false),
            (403, "AccessDenied", "it needs GetObject", false),
            (403, "", "check the access key", false),
            (403, "RequestTimeTooSkewed", "set the clock", false),
            (404, "NoSuchBucket", "make it, or name another", false),
            (301, "PermanentRedirect", "set its region", false),
            (507, "", "make room", false),
            (503, "SlowDown", "tried again by itself", true),
            (200, "InternalError", "see what it says", true),
        ] {
            let (words, passes) = said(status, code);
            assert!(words.contains(remedy), "{words}");
            assert_eq!(passes, may_pass, "{words}");
        }
    }
}
