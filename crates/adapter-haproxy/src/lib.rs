//! HAProxy: where it will send a room before it does, what its configuration says, and what is wrong with it.

mod room;

pub use room::{
    Affinity, Classified, MAX_BODY_LEN, MAX_TARGET_LEN, Request, RequestKind, RoomRule, SourceRule, classify,
    jitsi_client_room, jitsi_room_key, room_from_state,
};
