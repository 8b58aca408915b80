//! What is left of servers that were removed, and what a meeting takes along when it moves.

use adapter_bbb::testing::MeetingSpec;
use adapter_bbb::{LocalStore, MeetingClaim, MeetingStore, Secret, ServerRecord, ServerState};
use balancer_core::{Binding, Claim, Token, Want};

use super::{DAY, bind, order, polled, record};
use crate::stage::{PATIENCE, Stage, dump, link, patient, redis_store};
use real_servers::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_server_leaves_no_key_behind() {
    let Some(mut stage) = Stage::redis(1).await else { return };
    let server = stage.redis.take().unwrap();
    let link = link(&server);
    let store = stage.store.clone();
    // A UUID is found wherever it stands.
    let uuid = "0b8e5dbe-6c25-4e6c-9d7f-8d0a3b0f7c11";
    let mut r = ServerRecord::new(uuid, stage.fakes[0].base(), Secret::new(stage.fakes[0].secret()));
    r.tag = Some("t".into());
    assert!(store.add_server(&r).await.unwrap());
    store.update_server(&uuid.into(), &order(ServerState::Enabled)).await.unwrap();
    stage.fakes[0].put_meeting(MeetingSpec::new("x").people(2, 0, 0));
    let process = stage.process(patient()).await;
    bind(&*store, "m1", uuid, 1.0).await;
    let b2 = bind(&*store, "m2", uuid, 1.0).await;
    store.begin_end("m2", &b2, PATIENCE).await.unwrap();
    store.close(&uuid.into(), true).await.unwrap();
    // Counters of Scalelite's poller.
    link.call(&["HSET", &format!("scalelite:{uuid}"), "healthy_counter", "1"]).await.unwrap();
    assert!(dump(&link).await.contains(uuid));
    let answer = process.post("deleteServer", &format!(r#"{{"id":"{uuid}"}}"#)).await;
    assert_eq!((answer.status, answer.body.contains("was destroyed")), (200, true), "{answer:?}");
    store.record_poll(&uuid.into(), &polled(3.0)).await.unwrap();
    store.add_loads(&[(uuid.into(), 1.0)]).await.unwrap();
    store.renew_seen(&uuid.into(), &["m1".into()], DAY).await.unwrap();
    let left = dump(&link).await;
    assert!(!left.contains(uuid) && !left.contains("m1"), "{left}");
    assert_eq!(process.post("deleteServer", &format!(r#"{{"id":"{uuid}"}}"#)).await.status, 404);
}

/// Claims for a create, or for a meeting found running.
async fn claim(store: &dyn MeetingStore, id: &str, server: &str, adopt: bool) -> Claim {
    let want = Want { backend: server.into(), token: Token(9) };
    let claim = MeetingClaim {
        id,
        over: None,
        want: &want,
        moderator_pw: "mp",
        bridges: &[],
        load: 1.0,
        adopt,
        tenant: "",
        most: 0,
        registered: true,
        ttl: DAY,
    };
    store.claim_meeting(&claim).await.unwrap().claim
}

async fn takes_nothing_for_servers_that_are_gone(store: &dyn MeetingStore) {
    for id in ["gone", "new", "old"] {
        assert!(store.add_server(&record(id)).await.unwrap());
    }
    for id in ["gone", "old"] {
        store.update_server(&id.into(), &order(ServerState::Enabled)).await.unwrap();
    }
    assert!(store.remove_server(&"gone".into()).await.unwrap());
    for (n, (server, adopt)) in [("gone", false), ("gone", true), ("new", false)].into_iter().enumerate() {
        let claimed = claim(store, &format!("m{n}"), server, adopt).await;
        assert!(matches!(claimed, Claim::Closed), "{server}, adopt: {adopt}: {claimed:?}");
    }
    assert_eq!(store.meetings(None).await.unwrap(), []);
    assert!(matches!(claim(store, "m4", "old", false).await, Claim::Won(_)));
    assert!(matches!(claim(store, "m5", "new", true).await, Claim::Won(_)));
}

#[tokio::test]
async fn nothing_is_bound_to_a_removed_server() {
    takes_nothing_for_servers_that_are_gone(&LocalStore::memory()).await;
    let Some(server) = RedisServer::start(&[]) else { return };
    takes_nothing_for_servers_that_are_gone(&*redis_store(&server)).await;
}

async fn a_move_gives_a_meeting_what_it_lacks(store: &dyn MeetingStore) {
    let bind = async |over: Option<&Binding>, server: &str, pw: &str, number: &str| {
        let bridges: Vec<String> = Some(number.to_owned()).filter(|n| !n.is_empty()).into_iter().collect();
        let want = Want { backend: server.into(), token: Token(9) };
        let claim = MeetingClaim {
            id: "m",
            over,
            want: &want,
            moderator_pw: pw,
            bridges: &bridges,
            load: 1.0,
            adopt: false,
            tenant: "",
            most: 0,
            registered: false,
            ttl: DAY,
        };
        store.claim_meeting(&claim).await.unwrap().meeting.unwrap()
    };
    let bare = bind(None, "a", "", "").await;
    assert_eq!((bare.moderator_pw.as_str(), bare.voice_bridge.as_str()), ("", ""));
    let full = bind(Some(&bare.binding), "b", "pw", "70123").await;
    assert_eq!((full.moderator_pw.as_str(), full.voice_bridge.as_str()), ("pw", "70123"));
    let moved = bind(Some(&full.binding), "c", "other", "70124").await;
    assert_eq!((moved.moderator_pw.as_str(), moved.voice_bridge.as_str()), ("pw", "70123"));
}

#[tokio::test]
async fn a_moved_meeting_lacks_nothing() {
    a_move_gives_a_meeting_what_it_lacks(&LocalStore::memory()).await;
    let Some(server) = RedisServer::start(&[]) else { return };
    a_move_gives_a_meeting_what_it_lacks(&*redis_store(&server)).await;
}
