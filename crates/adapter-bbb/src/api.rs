//! The BigBlueButton API as pure functions: no sockets, no clock, no runtime.

mod calls;
mod checksum;
#[cfg(feature = "http")]
mod dial_in;
#[cfg(feature = "http")]
mod documents;
mod fault;
#[cfg(feature = "http")]
mod jwt;
mod load;
#[cfg(feature = "http")]
mod lrs;
mod params;
mod rules;
mod voice;
mod xml;

pub use calls::{BodyKind, BodyRule, Call, Route, StaticPath, check_content_type, route, static_path};
pub use checksum::{Algorithm, Algorithms, AlgorithmsError, ChecksumFault, Checksums, secrets, sign};
#[cfg(feature = "http")]
pub(crate) use dial_in::{Prompt, again, bridge, caller_name, not_found, welcome};
#[cfg(feature = "http")]
pub(crate) use documents::DocumentScan;
pub use fault::Fault;
#[cfg(feature = "http")]
pub(crate) use jwt::{TokenKind, signed_token, verified_claims};
pub use load::{LoadFormula, LoadKind, ServerFigures};
#[cfg(feature = "http")]
pub(crate) use lrs::payload;
#[cfg(feature = "http")]
pub(crate) use params::uploaded_file;
pub use params::{MAX_PARAMS, ParamError, Params, signed_url};
pub use rules::{
    CreateContext, ParamRules, RuleError, TagWish, create_params, effective_tag, is_fixed_for_tenants, join_params,
};
pub use voice::VoiceBridges;
pub use xml::{
    Child, MAX_DEPTH, MAX_MEETINGS, MeetingEntry, Reply, ReplyError, meetings, meetings_up_to, write_empty_recordings,
    write_index, write_meetings, write_no_meetings, write_running,
};
#[cfg(feature = "http")]
pub(crate) use xml::{HookEntry, hooks, push_element, push_text, write_hooks, write_success};
#[cfg(feature = "recordings")]
pub(crate) use xml::{Scanner, Step};
