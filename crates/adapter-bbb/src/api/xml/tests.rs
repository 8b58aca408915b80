use proptest::prelude::*;

use super::super::Fault;
use super::*;

const INFO: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<response a=\"1\">\n <!-- x --><returncode>SUCCESS</returncode>\
    <name>\u{dc}n\u{ef} &lt;&amp;&#x2603;<![CDATA[<raw>]]></name><list><a x='&quot;'><a/></a>t</list><messageKey/></response>\n";

fn parse(text: &str) -> Result<Reply<'_>, ReplyError> {
    Reply::parse(text.as_bytes())
}

#[test]
fn a_success_is_kept_as_it_was_written() {
    let reply = parse(INFO).unwrap();
    assert!(reply.is_success());
    assert_eq!(reply.text("name").as_deref(), Some("Ünï <&☃<raw>"));
    assert_eq!(reply.text("list").as_deref(), Some("t"));
    assert_eq!(reply.text("absent"), None);
    assert_eq!(reply.message_key(), None);
    assert_eq!(reply.fault(), None);
    let names: Vec<&str> = reply.children().map(|child| child.name).collect();
    assert_eq!(names, ["returncode", "name", "list", "messageKey"]);
    let raws: Vec<&[u8]> = reply.children().map(|child| child.raw).collect();
    assert_eq!(raws[2..], [&b"<list><a x='&quot;'><a/></a>t</list>"[..], b"<messageKey/>"]);
    let mut out = Vec::new();
    reply.write_xml(&mut out);
    let body = INFO.split_once("?>\n").unwrap().1;
    assert_eq!(out, [b"<?xml version=\"1.0\"?>\n", body.as_bytes()].concat());
}

#[test]
fn a_failure_gives_key_and_message() {
    let failed = "<response><returncode>FAILED</returncode><messageKey>odd</messageKey><message>O &amp; ☃</message>\
        <more/></response>";
    let want = Fault::Passed { key: "odd".into(), message: "O & ☃".into() };
    assert_eq!(parse(failed).unwrap().fault(), Some(want));
    let keyless = parse("<response><returncode>FAILED</returncode></response>").unwrap();
    assert!(!keyless.is_success() && keyless.fault().is_none());
}

#[test]
fn unusable_answers_are_refused() {
    let ok = "<returncode>SUCCESS</returncode>";
    let deep = |levels: usize| format!("<response>{ok}{}{}</response>", "<a>".repeat(levels), "</a>".repeat(levels));
    assert!(parse(&deep(MAX_DEPTH - 1)).is_ok());
    assert!(matches!(parse(&deep(MAX_DEPTH)), Err(ReplyError::Malformed { what: "nested too deeply", .. })));
    for text in [
        "",
        "   ",
        "boom",
        "\u{1}<<<not xml & at all",
        "<response>",
        &format!("<response>{ok}"),
        &format!("<response>{ok}</respons>"),
        &format!("<response>{ok}</response></response>"),
        &format!("<response>{ok}</response><response/>"),
        &format!("<response>{ok}</response>x"),
        &format!("<response>{ok}<a></response></a>"),
        &format!("<response>{ok}&nope;</response>"),
        &format!("<response>{ok}&#0;</response>"),
        &format!("<response>{ok}&#xD800;</response>"),
        &format!("<response>{ok} & </response>"),
        &format!("<response>{ok}<?php x?></response>"),
        &format!("<response>{ok}<a b=1/></response>"),
        &format!("<response>{ok}<a b='1' b='2'/></response>"),
        &format!("<response>{ok}<a b='&x;'/></response>"),
        &format!("<response>{ok}<1a/></response>"),
        &format!("<response>{ok}{ok}</response>"),
        &format!("<response>{ok}<messageKey/><messageKey/></response>"),
        &format!("<!DOCTYPE response><response>{ok}</response>"),
        &format!("<?xml-stylesheet href='x'?><response>{ok}</response>"),
        &format!(" <?xml version='1.0'?><response>{ok}</response>"),
    ] {
        assert!(matches!(parse(text), Err(ReplyError::Malformed { .. })), "{text}: {:?}", parse(text));
        assert!(matches!(meetings(text.as_bytes()), Err(ReplyError::Malformed { .. })), "{text}");
    }
    for text in ["<html><head/></html>", "<response><hello>world</hello></response>", "<response/>"] {
        assert_eq!(parse(text).unwrap_err(), ReplyError::NoReturncode);
        assert_eq!(meetings(text.as_bytes()).unwrap_err(), ReplyError::NoReturncode);
    }
    let nested = "<response><x><returncode>SUCCESS</returncode></x></response>";
    assert_eq!(parse(nested).unwrap_err(), ReplyError::NoReturncode);
    assert_eq!(Reply::parse(b"<response>\xff").unwrap_err(), ReplyError::Utf8 { offset: 10 });
    assert!(parse(&format!("\u{feff}<response>{ok}</response>")).unwrap().is_success());
}

/// A list shaped like that of a real server.
fn list(count: usize) -> String {
    let mut text = "<response><returncode>SUCCESS</returncode><meetings>".to_owned();
    for n in 0..count {
        text += &format!(
            "<meeting><meetingName>Course {n} &amp; more</meetingName><meetingID>room-{n}&lt;</meetingID>\
            <internalMeetingID>183f0bf3a0982a127bdb8161e0c44eb696b3e75c-1531240585189</internalMeetingID>\
            <createTime>{}</createTime><createDate>Tue Jul 10 16:36:25 UTC 2018</createDate><voiceBridge>70066</voiceBridge>\
            <dialNumber>613-555-1234</dialNumber><attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW>\
            <running>true</running><duration>0</duration><hasUserJoined>true</hasUserJoined><recording>false</recording>\
            <hasBeenForciblyEnded>false</hasBeenForciblyEnded><startTime>1531240585239</startTime><endTime>0</endTime>\
            <participantCount>{n}</participantCount><listenerCount>1</listenerCount>\
            <voiceParticipantCount>0</voiceParticipantCount><videoCount>2</videoCount><maxUsers>0</maxUsers>\
            <moderatorCount>1</moderatorCount><attendees><attendee><userID>u</userID><fullName>A User</fullName>\
            <role>MODERATOR</role></attendee></attendees><metadata><tenant-id>t{n}</tenant-id><course>c</course></metadata>\
            <isBreakout>{}</isBreakout></meeting>\n",
            1_531_240_585_000u64 + n as u64,
            n == 1,
        );
    }
    text + "</meetings></response>"
}

#[test]
fn lists_are_read_in_one_pass() {
    let text = list(3);
    let entries = meetings(text.as_bytes()).unwrap();
    assert_eq!(entries.len(), 3);
    let second = &entries[1];
    assert!(second.raw.starts_with(b"<meeting><meetingName>") && second.raw.ends_with(b"</meeting>"));
    let want = MeetingEntry {
        raw: second.raw,
        id: "room-1<".into(),
        participants: 1,
        moderators: 1,
        videos: 2,
        created_ms: Some(1_531_240_585_001),
        breakout: true,
        running: true,
        forcibly_ended: false,
        moderator_pw: "mp".into(),
        voice_bridge: "70066".into(),
        tenant: Some("t1".into()),
    };
    assert_eq!(*second, want);
    assert_eq!(meetings_up_to(text.as_bytes(), 2).unwrap_err(), ReplyError::TooMany { limit: 2 });
    assert!(meetings_up_to(text.as_bytes(), 3).is_ok());
}

#[test]
fn odd_lists() {
    let read = |inner: &str| {
        let text = format!("<response><meetings>{inner}</meetings><returncode>SUCCESS</returncode></response>");
        let entries = meetings(text.as_bytes()).unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.id.into_owned(), entry.participants, entry.created_ms))
            .collect::<Vec<_>>()
    };
    assert_eq!(read(""), []);
    assert_eq!(read("<meeting/>"), [(String::new(), 0, None)]);
    assert_eq!(read("<other><meetingID>x</meetingID></other>"), []);
    assert_eq!(
        read(
            "<meeting><participantCount>-3</participantCount><createTime>soon</createTime><meetingID>a</meetingID></meeting>"
        ),
        [("a".to_owned(), 0, None)]
    );
    assert_eq!(
        read(
            "<meeting><x>t<participantCount>9</participantCount></x><meetingID>a<b/>c</meetingID><meetingID>d</meetingID>\
            <participantCount> 7 </participantCount></meeting><meeting><meetingID><![CDATA[e]]>f</meetingID></meeting>"
        ),
        [("d".to_owned(), 7, None), ("ef".to_owned(), 0, None)]
    );
    let refused =
        "<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey><message/></response>";
    let want = ReplyError::Refused { key: Some("checksumError".into()), message: None };
    assert_eq!(meetings(refused.as_bytes()).unwrap_err(), want);
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn our_documents() {
    let names = |text: &str| {
        let reply = parse(text).unwrap();
        assert!(reply.is_success());
        reply.children().map(|child| child.name.to_owned()).collect::<Vec<_>>().join(" ")
    };
    let index = written(|out| write_index(out, Some("b<1>\u{1}")));
    assert_eq!(names(&index), "returncode version build");
    assert_eq!(parse(&index).unwrap().text("build").as_deref(), Some("b<1>"));
    assert_eq!(parse(&index).unwrap().text("version").as_deref(), Some("2.0"));
    assert_eq!(names(&written(|out| write_index(out, None))), "returncode version");
    let running = written(|out| write_running(out, false));
    assert_eq!(names(&running), "returncode running");
    assert_eq!(parse(&running).unwrap().text("running").as_deref(), Some("false"));
    let none = written(write_no_meetings);
    assert_eq!(names(&none), "returncode messageKey message meetings");
    assert_eq!(parse(&none).unwrap().message_key(), Some("noMeetings"));
    assert_eq!(parse(&none).unwrap().message(), Some("no meetings were found on this server"));
    assert_eq!(written(|out| write_meetings(out, [])), none);
    let recordings = written(write_empty_recordings);
    assert_eq!(names(&recordings), "returncode recordings messageKey message");
    assert!(recordings.starts_with("<response>"));
    assert_eq!(parse(&recordings).unwrap().message(), Some("There are not recordings for the meetings"));
    for text in [&index, &running, &none] {
        assert!(text.starts_with("<?xml version=\"1.0\"?>\n<response>\n  <returncode>SUCCESS</returncode>\n"));
    }
}

#[test]
fn joined_lists_read_back() {
    let (first, second) = (list(2), list(3).replace("A User", "A\u{b}\u{ffff}\u{fffd}"));
    let entries: Vec<_> = [&first, &second].into_iter().flat_map(|text| meetings(text.as_bytes()).unwrap()).collect();
    let joined = written(|out| write_meetings(out, entries.iter().map(|entry| entry.raw)));
    assert_eq!(meetings(joined.as_bytes()).unwrap().len(), 5);
    assert!(joined.contains("<fullName>A\u{fffd}</fullName>") && !joined.contains('\u{b}'));
    let names: Vec<&str> = parse(&joined).unwrap().children().map(|child| child.name).collect();
    assert_eq!(names, ["returncode", "meetings"]);
}

fn document() -> impl Strategy<Value = String> {
    let leaf = "[a-z ☃]{0,6}|&amp;|&#65;|<!--c-->|<x/>|<x a=\"1\"></x>|<!\\[CDATA\\[<&\\]\\]>";
    let inner = prop::collection::vec(leaf, 0..4).prop_map(|parts| parts.concat());
    let child = ("[a-zA-Z_][a-z-]{0,4}", inner).prop_map(|(name, inner)| format!("<{name}>{inner}</{name}>"));
    prop::collection::vec(child, 0..6)
        .prop_map(|children| format!("<response><returncode>SUCCESS</returncode>{}</response>", children.concat()))
}

proptest! {
    #[test]
    fn bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Reply::parse(&raw);
        let _ = meetings(&raw);
    }

    #[test]
    fn markup_never_panics(
        raw in "(<response>|</response>|<meetings>|<meeting>|</meeting>|<meetingID>|</meetingID>|<a/>|<!|--|>|&|;|#x|\\?|\\[CDATA\\[|\\]\\]>|=|\"|é|x| ){0,30}",
    ) {
        if let Ok(reply) = Reply::parse(raw.as_bytes()) {
            reply.write_xml(&mut Vec::new());
        }
        let _ = meetings(raw.as_bytes());
    }

    #[test]
    fn a_document_written_again_reads_the_same(text in document()) {
        let reply = parse(&text).unwrap();
        let mut out = Vec::new();
        reply.write_xml(&mut out);
        let again = Reply::parse(&out).unwrap();
        prop_assert_eq!(again.children().collect::<Vec<_>>(), reply.children().collect::<Vec<_>>());
        for child in reply.children() {
            prop_assert_eq!(again.text(child.name), reply.text(child.name));
        }
    }

    #[test]
    fn any_text_survives_escaping(key in ".*", message in ".*") {
        let mut out = Vec::new();
        Fault::Passed { key: key.clone(), message: message.clone() }.write_xml(&mut out);
        let reply = Reply::parse(&out).unwrap();
        let clean = |text: &str| text.chars().filter(|char| scan::is_xml_char(*char)).collect::<String>();
        prop_assert_eq!(reply.message().unwrap_or_default(), clean(&message));
        prop_assert_eq!(reply.text("messageKey").unwrap(), clean(&key));
    }
}
