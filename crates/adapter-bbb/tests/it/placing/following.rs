//! Following what the servers say: meetings that ended by themselves, long ones, servers that come and go.

use adapter_bbb::ServerState;
use adapter_bbb::testing::{MeetingSpec, Meetings};
use balancer_core::WallClock;

use crate::stage::{Process, Stage, link, patient, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_that_ended_by_itself_is_forgotten_and_a_long_one_is_kept() {
    let Some(mut stage) = Stage::redis(1).await else { return };
    let redis = stage.redis.take().unwrap();
    let link = link(&redis);
    let process = stage.process(patient()).await;
    for id in ["over", "young", "long"] {
        assert!(process.create(id).await.ok());
    }
    // As if made a day ago.
    for id in ["over", "long"] {
        let key = format!("scalelite:meeting:{id}");
        link.call(&["HSET", &key, "stamp", "1000"]).await.unwrap();
        link.call(&["EXPIRE", &key, "100"]).await.unwrap();
    }
    for id in ["over", "young"] {
        assert!(stage.fakes[0].remove_meeting(id));
    }
    process.poll().await;
    assert_eq!(process.home("over").await, None);
    assert_eq!(process.join("over").await.text("messageKey"), "notFound");
    assert_eq!(process.home("young").await.as_deref(), Some("s0"), "its create may be under way");
    let ttl = link.call(&["TTL", "scalelite:meeting:long"]).await.unwrap().as_int().unwrap();
    assert!(ttl > 86_000, "{ttl}");
    let bridges = link.call(&["HVALS", "scalelite:voice_bridges"]).await.unwrap();
    assert_eq!(bridges.as_list().len(), 2, "the number of the ended one is free again");
    // The server has forgotten it, its binding stays: a create makes it there again.
    assert!(process.create("young").await.ok());
    assert_eq!(stage.having("young"), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_orders_the_other_follows() {
    let Some(mut stage) = Stage::redis(2).await else { return };
    let (a, b) = (stage.process(patient()).await, stage.process(patient()).await);
    // A state.
    let order = r#"{"id":"s0","server":{"state":"cordon"}}"#;
    assert_eq!(a.post("updateServer", order).await.status, 200);
    for n in 0..4 {
        assert!(b.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [0, 4], "closed for everybody at once");
    // A new server: known to the other when a meeting leads there.
    stage.add(2, None, None).await;
    stage.state(1, ServerState::Cordoned).await;
    a.poll().await;
    assert!(a.create("new").await.ok());
    assert_eq!(stage.having("new"), [2]);
    assert_eq!(stage.led_to(&b.join("new").await), Some(2));
    assert!(b.call("getMeetingInfo", "meetingID=new").await.ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_undoes_no_create() {
    let Some(stage) = Stage::redis(1).await else { return };
    for wrong_by in [3_600_000_i64, -3_600_000] {
        let mut o = patient();
        let right = WallClock::system();
        o.clock = WallClock::from_fn(move || right.now_ms().saturating_add_signed(wrong_by));
        let process = stage.process(o).await;
        assert!(process.create("m").await.ok());
        // As if its create were still under way.
        assert!(stage.fakes[0].remove_meeting("m"));
        process.poll().await;
        assert_eq!(process.home("m").await.as_deref(), Some("s0"), "{wrong_by}");
        // As if made ten minutes ago.
        let link = link(stage.redis.as_ref().unwrap());
        link.call(&["HINCRBY", "scalelite:meeting:m", "stamp", "-600000"]).await.unwrap();
        process.poll().await;
        assert_eq!(process.home("m").await, None, "{wrong_by}");
    }
}

#[tokio::test]
async fn a_server_that_lost_its_meetings_gets_them_again_where_they_are_bound() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    for n in 0..4 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    stage.fakes[0].stop().await;
    stage.fakes[0].revive(Meetings::Lose).await.unwrap();
    for n in 0..4 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [2, 2]);
}

#[tokio::test]
async fn a_restarted_process_knows_what_the_store_knows() {
    let Some(stage) = Stage::redis(2).await else { return };
    {
        let before = stage.process(patient()).await;
        for n in 0..4 {
            assert!(before.create(&format!("m{n}")).await.ok());
        }
    }
    stage.fakes[0].put_meeting(MeetingSpec::new("burden").people(50, 0, 0));
    // Not polled yet: it knows what others stored.
    let after = Process::start(patient(), stage.store.clone(), false).await;
    for n in 0..4 {
        let id = format!("m{n}");
        assert_eq!(stage.led_to(&after.join(&id).await), Some(stage.having(&id)[0]));
    }
    assert!(after.create("new").await.ok());
    // Running, it polls by itself.
    let running = Process::start(patient(), stage.store.clone(), true).await;
    let polls = stage.fakes[0].count("getMeetings");
    until("it polls", async || stage.fakes[0].count("getMeetings") > polls).await;
    until("the load is measured", async || {
        let info = running.call("getServerInfo", "id=s0").await;
        let info: serde_json::Value = serde_json::from_str(&info.body).unwrap();
        info["load"].as_f64().is_some_and(|load| load >= 80.0)
    })
    .await;
}

#[tokio::test]
async fn an_explanation_says_what_its_marks_mean_and_what_is_missing() {
    let stage = Stage::memory(0).await;
    let process = stage.process(patient()).await;
    let told = process.call("explain", "meetingID=m").await.body;
    assert!(told.contains("no servers are configured: servers add URL"), "{told}");
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    let told = process.call("explain", "meetingID=m").await.body;
    assert!(!told.contains("no servers are configured") && !told.contains("marks"), "{told}");
    assert!(process.create("m").await.ok());
    let told = process.call("explain", "meetingID=m").await.body;
    assert!(
        told.contains("`>` marks the server it lives on") && told.contains("were it new, it would go to s"),
        "{told}"
    );
}
