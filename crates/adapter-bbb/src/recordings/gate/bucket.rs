//! Files that are played from a bucket: by links that are good for a while.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};

use super::{ACCEL, PlaybackGate, SHOWN, redirect, set};
use crate::recordings::bucket::RecordingBucket;

/// How files come from a bucket to a browser. In either way they are asked for in ranges, and none passes through the
/// balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BucketWay {
    /// The browser is sent there, by a signed link. The bucket's rules have to allow the balancer's host as an origin
    /// (CORS), for players that fetch files by script.
    Redirect,
    /// The web server in front fetches them: `X-Accel-Redirect` names `/bucket-resource` with the path and the query of
    /// a signed link, for an internal location that passes them on.
    Accel,
}

/// A bucket to play from.
#[derive(Clone, Debug)]
pub(super) struct Played {
    bucket: RecordingBucket,
    way: BucketWay,
    time: Duration,
}

impl PlaybackGate {
    /// The same with files that are in a bucket. Links are good for this time: as long as somebody may take to watch a
    /// recording, since browsers keep a link while they play.
    #[must_use]
    pub fn with_bucket(mut self, bucket: RecordingBucket, way: BucketWay, time: Duration) -> Self {
        self.bucket = Some(Played { bucket, way, time });
        self
    }
}

impl Played {
    /// The way to a published file; `None` when no key is named so.
    pub(super) fn answer(&self, method: &str, id: &str, format: &str, resource: &str) -> Option<Response<Bytes>> {
        let name = percent_encoding::percent_decode_str(resource).decode_utf8().ok()?;
        let index = if name.is_empty() || name.ends_with('/') { "index.html" } else { "" };
        let key = format!("{}{name}{index}", self.bucket.place(true, format, id));
        let saved = [("response-content-disposition", "attachment")];
        let query = if SHOWN.contains(&format) { [].as_slice() } else { saved.as_slice() };
        Some(match self.way {
            BucketWay::Redirect => redirect(&self.bucket.link(method, &key, query, self.time)),
            BucketWay::Accel => {
                let (path, query) = self.bucket.link_parts(method, &key, query, self.time);
                let mut answer = Response::new(Bytes::new());
                set(answer.headers_mut(), ACCEL, &format!("/bucket-resource{path}?{query}"));
                set(answer.headers_mut(), header::CACHE_CONTROL, "no-store");
                answer
            }
        })
    }
}
