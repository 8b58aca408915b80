//! The bucket that recordings are kept in, if they are kept in one.

use std::time::Duration;

use adapter_bbb::Secret;

use super::read::{Reader, boolean};

/// Where it is, and how files are played from it.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "refused before anything reads it"))]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) path_style: Option<bool>,
    pub(crate) key_id: String,
    pub(crate) secret: Secret,
    pub(crate) session: Option<Secret>,
    /// Whether browsers are sent there; otherwise the web server in front fetches files.
    pub(crate) redirects: bool,
    /// How long links are good.
    pub(crate) link_time: Duration,
}

pub(super) fn read(r: &mut Reader<'_>) -> Option<Bucket> {
    if !r.switch("s3_recording") {
        return None;
    }
    if !cfg!(feature = "s3") {
        r.refuse(
            "s3_recording",
            "this program was built without it: build it by `cargo build --release -p bbb-balancer --features s3`, or \
             leave it away to keep recordings in folders",
        );
        return None;
    }
    let mut needed = |name: &str, what: &str| {
        let found = r.text(name);
        if found.is_none() {
            r.refuse(name, what);
        }
        found.unwrap_or_default()
    };
    let name = needed("s3_bucket_name", "is not set, and recordings are kept in a bucket: name it");
    let key_id = needed("s3_access_key_id", "is not set: give the id of the bucket's access key");
    let secret = needed("s3_secret_access_key", "is not set: give the secret of the bucket's access key");
    let redirects = r.with("s3_playback", |text| match text {
        "redirect" => Ok(true),
        "accel" => Ok(false),
        _ => Err("must be redirect, or accel for a web server in front that fetches files".to_owned()),
    });
    let bucket = Bucket {
        name,
        prefix: r.text("s3_prefix").unwrap_or_default(),
        endpoint: r.text("s3_endpoint"),
        region: r.text("s3_region").unwrap_or_default(),
        path_style: r.with("s3_path_style", |t| if t == "auto" { Ok(None) } else { boolean(t).map(Some) }).flatten(),
        key_id,
        secret: Secret::new(secret),
        session: r.text("s3_session_token").map(Secret::new),
        redirects: redirects.unwrap_or(true),
        link_time: Duration::from_secs(60 * u64::from(r.number("s3_link_time", 1, 10_080))),
    };
    #[cfg(feature = "s3")]
    if r.errors.is_empty()
        && let Err(e) = bucket.options().check()
    {
        r.errors.push(e.to_string());
    }
    Some(bucket)
}

#[cfg(feature = "s3")]
impl Bucket {
    /// The same, as the adapter takes it.
    pub(crate) fn options(&self) -> adapter_bbb::BucketOptions {
        let mut o = adapter_bbb::BucketOptions::new(&*self.name, &*self.key_id, self.secret.clone());
        o.prefix.clone_from(&self.prefix);
        o.endpoint.clone_from(&self.endpoint);
        o.region.clone_from(&self.region);
        o.path_style = self.path_style;
        o.session.clone_from(&self.session);
        o
    }
}
