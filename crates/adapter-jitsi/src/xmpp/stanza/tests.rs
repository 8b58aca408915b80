use proptest::prelude::*;

use super::{Element, MAX_STANZA_ATTRIBUTES, MAX_STANZA_DEPTH, Scope, StanzaError, escape};

fn parse(text: &str) -> Result<Element, StanzaError> {
    Element::parse(text.as_bytes(), &Scope::default())
}

#[test]
fn names_have_namespaces() {
    let stanza =
        parse("<presence a='&lt;1&#x41;'><p:x xmlns:p='u'><y/></p:x><x xmlns='v'>t<![CDATA[<]]>&amp;</x></presence>");
    let stanza = stanza.unwrap();
    assert!(stanza.is("presence", "jabber:client"));
    assert_eq!(stanza.attribute("a"), Some("<1A"));
    let inner = stanza.child("x", "u").unwrap();
    assert!(inner.children()[0].is("y", "jabber:client"));
    assert_eq!(stanza.child("x", "v").unwrap().text(), "t<&");
    assert!(parse("<stream:error/>").unwrap().is("error", "http://etherx.jabber.org/streams"));
}

#[test]
fn what_xmpp_forbids_is_refused() {
    for text in [
        "",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "<a>&nbsp;</a>",
        "<a>&#0;</a>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<a b='&x;'/>",
        "<p:a/>",
        "<!DOCTYPE a><a/>",
        "<a><?php?></a>",
        "<a><!-- c --></a>",
        "<a>\u{1}</a>",
        "<1/>",
    ] {
        assert!(matches!(parse(text), Err(StanzaError::Malformed { .. })), "{text}");
    }
    assert!(Element::parse(b"<a>\xff</a>", &Scope::default()).is_err());
}

#[test]
fn limits_hold() {
    let deep = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
    assert!(parse(&deep(MAX_STANZA_DEPTH)).is_ok());
    assert!(matches!(parse(&deep(MAX_STANZA_DEPTH + 1)), Err(StanzaError::TooMuch { .. })));
    let wide = |count: usize| {
        let attributes: String = (0..count).map(|n| format!(" a{n}='1'")).collect();
        format!("<a{attributes}/>")
    };
    assert!(parse(&wide(MAX_STANZA_ATTRIBUTES)).is_ok());
    assert!(matches!(parse(&wide(MAX_STANZA_ATTRIBUTES + 1)), Err(StanzaError::TooMuch { .. })));
}

proptest! {
    #[test]
    fn escaped_text_comes_back(text in any::<String>()) {
        let clean: String = text.chars().filter(|&char| super::is_xml(char)).collect();
        let stanza = parse(&format!("<a b='{0}' c=\"{0}\">{0}</a>", escape(&text))).unwrap();
        prop_assert_eq!(stanza.attribute("b"), Some(clean.as_str()));
        prop_assert_eq!(stanza.attribute("c"), Some(clean.as_str()));
        prop_assert_eq!(stanza.text(), clean);
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), text in "[<>a&;#x'\"= /!\\[\\]?:-]{0,60}") {
        let _ = Element::parse(&bytes, &Scope::default());
        let _ = parse(&text);
        let _ = Element::parse_head(&bytes);
        let _ = Element::parse_head(text.as_bytes());
    }
}
