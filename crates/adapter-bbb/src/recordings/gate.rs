//! The gate before recordings: who may play which, and where the web server finds the files.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::WallClock;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::files::PlaybackTokens;
use super::index::{IndexError, RecordingIndex, TENANT_KEY};
use super::record::Recording;
use super::tree::is_name;
use crate::api::{Params, TokenKind, signed_token, static_path, verified_claims};
use crate::secret::Secret;
use crate::store::MeetingStore;

mod browser;
#[cfg(feature = "s3")]
mod bucket;

#[cfg(feature = "s3")]
pub use bucket::BucketWay;

/// Digits of a token.
const DIGITS: usize = 64;
const ACCEL: HeaderName = HeaderName::from_static("x-accel-redirect");
/// Formats that browsers show; everything else is saved.
const SHOWN: [&str; 3] = ["presentation", "video", "screenshare"];

/// How recordings are played; the defaults are Scalelite's.
#[derive(Clone)]
#[non_exhaustive]
pub struct GateOptions {
    /// Formats whose files are given out. Default presentation, video, screenshare, podcast, notes and capture.
    pub formats: Vec<String>,
    /// With a key for its cookies, protected recordings need a token; without one, nothing is protected. Default none.
    pub key: Option<Secret>,
    /// How long a token waits to be used. Default 60 min.
    pub token_time: Duration,
    /// How long a protected recording can be played after its token was used. Default 360 min.
    pub cookie_time: Duration,
    /// The clock that cookies end by. Default the system's.
    pub clock: WallClock,
}

impl Default for GateOptions {
    fn default() -> Self {
        let formats = ["presentation", "video", "screenshare", "podcast", "notes", "capture"];
        Self {
            formats: formats.map(str::to_owned).to_vec(),
            key: None,
            token_time: Duration::from_secs(60 * 60),
            cookie_time: Duration::from_secs(360 * 60),
            clock: WallClock::system(),
        }
    }
}

impl fmt::Debug for GateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateOptions")
            .field("formats", &self.formats)
            .field("protects", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

/// A request to play something, as far as the gate looks at it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) cookie: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
    /// Whose recordings may be played; `None` is everybody's.
    pub(crate) tenant: Option<&'a str>,
}

/// Lets browsers play published recordings, and protected ones once per token.
///
/// `/recording/RECORDID/FORMAT` leads to the player; `/FORMAT/RECORDID/...` is asked for each file, and answered with
/// the name by which the web server in front finds it (`X-Accel-Redirect`). Both are refused while a recording is not
/// published, and files of a protected one are given only to a browser with the cookie that a token was changed for.
#[derive(Clone)]
pub struct PlaybackGate {
    options: Arc<GateOptions>,
    index: Arc<dyn RecordingIndex>,
    store: Arc<dyn MeetingStore>,
    #[cfg(feature = "s3")]
    bucket: Option<bucket::Played>,
}

impl fmt::Debug for PlaybackGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlaybackGate")
            .field("options", &self.options)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Why something cannot be played.
enum No {
    /// Whatever it is: nobody learns what there is.
    NotFound,
    Away(String),
}

impl From<IndexError> for No {
    fn from(e: IndexError) -> Self {
        Self::Away(e.to_string())
    }
}

impl PlaybackGate {
    /// A gate before the recordings of this index; tokens are kept in this store.
    pub fn new(options: GateOptions, index: Arc<dyn RecordingIndex>, store: Arc<dyn MeetingStore>) -> Self {
        Self {
            options: Arc::new(options),
            index,
            store,
            #[cfg(feature = "s3")]
            bucket: None,
        }
    }

    /// Whether recordings can be protected.
    pub fn protects(&self) -> bool {
        self.options.key.is_some()
    }

    /// The answer, when the path is one of playback.
    pub(crate) async fn answer(&self, ask: Ask<'_>) -> Option<Response<Bytes>> {
        if !matches!(ask.method, "GET" | "HEAD") {
            return None;
        }
        let query = if ask.query.is_empty() { String::new() } else { format!("?{}", ask.query) };
        for (from, to) in [("/playback/video/", "/video/"), ("/recording/screenshare/", "/screenshare/")] {
            // Addresses of old players.
            if let Some(rest) = ask.path.strip_prefix(from).filter(|rest| is_name(rest.split('/').next().unwrap_or("")))
            {
                return Some(redirect(&format!("{to}{rest}{query}")));
            }
        }
        let done = match ask.path.strip_prefix("/recording/").and_then(|rest| rest.split_once('/')) {
            Some((id, format)) if !format.is_empty() && !format.contains('/') => self.enter(&ask, id, format).await,
            Some(_) => return None,
            None => {
                let file = static_path(ask.path, &self.options.formats)?;
                self.file(&ask, file.record_id, file.format, file.resource).await
            }
        };
        Some(done.unwrap_or_else(|no| match no {
            No::NotFound => not_found(),
            No::Away(why) => {
                tracing::error!(reason = why, "a recording cannot be looked up");
                let mut r =
                    crate::service::plain(StatusCode::SERVICE_UNAVAILABLE, "recordings cannot be looked up now");
                r.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
                r
            }
        }))
    }

    /// What can be played of this recording by those who ask.
    async fn playable(&self, ask: &Ask<'_>, id: &str, format: &str) -> Result<Recording, No> {
        if !is_name(id) || !is_name(format) {
            return Err(No::NotFound);
        }
        let found = self.index.get(id).await?.ok_or(No::NotFound)?;
        let own = ask.tenant.is_none_or(|tenant| found.meta(TENANT_KEY) == Some(tenant));
        let shown = found.published && found.state != Some(super::record::RecordingState::Deleted);
        if own && shown && found.formats.iter().any(|f| f.format == format) { Ok(found) } else { Err(No::NotFound) }
    }

    /// The way to the player.
    async fn enter(&self, ask: &Ask<'_>, id: &str, format: &str) -> Result<Response<Bytes>, No> {
        let recording = self.playable(ask, id, format).await?;
        let url = recording.formats.iter().find(|f| f.format == format).map_or("", |f| f.url.as_str());
        // One slash: with two a browser would take what follows for a host.
        let to = redirect(&format!("/{}", url.trim_start_matches(['/', '\\'])));
        let Some(key) = self.options.key.as_ref().filter(|_| recording.protected) else { return Ok(to) };
        // Who has entered already may come back, and one that only looks does not use the token up.
        if self.has_cookie(key, ask, id, format) {
            return Ok(to);
        }
        let params = Params::parse(ask.query.as_bytes()).map_err(|_| No::NotFound)?;
        let token = params.get("token").unwrap_or_default();
        if !is_token(token) {
            return Err(No::NotFound);
        }
        let store = self.store.callback_store();
        let kept = store.take_token(token, ask.method == "GET").await.map_err(|e| No::Away(e.to_string()))?;
        let kept: Value = kept.and_then(|text| serde_json::from_str(&text).ok()).ok_or(No::NotFound)?;
        if kept["record_id"] != id || kept["format"] != format {
            return Err(No::NotFound);
        }
        let mut to = to;
        if ask.method == "GET" {
            set(to.headers_mut(), header::SET_COOKIE, &self.cookie(key, ask, id, format));
        }
        Ok(to)
    }

    fn cookie(&self, key: &Secret, ask: &Ask<'_>, id: &str, format: &str) -> String {
        let path = format!("/{format}/{id}");
        let ends = self.options.clock.now_ms() / 1000 + self.options.cookie_time.as_secs();
        let token = signed_token(TokenKind::Hs256, key.expose(), &json!({ "sub": path, "exp": ends }));
        let mut cookie = format!("recording_{format}_{id}={token}; path={path}; secure; HttpOnly");
        if !browser::misreads_same_site_none(ask.agent.unwrap_or_default()) {
            cookie.push_str("; SameSite=None");
        }
        cookie
    }

    fn has_cookie(&self, key: &Secret, ask: &Ask<'_>, id: &str, format: &str) -> bool {
        let (name, path) = (format!("recording_{format}_{id}"), format!("/{format}/{id}"));
        let now = self.options.clock.now_ms() / 1000;
        let pairs = ask.cookie.unwrap_or_default().split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(found, _)| *found == name).take(8).any(|(_, token)| {
            let claims = verified_claims(token.trim_matches('"'), &[TokenKind::Hs256], [key.expose()], now, true);
            claims.is_some_and(|claims| claims["sub"] == path.as_str())
        })
    }

    /// The name of a file for the web server in front.
    async fn file(&self, ask: &Ask<'_>, id: &str, format: &str, resource: &str) -> Result<Response<Bytes>, No> {
        if leads_away(resource) {
            return Err(No::NotFound);
        }
        let recording = self.playable(ask, id, format).await?;
        if let Some(key) = self.options.key.as_ref().filter(|_| recording.protected)
            && !self.has_cookie(key, ask, id, format)
        {
            return Err(No::NotFound);
        }
        #[cfg(feature = "s3")]
        if let Some(bucket) = &self.bucket {
            return bucket.answer(ask.method, id, format, resource).ok_or(No::NotFound);
        }
        let mut answer = Response::new(Bytes::new());
        set(answer.headers_mut(), ACCEL, &format!("/static-resource{}", ask.path));
        if !SHOWN.contains(&format) {
            set(answer.headers_mut(), header::CONTENT_DISPOSITION, "attachment");
        }
        Ok(answer)
    }
}

#[async_trait]
impl PlaybackTokens for PlaybackGate {
    async fn issue(&self, of: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let mut tokens = Vec::with_capacity(of.len());
        for (id, format) in of {
            tokens.push((new_token()?, json!({ "record_id": id, "format": format }).to_string()));
        }
        let kept = self.store.callback_store().keep_tokens(&tokens, self.options.token_time).await;
        kept.map_err(|e| e.to_string())?;
        Ok(tokens.into_iter().map(|(token, _)| token).collect())
    }
}

/// A token that nobody guesses.
fn new_token() -> Result<String, String> {
    let mut bytes = [0; DIGITS / 2];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_token(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a path, read once more by the web server, would leave the recording's folder.
fn leads_away(resource: &str) -> bool {
    let read = percent_encoding::percent_decode_str(resource).collect::<Vec<u8>>();
    read.iter().any(|b| matches!(b, b'\\' | 0..=31 | 127))
        || read.split(|b| *b == b'/').any(|p| p == b"." || p == b"..")
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // What is put here is made of plain names and of what came as a header itself.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn redirect(to: &str) -> Response<Bytes> {
    let mut r = Response::new(Bytes::new());
    *r.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    // A name beyond ASCII is sent as browsers would send it.
    let printable = percent_encoding::utf8_percent_encode(to, percent_encoding::CONTROLS).to_string();
    set(r.headers_mut(), header::LOCATION, &printable);
    set(r.headers_mut(), header::CACHE_CONTROL, "no-store");
    r
}

fn not_found() -> Response<Bytes> {
    const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  \
        <title>Recording Not Found</title>\n</head>\n<body>\n  <h1>Recording Not Found</h1>\n  \
        <p>The recording does not exist, is not published, or the link to it has been used already.</p>\n\
        </body>\n</html>\n";
    let mut r = Response::new(Bytes::from_static(PAGE.as_bytes()));
    *r.status_mut() = StatusCode::NOT_FOUND;
    set(r.headers_mut(), header::CONTENT_TYPE, "text/html; charset=utf-8");
    r
}

#[cfg(test)]
mod tests;
