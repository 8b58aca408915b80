//! Several BigBlueButton servers that look like one.
//!
//! Front-ends such as Moodle and Greenlight speak to one BigBlueButton server. This crate answers them for a whole
//! pool: a new meeting goes to the least loaded server, everybody of a meeting lands on that server, a dying server is
//! survived, and the choice can be explained. It answers what Scalelite answers, reads and writes Scalelite's Redis
//! layout, and does better where that one loses meetings (see [`BbbService`] and [`Cluster`]).
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use adapter_bbb::{
//!     Algorithms, BbbOptions, BbbService, Bind, Checksums, Cluster, HttpLimits, HttpServer, LocalStore, MeetingStore,
//!     Secret, ServerRecord,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(LocalStore::memory());
//! let url = "https://bbb1.example.com/bigbluebutton/api";
//! store.add_server(&ServerRecord::new("bbb1", url, Secret::new("its secret"))).await?;
//!
//! let secrets = Checksums::new(["the balancer's own secret".to_owned()], Algorithms::default());
//! let cluster = Cluster::start(BbbOptions::new(secrets), store).await?;
//! let bind = Bind::Tcp(([127, 0, 0, 1], 3000).into());
//! let server = HttpServer::bind(&bind, BbbService::new(cluster.clone()), HttpLimits::default()).await?;
//! tokio::spawn(cluster.run(std::future::pending()));
//! server.serve(std::future::pending(), Duration::from_secs(20)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Several processes
//!
//! Any number of processes share one Redis. A server is taken offline for everybody, and its meetings move, when two
//! live processes have polled it in vain often enough, or the only one has. What a single one of several cannot reach
//! gets nothing new from that one.
//!
//! # What there is
//!
//! | Part | Names |
//! | --- | --- |
//! | The API as pure functions | [`Checksums`], [`Params`], [`Reply`], [`meetings`], [`Fault`], [`route`], [`create_params`], [`join_params`], [`VoiceBridges`], [`LoadFormula`] |
//! | Servers | [`BbbServer`], [`BbbLoad`], [`ServerRecord`], [`ServerState`] |
//! | Shared state | [`MeetingStore`], [`LocalStore`], `RedisMeetings` |
//! | The cluster | [`Cluster`], [`BbbOptions`] |
//! | Recordings | [`Recordings`], [`RecordingIndex`], [`LocalRecordings`], `PostgresRecordings` |
//! | HTTP | [`BbbService`], [`Surface`], [`HttpServer`], [`HttpLimits`], [`BbbClient`] |
//! | Callbacks and hooks | [`CallbackStore`], [`CallbackOptions`], [`AddressRules`] |
//! | For tests | `testing`: a BigBlueButton server that misbehaves on command |
//!
//! # Callbacks and hooks
//!
//! Addresses that a front-end names in a `create` for statistics and for the news of a recording are kept, and called
//! by this balancer, signed with its secret: the news waits in the store until it arrives, through restarts and for up
//! to a day. Hooks are given to every server, also to one that comes later; the servers call them, and sign with their
//! own secrets. No address leads into a private network unless [`AddressRules`] allow it.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! | --- | --- | --- |
//! | `http` | yes | the cluster, its service, the HTTP server and client |
//! | `file` | no | `LocalStore::open`: servers and meetings in one file that survives a kill |
//! | `redis` | no | `RedisMeetings`: Scalelite's Redis layout, shared by any number of processes |
//! | `redis-tls` | no | TLS to that Redis: `rediss://` |
//! | `redis-sentinel` | no | that Redis behind sentinels: `redis+sentinel://`. A Redis Cluster cannot hold the layout |
//! | `postgres` | no | `PostgresRecordings`: the index of recordings in Scalelite's tables, shared by any number of processes |
//! | `recordings` | no | the importer of recordings, their folders, and the gate before them |
//! | `s3` | no | `RecordingBucket`: recordings in a bucket of a server that speaks S3, and links to play them from there |
//! | `testing` | no | `testing`: the fake server |

mod api;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod cluster;
#[cfg(feature = "http")]
mod connector;
#[cfg(feature = "http")]
mod egress;
#[cfg(feature = "http")]
mod http_server;
#[cfg(feature = "http")]
mod options;
mod recordings;
#[cfg(feature = "http")]
mod request_id;
mod secret;
mod server;
#[cfg(feature = "http")]
mod service;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "http")]
mod times;

pub use api::{
    Algorithm, Algorithms, AlgorithmsError, BodyKind, BodyRule, Call, ChecksumFault, Checksums, Child, CreateContext,
    Fault, LoadFormula, LoadKind, MAX_DEPTH, MAX_MEETINGS, MAX_PARAMS, MeetingEntry, ParamError, ParamRules, Params,
    Reply, ReplyError, Route, RuleError, ServerFigures, StaticPath, TagWish, VoiceBridges, check_content_type,
    create_params, effective_tag, is_fixed_for_tenants, join_params, meetings, meetings_up_to, route, secrets, sign,
    signed_url, static_path, write_empty_recordings, write_index, write_meetings, write_no_meetings, write_running,
};
#[cfg(all(feature = "http", feature = "testing"))]
pub use client::Transport;
#[cfg(feature = "http")]
pub use client::{BbbClient, CallBody, CallError, CallLimits, Upload};
#[cfg(feature = "http")]
pub use cluster::{Cluster, ClusterError, Stray, Twice, TwiceVerdict};
#[cfg(feature = "http")]
pub use connector::Connector;
#[cfg(feature = "http")]
pub use egress::{AddressRuleError, AddressRules, UrlRefusal};
#[cfg(feature = "http")]
pub use http_server::{Bind, BindError, HttpLimits, HttpServer};
#[cfg(feature = "http")]
pub use options::{BbbOptions, CallbackOptions, DialInOptions, RateLimit, RatePer};
#[cfg(feature = "recordings")]
pub use recordings::{
    ArchiveError, ArchiveLimits, CheckReport, Finding, FindingKind, GateOptions, ImportError, ImportOptions,
    ImportOutcome, ImportReport, Importer, MetadataError, NoNews, PlaybackGate, RecordingKeeper, RecordingNews,
    RecordingTrees,
};
#[cfg(feature = "s3")]
pub use recordings::{BucketError, BucketOptions, BucketWay, RecordingBucket};
pub use recordings::{
    CallbackRow, FilesError, IndexError, LocalRecordings, Metadatum, PlaybackFormat, PlaybackTokens, Recording,
    RecordingChange, RecordingFiles, RecordingIndex, RecordingPage, RecordingQuery, RecordingState, StateFilter,
    TENANT_KEY, Thumbnail,
};
#[cfg(feature = "http")]
pub use recordings::{KeepError, RecordingOptions, Recordings};
#[cfg(feature = "postgres")]
pub use recordings::{PostgresOptions, PostgresRecordings};
pub use secret::Secret;
pub use server::{BbbLoad, BbbServer};
#[cfg(feature = "recordings")]
pub use service::RecordingDesk;
#[cfg(feature = "http")]
pub use service::{BbbService, BodyPlan, Payload, RequestHead, Surface};
#[cfg(feature = "redis")]
pub use store::RedisMeetings;
pub use store::{
    CallbackStore, CallbackUrls, Claimed, Delivery, DeliveryKind, Doubt, Fence, Figures, Hook, HookAdded, HookBook,
    LRS_FIELDS, LocalStore, Look, MAX_HOOKS, MeetingClaim, MeetingRecord, MeetingStore, Peer, PollRecord, Registry,
    ServerPatch, ServerRecord, ServerState, SharedPoll, TenantLimits, TenantPatch, TenantRecord, TenantSaved,
    TenantSetting, TenantStore, tenant_meeting_id,
};
