//! Meetings that run on two servers: the copy nobody is in ends.

use adapter_bbb::testing::MeetingSpec;

use crate::stage::{Stage, link, patient, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_stray_is_ended_and_one_with_people_is_left_alone() {
    let Some(stage) = Stage::redis(2).await else { return };
    let process = stage.process(patient()).await;
    let link = link(stage.redis.as_ref().unwrap());
    for id in ["empty", "busy", "young", "scalelites"] {
        assert!(process.create(id).await.ok());
        let home = stage.having(id)[0];
        let people = if id == "busy" { 2 } else { 0 };
        stage.fakes[1 - home].put_meeting(MeetingSpec::new(id).people(people, 0, 0));
        // Bound long ago; or, by a Scalelite, nobody knows when.
        match id {
            "young" => {}
            "scalelites" => drop(link.call(&["HDEL", "scalelite:meeting:scalelites", "token", "stamp"]).await.unwrap()),
            _ => drop(link.call(&["HSET", &format!("scalelite:meeting:{id}"), "stamp", "1000"]).await.unwrap()),
        }
    }
    until("the empty copy is ended", async || {
        process.poll().await;
        stage.having("empty").len() == 1
    })
    .await;
    assert_eq!(stage.led_to(&process.join("empty").await), stage.having("empty").first().copied(), "its home kept it");
    process.poll().await;
    for id in ["busy", "young", "scalelites"] {
        assert_eq!(stage.having(id), [0, 1], "{id}");
    }
}
