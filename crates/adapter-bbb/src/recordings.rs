//! Recordings: what is known of them, where it is kept, and the calls about them.

#[cfg(feature = "s3")]
mod bucket;
mod files;
#[cfg(feature = "recordings")]
mod gate;
#[cfg(feature = "http")]
mod hold;
#[cfg(feature = "recordings")]
mod import;
mod index;
mod local;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
#[cfg(feature = "http")]
mod tracks;
#[cfg(feature = "http")]
mod xml;

#[cfg(feature = "s3")]
pub use bucket::{BucketError, BucketOptions, RecordingBucket};
pub use files::{FilesError, PlaybackTokens, RecordingFiles};
#[cfg(feature = "http")]
pub(crate) use hold::is_shown;
#[cfg(feature = "http")]
pub use hold::{KeepError, RecordingOptions, Recordings};
#[cfg(feature = "recordings")]
mod tree;

#[cfg(feature = "recordings")]
pub(crate) use gate::Ask;
#[cfg(feature = "s3")]
pub use gate::BucketWay;
#[cfg(feature = "recordings")]
pub use gate::{GateOptions, PlaybackGate};
#[cfg(feature = "recordings")]
pub(crate) use import::Figures as ImportFigures;
#[cfg(feature = "recordings")]
pub use import::{
    ArchiveError, ArchiveLimits, ImportError, ImportOptions, ImportOutcome, ImportReport, Importer, MetadataError,
    NoNews, RecordingNews,
};
pub use index::{
    CallbackRow, IndexError, RecordingChange, RecordingIndex, RecordingPage, RecordingQuery, StateFilter, TENANT_KEY,
};
pub use local::LocalRecordings;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresRecordings};
pub use record::{Metadatum, PlaybackFormat, Recording, RecordingState, Thumbnail};
#[cfg(feature = "http")]
pub(crate) use tracks::{TrackError, Upload as TrackUpload, is_language};
#[cfg(feature = "recordings")]
pub use tree::{CheckReport, Finding, FindingKind, RecordingKeeper, RecordingTrees};
#[cfg(feature = "http")]
pub(crate) use xml::Listing;
