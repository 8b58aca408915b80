//! After a lost store: the meetings that run are found again.

use std::sync::Arc;

use adapter_bbb::testing::MeetingSpec;
use adapter_bbb::{LocalStore, MeetingStore, Secret, ServerPatch, ServerRecord, ServerState};

use crate::stage::{PATIENCE, Process, Stage, patient, until};
use crate::store::Folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_meetings_are_bound_again_after_a_lost_store() {
    let mut stage = Stage::memory(3).await;
    {
        let before = stage.process(patient()).await;
        for n in 0..12 {
            assert!(before.create(&format!("m{n}")).await.ok());
        }
    }
    // On two servers: the one with people in it wins, whatever its id.
    stage.fakes[0].put_meeting(MeetingSpec::new("twice"));
    stage.fakes[2].put_meeting(MeetingSpec::new("twice").people(3, 1, 0));
    let folder = Folder::new();
    let empty: Arc<dyn MeetingStore> = LocalStore::open(folder.0.join("new.redb")).await.unwrap();
    for (n, fake) in stage.fakes.iter().enumerate() {
        let r = ServerRecord::new(format!("s{n}"), fake.base(), Secret::new(fake.secret()));
        assert!(empty.add_server(&r).await.unwrap());
        let patch = ServerPatch { state: Some(ServerState::Enabled), ..ServerPatch::default() };
        empty.update_server(&format!("s{n}").as_str().into(), &patch).await.unwrap();
    }
    stage.store = empty;
    let process = Process::start(patient(), stage.store.clone(), false).await;
    assert_eq!(process.join("m0").await.text("messageKey"), "notFound");
    process.poll().await;
    assert_eq!(process.service.cluster().rebuild().await.unwrap(), 13);
    assert_eq!(process.service.cluster().rebuild().await.unwrap(), 0);
    for n in 0..12 {
        let id = format!("m{n}");
        let home = stage.having(&id)[0];
        assert_eq!(stage.led_to(&process.join(&id).await), Some(home));
        assert!(process.create(&id).await.ok());
        assert_eq!(stage.having(&id), [home]);
    }
    assert_eq!(stage.led_to(&process.join("twice").await), Some(2));
    // A later poll keeps them.
    process.poll().await;
    assert_eq!(stage.led_to(&process.join("twice").await), Some(2));
}

#[tokio::test]
async fn meetings_on_a_cordoned_server_are_bound_again_too() {
    let stage = Stage::memory(1).await;
    stage.fakes[0].put_meeting(MeetingSpec::new("m").people(2, 0, 0));
    stage.state(0, ServerState::Cordoned).await;
    let process = stage.process(patient()).await;
    assert_eq!(process.service.cluster().rebuild().await.unwrap(), 1);
    assert_eq!(stage.led_to(&process.join("m").await), Some(0));
}

#[tokio::test]
async fn a_single_lost_binding_is_found_by_two_polls() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    let spec = MeetingSpec::new("lost").param("moderatorPW", "mp").param("attendeePW", "ap");
    stage.fakes[1].put_meeting(spec.people(2, 0, 0));
    process.poll().await;
    assert_eq!(process.join("lost").await.text("messageKey"), "notFound", "it may be ending");
    // Two polls within one millisecond count as one list.
    until("it is bound", async || {
        process.poll().await;
        process.home("lost").await.is_some()
    })
    .await;
    assert_eq!(stage.led_to(&process.join("lost").await), Some(1));
    assert!(process.create("lost").await.ok());
    assert_eq!(stage.having("lost"), [1]);
}

#[tokio::test]
async fn what_is_bound_again_keeps_its_password_and_number() {
    let stage = Stage::memory(1).await;
    let spec = MeetingSpec::new("m").param("moderatorPW", "its own").param("voiceBridge", "70123");
    stage.fakes[0].put_meeting(spec.people(2, 0, 0));
    stage.fakes[0].put_meeting(MeetingSpec::new("group-1").people(3, 0, 0).breakout());
    let process = stage.process(patient()).await;
    assert_eq!(process.service.cluster().rebuild().await.unwrap(), 1, "a breakout room belongs to its meeting");
    let meeting = stage.store.look("m").await.unwrap().meeting.unwrap();
    assert_eq!((meeting.moderator_pw.as_str(), meeting.voice_bridge.as_str()), ("its own", "70123"));
    assert_eq!(process.post("panicServer", r#"{"id":"s0"}"#).await.status, 200);
    stage.fakes[0].wait_for(|s| s.count("end") > 0, PATIENCE).await.unwrap();
    let ends = stage.fakes[0].calls_of("end");
    assert_eq!(ends[0].param("password"), Some("its own"), "an older server refuses any other");
}
