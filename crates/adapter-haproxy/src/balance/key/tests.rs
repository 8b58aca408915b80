//! No input panics, whatever it is; a few cases that the recordings do not have.

use proptest::prelude::*;

use super::{Converters, Expression, KeyRule, Request, Sample};
use crate::balance::hash::HashFunction;
use crate::balance::version::Version;
use crate::balance::words::words;

const NOW: Version = Version::dev(3, 5, 5);
const OLD: Version = Version::release(2, 6, 12);

const CHAINS: &[&str] = &[
    "lower",
    "upper",
    "url_dec",
    "url_dec(1)",
    "b64dec",
    "ub64dec",
    "base64",
    "hex",
    "length",
    "bytes(2)",
    "bytes(1,3)",
    "field(1,/)",
    "field(-2,\"/.\")",
    "field(2,/,0)",
    "field(3,/,9)",
    "word(2,/)",
    "word(-1,/.,2)",
    "crc32",
    "djb2(1)",
    "sdbm",
    "wt6(1)",
    "xxh32(7)",
    "url_dec,b64dec,field(8,'\\\"')",
    "base64,b64dec",
];
const RULES: &[&str] = &[
    "url_param room",
    "uri",
    "uri len 3",
    "uri depth 2 whole",
    "uri path-only",
    "hdr(x)",
    "hdr(x) use_domain_only",
    "source",
    "hash path",
    "hash base",
    "hash query",
    "hash req.hdr(x,-2)",
    "hash req.fhdr(x,2)",
    "hash req.hdr_ip(x)",
    "hash url_param(room,;)",
    "hash req.cook(a)",
    "hash pathq,length",
    "hash src,lower",
];

fn rule(text: &str) -> KeyRule {
    KeyRule::from_words(&words(text).unwrap()).unwrap().unwrap()
}

proptest! {
    #[test]
    fn converters_take_anything(bytes in prop::collection::vec(any::<u8>(), 0..200), old: bool) {
        for chain in CHAINS {
            let chain = Converters::parse(chain).unwrap();
            for sample in [Sample::Text(bytes.clone()), Sample::Binary(bytes.clone())] {
                let _ = chain.apply(sample, if old { OLD } else { NOW });
            }
        }
        let back = Converters::parse("base64,b64dec").unwrap().apply(Sample::Binary(bytes.clone()), NOW);
        prop_assert_eq!(back, Some(Sample::Binary(bytes)));
    }

    #[test]
    fn rules_take_anything(
        target in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'/'), Just(b'?'), Just(b'&'), Just(b':')], 0..80),
        value in prop::collection::vec(prop_oneof![any::<u8>(), Just(b','), Just(b'"'), Just(b'.'), Just(b';')], 0..80),
        old: bool,
    ) {
        let request = Request::post(target, value.clone()).header("x", &value).header("X", &value).header("Cookie", &value);
        let version = if old { OLD } else { NOW };
        for r in RULES {
            for f in [HashFunction::Sdbm, HashFunction::None] {
                let _ = rule(r).key(&request, f, true, version);
            }
        }
        let _ = request.is_refused(version);
    }

    #[test]
    fn parsers_take_anything(text in "\\PC{0,60}") {
        let _ = Converters::parse(&text);
        let _ = Expression::parse(&text);
        if let Ok(w) = words(&text) {
            let _ = KeyRule::from_words(&w);
        }
    }
}

#[test]
fn a_parameter_of_the_body() {
    let r = rule("url_param room");
    let bytes = |body: &str, version| r.bytes(&Request::post("/c", body), HashFunction::Sdbm, version);
    assert_eq!(bytes("a=1&room=x\r\n", NOW), Some(b"x".to_vec()));
    assert_eq!(bytes("a=1&room=x\r\n", OLD), Some(b"x\r\n".to_vec()));
    assert_eq!(bytes("room=x/y", NOW), None);
    assert_eq!(bytes("room=x/y", OLD), Some(b"x/y".to_vec()));
    assert_eq!(bytes("room=/y", OLD), None);
    assert_eq!(r.bytes(&Request::get("/c?room=;a?b&room=2"), HashFunction::Sdbm, NOW), Some(b";a?b".to_vec()));
}

#[test]
fn too_long_a_value_fails() {
    let long = Sample::Text(vec![b'a'; 16_000]);
    assert_eq!(Converters::parse("base64").unwrap().apply(long, NOW), None);
    assert!(Converters::parse(&["lower"; 33].join(",")).is_err());
    assert!(Converters::parse("json_query('$.a')").is_err());
}

/// As 2.6.12 and 2.8.25 answer.
#[test]
fn a_port_that_the_scheme_implies_is_dropped() {
    let seen = |target: &str, host: &str| {
        let request = Request::get(target).header("HOST", host).received().into_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&request.target), text(&request.headers[0].1))
    };
    for (target, host, want) in [
        ("http://h.ex:80/a?b", "h.ex:80", ("http://h.ex/a?b", "h.ex")),
        ("http://h.ex:/a", "h.ex:", ("http://h.ex/a", "h.ex")),
        ("https://h.ex:443/a", "h.ex:443", ("https://h.ex/a", "h.ex")),
        ("HTTP://H.ex:80/a", "h.ex:80", ("HTTP://H.ex/a", "H.ex")),
        ("http://u@h.ex:80/a", "h.ex:80", ("http://u@h.ex/a", "h.ex")),
        ("http://[::1]:80/a", "[::1]:80", ("http://[::1]/a", "[::1]")),
        ("http://h.ex:80", "h.ex:80", ("http://h.ex", "h.ex")),
        ("https://h.ex:80/a", "h.ex:80", ("https://h.ex:80/a", "h.ex:80")),
        ("http://h.ex:080/a", "h.ex:080", ("http://h.ex:080/a", "h.ex:080")),
        ("http://[::80]/a", "[::80]", ("http://[::80]/a", "[::80]")),
        ("http://h.ex/a:80", "h.ex:80", ("http://h.ex/a:80", "h.ex:80")),
        ("/a:80", "h.ex:80", ("/a:80", "h.ex:80")),
    ] {
        assert_eq!(seen(target, host), (want.0.to_owned(), want.1.to_owned()), "{target}");
    }
}

#[test]
fn hosts_that_contradict_the_target_are_refused() {
    let version = Version::release(2, 6, 12);
    let refused = |target: &str, hosts: &[&str]| {
        let request = hosts.iter().fold(Request::get(target), |r, host| r.header("Host", *host));
        request.is_refused(version)
    };
    for (target, hosts) in [
        ("http://h/x", &["h"][..]),
        ("http://h/x", &["H:80"]),
        ("http://h/x", &[]),
        ("http://h/x", &["h", "h"]),
        ("http://h:81/x", &["h:81"]),
        ("https://h:443/x", &["h"]),
        ("http://u@h/x", &["h"]),
        ("ws://h/x", &["h"]),
        ("//h/x", &["g"]),
        ("http:///x", &["g"]),
        ("/x", &["g"]),
    ] {
        assert!(!refused(target, hosts), "{target} {hosts:?}");
    }
    for (target, hosts) in [
        ("http://h/x", &["h:81"][..]),
        ("http://h/x", &["g"]),
        ("http://h/x", &[""]),
        ("http://h:81/x", &["h"]),
        ("https://h/x", &["h:80"]),
        ("http://h:443/x", &["h"]),
        ("http://h./x", &["h"]),
        ("ws://h/x", &["h:80"]),
        ("/x", &["h", "g"]),
        ("http://h/x", &["h", "g"]),
    ] {
        assert!(refused(target, hosts), "{target} {hosts:?}");
    }
}
