//! HAProxy: where it will send a room before it does, what its configuration says, and what is wrong with it.

pub mod balance;
mod config;
mod doctor;
pub mod render;
mod room;
#[cfg(test)]
mod testing;
mod version;

pub use config::{
    ConfigError, ConfigFile, ConfigLine, ConfigSection, Edit, LineFault, MAX_CONFIG_LEN, MAX_CONFIG_LINES,
    MAX_LINE_WORDS, SectionKind, Word, apply_edits, quote_word,
};
pub use doctor::{
    Cured, DOCTOR_RULES, Doctor, FileReader, Finding, Fix, Level, Listener, LogCause, LogFinding, MAX_LOG_LEN,
    RuleInfo, explain_log, haproxy_listeners, listener_clashes, nginx_listeners,
};
pub use room::{
    Affinity, Classified, MAX_BODY_LEN, MAX_TARGET_LEN, Request, RequestKind, RoomRule, SourceRule, classify,
    jitsi_client_room, jitsi_room_key, room_from_state,
};
pub use version::{HaproxyVersion, VersionError};
