//! `import scalelite`: everything is found, nothing is changed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::{SECRET, processes, run};

/// A plain connection to a Redis.
pub(crate) struct Redis(BufReader<TcpStream>);

impl Redis {
    pub(crate) fn connect(port: u16) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap()))
    }

    /// One command; the answer's strings, whatever its shape.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&out).unwrap();
        let mut all = Vec::new();
        self.reply(&mut all);
        all
    }

    fn reply(&mut self, all: &mut Vec<Vec<u8>>) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            // Nothing.
            "*" | "$" if rest == "-1" => {}
            "*" => (0..rest.parse::<usize>().unwrap()).for_each(|_| self.reply(all)),
            "$" => {
                let mut body = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut body).unwrap();
                body.truncate(body.len() - 2);
                all.push(body);
            }
            "-" => panic!("redis: {rest}"),
            _ => all.push(rest.as_bytes().to_vec()),
        }
    }

    fn say(&mut self, line: &str) {
        self.call(&line.split(' ').map(|word| word.trim_matches('\'').as_bytes()).collect::<Vec<_>>());
    }

    /// Every key with its dump, and whether it expires.
    pub(crate) fn dump(&mut self) -> BTreeMap<Vec<u8>, (Vec<u8>, bool)> {
        let keys = self.call(&[b"KEYS", b"*"]);
        let mut all = BTreeMap::new();
        for key in keys {
            let dump = self.call(&[b"DUMP", &key]).concat();
            let expires = self.call(&[b"PTTL", &key]).concat() != b"-1";
            all.insert(key, (dump, expires));
        }
        all
    }
}

/// What Scalelite has written, with what it leaves lying about.
const WRITTEN: &str = "\
SADD scalelite:servers a1 b2 gone
HSET scalelite:server:a1 url https://bbb1.example.com/bigbluebutton/api secret aaaabbbbccccddddeeeeffff00001111 online true load_multiplier 1.0 state enabled
HSET scalelite:server:b2 url https://bbb2.example.com/bigbluebutton/api secret 2222bbbbccccddddeeeeffff00003333 online false load_multiplier 2.5 tag eu state cordoned
HSET scalelite:a1 healthy_counter 7
SADD scalelite:server_enabled a1 old
ZADD scalelite:server_load 21.5 a1
ZADD scalelite:cordoned_server_load 3 b2
SADD scalelite:meetings math art lost orphan
HSET scalelite:meeting:math server_id a1 moderator_pw mp voice_bridge 123456789 tenant_id ''
EXPIRE scalelite:meeting:math 86400
HSET scalelite:meeting:art server_id b2 moderator_pw mp voice_bridge 987654321
HSET scalelite:meeting:orphan server_id z9 moderator_pw mp
EXPIRE scalelite:meeting:orphan 86400
HSET scalelite:voice_bridges 123456789 math 987654321 art 555555555 over
SET other:key untouched";

#[test]
fn a_deployment_is_read_and_stays_byte_for_byte() {
    let Some((port, _guard)) = processes::redis() else { return };
    let mut redis = Redis::connect(port);
    WRITTEN.lines().for_each(|line| redis.say(line));
    let before = redis.dump();
    assert_eq!(before.len(), 13);
    let url = format!("redis://127.0.0.1:{port}");
    let env = [
        ("REDIS_URL", url.as_str()),
        ("LOADBALANCER_SECRET", SECRET),
        ("URL_HOST", "lb.example.com"),
        ("SECRET_KEY_BASE", "geheim"),
        ("DATABASE_URL", "postgres://scalelite:geheim@db/scalelite"),
        ("POLL_INTERVAL", "30"),
    ];
    let ran = run(&["import", "scalelite"], &env);
    let got = ran.out.replace(&port.to_string(), "PORT");
    assert_eq!(got, include_str!("../golden/import.txt"), "{got}");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for secret in ["geheim", "bbbbcccc", &SECRET[8..40]] {
        assert!(!ran.out.contains(secret), "{ran:?}");
    }
    let ran = run(&["import", "scalelite", "-o", "json"], &env);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &found["meetings"], &found["servers"][1]["state"]), (0, &3.into(), &"cordoned".into()));
    assert_eq!(found["left_over"].as_array().map(Vec::len), Some(6), "{found}");
    assert!(!ran.out.contains("bbbbcccc"), "{ran:?}");

    // What keeps us from taking over is told, and ends with 1.
    let with = |name, value| run(&["import", "scalelite"], &[&env[..], &[(name, value)]].concat());
    let ran = with("POLL_INTERVAL", "often");
    assert!(ran.code == 1 && ran.out.contains("In the way\n  poll_interval"), "{ran:?}");
    assert_eq!(redis.dump(), before, "something was changed");

    redis.say("SADD scalelite:tenants t1 t2");
    redis.say("HSET scalelite:tenant:t1 name school secrets geheim");
    redis.say("HSET scalelite:tenant:t2 name School secrets geheim");
    let ran = run(&["import", "scalelite"], &env);
    assert!(ran.code == 1 && ran.out.contains("2 tenants are kept: set MULTITENANCY_ENABLED to true"), "{ran:?}");
    let ran = with("MULTITENANCY_ENABLED", "true");
    assert!(ran.code == 0 && ran.out.contains("the tenants t1 and t2 have one name, school"), "{ran:?}");
    assert!(!ran.out.contains("geheim"), "{ran:?}");
    let ran = run(&["import", "scalelite"], &[&env[..], &[("REDIS_NAMESPACE", "none")]].concat());
    assert!(ran.code == 0 && ran.out.contains("No servers were found: is REDIS_NAMESPACE right?"), "{ran:?}");
    redis.say("SET odd:servers text");
    let ran = run(&["import", "scalelite"], &[&env[..], &[("REDIS_NAMESPACE", "odd")]].concat());
    assert!(ran.code == 1 && ran.err.contains("WRONGTYPE") && ran.err.contains("hint: "), "{ran:?}");
}

#[test]
fn without_its_redis_nothing_can_be_read() {
    let ran = run(&["import", "scalelite"], &[("LOADBALANCER_SECRET", SECRET)]);
    assert!(ran.code == 1 && ran.err.contains("REDIS_URL is not set"), "{ran:?}");
    let url = ("REDIS_URL", "redis://:geheim@127.0.0.1:1");
    let ran = run(&["import", "scalelite"], &[("LOADBALANCER_SECRET", SECRET), url]);
    assert!(ran.code == 1 && ran.err.contains("cannot be read") && !ran.err.contains("geheim"), "{ran:?}");
    assert_eq!(run(&["import", "b3scale"], &[]).code, 2);
}
