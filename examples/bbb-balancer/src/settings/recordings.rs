//! Recordings: where they are, how they come in, and how they are played.

use std::path::PathBuf;
use std::time::Duration;

use adapter_bbb::Secret;

use super::bucket::{self, Bucket};
use super::read::Reader;
use super::sources::Source;

/// How long the spool is left alone when it is not to be polled: events are missed only on file systems without them.
const SELDOM: Duration = Duration::from_secs(3600);

/// Where recordings come from and go to.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// Where archives arrive.
    pub(crate) spool: PathBuf,
    /// Whether somebody named that folder: then it is made when it is missing.
    pub(crate) spool_is_set: bool,
    /// Where they are unpacked.
    pub(crate) work: PathBuf,
    /// Where published ones are.
    pub(crate) published: PathBuf,
    /// Where unpublished ones are.
    pub(crate) unpublished: PathBuf,
    /// The bucket that both are in instead.
    #[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "refused before anything reads it"))]
    pub(crate) bucket: Option<Bucket>,
    /// Whether imported ones stay unpublished.
    pub(crate) import_unpublished: bool,
    /// How often the spool is looked at.
    pub(crate) poll: Duration,
    /// Formats whose files are given out.
    pub(crate) formats: Vec<String>,
    /// What signs cookies, when recordings can be protected.
    pub(crate) key: Option<Secret>,
    /// How long a token waits.
    pub(crate) token_time: Duration,
    /// How long a cookie is good.
    pub(crate) cookie_time: Duration,
}

pub(super) fn read(r: &mut Reader<'_>) -> Folders {
    let disabled = r.switch("recording_disabled");
    let dir = |r: &Reader<'_>, name: &str| PathBuf::from(r.text(name).unwrap_or_default());
    let every = r.seconds("recording_import_poll_interval", 86_400.0);
    let polls = r.switch("recording_import_poll");
    let formats = r.with("recording_playback_formats", |text| {
        let all: Vec<String> = text.split(':').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect();
        let plain = |f: &String| f.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        match all.iter().find(|f| !plain(f)) {
            Some(odd) => Err(format!("{odd:?} cannot be a format: letters, digits, - and _ name one")),
            None => Ok(all),
        }
    });
    let mut minutes = |name: &str| Duration::from_secs(60 * u64::from(r.number(name, 1, 525_600)));
    let (token_time, cookie_time) =
        (minutes("protected_recordings_token_timeout"), minutes("protected_recordings_timeout"));
    let protects = r.switch("protected_recordings_enabled");
    let key = r.text("secret_key_base").map(Secret::new);
    if protects && key.is_none() && !disabled {
        r.refuse(
            "secret_key_base",
            "is not set, and signs the cookies of protected recordings: set it to the output of `openssl rand -hex 64`, \
             the same for all processes, or leave PROTECTED_RECORDINGS_ENABLED away",
        );
    }
    Folders {
        spool: dir(r, "recording_spool_dir"),
        spool_is_set: r.found("recording_spool_dir").source != Source::Default,
        work: dir(r, "recording_work_dir"),
        published: dir(r, "recording_publish_dir"),
        unpublished: dir(r, "recording_unpublish_dir"),
        bucket: if disabled { None } else { bucket::read(r) },
        import_unpublished: r.switch("recording_import_unpublished"),
        poll: if polls { every } else { SELDOM },
        formats: formats.unwrap_or_default(),
        key: key.filter(|_| protects),
        token_time,
        cookie_time,
    }
}
