//! The failures the API answers with.

use std::borrow::Cow;
use std::fmt;

use super::xml::{DECLARATION, push_element};

/// A failure as a front-end sees it: `messageKey` and `message`, always with HTTP status 200.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The checksum is missing or wrong, or the tenant is unknown.
    Checksum,
    /// A call about a meeting names none.
    MissingMeetingId,
    /// The meeting is not known.
    MeetingNotFound,
    /// No recording matches, or recordings are switched off.
    RecordingsNotFound,
    /// A call about recordings names none.
    MissingRecordId,
    /// `publishRecordings` without `publish`.
    MissingPublish,
    /// `getRecordings` must be filtered, and is not.
    MissingFilter,
    /// No such call, or not by this method.
    UnsupportedRequest,
    /// The body is of a type the call does not take.
    UnsupportedContentType,
    /// The server of the meeting cannot be joined.
    ServerUnavailable,
    /// No server carries the required tag.
    ServerTagUnavailable {
        /// The tag as asked for, without the mark that made it required.
        tag: String,
    },
    /// No server takes new meetings.
    NoServers,
    /// The server could not be asked to create the meeting, or refused without a reason.
    CreateFailed,
    /// The server of the meeting could not be asked.
    AccessMeetingFailed,
    /// A server could not be asked for its meetings.
    AccessServerFailed,
    /// The document could not be handed to the server.
    InsertDocumentFailed,
    /// The server's answer is not one of the API.
    NoReturncode,
    /// Publishing or unpublishing failed.
    PublishFailed,
    /// Deleting failed.
    DeleteFailed,
    /// A failure in the words of the server that was asked.
    Passed {
        /// Its `messageKey`.
        key: String,
        /// Its `message`; may be empty.
        message: String,
    },
}

impl Fault {
    /// The `messageKey`.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Checksum => "checksumError",
            Self::MissingMeetingId => "missingParamMeetingID",
            Self::MeetingNotFound | Self::RecordingsNotFound => "notFound",
            Self::MissingRecordId => "missingParamRecordID",
            Self::MissingPublish => "missingParamPublish",
            Self::MissingFilter => "missingParameters",
            Self::UnsupportedRequest => "unsupportedRequest",
            Self::UnsupportedContentType => "unsupportedContentType",
            Self::ServerUnavailable => "serverUnavailable",
            Self::ServerTagUnavailable { .. } => "serverTagUnavailable",
            Self::NoServers
            | Self::CreateFailed
            | Self::AccessMeetingFailed
            | Self::AccessServerFailed
            | Self::InsertDocumentFailed
            | Self::NoReturncode
            | Self::PublishFailed
            | Self::DeleteFailed => "internalError",
            Self::Passed { key, .. } => key,
        }
    }

    /// The `message`.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Checksum => "You did not pass the checksum security check",
            Self::MissingMeetingId => "You must specify a meeting ID for the meeting.",
            Self::MeetingNotFound => {
                "We could not find a meeting with that meeting ID - perhaps the meeting is not yet running?"
            }
            Self::RecordingsNotFound => "We could not find recordings",
            Self::MissingRecordId => "You must specify a recordID.",
            Self::MissingPublish => "You must specify a publish value true or false.",
            Self::MissingFilter => "param meetingID or recordID must be included.",
            Self::UnsupportedRequest => "This request is not supported.",
            Self::UnsupportedContentType => "POST request Content-Type is missing or unsupported",
            Self::ServerUnavailable => "The server for this meeting is disabled/offline.",
            Self::ServerTagUnavailable { tag } => {
                return Cow::Owned(format!("There is no available server with the required tag={tag}."));
            }
            Self::NoServers => "Could not find any available servers.",
            Self::CreateFailed => "Unable to create meeting on server.",
            Self::AccessMeetingFailed => "Unable to access meeting on server.",
            Self::AccessServerFailed => "Unable to access server.",
            Self::InsertDocumentFailed => "Unable to insert document on server.",
            Self::NoReturncode => "Response did not include returncode",
            Self::PublishFailed => "Unable to publish/unpublish recording.",
            Self::DeleteFailed => "Unable to delete recording.",
            Self::Passed { message, .. } => message,
        })
    }

    /// Appends the failure document.
    pub fn write_xml(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(DECLARATION);
        out.extend_from_slice(b"<response>\n");
        push_element(out, "returncode", "FAILED");
        push_element(out, "messageKey", self.key());
        push_element(out, "message", &self.message());
        out.extend_from_slice(b"</response>\n");
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key(), self.message())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::super::Reply;
    use super::*;

    #[test]
    fn the_catalogue_is_exact() {
        let tag = "a;b".to_owned();
        let rows: Vec<(Fault, &str, &str)> = vec![
            (Fault::Checksum, "checksumError", "You did not pass the checksum security check"),
            (Fault::MissingMeetingId, "missingParamMeetingID", "You must specify a meeting ID for the meeting."),
            (
                Fault::MeetingNotFound,
                "notFound",
                "We could not find a meeting with that meeting ID - perhaps the meeting is not yet running?",
            ),
            (Fault::RecordingsNotFound, "notFound", "We could not find recordings"),
            (Fault::MissingRecordId, "missingParamRecordID", "You must specify a recordID."),
            (Fault::MissingPublish, "missingParamPublish", "You must specify a publish value true or false."),
            (Fault::MissingFilter, "missingParameters", "param meetingID or recordID must be included."),
            (Fault::UnsupportedRequest, "unsupportedRequest", "This request is not supported."),
            (
                Fault::UnsupportedContentType,
                "unsupportedContentType",
                "POST request Content-Type is missing or unsupported",
            ),
            (Fault::ServerUnavailable, "serverUnavailable", "The server for this meeting is disabled/offline."),
            (
                Fault::ServerTagUnavailable { tag },
                "serverTagUnavailable",
                "There is no available server with the required tag=a;b.",
            ),
            (Fault::NoServers, "internalError", "Could not find any available servers."),
            (Fault::CreateFailed, "internalError", "Unable to create meeting on server."),
            (Fault::AccessMeetingFailed, "internalError", "Unable to access meeting on server."),
            (Fault::AccessServerFailed, "internalError", "Unable to access server."),
            (Fault::InsertDocumentFailed, "internalError", "Unable to insert document on server."),
            (Fault::NoReturncode, "internalError", "Response did not include returncode"),
            (Fault::PublishFailed, "internalError", "Unable to publish/unpublish recording."),
            (Fault::DeleteFailed, "internalError", "Unable to delete recording."),
            (Fault::Passed { key: "k".into(), message: "Odd ☃ <&>".into() }, "k", "Odd ☃ <&>"),
        ];
        for (fault, key, message) in rows {
            let mut out = Vec::new();
            fault.write_xml(&mut out);
            assert!(out.starts_with(b"<?xml version=\"1.0\"?>\n<response>"));
            let reply = Reply::parse(&out).unwrap();
            assert!(!reply.is_success());
            let order: Vec<&str> = reply.children().map(|child| child.name).collect();
            assert_eq!(order, ["returncode", "messageKey", "message"]);
            assert_eq!(reply.message_key(), Some(key));
            assert_eq!(reply.message(), Some(message));
            assert_eq!((fault.key(), &*fault.message()), (key, message));
        }
    }
}
