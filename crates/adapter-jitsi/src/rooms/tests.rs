use proptest::prelude::*;

use super::*;

#[test]
fn whole_urls_and_long_ones() {
    assert_eq!(room_of("https://meet.example/Acme/Standup?jwt=x").key().as_deref(), Some("acme/standup"));
    assert_eq!(room_of("https://meet.example").key(), None);
    assert_eq!(room_of("/http-bind?prefix=Acme&room=a").key().as_deref(), Some("acme/a"));
    assert_eq!(room_of("/acme/_api/room-info?room=a").key().as_deref(), Some("acme/a"));
    assert_eq!(room_of(format!("/{}", "x".repeat(MAX_ROOM_TARGET))).key(), None);
    assert_eq!(room_of([b'/', 0xff]).kind, RoomRequestKind::Page);
}

fn any_bytes(bytes: &[u8]) {
    for front in ["", "/", "/a/http-bind?room=", "http://h/", "/x?room=%"] {
        let seen = room_of([front.as_bytes(), bytes].concat());
        assert!(seen.room.is_none_or(|room| !room.is_empty()));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        any_bytes(&bytes);
    }

    /// A key is a spelling of its own room.
    #[test]
    fn keys_are_stable(name in "[a-zA-Z0-9äÖé%\\- ]{1,20}") {
        let key = client_room(&name);
        prop_assert_eq!(client_room(&key), key);
    }
}
