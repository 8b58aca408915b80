use proptest::prelude::*;

use super::super::Algorithm;
use super::*;

fn parse(raw: &str) -> Params<'_> {
    Params::parse(raw.as_bytes()).unwrap()
}

#[test]
fn reads_and_writes_queries() {
    for (raw, want) in [
        ("meetingID=a+b&x=1", "meetingID=a+b&x=1"),
        ("a%20b=%c3%a9", "a+b=%C3%A9"),
        ("a=1&&b", "a=1&b"),
        ("a=~*-._%2B", "a=%7E*-._%2B"),
        ("a=&b==", "a=&b=%3D"),
        ("x[]=1&y=2&x[]=3", "x=1&y=2&x=3"),
        ("=v", "=v"),
        ("name=5+%E0%A4%B5", "name=5+%E0%A4%B5"),
        ("name=😀", "name=%F0%9F%98%80"),
        ("", ""),
    ] {
        assert_eq!(parse(raw).encode(), want, "{raw}");
    }
}

#[test]
fn broken_input_is_refused() {
    for raw in ["a=%", "a=%4", "a=%zz", "a=%ff", "%ff=a", "a=%C3", "a=+%+"] {
        assert!(matches!(Params::parse(raw.as_bytes()), Err(ParamError::Malformed { .. })), "{raw}");
    }
    assert_eq!(Params::parse(b"a=\xff"), Err(ParamError::Malformed { offset: 2 }));
    assert_eq!(Params::parse_up_to(b"a&b&c", 2), Err(ParamError::TooMany { limit: 2 }));
    assert!(Params::parse_up_to(b"a&b&c", 3).is_ok());
    assert!(Params::parse("a=1&".repeat(MAX_PARAMS + 1).as_bytes()).is_err());
}

#[test]
fn plain_values_are_borrowed() {
    let params = parse("meetingID=abc&x=a+b");
    assert!(matches!(params.pairs[0].value, Some(Cow::Borrowed("abc"))));
    assert!(matches!(params.pairs[1].value, Some(Cow::Owned(_))));
}

#[test]
fn the_last_value_counts_and_blank_is_missing() {
    let params = parse("m=1&m=2&blank=+%20&bare&e=");
    assert_eq!(params.get("m"), Some("2"));
    assert_eq!(params.get("bare"), Some(""));
    for name in ["blank", "bare", "e", "absent"] {
        assert_eq!(params.present(name), None);
    }
    assert!(params.contains("bare") && !params.contains("absent"));
}

#[test]
fn the_body_wins_in_the_place_of_the_query() {
    let mut params = parse("a=1&b=2&l[]=1&l[]=2");
    params.merge(parse("b=3&c=4&l[]=9"));
    assert_eq!(params.encode(), "a=1&b=3&c=4&l=9");
}

#[test]
fn repeats_collapse_to_the_first_place() {
    let long: String = (0..40).map(|n| format!("&p{n}=x")).collect();
    for tail in ["", &long] {
        let raw = format!("a=1&b=2&a=3&l[]=1&l[]=2&b[]=7&a=4{tail}");
        let mut params = parse(&raw);
        params.collapse();
        assert_eq!(params.encode(), format!("a=4&b=2&l=1&l=2{tail}"));
    }
}

#[test]
fn setting_keeps_the_place() {
    let mut params = parse("a=1&b=2&a=3&b[]=5");
    params.set("a", "x y");
    params.set("c", "new");
    params.set_bare("d");
    assert_eq!(params.encode(), "a=x+y&b=2&b=5&c=new&d");
    params.set("b", "only");
    assert_eq!(params.encode(), "a=x+y&b=only&c=new&d");
    params.remove("c");
    assert_eq!(params.encode(), "a=x+y&b=only&d");
}

#[test]
fn signed_addresses() {
    let url = signed_url("http://b/api", "isMeetingRunning", &parse("meetingID=a+b"), "s3cret", Algorithm::Sha1);
    assert!(url.starts_with("http://b/api/isMeetingRunning?meetingID=a+b&checksum=83304631128793aae3e8e775"));
    let probe = signed_url("http://b/api/", "", &Params::new(), "s", Algorithm::Sha256);
    assert_eq!(probe, format!("http://b/api/?checksum={}", super::super::sign(Algorithm::Sha256, "", "", "s")));
}

#[test]
fn multipart_fields() {
    let kind = "multipart/form-data; charset=x; boundary=\"xYz\"";
    let body = "preamble\r\n--xYz\r\nContent-Disposition: form-data; name=\"meetingID\"\r\n\r\na b\r\nc\r\n--xYz \r\n\
        content-disposition: form-data; name=empty\r\n\r\n\r\n--xYz\r\n\
        Content-Disposition: form-data; name=\"f\"; filename=\"x.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n\
        --xYz\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"q\\\"é\"\r\n\r\nü\r\n--xYz--\r\nrest";
    let params = Params::parse_multipart(body.as_bytes(), kind).unwrap();
    let pairs: Vec<_> = params.iter().collect();
    assert_eq!(pairs, [("meetingID", Some("a b\r\nc")), ("empty", Some("")), ("q\"é", Some("ü"))]);
    let short = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--";
    assert_eq!(Params::parse_multipart(short, "multipart/form-data;boundary=b").unwrap().get("a"), Some("1"));
    for broken in ["", "--xYz", "--xYz\r\n", "--xYz\r\nA: b\r\n\r\nx", "--xYzz\r\n\r\n\r\n--xYz--", "\r\n--xY"] {
        let read = Params::parse_multipart(broken.as_bytes(), kind);
        assert!(matches!(read, Err(ParamError::Multipart { .. })), "{broken:?}");
    }
    assert!(Params::parse_multipart(short, "multipart/form-data").is_err());
}

proptest! {
    #[test]
    fn readers_never_panic(raw in prop::collection::vec(any::<u8>(), 0..200), kind in ".{0,40}") {
        if let Ok(mut params) = Params::parse(&raw) {
            params.collapse();
            let _ = params.encode();
        }
        let _ = Params::parse_multipart(&raw, &kind);
        let _ = Params::parse_multipart(&raw, &format!("multipart/form-data; boundary={kind}"));
        let mut framed = b"--b\r\n".to_vec();
        framed.extend_from_slice(&raw);
        let _ = Params::parse_multipart(&framed, "multipart/form-data; boundary=b");
    }

    #[test]
    fn multipart_like_text_never_panics(raw in "(--b|\r\n|: |;|=|\"|\\\\|name|content-disposition|é){0,40}") {
        let _ = Params::parse_multipart(raw.as_bytes(), "multipart/form-data; boundary=b");
        let _ = Params::parse_multipart(raw.as_bytes(), &raw);
    }

    #[test]
    fn writing_and_reading_again_changes_nothing(
        pairs in prop::collection::vec((".{1,8}", prop::option::of(".{0,12}")), 0..40),
    ) {
        let mut params = Params::new();
        for (name, value) in pairs.iter().filter(|(name, _)| !name.ends_with("[]")) {
            match value {
                Some(value) => params.push(name.as_str(), value.as_str()),
                None => params.set_bare(name.as_str()),
            }
        }
        let encoded = params.encode();
        prop_assert!(encoded.is_ascii());
        prop_assert_eq!(Params::parse(encoded.as_bytes()).unwrap(), params);
    }
}
