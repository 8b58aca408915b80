//! Loads, tags and caps.

use std::time::Duration;

use adapter_bbb::VoiceBridges;
use adapter_bbb::testing::MeetingSpec;

use crate::stage::{Process, Stage, link, patient};

#[tokio::test]
async fn a_poll_costs_at_most_two_calls_per_server() {
    let stage = Stage::memory(3).await;
    for fake in &stage.fakes {
        for n in 0..20 {
            fake.put_meeting(MeetingSpec::new(format!("m{n}-{}", fake.name())).people(2, 0, 0));
        }
    }
    let process = stage.process(patient()).await;
    for fake in &stage.fakes {
        assert_eq!((fake.inspect(|s| s.requests()), fake.count("getMeetings"), fake.count("")), (2, 1, 1));
    }
    process.poll().await;
    for fake in &stage.fakes {
        assert_eq!((fake.inspect(|s| s.requests()), fake.count("getMeetings")), (3, 2));
    }
}

/// The expected load of every server.
async fn expected(process: &Process) -> Vec<f64> {
    let status = process.call("status", "").await;
    let status: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    status["servers"].as_array().unwrap().iter().map(|s| s["expected_load"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn joins_count_and_moderators_twice() {
    let mut stage = Stage::memory(1).await;
    stage.add(1, None, Some("2.0")).await;
    stage.fakes[0].put_meeting(MeetingSpec::new("old").people(3, 1, 0).age(Duration::from_secs(3_600)));
    stage.fakes[1].put_meeting(MeetingSpec::new("young").people(3, 1, 0));
    let process = stage.process(patient()).await;
    // The formula: 3 people and a moderator are 4; a young meeting counts 15 at least; the multiplier doubles it.
    assert_eq!(expected(&process).await, [4.0, 30.0]);
    assert!(process.create("m").await.ok());
    assert_eq!(expected(&process).await, [19.0, 30.0], "a new meeting counts 15");
    assert!(process.join("m").await.location.is_some());
    assert_eq!(expected(&process).await, [20.0, 30.0]);
    assert!(process.call("join", "meetingID=m&fullName=B&password=mp").await.location.is_some());
    assert_eq!(expected(&process).await, [22.0, 30.0], "a moderator by password");
    assert!(process.call("join", "meetingID=m&fullName=C&role=MODERATOR").await.location.is_some());
    assert_eq!(expected(&process).await, [24.0, 30.0], "a moderator by role");
    assert!(process.create("m").await.ok());
    assert_eq!(expected(&process).await, [24.0, 30.0], "a repeated create is no new work");
    assert_eq!(process.join("unknown").await.text("messageKey"), "notFound");
    // Now the second costs 30 more per meeting, the first is at 24, 39, 54, 69: two go there before one goes here.
    for n in 0..2 {
        assert!(process.create(&format!("n{n}")).await.ok());
    }
    assert_eq!(expected(&process).await, [39.0, 60.0]);
    // A measurement takes the place of all guesses.
    process.poll().await;
    assert_eq!(expected(&process).await, [4.0 + 15.0 + 15.0, 30.0 + 30.0]);
}

async fn placed(stage: &Stage, process: &Process, id: &str, tag: &str) -> Result<Vec<usize>, String> {
    let answer = process.call("create", &format!("meetingID={id}&meta_server-tag={tag}")).await;
    if answer.ok() { Ok(stage.having(id)) } else { Err(answer.text("messageKey").to_owned()) }
}

#[tokio::test]
async fn tags_are_preferred_required_or_none() {
    let mut stage = Stage::memory(0).await;
    stage.add(0, None, None).await;
    stage.add(1, Some("gpu"), None).await;
    stage.add(2, Some("big"), None).await;
    let process = stage.process(patient()).await;
    for n in 0..4 {
        assert!(process.create(&format!("plain{n}")).await.ok());
        assert_eq!(stage.having(&format!("plain{n}")), [0], "without a tag: untagged servers only");
    }
    assert_eq!(placed(&stage, &process, "a", "gpu").await, Ok(vec![1]));
    assert_eq!(placed(&stage, &process, "b", "gpu!").await, Ok(vec![1]));
    assert_eq!(placed(&stage, &process, "c", "nowhere").await, Ok(vec![0]), "only preferred: an untagged one");
    assert_eq!(placed(&stage, &process, "d", "nowhere!").await, Err("serverTagUnavailable".into()));
    assert_eq!(placed(&stage, &process, "e", "big!").await, Ok(vec![2]));
    // `gpu` has two meetings, `big` one, the untagged one five.
    assert_eq!(placed(&stage, &process, "f", "gpu;big").await, Ok(vec![2]));
    assert_eq!(placed(&stage, &process, "g", "none!").await, Ok(vec![0]));
    stage.fakes[0].stop().await;
    process.poll().await;
    process.poll().await;
    assert_eq!(placed(&stage, &process, "h", "none;big!").await, Ok(vec![2]));
    assert_eq!(placed(&stage, &process, "i", "none!").await, Err("serverTagUnavailable".into()));
    let answer = process.create("j").await;
    assert_eq!(answer.text("message"), "Could not find any available servers.", "tagged servers take no untagged");
    // What the server gets to see is its own tag.
    let tags: Vec<_> =
        stage.fakes[1].calls_of("create").iter().map(|r| r.param("meta_server-tag").map(str::to_owned)).collect();
    assert!(!tags.is_empty() && tags.iter().all(|t| t.as_deref() == Some("gpu")), "{tags:?}");
    assert!(stage.fakes[0].calls_of("create").iter().all(|r| r.param("meta_server-tag").is_none()));
}

#[tokio::test]
async fn new_meetings_per_interval_are_capped() {
    let stage = Stage::memory(2).await;
    let mut o = patient();
    o.cap = Some((3, Duration::from_secs(600)));
    let process = stage.process(o).await;
    for n in 0..6 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [3, 3]);
    let answer = process.create("one-more").await;
    assert_eq!(answer.text("message"), "Could not find any available servers.");
    assert!(process.create("m0").await.ok(), "a known meeting is no new one");
}

#[tokio::test]
async fn a_meeting_that_begins_anew_where_it_was_counts_at_once() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    let ids: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    for id in &ids {
        assert!(process.create(id).await.ok());
    }
    assert_eq!(stage.counts(), [5, 5]);
    // All of them end by themselves; their bindings are still young. Those of one server begin anew.
    let first: Vec<&String> = ids.iter().filter(|id| stage.having(id) == [0]).collect();
    for id in &ids {
        assert!(stage.fakes.iter().any(|f| f.remove_meeting(id)));
    }
    process.poll().await;
    for id in &first {
        assert!(process.create(id).await.ok());
    }
    assert_eq!(stage.counts(), [5, 0]);
    for n in 0..5 {
        assert!(process.create(&format!("new{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [5, 5]);
}

#[tokio::test]
async fn a_meeting_whose_numbers_are_all_taken_gets_another() {
    let Some(stage) = Stage::redis(1).await else { return };
    let process = stage.process(patient()).await;
    let link = link(stage.redis.as_ref().unwrap());
    let taken: Vec<String> = VoiceBridges::new("m", 9).take(10).collect();
    for number in &taken {
        link.call(&["HSET", "scalelite:voice_bridges", number, "of another"]).await.unwrap();
    }
    assert!(process.create("m").await.ok());
    let sent = stage.fakes[0].calls_of("create")[0].param("voiceBridge").map(str::to_owned).unwrap();
    assert!(sent.len() == 9 && !taken.contains(&sent), "{sent:?}");
    let owner = link.call(&["HGET", "scalelite:voice_bridges", &sent]).await.unwrap();
    assert_eq!(owner.as_str(), Some("m"));
    assert_eq!(stage.store.look("m").await.unwrap().meeting.unwrap().voice_bridge, sent);
}

#[tokio::test]
async fn no_empty_number_is_sent_when_there_are_no_more() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.voice_digits = 1;
    let process = stage.process(o).await;
    for n in 0..12 {
        assert!(process.create(&format!("m{n}")).await.ok());
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    let calls = stage.fakes[0].calls_of("create");
    let mut sent: Vec<&str> = calls.iter().filter_map(|c| c.param("voiceBridge")).collect();
    assert_eq!(sent.len(), 18, "nine meetings, twice: {sent:?}");
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}
