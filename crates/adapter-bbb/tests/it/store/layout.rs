//! Scalelite's Redis layout, to the letter.

use adapter_bbb::{MeetingClaim, MeetingStore, PollRecord, RedisMeetings, ServerState};
use balancer_core::{Binding, Claim, RedisLink, RedisOptions, StickErrorKind, StickKey, StickStore, Token, Want};

use super::{DAY, bind, order, polled, record};
use crate::stage::{PATIENCE, keys, link, redis_store};
use real_servers::RedisServer;

/// A hash as sorted `field=value` words.
async fn hash(link: &RedisLink, key: &str) -> String {
    let reply = link.call(&["HGETALL", key]).await.unwrap();
    let mut pairs: Vec<String> =
        reply.as_list().chunks(2).map(|p| format!("{}={}", p[0].as_str().unwrap(), p[1].as_str().unwrap())).collect();
    pairs.sort();
    pairs.join(" ")
}

async fn word(link: &RedisLink, command: &[&str]) -> String {
    let reply = link.call(command).await.unwrap();
    reply.as_str().map(str::to_owned).or_else(|| reply.as_int().map(|n| n.to_string())).unwrap_or_default()
}

async fn kinds(link: &RedisLink) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for key in keys(link).await {
        let kind = word(link, &["TYPE", &key]).await;
        all.push((key, kind));
    }
    all
}

#[tokio::test]
async fn the_redis_layout_is_scalelites() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    store.probe().await.unwrap();
    assert_eq!(word(&link, &["GET", "scalelite:__health_check_set__"]).await, "true");
    let ttl: i64 = word(&link, &["TTL", "scalelite:__health_check_set__"]).await.parse().unwrap();
    assert!((1..=10).contains(&ttl), "{ttl}");
    link.call(&["DEL", "scalelite:__health_check_set__"]).await.unwrap();

    // Added: disabled, offline, neither `state` nor the enabled set.
    assert!(store.add_server(&record("a")).await.unwrap());
    assert!(!store.add_server(&record("a")).await.unwrap());
    let kind = |k: &str, t: &str| (format!("scalelite:{k}"), t.to_owned());
    let added = [kind("balancer:epoch", "string"), kind("server:a", "hash"), kind("servers", "set")];
    assert_eq!(kinds(&link).await, added);
    assert_eq!(
        hash(&link, "scalelite:server:a").await,
        "load_multiplier=2.0 online=false secret=s3 tag=gpu url=https://a.example/bigbluebutton/api"
    );

    // Enabled: in the enabled set, no load before a poll.
    assert!(store.update_server(&"a".into(), &order(ServerState::Enabled)).await.unwrap());
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "state"]).await, "enabled");
    assert_eq!(word(&link, &["SISMEMBER", "scalelite:server_enabled", "a"]).await, "1");
    assert_eq!(word(&link, &["EXISTS", "scalelite:server_load"]).await, "0");

    // Polled: online, figures, a load.
    store.record_poll(&"a".into(), &polled(17.5)).await.unwrap();
    assert_eq!(
        hash(&link, "scalelite:server:a").await,
        "bbb_version=3.0.1 largest_meeting=12 load_multiplier=2.0 meetings=3 online=true secret=s3 state=enabled \
         tag=gpu url=https://a.example/bigbluebutton/api users=20 videos=4"
    );
    assert_eq!(word(&link, &["ZSCORE", "scalelite:server_load", "a"]).await, "17.5");

    // Created: hash with a time to live, set, voice bridge; the load grows.
    let binding = bind(&*store, "m 1", "a", 2.0).await;
    assert_eq!(
        hash(&link, "scalelite:meeting:m 1").await,
        format!("moderator_pw=mp server_id=a stamp={} tenant_id= token=7 voice_bridge=715622307", binding.stamp)
    );
    let ttl: i64 = word(&link, &["TTL", "scalelite:meeting:m 1"]).await.parse().unwrap();
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
    assert_eq!(word(&link, &["SISMEMBER", "scalelite:meetings", "m 1"]).await, "1");
    assert_eq!(hash(&link, "scalelite:voice_bridges").await, "715622307=m 1");
    assert_eq!(word(&link, &["ZSCORE", "scalelite:server_load", "a"]).await, "19.5");
    for key in ["scalelite:meetings", "scalelite:voice_bridges", "scalelite:server:a", "scalelite:server_load"] {
        assert_eq!(word(&link, &["TTL", key]).await, "-1", "{key}");
    }
    assert_eq!(
        kinds(&link).await,
        [
            kind("balancer:epoch", "string"),
            kind("balancer:stamp", "string"),
            kind("meeting:m 1", "hash"),
            kind("meetings", "set"),
            kind("server:a", "hash"),
            kind("server_enabled", "set"),
            kind("server_load", "zset"),
            kind("servers", "set"),
            kind("voice_bridges", "hash"),
        ]
    );

    // Cordoned: the load moves; enabled again: it moves back.
    store.update_server(&"a".into(), &order(ServerState::Cordoned)).await.unwrap();
    assert_eq!(word(&link, &["ZSCORE", "scalelite:cordoned_server_load", "a"]).await, "19.5");
    assert_eq!(word(&link, &["EXISTS", "scalelite:server_load", "scalelite:server_enabled"]).await, "0");
    store.update_server(&"a".into(), &order(ServerState::Enabled)).await.unwrap();
    assert_eq!(word(&link, &["ZSCORE", "scalelite:server_load", "a"]).await, "19.5");
    assert_eq!(word(&link, &["EXISTS", "scalelite:cordoned_server_load"]).await, "0");

    // Ended: marked, then gone with its voice bridge.
    assert!(store.begin_end("m 1", &binding, DAY).await.unwrap());
    assert!(!store.begin_end("m 1", &binding, DAY).await.unwrap());
    assert_ne!(word(&link, &["HGET", "scalelite:meeting:m 1", "ending"]).await, "");
    assert!(store.look("m 1").await.unwrap().meeting.unwrap().ending);
    assert!(store.meetings(None).await.unwrap()[0].ending);
    assert!(store.release(&StickKey::new("m 1").unwrap(), &binding).await.unwrap());
    assert_eq!(word(&link, &["EXISTS", "scalelite:meeting:m 1", "scalelite:meetings"]).await, "0");
    assert_eq!(word(&link, &["EXISTS", "scalelite:voice_bridges"]).await, "0");

    // Drained: disabled by the poll, and a disabled server keeps no load.
    store.update_server(&"a".into(), &order(ServerState::Cordoned)).await.unwrap();
    let mut idle = polled(0.0);
    store.record_poll(&"a".into(), &idle).await.unwrap();
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "state"]).await, "cordoned");
    idle.draining = true;
    store.record_poll(&"a".into(), &idle).await.unwrap();
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "state"]).await, "disabled");
    assert_eq!(word(&link, &["EXISTS", "scalelite:server_load", "scalelite:cordoned_server_load"]).await, "0");

    // Offline: figures 0.
    let lost = PollRecord { online: Some(false), ..PollRecord::default() };
    store.record_poll(&"a".into(), &lost).await.unwrap();
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "online"]).await, "false");
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "users"]).await, "0");

    assert_eq!(store.announce(1, DAY).await.unwrap().len(), 1);
    assert_eq!(store.announce(2, DAY).await.unwrap().len(), 2);
    assert!(keys(&link).await.contains(&"scalelite:balancer:processes".to_owned()));
}

#[tokio::test]
async fn rows_of_scalelite_are_read_and_taken_over() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    for command in [
        "SADD scalelite:servers old new off",
        "HSET scalelite:server:old url http://old/api secret x online true load_multiplier 1.5",
        "SADD scalelite:server_enabled old",
        "ZADD scalelite:server_load 4.25 old",
        "HSET scalelite:server:new url http://new/api secret y online true state cordoned tag t meetings 2 users 9",
        "ZADD scalelite:cordoned_server_load 3 new",
        "HSET scalelite:server:off url http://off/api secret z online false",
        "HSET scalelite:meeting:m server_id old moderator_pw pw voice_bridge 123456789 tenant_id ten",
        "EXPIRE scalelite:meeting:m 500",
        "SADD scalelite:meetings m stale",
        "HSET scalelite:voice_bridges 123456789 m",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        link.call(&words).await.unwrap();
    }
    let all = store.servers().await.unwrap().servers;
    let told: Vec<_> = all.iter().map(|r| (r.id.as_str(), r.state, r.online, r.load, r.multiplier())).collect();
    assert_eq!(
        told,
        [
            ("new", ServerState::Cordoned, true, Some(3.0), 1.0),
            ("off", ServerState::Disabled, false, None, 1.0),
            ("old", ServerState::Enabled, true, Some(4.25), 1.5),
        ]
    );
    assert_eq!((all[0].tag.as_deref(), all[0].figures.users), (Some("t"), 9));

    let look = store.look("m").await.unwrap();
    let m = look.meeting.unwrap();
    assert_eq!(look.server, Some((ServerState::Enabled, true)));
    assert_eq!((m.moderator_pw.as_str(), m.voice_bridge.as_str(), m.ending), ("pw", "123456789", false));
    assert_eq!(m.binding, Binding { backend: "old".into(), token: Token(0), stamp: 0 });
    // The set's member without a hash is skipped.
    assert_eq!(store.meetings(None).await.unwrap(), std::slice::from_ref(&m));

    // Moved by us: what Scalelite stored beside it stays.
    store.update_server(&"off".into(), &order(ServerState::Enabled)).await.unwrap();
    let want = Want { backend: "off".into(), token: Token(1) };
    let claim = MeetingClaim {
        id: "m",
        over: Some(&m.binding),
        want: &want,
        moderator_pw: "other",
        bridges: &["1".to_owned()],
        load: 1.0,
        adopt: false,
        tenant: "",
        most: 0,
        registered: false,
        ttl: DAY,
    };
    let claimed = store.claim_meeting(&claim).await.unwrap();
    let Claim::Won(binding) = claimed.claim else { panic!("{:?}", claimed.claim) };
    assert_eq!(
        hash(&link, "scalelite:meeting:m").await,
        format!("moderator_pw=pw server_id=off stamp={} tenant_id=ten token=1 voice_bridge=123456789", binding.stamp)
    );
    // A meeting of Scalelite can be ended and forgotten by us.
    link.call(&["HDEL", "scalelite:meeting:m", "token", "stamp"]).await.unwrap();
    let bare = store.look("m").await.unwrap().meeting.unwrap().binding;
    assert!(store.begin_end("m", &bare, PATIENCE).await.unwrap());
    assert!(store.release(&StickKey::new("m").unwrap(), &bare).await.unwrap());
    assert_eq!(word(&link, &["EXISTS", "scalelite:meeting:m", "scalelite:voice_bridges"]).await, "0");
}

#[tokio::test]
async fn an_expired_meeting_gives_its_number_back() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    bind(&*store, "m", "a", 1.0).await;
    link.call(&["HSET", "scalelite:voice_bridges", "123456789", "of another"]).await.unwrap();
    // As if a day had passed without a poll.
    link.call(&["DEL", "scalelite:meeting:m"]).await.unwrap();
    assert_eq!(store.meetings(None).await.unwrap(), []);
    assert_eq!(hash(&link, "scalelite:voice_bridges").await, "123456789=of another");
}

#[tokio::test]
async fn a_cluster_and_a_replica_are_named() {
    if let Some(server) = RedisServer::start(&["--cluster-enabled", "yes"]) {
        let e = redis_store(&server).probe().await.unwrap_err();
        assert_eq!(e.kind(), StickErrorKind::Refused);
        let said = e.to_string();
        for word in ["127.0.0.1", "Redis Cluster", "slot", "Sentinel"] {
            assert!(said.contains(word), "{word} is missing: {said}");
        }
    }
    if let Some(server) = RedisServer::start(&["--replicaof", "127.0.0.1", "1"]) {
        let e = redis_store(&server).probe().await.unwrap_err();
        assert_eq!(e.kind(), StickErrorKind::Refused, "{e}");
        let said = e.to_string();
        assert!(said.contains("read-only") || said.contains("read only") || said.contains("replica"), "{said}");
    }
    let port = real_servers::free_port();
    let gone = RedisMeetings::new(
        RedisLink::new(RedisOptions::new("127.0.0.1").port(port).unwrap().password("hunter2")).unwrap(),
        "scalelite",
    );
    let e = gone.probe().await.unwrap_err();
    assert_eq!(e.kind(), StickErrorKind::Lost);
    assert!(e.to_string().contains(&port.to_string()) && !format!("{e:?}{gone:?}").contains("hunter2"), "{e}");
}
