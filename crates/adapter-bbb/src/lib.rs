//! BigBlueButton for `balancer-core`.

mod api;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod cluster;
#[cfg(feature = "http")]
mod http_server;
#[cfg(feature = "http")]
mod options;
mod secret;
mod server;
#[cfg(feature = "http")]
mod service;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use api::{
    Algorithm, Algorithms, AlgorithmsError, BodyKind, BodyRule, Call, ChecksumFault, Checksums, Child, CreateContext,
    Fault, LoadFormula, LoadKind, MAX_DEPTH, MAX_MEETINGS, MAX_PARAMS, MeetingEntry, ParamError, ParamRules, Params,
    Reply, ReplyError, Route, RuleError, ServerFigures, StaticPath, TagWish, VoiceBridges, check_content_type,
    create_params, effective_tag, join_params, meetings, meetings_up_to, route, secrets, sign, signed_url, static_path,
    write_empty_recordings, write_index, write_meetings, write_no_meetings, write_running,
};
#[cfg(feature = "http")]
pub use client::{BbbClient, CallBody, CallError, CallLimits, ClientError, Upload};
#[cfg(feature = "http")]
pub use cluster::{Cluster, ClusterError};
#[cfg(feature = "http")]
pub use http_server::{Bind, BindError, HttpLimits, HttpServer};
#[cfg(feature = "http")]
pub use options::BbbOptions;
pub use secret::Secret;
pub use server::{BbbLoad, BbbServer};
#[cfg(feature = "http")]
pub use service::{BbbService, BodyPlan, Payload, RequestHead};
#[cfg(feature = "redis")]
pub use store::RedisMeetings;
pub use store::{
    Claimed, Figures, LocalStore, Look, MeetingClaim, MeetingRecord, MeetingStore, PollRecord, Registry, ServerPatch,
    ServerRecord, ServerState,
};
