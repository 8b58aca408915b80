use proptest::prelude::*;

use super::*;

const ROOM: &str = "jvbbrewery@internal.auth.meet.example";

fn stanza(inner: &str) -> String {
    format!("<presence from='{ROOM}/jvb1'>{inner}</presence>")
}

#[test]
fn a_document_type_is_refused() {
    let text = format!("<!DOCTYPE presence [<!ENTITY a 'b'>]>{}", stanza(""));
    assert!(matches!(read_presence(text.as_bytes(), ROOM), Err(PresenceError::Malformed { .. })));
}

#[test]
fn limits_hold() {
    let deep = stanza(&format!("{}{}", "<a>".repeat(40), "</a>".repeat(40)));
    assert!(matches!(read_presence(deep.as_bytes(), ROOM), Err(PresenceError::Malformed { .. })));
    let many: String = (0..=MAX_ATTRIBUTES).map(|n| format!(" a{n}=''")).collect();
    assert!(matches!(
        read_presence(stanza(&format!("<a{many}/>")).as_bytes(), ROOM),
        Err(PresenceError::Malformed { .. })
    ));
    let long = vec![b' '; MAX_PRESENCE + 1];
    assert!(matches!(read_presence(&long, ROOM), Err(PresenceError::TooLong { .. })));
    let stats: String = (0..=MAX_STATS).map(|n| format!("<stat name='n{n}' value='1'/>")).collect();
    let many = stanza(&format!("<stats xmlns='{COLIBRI}'>{stats}</stats>"));
    assert_eq!(read_presence(many.as_bytes(), ROOM), Err(PresenceError::TooMany));
}

#[test]
fn text_is_no_value_and_entities_are_read() {
    let text = stanza(&format!(
        "<stats xmlns='{COLIBRI}'><stat name='region'>eu</stat><stat name='version' value='&#x41;&amp;'/></stats>"
    ));
    let Ok(Presence::Update { report, .. }) = read_presence(text.as_bytes(), ROOM) else { panic!("{text}") };
    assert_eq!((report.get("region"), report.get("version")), (None, Some("A&")));
    for bad in ["&nbsp;", "<a b='&nbsp;'/>", "<a b='1' b='2'/>", "<c:stats/>", "<!-- -->", "<?a b?>"] {
        assert!(read_presence(stanza(bad).as_bytes(), ROOM).is_err(), "{bad}");
    }
}

#[test]
fn other_stanzas_are_named() {
    assert_eq!(read_presence(b"<message from='a@b/c'/>", ROOM), Err(PresenceError::NotPresence));
    let probe = format!("<presence type='probe' from='{ROOM}/jvb1'><stats xmlns='{COLIBRI}'/></presence>");
    assert!(matches!(read_presence(probe.as_bytes(), ROOM), Ok(Presence::Ignore { .. })));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = read_presence(&bytes, ROOM);
    }

    #[test]
    fn no_piece_of_a_stanza_panics(cut in 0usize..400, junk: Vec<u8>, at in 0usize..400) {
        let whole = stanza(&format!(
            "<stats xmlns='{COLIBRI}'><stat name='stress_level' value='0.5'/><stat name='drain' value='false'/></stats>\
             <x xmlns='{MUC_USER}'><status code='110'/></x>"
        ));
        let mut bytes = whole.into_bytes();
        let at = at.min(bytes.len());
        bytes.splice(at..at, junk);
        bytes.truncate(cut);
        let _ = read_presence(&bytes, ROOM);
    }

    #[test]
    fn what_is_written_is_read(name in "[a-z_]{1,12}", value in "[ -~]{0,40}") {
        let escaped = quick_xml::escape::escape(&value);
        let text = stanza(&format!("<stats xmlns='{COLIBRI}'><stat name='{name}' value='{escaped}'/></stats>"));
        let Ok(Presence::Update { report, .. }) = read_presence(text.as_bytes(), ROOM) else { panic!("{text}") };
        prop_assert_eq!(report.get(&name), Some(value.as_str()));
    }
}
