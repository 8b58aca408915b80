//! What a Scalelite leaves behind in Redis, and what is made of it.

use std::collections::HashMap;

use adapter_bbb::testing::MeetingSpec;
use adapter_bbb::{MeetingStore, Secret, ServerPatch, ServerState};
use balancer_core::RedisLink;

use super::{bind, order, record};
use crate::stage::{Stage, dump, link, patient, redis_store, until};
use real_servers::RedisServer;

async fn run(link: &RedisLink, commands: &[&str]) {
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        link.call(&words).await.unwrap();
    }
}

async fn ttl(link: &RedisLink, key: &str) -> i64 {
    link.call(&["TTL", key]).await.unwrap().as_int().unwrap()
}

/// There: counters at bare ids, sets with removed servers, half removals and numbers of dead meetings stay for ever.
#[tokio::test]
async fn entries_of_removed_servers_and_dead_meetings_are_removed() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    assert!(store.add_server(&record("kept")).await.unwrap());
    store.update_server(&"kept".into(), &order(ServerState::Enabled)).await.unwrap();
    bind(&*store, "m", "kept", 1.0).await;
    run(
        &link,
        &[
            "HSET scalelite:kept healthy_counter 0 unhealthy_counter 1",
            "SADD scalelite:tenants ten",
            "HSET scalelite:tenant:ten name x secrets y",
            "SET scalelite:__health_check_set__ true",
            "HSET other:gone healthy_counter 1",
        ],
    )
    .await;
    // Whatever is not of its making stays as it is, to the byte.
    let before = dump(&link).await;
    assert_eq!((store.tidy().await.unwrap(), store.tidy().await.unwrap()), (0, 0));
    assert_eq!(dump(&link).await, before);
    run(
        &link,
        &[
            "HSET scalelite:gone healthy_counter 2 unhealthy_counter 0",
            "HSET scalelite:bbb7.example.com unhealthy_counter 5",
            "HSET scalelite:server:gone meetings 3 users 9",
            "SADD scalelite:servers half",
            "HSET scalelite:server:half online false users 4",
            "SADD scalelite:server_enabled half gone",
            "ZADD scalelite:server_load 3 half 4 gone",
            "ZADD scalelite:cordoned_server_load 3 gone",
            "HSET scalelite:meeting:lost server_id gone moderator_pw a voice_bridge 111111111 tenant_id x",
            "SADD scalelite:meetings lost expired",
            "HSET scalelite:voice_bridges 111111111 lost 222222222 expired 333333333 nobody",
            "HSET scalelite:meeting:unlisted server_id gone moderator_pw a voice_bridge 444444444",
        ],
    )
    .await;
    assert!(store.tidy().await.unwrap() > 0);
    // Numbers are taken before a meeting is stored: they go when they are still nobody's the next time.
    let now = dump(&link).await;
    assert!(now.contains("333333333") && !now.contains("scalelite:gone") && !now.contains("half"), "{now}");
    assert!(store.tidy().await.unwrap() > 0);
    let epoch = |text: &str| text.lines().filter(|l| !l.contains("balancer:epoch")).collect::<Vec<_>>().join("\n");
    assert_eq!(epoch(&dump(&link).await), epoch(&before));
    assert_eq!(store.tidy().await.unwrap(), 0);
}

/// A server's old secret has no use when a Scalelite removed the server, or gave it that secret again; until the server
/// answers to the new one it has.
#[tokio::test]
async fn old_secrets_without_a_use_are_removed() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    for id in ["removed", "back", "half", "changing"] {
        assert!(store.add_server(&record(id)).await.unwrap());
        let patch = ServerPatch { secret: Some(Secret::new(format!("new-{id}"))), ..ServerPatch::default() };
        assert!(store.update_server(&id.into(), &patch).await.unwrap());
    }
    let was = record("back").secret.expose().to_owned();
    assert_eq!((store.tidy().await.unwrap(), kept(&link).await.len()), (0, 4));
    run(
        &link,
        &[
            "SREM scalelite:servers removed",
            "DEL scalelite:server:removed",
            &format!("HSET scalelite:server:back secret {was}"),
            "DEL scalelite:server:half",
            "HSET scalelite:balancer:old_secrets never-there x",
        ],
    )
    .await;
    let epoch = store.servers().await.unwrap().epoch;
    assert!(store.tidy().await.unwrap() >= 4);
    assert_eq!(kept(&link).await, ["changing"]);
    let after = store.servers().await.unwrap();
    assert!(after.epoch > epoch, "other processes read the servers again");
    let old = after.servers.iter().map(|r| (r.id.as_str(), r.old_secret.is_some()));
    assert_eq!(old.collect::<HashMap<_, _>>(), HashMap::from([("back", false), ("changing", true)]));
    assert_eq!(store.tidy().await.unwrap(), 0);
    // One that comes again under the same id begins without one, and the last one leaves no key.
    let proved = ServerPatch { proved: Some(Secret::new("new-changing")), ..ServerPatch::default() };
    assert!(store.update_server(&"changing".into(), &proved).await.unwrap());
    assert_eq!(link.call(&["EXISTS", "scalelite:balancer:old_secrets"]).await.unwrap().as_int(), Some(0));
}

/// The servers whose old secret is kept.
async fn kept(link: &RedisLink) -> Vec<String> {
    let ids = link.call(&["HKEYS", "scalelite:balancer:old_secrets"]).await.unwrap();
    ids.as_list().iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// A Scalelite takes a number first and stores its meeting a moment later.
#[tokio::test]
async fn a_number_whose_meeting_is_stored_meanwhile_stays() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    assert!(store.add_server(&record("a")).await.unwrap());
    run(&link, &["HSETNX scalelite:voice_bridges 123456789 m"]).await;
    store.tidy().await.unwrap();
    run(
        &link,
        &[
            "HSET scalelite:meeting:m server_id a moderator_pw p voice_bridge 123456789 tenant_id x",
            "SADD scalelite:meetings m",
        ],
    )
    .await;
    store.tidy().await.unwrap();
    let numbers = link.call(&["HGET", "scalelite:voice_bridges", "123456789"]).await.unwrap();
    assert_eq!(numbers.as_str(), Some("m"));
    // Out of step: a hash that no list names, a meeting whose number was given up.
    run(&link, &["SREM scalelite:meetings m", "DEL scalelite:voice_bridges"]).await;
    store.tidy().await.unwrap();
    store.tidy().await.unwrap();
    assert_eq!(store.meetings(None).await.unwrap().len(), 1);
    let numbers = link.call(&["HGET", "scalelite:voice_bridges", "123456789"]).await.unwrap();
    assert_eq!(numbers.as_str(), Some("m"));
}

/// There: a mapping is gone 24 hours after its create, although the meeting runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_lives_as_long_as_its_meeting() {
    let Some(stage) = Stage::redis(1).await else { return };
    let link = link(stage.redis.as_ref().unwrap());
    stage.fakes[0].put_meeting(MeetingSpec::new("long").people(2, 0, 0));
    stage.fakes[0].put_meeting(MeetingSpec::new("lost").people(2, 0, 0).param("voiceBridge", "222222222"));
    run(
        &link,
        &[
            // Bound by a Scalelite a day ago, less a minute; and one that it forgot, with what stays behind.
            "HSET scalelite:meeting:long server_id s0 moderator_pw pw voice_bridge 111111111 tenant_id x",
            "EXPIRE scalelite:meeting:long 60",
            "SADD scalelite:meetings long lost",
            "HSET scalelite:voice_bridges 111111111 long 222222222 lost",
        ],
    )
    .await;
    let process = stage.process(patient()).await;
    assert!(ttl(&link, "scalelite:meeting:long").await > 86_000);
    until("the forgotten one is bound again", async || {
        process.poll().await;
        process.home("lost").await.is_some()
    })
    .await;
    assert!(ttl(&link, "scalelite:meeting:lost").await > 86_000);
    let found = stage.store.look("lost").await.unwrap().meeting.unwrap();
    assert_eq!(found.voice_bridge, "222222222");
    for id in ["long", "lost"] {
        assert_eq!(stage.led_to(&process.join(id).await), Some(0));
    }
}

/// A meeting that a Scalelite has just bound, and is about to create, is not forgotten by a poll that does not see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_of_a_scalelite_is_not_undone_by_a_poll() {
    let Some(stage) = Stage::redis(1).await else { return };
    let link = link(stage.redis.as_ref().unwrap());
    // What is older than the grace, which is twice the longest call and more, is forgotten.
    let process = stage.process(patient()).await;
    run(
        &link,
        &[
            "HSETNX scalelite:voice_bridges 123456789 m",
            "HSET scalelite:meeting:m server_id s0 moderator_pw pw voice_bridge 123456789 tenant_id x",
            "EXPIRE scalelite:meeting:m 86400",
            "SADD scalelite:meetings m",
        ],
    )
    .await;
    for _ in 0..3 {
        process.poll().await;
        assert_eq!(process.home("m").await.as_deref(), Some("s0"));
    }
    // It never came: when it is old enough it goes.
    link.call(&["HSET", "scalelite:meeting:m", "stamp", "1000"]).await.unwrap();
    process.poll().await;
    assert_eq!(process.home("m").await, None);
    assert!(!dump(&link).await.contains("123456789"));
}
