//! `metadata.xml`: what a recording's format says of itself.

use crate::api::{ReplyError, Scanner, Step};
use crate::recordings::record::{PlaybackFormat, Recording, RecordingState, Thumbnail};

/// The longest file that is read, in bytes.
pub(crate) const MAX_METADATA: u64 = 4 << 20;
/// The most metadata keys, and the most previews.
const MAX_ITEMS: usize = 1000;
/// The longest text of one element, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// A `metadata.xml` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It is no usable XML.
    #[error("metadata.xml: {}", .0.to_string().replacen("the answer", "it", 1))]
    Xml(ReplyError),
    /// Something that is needed is missing.
    #[error("metadata.xml has no {0}")]
    Missing(&'static str),
    /// It has too much of something.
    #[error("metadata.xml has {0}")]
    TooMuch(&'static str),
    /// A value that is not what it has to be.
    #[error("metadata.xml: {what} is {value:?}")]
    Value {
        /// Which.
        what: &'static str,
        /// What it is.
        value: String,
    },
}

/// Reads a `metadata.xml`: a recording with the one format that it describes.
///
/// # Errors
///
/// [`MetadataError`]; never panics, whatever the bytes.
pub(crate) fn describe(bytes: &[u8]) -> Result<Recording, MetadataError> {
    if bytes.len() as u64 > MAX_METADATA {
        return Err(MetadataError::TooMuch("more than 4 MiB"));
    }
    let mut scanner = Scanner::new(bytes).map_err(MetadataError::Xml)?;
    let mut reading = Reading::default();
    let mut path: Vec<&str> = Vec::new();
    let mut text = String::new();
    while let Some(step) = scanner.step().map_err(MetadataError::Xml)? {
        match step {
            Step::Open { name, start } => {
                path.push(name);
                text.clear();
                reading.begin(&path, |name| scanner.attribute(start, name))?;
            }
            Step::Text(piece) => {
                if text.len() + piece.len() > MAX_TEXT {
                    return Err(MetadataError::TooMuch("an element with more than 64 KiB of text"));
                }
                text.push_str(&piece);
            }
            Step::Close { .. } => {
                reading.end(&path, std::mem::take(&mut text))?;
                path.pop();
            }
        }
    }
    reading.finish()
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    recording: Recording,
    format: PlaybackFormat,
    /// Id and name of the meeting, as newer servers say them.
    meeting: (Option<String>, Option<String>),
}

const IMAGE: [&str; 6] = ["recording", "playback", "extensions", "preview", "images", "image"];

impl Reading {
    fn begin(&mut self, path: &[&str], attribute: impl Fn(&str) -> Option<String>) -> Result<(), MetadataError> {
        if path == ["recording", "meeting"] {
            self.meeting = (attribute("externalId"), attribute("name"));
        } else if path == IMAGE {
            if self.format.thumbnails.len() == MAX_ITEMS {
                return Err(MetadataError::TooMuch("more than 1000 previews"));
            }
            let number = |name| attribute(name).and_then(|n| n.trim().parse().ok());
            let mut preview = Thumbnail::new("", i32::try_from(self.format.thumbnails.len()).unwrap_or(i32::MAX));
            (preview.width, preview.height) = (number("width"), number("height"));
            preview.alt = attribute("alt").unwrap_or_default();
            self.format.thumbnails.push(preview);
        }
        Ok(())
    }

    fn end(&mut self, path: &[&str], text: String) -> Result<(), MetadataError> {
        let r = &mut self.recording;
        let trimmed = || text.trim().to_owned();
        match path {
            ["recording", "id"] => r.record_id = trimmed(),
            // An older word for it.
            ["recording", "state"] if text.trim() == "available" => r.state = Some(RecordingState::Published),
            ["recording", "state"] => r.state = text.trim().parse().ok(),
            ["recording", "published"] => r.published = text.trim().eq_ignore_ascii_case("true"),
            ["recording", "participants"] => r.participants = number("participants", &text)?,
            ["recording", "start_time"] => r.start_ms = number("start_time", &text)?,
            ["recording", "end_time"] => r.end_ms = number("end_time", &text)?,
            ["recording", "meta", "meetingId"] => r.meeting_id = text,
            ["recording", "meta", "meetingName"] => r.name = text,
            ["recording", "meta", "isBreakout"] => {}
            ["recording", "meta", key] => {
                if r.metadata.len() == MAX_ITEMS {
                    return Err(MetadataError::TooMuch("more than 1000 entries of metadata"));
                }
                r.set_meta(*key, text);
            }
            ["recording", "playback", "format"] => self.format.format = trimmed(),
            ["recording", "playback", "link"] => self.format.url = path_of(text.trim(), true),
            ["recording", "playback", "duration"] => {
                let ms: Option<i64> = number("duration", &text)?;
                let minutes = ms.map(|ms| ms.saturating_add(30_000).div_euclid(60_000));
                self.format.length = minutes.and_then(|minutes| i32::try_from(minutes).ok());
            }
            ["recording", "playback", "processing_time"] => {
                self.format.processing_time = number("processing_time", &text)?;
            }
            path if path == IMAGE => {
                if let Some(preview) = self.format.thumbnails.last_mut() {
                    preview.url = path_of(text.trim(), false);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Recording, MetadataError> {
        let r = &mut self.recording;
        // Older servers say it in the metadata alone, the newest ones in both places.
        if r.meeting_id.is_empty() {
            r.meeting_id = self.meeting.0.unwrap_or_default();
        }
        if r.name.is_empty() {
            r.name = self.meeting.1.unwrap_or_default();
        }
        let needed = [
            (r.record_id.as_str(), "recording/id"),
            (r.meeting_id.as_str(), "recording/meta/meetingId"),
            (self.format.format.as_str(), "recording/playback/format"),
            (self.format.url.as_str(), "recording/playback/link"),
        ];
        if let Some((_, what)) = needed.into_iter().find(|(value, _)| value.is_empty()) {
            return Err(MetadataError::Missing(what));
        }
        self.recording.formats.push(self.format);
        Ok(self.recording)
    }
}

fn number<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<Option<T>, MetadataError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| MetadataError::Value { what, value: text.chars().take(40).collect() };
    text.parse().map(Some).map_err(wrong)
}

/// The path of a URL, or path and query.
fn path_of(url: &str, query: bool) -> String {
    let rest = match url.split_once("://") {
        // What follows the authority.
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => url,
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let rest = if query { rest } else { rest.split('?').next().unwrap_or(rest) };
    // One slash: with two a browser would take what follows for a host.
    format!("/{}", rest.trim_start_matches(['/', '\\']))
}

#[cfg(test)]
mod tests;
