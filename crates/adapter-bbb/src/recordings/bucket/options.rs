//! Where a bucket is, and how it is spoken to.

use std::fmt;
use std::time::Duration;

use crate::secret::Secret;

/// How a bucket is reached; defaults are those of Amazon's service.
#[derive(Clone)]
#[non_exhaustive]
pub struct BucketOptions {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with, as `recordings/`. Default nothing.
    pub prefix: String,
    /// Where the server is: `https://HOST` or `http://HOST:PORT`. Default Amazon's of the region.
    pub endpoint: Option<String>,
    /// The region that is signed for. Default `us-east-1`.
    pub region: String,
    /// Whether the bucket's name is in the path, not in the host name. Default on with an endpoint of one's own.
    pub path_style: Option<bool>,
    /// The access key's id.
    pub key_id: String,
    /// The access key's secret.
    pub secret: Secret,
    /// The session that the access key belongs to, if it is a passing one.
    pub session: Option<Secret>,
    /// Longest wait for a connection. Default 5 s.
    pub connect: Duration,
    /// Longest wait for an answer, and for each piece of one; what is sent has time besides, 64 KiB a second. Default
    /// 30 s.
    pub response: Duration,
    /// How often something is tried that failed for a reason that may pass. Default 4.
    pub attempts: u32,
    /// A file larger than this is sent in parts of this size, in bytes; at least 5 MiB, and as much is held in memory
    /// for each of four files or parts that are under way. Default 16 MiB.
    pub part: u64,
    /// How many objects are listed at once, 1000 at most. Default 1000.
    pub page: u16,
    /// After how long another process takes over the right to change recordings from one that shows no life. Default
    /// 20 s.
    pub lease: Duration,
}

/// The least that a part may have, but for the last one.
const LEAST_PART: u64 = 5 << 20;

impl BucketOptions {
    /// Defaults, for this bucket and access key.
    pub fn new(bucket: impl Into<String>, key_id: impl Into<String>, secret: Secret) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            path_style: None,
            key_id: key_id.into(),
            secret,
            session: None,
            connect: Duration::from_secs(5),
            response: Duration::from_secs(30),
            attempts: 4,
            part: 16 << 20,
            page: 1000,
            lease: Duration::from_secs(20),
        }
    }

    /// Refuses what cannot work, before anything is asked of a server.
    ///
    /// # Errors
    ///
    /// [`BucketError::Option`].
    pub fn check(&self) -> Result<(), BucketError> {
        self.clone().checked().map(drop)
    }

    /// The same with every default filled in, and its server.
    pub(super) fn checked(mut self) -> Result<(Self, Endpoint), BucketError> {
        let odd = |what: &'static str, why: String| Err(BucketError::Option { what, why });
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(plain) {
            let why = format!("{:?} cannot name a bucket: 3 to 63 lower case letters, digits, . and -", self.bucket);
            return odd("bucket", why);
        }
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
        if !self.prefix.bytes().all(safe) || self.prefix.starts_with('/') || self.prefix.len() > 200 {
            let why = format!("{:?} cannot begin keys: letters, digits, -, _ and . with / between them", self.prefix);
            return odd("prefix", why);
        }
        if !self.prefix.is_empty() && !self.prefix.ends_with('/') {
            self.prefix.push('/');
        }
        if self.region.is_empty() || !self.region.bytes().all(plain) {
            return odd("region", format!("{:?} cannot be a region", self.region));
        }
        if self.key_id.is_empty() || !self.key_id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b',')) {
            return odd("access key", "its id is not set, or has characters that none has".to_owned());
        }
        if self.secret.expose().is_empty() {
            return odd("access key", "its secret is not set".to_owned());
        }
        if self.part < LEAST_PART || self.part > 1 << 30 {
            return odd("part", "parts have from 5 MiB to 1 GiB".to_owned());
        }
        if !(1..=1000).contains(&self.page) {
            return odd("page", "a page has from 1 to 1000 objects".to_owned());
        }
        let path_style = self.path_style.unwrap_or(self.endpoint.is_some());
        let amazons = format!("https://s3.{}.amazonaws.com", self.region);
        let text = self.endpoint.as_deref().unwrap_or(&amazons);
        let Some(endpoint) = Endpoint::read(text, (!path_style).then_some(self.bucket.as_str())) else {
            return odd("endpoint", format!("{text:?} is none: https://HOST, or http://HOST:PORT"));
        };
        Ok((self, endpoint))
    }
}

impl fmt::Debug for BucketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketOptions")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A bucket that cannot be used as it is described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// An option cannot work.
    #[error("the {what} for recordings in a bucket: {why}")]
    Option {
        /// Which one.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// A server, as requests name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) scheme: &'static str,
    /// Host and port, as in the header.
    pub(super) host: String,
    /// Whether the bucket's name begins the path.
    pub(super) bucket_in_path: bool,
}

impl Endpoint {
    fn read(text: &str, bucket: Option<&str>) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://")? {
            ("https", rest) => ("https", rest),
            ("http", rest) => ("http", rest),
            _ => return None,
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let authority: http::uri::Authority = host.parse().ok()?;
        if host.contains('@') || authority.host().is_empty() || !host.is_ascii() {
            return None;
        }
        let default = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(default).unwrap_or(host).to_ascii_lowercase();
        let host = bucket.map_or_else(|| host.clone(), |bucket| format!("{bucket}.{host}"));
        Some(Self { scheme, host, bucket_in_path: bucket.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut BucketOptions)) -> Result<Endpoint, String> {
        let mut o = BucketOptions::new("lessons", "AKIDEXAMPLE", Secret::new("hush-hush"));
        change(&mut o);
        assert!(!format!("{o:?}").contains("hush"));
        o.checked().map(|(_, endpoint)| endpoint).map_err(|e| e.to_string())
    }

    #[test]
    fn endpoints_are_read() {
        let amazons = with(|_| {}).unwrap();
        assert_eq!((amazons.scheme, amazons.host.as_str()), ("https", "lessons.s3.us-east-1.amazonaws.com"));
        let own = with(|o| o.endpoint = Some("http://MinIO:9000/".to_owned())).unwrap();
        assert_eq!((own.scheme, own.host.as_str(), own.bucket_in_path), ("http", "minio:9000", true));
        let hosted = with(|o| {
            o.endpoint = Some("https://s3.example.com:443".to_owned());
            o.path_style = Some(false);
        });
        assert_eq!(hosted.unwrap().host, "lessons.s3.example.com");
        for bad in ["s3.example.com", "ftp://x", "https://", "https://user:pw@x", "https://x/path", "https://x y"] {
            assert!(with(|o| o.endpoint = Some(bad.to_owned())).unwrap_err().contains("endpoint"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        for bad in ["", "ab", "Lessons", "les/sons", &"x".repeat(64)] {
            assert!(with(|o| o.bucket = bad.to_owned()).unwrap_err().contains("bucket"), "{bad}");
        }
        for bad in ["/x", "a b", "a%2f", "ü"] {
            assert!(with(|o| o.prefix = bad.to_owned()).unwrap_err().contains("prefix"), "{bad}");
        }
        assert!(with(|o| o.region = "EU West".to_owned()).unwrap_err().contains("region"));
        assert!(with(|o| o.key_id.clear()).unwrap_err().contains("access key"));
        assert!(with(|o| o.secret = Secret::new("")).unwrap_err().contains("its secret is not set"));
        assert!(with(|o| o.part = 1).unwrap_err().contains("5 MiB"));
    }
}
