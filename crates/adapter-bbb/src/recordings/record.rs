//! What is known of one recording, as Scalelite's tables have it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a recording has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// A server still works on it.
    Processing,
    /// A server has finished it, and not published it.
    Processed,
    /// Everybody can play it.
    Published,
    /// It is there, and cannot be played.
    Unpublished,
    /// Its files are gone; the row stays.
    Deleted,
}

impl RecordingState {
    /// The word for it in documents and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Processed => "processed",
            Self::Published => "published",
            Self::Unpublished => "unpublished",
            Self::Deleted => "deleted",
        }
    }

    /// [`Published`](Self::Published) or [`Unpublished`](Self::Unpublished).
    #[must_use]
    pub const fn of_published(published: bool) -> Self {
        if published { Self::Published } else { Self::Unpublished }
    }
}

impl fmt::Display for RecordingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordingState {
    type Err = ();

    /// Reads the word of [`as_str`](Self::as_str); case matters.
    fn from_str(word: &str) -> Result<Self, ()> {
        let all = [Self::Processing, Self::Processed, Self::Published, Self::Unpublished, Self::Deleted];
        all.into_iter().find(|state| state.as_str() == word).ok_or(())
    }
}

/// One recording with everything that belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recording {
    /// Its id, unique; also the meeting's internal id.
    pub record_id: String,
    /// The meeting's id as the front-end gave it.
    #[serde(default)]
    pub meeting_id: String,
    /// The meeting's name.
    #[serde(default)]
    pub name: String,
    /// Whether it can be played.
    #[serde(default)]
    pub published: bool,
    /// How many took part, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participants: Option<i32>,
    /// How far it has come; unknown in rows that others wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RecordingState>,
    /// When it began, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<i64>,
    /// When it ended, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<i64>,
    /// When it was deleted, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_ms: Option<i64>,
    /// Whether playing it needs a token.
    #[serde(default)]
    pub protected: bool,
    /// Whether somebody has published or unpublished it by a call: a later import keeps that choice.
    #[serde(default)]
    pub publish_updated: bool,
    /// What the front-end said about the meeting: each key once.
    #[serde(default)]
    pub metadata: Vec<Metadatum>,
    /// How it can be played: each format once.
    #[serde(default)]
    pub formats: Vec<PlaybackFormat>,
}

impl Recording {
    /// One of which nothing but the id is known.
    #[must_use]
    pub fn new(record_id: impl Into<String>) -> Self {
        Self { record_id: record_id.into(), ..Self::default() }
    }

    /// The value of a metadata key.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|m| m.key == key).map(|m| m.value.as_str())
    }

    /// Gives a metadata key this value.
    pub fn set_meta(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.metadata.iter_mut().find(|m| m.key == key) {
            Some(m) => m.value = value,
            None => self.metadata.push(Metadatum { key, value }),
        }
    }
}

/// One thing that a front-end said about a meeting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadatum {
    /// Its name, in lower case when a call set it.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
}

/// One way to play a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlaybackFormat {
    /// Its name, such as `presentation`: also the name of its folder.
    pub format: String,
    /// Path and query of the player, without scheme and host.
    pub url: String,
    /// How long it plays, in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<i32>,
    /// How long a server worked on it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_time: Option<i32>,
    /// Pictures of it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thumbnails: Vec<Thumbnail>,
}

impl PlaybackFormat {
    /// A format of this name, played at this path.
    #[must_use]
    pub fn new(format: impl Into<String>, url: impl Into<String>) -> Self {
        Self { format: format.into(), url: url.into(), ..Self::default() }
    }
}

/// A picture of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Thumbnail {
    /// Its width in pixels, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
    /// Its height in pixels, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<i32>,
    /// What it shows, in words; may be empty.
    #[serde(default)]
    pub alt: String,
    /// Its path, without scheme and host.
    pub url: String,
    /// Its place among the others, from 0.
    #[serde(default)]
    pub sequence: i32,
}

impl Thumbnail {
    /// The picture at this path, at this place.
    #[must_use]
    pub fn new(url: impl Into<String>, sequence: i32) -> Self {
        Self { url: url.into(), sequence, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_states_are_read_back() {
        for word in ["processing", "processed", "published", "unpublished", "deleted"] {
            assert_eq!(word.parse::<RecordingState>().unwrap().to_string(), word);
        }
        assert!("Published".parse::<RecordingState>().is_err());
    }
}
