//! Jitsi: bridges seen as jicofo sees them, ranked and chosen as jicofo would.
//!
//! Jicofo chooses a bridge for every participant by rules that are spread over a dozen settings, and it tells nobody
//! why, nor what it would do. This crate reads what bridges say in the brewery, keeps their state by jicofo's own rules
//! (late and odd figures, the ramp-up correction, the minute after a failure) and makes the same choice, with a reason.
//! So a choice can be foreseen, explained and replayed; and where jicofo is known to pack a burst or a row of empty
//! rooms on one bridge, [`Extras`] do better, if switched on. All this is pure: no sockets, no clock. Only the client that
//! watches a brewery and the probe over HTTP have them, behind features.
//!
//! ```
//! use std::time::Duration;
//! use adapter_jitsi::{BridgeTable, ConferenceBook, FocusSettings, Participant, PlainStrategy, read_presence};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let brewery = "jvbbrewery@internal.auth.meet.example";
//! let mut settings = FocusSettings::default();
//! settings.strategy = PlainStrategy::RegionBased.into();
//! settings.octo = true;
//! let mut book = ConferenceBook::new(&settings);
//! let mut bridges = BridgeTable::try_new(settings)?;
//! for (nick, stress, region) in [("jvb1", "0.31", "eu"), ("jvb2", "0.12", "us")] {
//!     let presence = format!(
//!         "<presence from='{brewery}/{nick}'><stats xmlns='http://jitsi.org/protocol/colibri'>\
//!          <stat name='stress_level' value='{stress}'/><stat name='drain' value='false'/>\
//!          <stat name='region' value='{region}'/><stat name='relay_id' value='{nick}'/></stats></presence>"
//!     );
//!     bridges.apply(&read_presence(presence.as_bytes(), brewery)?, Duration::ZERO)?;
//! }
//! let now = Duration::from_secs(1);
//! let choice = book.join(&mut bridges, "algebra", &Participant::of_region("eu"), now)?;
//! assert_eq!(choice.bridge.as_str(), format!("{brewery}/jvb1"));
//! assert_eq!(choice.reason.text(), "not overloaded, in the region");
//! # Ok(())
//! # }
//! ```
//!
//! # What there is
//!
//! | Part | Names |
//! | --- | --- |
//! | What a presence says | [`read_presence`], [`Presence`], [`Occupant`], [`BridgeReport`], [`read_number`], [`read_bool`] |
//! | What a focus knows of its bridges | [`BridgeTable`], [`BridgeView`], [`BridgeCounts`], [`BridgeWarning`] |
//! | Its settings | [`FocusSettings`], [`SelectionStrategy`], [`PlainStrategy`], [`RegionGroups`], [`IceFailureDetection`], [`Extras`] |
//! | Checks and failed requests | [`HealthOutcome`], [`ColibriAnswer`], [`AnswerEffect`], [`Evacuation`] |
//! | One choice | [`Conference`], [`ConferenceBridge`], [`Choice`], [`Reason`], [`NoBridge`], [`Gate`] |
//! | All conferences | [`ConferenceBook`], [`Participant`], [`Pins`] |
//! | Moving endpoints | [`moves`], [`Move`], [`Moving`], [`Redistributor`] |
//! | How many bridges | [`CapacityAdvisor`], [`CapacityAdvice`]; as jitsi-autoscaler: [`autoscale`], [`launches`] |
//! | Rooms of requests | [`room_of`], [`RoomRequest`], [`room_key`], [`client_room`] |
//! | Rooms over several Jitsis | [`Shards`], [`Shard`], [`ShardOptions`], [`ShardChoice`], [`ShardPins`], [`FocusRooms`]; how they are: `ShardProbe` |
//! | Files checked | [`JitsiFile`], [`BridgeLogin`], [`JitsiDoctor`], [`Finding`], [`PortWanted`] |
//! | The focus's log | [`read_log_line`], [`LogLine`], [`LogEvent`], [`LogFollower`], [`LineSplitter`], [`BridgeHistory`] |
//! | In a pool of the core | [`BridgePool`], [`BridgeStrategy`], [`SharedBridges`], [`BridgeClock`], [`Bridge`], [`StressLoad`] |
//! | Watching a brewery over XMPP | `BreweryClient`, `ClientOptions`, [`LoginOptions`], [`BreweryEvent`], [`XmppError`] |
//! | The same without sockets | [`StreamReader`], [`Element`], [`Sasl`], [`Session`], [`Watch`] |
//! | Asking bridges over HTTP | `RestProbe`, `BridgeFigures`; what follows of it: [`HealthOutcome::of_probe`] |
//! | For tests | `testing`: bridges that log in to a real XMPP server, and shards, that misbehave on command |
//! | How a bridge makes its stress | [`LoadMeasurement`] |
//!
//! # Ports of a cluster
//!
//! | From | To | Port | For |
//! | --- | --- | --- | --- |
//! | browsers | web server | 80, 443 TCP | pages, and signalling through the web server to Prosody |
//! | bridges, focus | Prosody | 5222 TCP | logging in to the brewery: [`JitsiDoctor::wanted_ports`] names it for each bridge |
//! | components of older releases | Prosody | 5347 TCP | the same machine as a rule |
//! | browsers | bridges | 10000 UDP | media |
//! | the same machine | bridge, focus | 8080, 8888 TCP | `/about/health`, `/colibri/stats`: never open them to the world |
//!
//! # What is promised
//!
//! - With the [`Extras`] off every choice is jicofo's. Where jicofo leaves it to chance, among equals, the lower JID is
//!   chosen.
//! - A choice looks at few bridges: their order is kept while figures come in. It allocates nothing.
//! - No bridge that is gone or out gets anybody new while another one is there.
//! - Nothing panics on any bytes; sizes, depths and counts are limited.
//! - Losing our own connection to a brewery is never taken for the death of its bridges.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! | --- | --- | --- |
//! | `xmpp` | yes | `BreweryClient`: logs in, joins the brewery, comes back after whatever happens |
//! | `rest` | no | `RestProbe`: a bridge's `/about/health` and `/colibri/stats`; `ShardProbe`: all parts of a shard |
//! | `testing` | no | `testing`: stand-ins for bridges and shards |

mod autoscale;
mod brewery;
mod bridge;
mod conference;
mod files;
mod logs;
mod rank;
mod redistribute;
mod region;
#[cfg(feature = "rest")]
mod rest;
mod rooms;
mod select;
mod shards;
#[cfg(feature = "testing")]
pub mod testing;
mod xmpp;

pub use autoscale::{
    AdviceReason, CapacityAdvice, CapacityAdvisor, CapacityBridge, CapacitySettings, GroupKind, GroupState,
    LaunchAdvice, MAX_PERIODS, MAX_SAMPLES, RegionCapacity, Scaling, ScalingInstance, ScalingMetric, ScalingReason,
    ScalingSettings, autoscale, launches,
};
pub use brewery::{
    BridgeReport, MAX_ATTRIBUTES, MAX_PRESENCE, MAX_PRESENCE_DEPTH, MAX_STATS, MAX_TEXT, Occupant, Presence,
    PresenceError, read_bool, read_number, read_presence,
};
pub use bridge::{
    AnswerEffect, Bridge, BridgeCounts, BridgeTable, BridgeView, BridgeWarning, ColibriAnswer, Evacuation, Extras,
    FocusSettings, HealthOutcome, IceFailureDetection, LoadMeasurement, MAX_BRIDGES, MAX_DEPARTED, PlainStrategy, Seen,
    SelectionStrategy, SettingsError, StressLoad, TableError, Update,
};
pub use conference::{
    Conference, ConferenceBook, ConferenceBridge, MAX_CONFERENCES, MAX_PINS, Participant, PinError, Pins,
};
pub use files::{
    BridgeLogin, FileDefect, FileError, FileKind, Finding, JITSI_RULES, JitsiDoctor, JitsiFile, JitsiHost, Level,
    MAX_FILE, MAX_FILE_DEPTH, MAX_SETTINGS, PortSeen, PortWanted, RuleInfo, Setting, Transport,
};
pub use logs::{
    BridgeChange, BridgeHistory, BridgeStep, FollowStart, Followed, LineSplitter, LogEvent, LogEventKind, LogFollower,
    LogLevel, LogLine, LoggedBridge, MAX_FOLLOW_READ, MAX_HISTORY, MAX_LINE, MAX_NOTES, read_log_line,
};
pub use redistribute::{ConferenceOn, Move, Moving, RedistributionSettings, Redistributor, moves};
pub use region::{RegionGroup, RegionGroups};
#[cfg(feature = "rest")]
pub use rest::{BridgeFigures, RestProbe};
pub use rooms::{MAX_ROOM_TARGET, RoomRequest, RoomRequestKind, client_room, room_key, room_of};
pub use select::{BridgeClock, BridgePool, BridgeStrategy, Choice, Gate, NoBridge, Reason, SharedBridges};
#[cfg(feature = "rest")]
pub use shards::{BridgeSource, PartSeen, ShardPart, ShardProbe, ShardSeen, focus_rooms};
pub use shards::{
    FocusRooms, Kept, MAX_FOCUS_ROOMS, MAX_PINNED_ROOMS, MAX_SHARDS, Shard, ShardAddresses, ShardChoice, ShardError,
    ShardEvent, ShardLoad, ShardOptions, ShardPin, ShardPins, ShardRooms, ShardStep, ShardUnit, Shards,
};
pub use xmpp::{
    Action, Backoff, BareJid, BreweryEvent, Channel, Element, JidError, LeaveReason, LoginOptions,
    MAX_STANZA_ATTRIBUTES, MAX_STANZA_DEPTH, MAX_STANZA_ELEMENTS, MAX_WATCHED, Mechanism, OccupantJid, Password,
    Patience, Sasl, SaslError, Scope, Session, Signal, StanzaError, StreamError, StreamItem, StreamLimits,
    StreamReader, Watch, XmppError, escape,
};
#[cfg(feature = "xmpp")]
pub use xmpp::{BreweryClient, BreweryFeed, ClientOptions, RootsError, TlsRoots};
