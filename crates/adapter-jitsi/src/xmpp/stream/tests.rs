use proptest::prelude::*;

use super::{StreamError, StreamItem, StreamLimits, StreamReader};

const HEAD: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='s' a='>'>";

fn small() -> StreamLimits {
    StreamLimits { stanza: 200, depth: 4 }
}

fn read(portions: &[&[u8]]) -> Result<Vec<StreamItem>, StreamError> {
    let mut reader = StreamReader::new(small());
    let mut items = Vec::new();
    for portion in portions {
        reader.push(portion);
        while let Some(item) = reader.take()? {
            items.push(item);
        }
    }
    Ok(items)
}

fn all(text: &str) -> Result<Vec<StreamItem>, StreamError> {
    read(&[text.as_bytes()])
}

fn stanza(text: &str) -> StreamItem {
    StreamItem::Stanza(text.to_owned().into())
}

#[test]
fn a_stream_falls_into_stanzas() {
    let text = format!("{HEAD}<a/> \n<b c='/>'><d></d>]]<![CDATA[</b>]]]>x</b><e f=\"'\"></e></stream:stream>");
    let expect = vec![
        StreamItem::Head(HEAD.into()),
        stanza("<a/>"),
        stanza("<b c='/>'><d></d>]]<![CDATA[</b>]]]>x</b>"),
        stanza("<e f=\"'\"></e>"),
        StreamItem::Close,
    ];
    assert_eq!(all(&text).unwrap(), expect);
}

#[test]
fn what_is_too_long_or_too_deep_is_skipped_alone() {
    let long = format!("<p from='x'>{}</p>", "y".repeat(1000));
    let deep = format!("<q>{}{}</q>", "<a>".repeat(9), "</a>".repeat(9));
    let wide = format!("<r s='{}'/>", "z".repeat(3000));
    let items = all(&format!("{HEAD}{long}<a/>{deep}<b/>{wide}<c/>")).unwrap();
    let skipped = |tag: &'static str, text: &str| StreamItem::Skipped { tag: tag.into(), bytes: text.len() as u64 };
    let expect = vec![
        StreamItem::Head(HEAD.into()),
        skipped("<p from='x'>", &long),
        stanza("<a/>"),
        skipped("<q>", &deep),
        stanza("<b/>"),
        skipped("", &wide),
        stanza("<c/>"),
    ];
    assert_eq!(items, expect);
}

#[test]
fn what_xmpp_forbids_ends_the_stream() {
    for (text, error) in [
        ("<!DOCTYPE a>", StreamError::Restricted("a document type")),
        ("<!-- c -->", StreamError::Restricted("a comment")),
        ("<a><!-- c --></a>", StreamError::Restricted("a comment")),
        ("<a><!ENTITY b></a>", StreamError::Restricted("a document type")),
        ("<?php?>", StreamError::Restricted("a processing instruction")),
        ("<a><?php?></a>", StreamError::Restricted("a processing instruction")),
        ("text", StreamError::Malformed("text between stanzas")),
        ("<![CDATA[x]]>", StreamError::Malformed("text between stanzas")),
        ("<a <b/>", StreamError::Malformed("a tag inside a tag")),
        ("< a/>", StreamError::Malformed("an element name expected")),
    ] {
        assert_eq!(all(&format!("{HEAD}{text}")), Err(error), "{text}");
    }
    assert_eq!(all("<!DOCTYPE a><a>"), Err(StreamError::Restricted("a document type")));
    assert_eq!(all("</a>"), Err(StreamError::Malformed("an end tag too many")));
    assert_eq!(all(&format!("<stream a='{}", "b".repeat(500))), Err(StreamError::HeadTooLong(200)));
}

#[test]
fn an_error_lasts_and_nothing_is_kept() {
    let mut reader = StreamReader::new(small());
    reader.push(b"garbage");
    assert!(reader.take().is_err());
    reader.push(HEAD.as_bytes());
    assert!(reader.take().is_err());
}

#[test]
fn a_restart_keeps_what_was_received_behind() {
    let mut reader = StreamReader::new(small());
    reader.push(HEAD.as_bytes());
    reader.push(b"<success/>");
    reader.push(HEAD.as_bytes());
    assert_eq!(reader.take(), Ok(Some(StreamItem::Head(HEAD.into()))));
    assert_eq!(reader.take(), Ok(Some(stanza("<success/>"))));
    assert!(!reader.is_between());
    reader.restart();
    assert_eq!(reader.take(), Ok(Some(StreamItem::Head(HEAD.into()))));
    assert!(reader.is_between());
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("<a/>".to_owned()),
        Just(" ".to_owned()),
        Just("<b c='>'><d/></b>".to_owned()),
        Just("<e><![CDATA[</e>]]></e>".to_owned()),
        Just("<f><f><f><f><f></f></f></f></f></f>".to_owned()),
        (1usize..600).prop_map(|length| format!("<g h='1'>{}</g>", "ü".repeat(length))),
        Just("<!-- -->".to_owned()),
        Just("</x>".to_owned()),
        "[<>a&;'\"= /!?-]{0,12}",
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same(pieces in prop::collection::vec(piece(), 0..12), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let text = format!("{HEAD}{}", pieces.concat()).into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let portions: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        let whole = read(&[&text]);
        prop_assert_eq!(&read(&portions), &whole);
        prop_assert_eq!(&read(&bytes), &whole);
    }

    #[test]
    fn no_bytes_panic_and_little_is_kept(portions in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut reader = StreamReader::new(small());
        reader.push(HEAD.as_bytes());
        for portion in &portions {
            reader.push(portion);
            while let Ok(Some(_)) = reader.take() {}
            prop_assert!(reader.buffer.len() <= 201);
        }
    }
}
