use proptest::prelude::*;

use super::*;

const WHOLE: &str = r#"<?xml version="1.0"?>
<recording>
  <id>183f0bf3-1554230749920</id>
  <state>available</state>
  <published>true</published>
  <start_time>1554230749920</start_time>
  <end_time>1554230781000</end_time>
  <participants>3</participants>
  <meeting id="183f0bf3-1554230749920" externalId="other" name="Other" breakout="false"/>
  <meta>
    <meetingId>random-7739 &amp; more</meetingId>
    <meetingName>Übung 1</meetingName>
    <isBreakout>false</isBreakout>
    <gl-listed>true</gl-listed>
    <empty/>
  </meta>
  <playback>
    <format>presentation</format>
    <link>https://bbb.example.com/playback/presentation/2.3/183f0bf3-1554230749920?a=b#c</link>
    <processing_time>5430</processing_time>
    <duration>90000</duration>
    <extensions><preview><images>
      <image width="176" height="136" alt="Eins &lt;1&gt; &#x263a;">https://bbb.example.com/presentation/183f/thumb-1.png?x=1</image>
      <image width="wide" alt="">/presentation/183f/thumb-2.png</image>
    </images></preview></extensions>
  </playback>
  <size>12</size>
</recording>"#;

fn described(text: &str) -> Result<Recording, MetadataError> {
    describe(text.as_bytes())
}

#[test]
fn everything_that_is_said_is_read() {
    let r = described(WHOLE).unwrap();
    assert_eq!((r.record_id.as_str(), r.meeting_id.as_str()), ("183f0bf3-1554230749920", "random-7739 & more"));
    assert_eq!((r.name.as_str(), r.published, r.state), ("Übung 1", true, Some(RecordingState::Published)));
    assert_eq!((r.start_ms, r.end_ms), (Some(1_554_230_749_920), Some(1_554_230_781_000)));
    assert_eq!(r.participants, Some(3));
    let meta: Vec<_> = r.metadata.iter().map(|m| (m.key.as_str(), m.value.as_str())).collect();
    assert_eq!(meta, [("gl-listed", "true"), ("empty", "")]);
    let [format] = r.formats.as_slice() else { panic!("one format") };
    assert_eq!(format.format, "presentation");
    assert_eq!(format.url, "/playback/presentation/2.3/183f0bf3-1554230749920?a=b");
    assert_eq!((format.length, format.processing_time), (Some(2), Some(5430)));
    let [one, two] = format.thumbnails.as_slice() else { panic!("two previews") };
    assert_eq!((one.width, one.height, one.sequence), (Some(176), Some(136), 0));
    assert_eq!((one.alt.as_str(), one.url.as_str()), ("Eins <1> ☺", "/presentation/183f/thumb-1.png"));
    assert_eq!((two.width, two.alt.as_str(), two.sequence), (None, "", 1));
}

#[test]
fn minutes_are_rounded_and_states_kept() {
    for (ms, minutes) in [("0", Some(0)), ("29999", Some(0)), ("30000", Some(1)), ("89999", Some(1)), ("", None)] {
        let r = described(&WHOLE.replace("90000", ms)).unwrap();
        assert_eq!(r.formats[0].length, minutes, "{ms}");
    }
    let r = described(&WHOLE.replace("available", "processed").replace(">true</pub", ">false</pub")).unwrap();
    assert_eq!((r.published, r.state), (false, Some(RecordingState::Processed)));
    // Newer servers name the meeting beside its metadata, some of them there alone.
    let r = described(&WHOLE.replace("meetingId>", "x1>").replace("meetingName>", "x2>")).unwrap();
    assert_eq!((r.meeting_id.as_str(), r.name.as_str()), ("other", "Other"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (cut, says) in [
        ("<id>183f0bf3-1554230749920</id>", "recording/id"),
        ("<format>presentation</format>", "playback/format"),
        (
            "<link>https://bbb.example.com/playback/presentation/2.3/183f0bf3-1554230749920?a=b#c</link>",
            "playback/link",
        ),
        ("</recording>", "metadata.xml: it is not usable XML"),
    ] {
        let said = described(&WHOLE.replace(cut, "")).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
    let said = described(&WHOLE.replace("1554230781000", "soon")).unwrap_err().to_string();
    assert_eq!(said, "metadata.xml: end_time is \"soon\"");
    let image = "<image width=\"1\">/x</image>".repeat(1001);
    assert!(described(&WHOLE.replace("</images>", &(image + "</images>"))).is_err());
    assert!(described(&WHOLE.replace("Übung 1", &"x".repeat(70_000))).is_err());
    assert!(described(&format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{WHOLE}")).is_err());
    assert!(describe(&vec![b' '; 5 << 20]).is_err());
}

#[test]
fn links_lose_their_host_and_never_name_another() {
    for (link, path) in [
        ("https://a.example/x?y=z#f", "/x?y=z"),
        ("https://a.example", "/"),
        ("https://a.example?q", "/?q"),
        ("/x", "/x"),
        ("x/y", "/x/y"),
        ("//evil.example/x", "/evil.example/x"),
        ("/\\evil.example", "/evil.example"),
        ("https://a.example//evil.example/", "/evil.example/"),
    ] {
        assert_eq!(path_of(link, true), path, "{link}");
    }
    assert_eq!(path_of("https://a.example/x?y=z", false), "/x");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), at in 0_usize..1000) {
        let _ = describe(&bytes);
        let mut whole = WHOLE.as_bytes().to_vec();
        let at = at % whole.len();
        let to = (at + bytes.len()).min(whole.len());
        whole.splice(at..to, bytes);
        let _ = describe(&whole);
    }
}
