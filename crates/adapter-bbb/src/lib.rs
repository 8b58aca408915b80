//! BigBlueButton for `balancer-core`.

mod api;

pub use api::{
    Algorithm, Algorithms, AlgorithmsError, BodyKind, BodyRule, Call, ChecksumFault, Checksums, Child, CreateContext,
    Fault, LoadFormula, LoadKind, MAX_DEPTH, MAX_MEETINGS, MAX_PARAMS, MeetingEntry, ParamError, ParamRules, Params,
    Reply, ReplyError, Route, RuleError, ServerFigures, StaticPath, TagWish, VoiceBridges, check_content_type,
    create_params, effective_tag, join_params, meetings, meetings_up_to, route, secrets, sign, signed_url, static_path,
    write_empty_recordings, write_index, write_meetings, write_no_meetings, write_running,
};
