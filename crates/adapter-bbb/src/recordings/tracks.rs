//! Text tracks of recordings: subtitles and captions, kept where the player looks for them.
//!
//! Beside a format's files lies `captions.json`, the list that the player reads, and for each language of it a file
//! `caption_LANGUAGE.vtt`. What else is known of a track is kept in the same list.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::{FilesError, RecordingFiles};
use super::hold::Recordings;
use super::record::Recording;

/// The list of a format's tracks.
pub(super) const LIST: &str = "captions.json";
/// The longest such list, in bytes.
pub(super) const LONGEST_LIST: u64 = 1 << 20;
/// The longest text of a track, in bytes.
pub(super) const LONGEST_TRACK: u64 = 4 << 20;
/// Where a track came from that was sent by a call.
const UPLOAD: &str = "upload";
/// At most so many tracks belong to a recording.
const MOST: usize = 200;

/// A track, as the player's list has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Track {
    /// Its language, such as `pt-BR`.
    #[serde(rename = "locale")]
    pub(crate) lang: String,
    /// What it is called in the player.
    #[serde(rename = "localeName", default)]
    pub(crate) label: String,
    /// `captions` or `subtitles`.
    #[serde(default = "captions")]
    pub(crate) kind: String,
    /// Where it came from: `live`, `automatic` or `upload`.
    #[serde(default = "live")]
    pub(crate) source: String,
}

fn captions() -> String {
    "captions".to_owned()
}

fn live() -> String {
    "live".to_owned()
}

/// Why there is no track, or it was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrackError {
    #[error("the recording has no folder on disk")]
    NoFolder,
    #[error("the recording has {MOST} text tracks already")]
    TooMany,
    #[error("the text of the track, or the list of all, would be too long")]
    TooLong,
    #[error("it is neither WebVTT nor SubRip in UTF-8")]
    Format,
    #[error("{LIST} is no list of tracks: {0}")]
    List(serde_json::Error),
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// A track to add.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) track: Track,
    pub(crate) text: Vec<u8>,
}

impl Upload {
    /// A track that was sent, whose language is well-formed.
    pub(crate) fn new(lang: &str, label: &str, kind: &str, text: &[u8]) -> Self {
        let track = Track { lang: lang.into(), label: label.into(), kind: kind.into(), source: UPLOAD.into() };
        Self { track, text: text.to_vec() }
    }
}

impl Recordings {
    /// The folders, and the format whose player shows tracks.
    async fn player(&self, r: &Recording) -> Result<Option<(&Arc<dyn RecordingFiles>, String)>, FilesError> {
        let Some(files) = &self.files else { return Ok(None) };
        for format in ["presentation"].into_iter().chain(r.formats.iter().map(|f| f.format.as_str())) {
            if files.has(&r.record_id, format).await? {
                return Ok(Some((files, format.to_owned())));
            }
        }
        Ok(None)
    }

    /// The tracks of a recording, each with the path it is fetched from.
    pub(crate) async fn text_tracks(&self, r: &Recording) -> Result<Vec<(Track, String)>, TrackError> {
        let Some((files, format)) = self.player(r).await? else { return Ok(Vec::new()) };
        let tracks = listed(files.read(&r.record_id, &format, LIST, LONGEST_LIST).await?)?;
        let path = |t: &Track| format!("/{format}/{}/{}", r.record_id, file_name(&t.lang));
        let safe = tracks.into_iter().filter(|t| is_language(&t.lang));
        Ok(safe
            .map(|t| {
                let path = path(&t);
                (t, path)
            })
            .collect())
    }

    /// Adds a track, or replaces the one of its language.
    pub(crate) async fn put_text_track(&self, r: &Recording, upload: Upload) -> Result<(), TrackError> {
        let text = as_vtt(&upload.text).ok_or(TrackError::Format)?;
        // Another process may write to the same list, or have the whole folder on its way to another tree.
        let _held = match &self.files {
            Some(files) => files.hold().await?,
            None => return Err(TrackError::NoFolder),
        };
        let (files, format) = self.player(r).await?.ok_or(TrackError::NoFolder)?;
        let mut tracks = listed(files.read(&r.record_id, &format, LIST, LONGEST_LIST).await?)?;
        let name = file_name(&upload.track.lang);
        put(&mut tracks, upload.track);
        if tracks.len() > MOST {
            return Err(TrackError::TooMany);
        }
        let list = serde_json::to_vec(&tracks).unwrap_or_default();
        // What could not be read again is not written.
        if list.len() as u64 > LONGEST_LIST || text.len() as u64 > LONGEST_TRACK {
            return Err(TrackError::TooLong);
        }
        // First what is listed, then the list.
        files.write(&r.record_id, &format, &name, text.into_bytes()).await?;
        Ok(files.write(&r.record_id, &format, LIST, list).await?)
    }
}

/// What a list says; without one there are no tracks.
fn listed(list: Option<Vec<u8>>) -> Result<Vec<Track>, TrackError> {
    list.map_or(Ok(Vec::new()), |text| serde_json::from_slice(&text).map_err(TrackError::List))
}

/// Adds a track to a list, or replaces the one of its language.
fn put(tracks: &mut Vec<Track>, track: Track) {
    match tracks.iter_mut().find(|t| t.lang == track.lang) {
        Some(there) => *there = track,
        None => tracks.push(track),
    }
}

/// The tracks of a list that were sent by a call; none when it is no list.
#[cfg(feature = "recordings")]
pub(super) fn uploaded(list: &[u8]) -> Vec<Track> {
    let mut all: Vec<Track> = serde_json::from_slice(list).unwrap_or_default();
    all.retain(|t| t.source == UPLOAD && is_language(&t.lang));
    all
}

/// A list with these tracks in it; what is no list is none.
#[cfg(feature = "recordings")]
pub(super) fn with_uploaded(list: Option<&[u8]>, uploaded: Vec<Track>) -> Vec<u8> {
    let mut all: Vec<Track> = list.and_then(|list| serde_json::from_slice(list).ok()).unwrap_or_default();
    uploaded.into_iter().for_each(|track| put(&mut all, track));
    serde_json::to_vec(&all).unwrap_or_default()
}

pub(super) fn file_name(lang: &str) -> String {
    format!("caption_{lang}.vtt")
}

/// Whether it is a language tag such as `en`, `pt-BR` or `zh-Hant-TW`: also a safe part of a file name.
pub(crate) fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let first = parts.next().unwrap_or_default();
    tag.len() <= 35
        && (2..=8).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The text as WebVTT, which players read: it is that already, or SubRip.
fn as_vtt(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    if text.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with(['\n', ' ', '\t'])) {
        return Some(text);
    }
    let mut out = "WEBVTT\n\n".to_owned();
    let mut cues = 0;
    for line in text.lines() {
        if line.contains(" --> ") {
            cues += 1;
            out.push_str(&line.replace(',', "."));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    (cues > 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_safe_names() {
        for good in ["en", "pt-BR", "zh-Hant-TW", "de-CH-1996"] {
            assert!(is_language(good), "{good}");
        }
        for bad in ["", "e", "en_US", "../x", "en-", "en/US", "ü-DE", "en-toolongpart", "e1", &"en-a".repeat(20)] {
            assert!(!is_language(bad), "{bad}");
        }
    }

    #[test]
    fn subrip_becomes_webvtt() {
        let srt = "\u{feff}1\r\n00:00:01,000 --> 00:00:02,500\r\nHello, world\r\n";
        let vtt = as_vtt(srt.as_bytes()).unwrap();
        assert_eq!(vtt, "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\nHello, world\n");
        assert_eq!(as_vtt(vtt.as_bytes()), Some(vtt));
        assert_eq!(as_vtt(b"[Script Info]\nTitle: x"), None);
        assert_eq!(as_vtt(b"\xff\xfe"), None);
    }

    #[test]
    fn a_list_of_the_servers_own_is_read() {
        let tracks = listed(Some(br#"[{"localeName":"English","locale":"en-US"}]"#.to_vec())).unwrap();
        assert_eq!((tracks[0].kind.as_str(), tracks[0].source.as_str()), ("captions", "live"));
        assert!(listed(Some(b"[".to_vec())).unwrap_err().to_string().contains(LIST));
        assert!(listed(None).unwrap().is_empty());
    }
}
