//! Limits on how often one caller may call.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::time::Instant;

use super::{Counts, fault};
use crate::api::Fault;
use crate::cluster::lock;
use crate::options::RateLimit;

/// Most callers that are told apart; further ones share one bucket.
const MAX_CALLERS: usize = 10_000;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    V4([u8; 4]),
    /// The network: one subscriber has all of its addresses.
    V6([u8; 8]),
    /// The place of the secret in the list.
    Secret(usize),
    /// A tenant, and the place of the secret in its list.
    Tenant(u64, usize),
    /// Those for whom there was no room.
    Others,
}

impl Caller {
    /// A tenant with one of its secrets.
    pub(super) fn tenant(id: &str, secret: usize) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        id.hash(&mut hasher);
        Self::Tenant(hasher.finish(), secret)
    }
}

impl From<IpAddr> for Caller {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, rule: RateLimit, now: Instant) -> f64 {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * rule.per_second;
        (self.tokens + more).min(f64::from(rule.burst))
    }
}

/// A token bucket for each caller.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<HashMap<Caller, Bucket>>);

impl Limiter {
    /// Takes one token, or says how long it takes until there is one.
    pub(super) fn take(&self, rule: RateLimit, caller: Caller, now: Instant) -> Result<(), Duration> {
        let mut all = lock(&self.0);
        let mut caller = caller;
        if !all.contains_key(&caller) && all.len() >= MAX_CALLERS {
            // Full buckets say nothing that a new one would not.
            all.retain(|_, bucket| bucket.filled(rule, now) < f64::from(rule.burst));
            if all.len() >= MAX_CALLERS {
                caller = Caller::Others;
            }
        }
        let bucket = all.entry(caller).or_insert(Bucket { tokens: f64::from(rule.burst), at: now });
        let tokens = bucket.filled(rule, now);
        let enough = tokens >= 1.0;
        *bucket = Bucket { tokens: if enough { tokens - 1.0 } else { tokens }, at: now };
        if enough { Ok(()) } else { Err(Duration::from_secs_f64(((1.0 - tokens) / rule.per_second).min(3600.0))) }
    }
}

/// The refusal of a caller that has to wait.
pub(super) fn refused(counts: &Counts, wait: Duration) -> Response<Bytes> {
    Counts::one(&counts.limited);
    let mut answer = fault(&Fault::Passed {
        key: "tooManyRequests".into(),
        message: "You have sent too many requests. Try again later.".into(),
    });
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: RateLimit = RateLimit { per_second: 2.0, burst: 3, per: crate::options::RatePer::Address };

    #[test]
    fn tokens_come_back_with_time() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let one = Caller::from("10.0.0.1".parse::<IpAddr>().unwrap());
        for _ in 0..3 {
            assert_eq!(limiter.take(RULE, one, at(0)), Ok(()));
        }
        assert_eq!(limiter.take(RULE, one, at(0)), Err(Duration::from_millis(500)));
        assert_eq!(limiter.take(RULE, one, at(250)), Err(Duration::from_millis(250)));
        assert_eq!(limiter.take(RULE, one, at(500)), Ok(()));
        assert!(limiter.take(RULE, one, at(500)).is_err());
        let mapped = Caller::from("::ffff:10.0.0.1".parse::<IpAddr>().unwrap());
        assert!(limiter.take(RULE, mapped, at(500)).is_err(), "the same address");
        let two = Caller::from("10.0.0.2".parse::<IpAddr>().unwrap());
        assert_eq!(limiter.take(RULE, two, at(500)), Ok(()));
        let [a, b] = ["2001:db8::1", "2001:db8::2"].map(|ip| Caller::from(ip.parse::<IpAddr>().unwrap()));
        assert_eq!(a, b, "one network");
        // Never more than the burst.
        for _ in 0..3 {
            assert_eq!(limiter.take(RULE, one, at(1_000_000)), Ok(()));
        }
        assert!(limiter.take(RULE, one, at(1_000_000)).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        for n in 0..30_000_u32 {
            let _ = limiter.take(RULE, Caller::V4(n.to_be_bytes()), start);
        }
        assert!(lock(&limiter.0).len() <= MAX_CALLERS + 1);
        assert!(limiter.take(RULE, Caller::V4([9; 4]), start).is_err(), "those without a bucket share one");
        let later = start + Duration::from_secs(60);
        assert_eq!(limiter.take(RULE, Caller::V4([9; 4]), later), Ok(()));
        assert!(lock(&limiter.0).len() < 10, "idle callers are forgotten");
    }
}
