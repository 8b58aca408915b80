//! The calls about recordings, over an index in memory.

use adapter_bbb::{LocalRecordings, PlaybackFormat, RecordingIndex, RecordingOptions, RecordingState};

use super::world::{World, recording};
use crate::stage::{Stage, patient};

/// The same recordings in every kind of index.
async fn samples() -> Vec<World> {
    let all = World::each(RecordingOptions::default()).await;
    for world in &all {
        fill(world).await;
    }
    all
}

async fn fill(world: &World) {
    for (id, meeting, second, published) in
        [("ab-1", "m1", 1, true), ("ab-2", "m1", 2, false), ("AB-3", "m2", 3, true), ("a%-4", "m2", 4, true)]
    {
        let mut r = recording(id, meeting, second, published);
        r.set_meta("course", if meeting == "m1" { "7" } else { "8" });
        r.set_meta("teacher", id);
        world.add(&r).await;
    }
    let mut gone = recording("ab-9", "m1", 9, false);
    gone.state = Some(RecordingState::Processed);
    world.add(&gone).await;
}

#[tokio::test]
async fn every_filter_of_get_recordings() {
    for world in samples().await {
        for (query, want) in [
            ("", "a%-4 AB-3 ab-2 ab-1"),
            // Beginnings of ids, literally, and case matters.
            ("recordID=ab-", "ab-2 ab-1"),
            ("recordID=AB-,a%25", "a%-4 AB-3"),
            ("recordID=a_-", ""),
            ("recordID=%20", "a%-4 AB-3 ab-2 ab-1"),
            ("meetingID=m1", "ab-2 ab-1"),
            ("meetingID=M1", ""),
            ("meetingID=m1,m2&recordID=ab", "ab-2 ab-1"),
            ("state=published", "a%-4 AB-3 ab-1"),
            ("state=unpublished,processed", "ab-9 ab-2"),
            ("state=any", "ab-9 a%-4 AB-3 ab-2 ab-1"),
            ("state=nonsense", ""),
            ("meta_course=7", "ab-2 ab-1"),
            ("meta_Course=7", "ab-2 ab-1"),
            ("meta_course=7,8", "a%-4 AB-3 ab-2 ab-1"),
            // Of several, one is enough; other filters come on top.
            ("meta_course=8&meta_teacher=ab-1", "a%-4 AB-3 ab-1"),
            ("meta_course=8&meta_teacher=ab-1&meetingID=m1", "ab-1"),
            ("meta_course=", ""),
            // What no index can hold finds nothing, also where databases refuse to look for it.
            ("recordID=ab-%00", ""),
            ("meetingID=m1%00", ""),
            ("meta_course=7%00", ""),
            ("meta_course%00=7", ""),
            ("limit=2", "a%-4 AB-3"),
            ("limit=2&offset=1", "AB-3 ab-2"),
            ("limit=0", "a%-4"),
            ("offset=2", "a%-4 AB-3 ab-2 ab-1"),
            ("limit=x&offset=y", "a%-4 AB-3 ab-2 ab-1"),
        ] {
            assert_eq!(world.listed(query).await.join(" "), want, "{query}");
        }
    }
}

#[tokio::test]
async fn nothing_found_and_urls_of_the_request() {
    for world in samples().await {
        let none = world.call("getRecordings", "recordID=none").await;
        assert!(none.body.starts_with("<response>"), "no declaration: {}", none.body);
        assert_eq!(none.text("messageKey"), "noRecordings");
        assert_eq!(none.text("message"), "There are not recordings for the meetings");
        let one = world.call("getRecordings", "recordID=ab-1").await;
        assert_eq!(one.text("url"), "http://bbb.example.com/playback/presentation/2.3/ab-1");
        let (path, query) = crate::stage::signed("getRecordings", "recordID=ab-1");
        let head = adapter_bbb::RequestHead {
            method: "GET",
            path: &path,
            query: &query,
            host: Some("bbb.example.com:8443"),
            forwarded_proto: Some("https, http"),
            ..adapter_bbb::RequestHead::default()
        };
        let answer = world.service.handle(head, adapter_bbb::Payload::Whole(bytes::Bytes::new())).await;
        let body = String::from_utf8_lossy(answer.body());
        assert!(body.contains("<url>https://bbb.example.com:8443/playback/presentation/2.3/ab-1</url>"), "{body}");
    }
}

#[tokio::test]
async fn filters_may_be_demanded() {
    let mut options = RecordingOptions::default();
    options.filtered = true;
    for world in World::each(options).await {
        world.add(&recording("r", "m", 0, true)).await;
        let answer = world.call("getRecordings", "state=any&meta_a=b").await;
        assert_eq!(answer.text("messageKey"), "missingParameters");
        assert_eq!(answer.text("message"), "param meetingID or recordID must be included.");
        assert_eq!(world.listed("meetingID=m").await, ["r"]);
        assert_eq!(world.listed("recordID=r").await, ["r"]);
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for world in samples().await {
        for (call, query, key, message) in [
            ("publishRecordings", "publish=true", "missingParamRecordID", "You must specify a recordID."),
            (
                "publishRecordings",
                "recordID=ab-1",
                "missingParamPublish",
                "You must specify a publish value true or false.",
            ),
            ("publishRecordings", "recordID=ab&publish=true", "notFound", "We could not find recordings"),
            ("publishRecordings", "recordID=ab-9&publish=true", "notFound", "We could not find recordings"),
            ("updateRecordings", "meta_a=b", "missingParamRecordID", "You must specify a recordID."),
            ("deleteRecordings", "recordID=,", "missingParamRecordID", "You must specify a recordID."),
            ("deleteRecordings", "recordID=none", "notFound", "We could not find recordings"),
        ] {
            let answer = world.call(call, query).await;
            assert_eq!((answer.text("messageKey"), answer.text("message")), (key, message), "{call} {query}");
        }
        // Without recordings there is nothing to find, and nothing to list.
        let process = Stage::memory(1).await.process(patient()).await;
        assert_eq!(process.call("getRecordings", "").await.text("messageKey"), "noRecordings");
        assert_eq!(process.call("deleteRecordings", "recordID=x").await.text("messageKey"), "notFound");
        assert_eq!(process.call("publishRecordings", "recordID=x&publish=true").await.text("messageKey"), "notFound");
        assert_eq!(process.call("updateRecordings", "recordID=x&meta_a=b").await.text("updated"), "false");
        assert_eq!(process.call("getRecordingTextTracks", "recordID=x").await.text("messageKey"), "unsupportedRequest");
    }
}

#[tokio::test]
async fn publishing_moves_the_files_and_remembers_the_choice() {
    for world in samples().await {
        let answer = world.call("publishRecordings", "recordID=ab-1,ab-2,none&publish=TRUE").await;
        assert_eq!(answer.text("published"), "true", "{}", answer.body);
        assert!(world.trees.place(true, "presentation", "ab-2").is_dir());
        let (one, two) =
            (world.index.get("ab-1").await.unwrap().unwrap(), world.index.get("ab-2").await.unwrap().unwrap());
        assert!(!one.publish_updated, "it was published already");
        assert!(two.published && two.publish_updated && two.state == Some(RecordingState::Published));
        let answer = world.call("publishRecordings", "recordID=ab-1&publish=no").await;
        assert_eq!(answer.text("published"), "false");
        assert!(world.trees.place(false, "presentation", "ab-1").is_dir());
        assert!(!world.trees.place(true, "presentation", "ab-1").exists());
        // A format that is nowhere on disk is told, and nothing is changed.
        std::fs::remove_dir_all(world.trees.place(true, "presentation", "AB-3")).unwrap();
        let answer = world.call("publishRecordings", "recordID=AB-3&publish=false").await;
        assert_eq!(answer.text("message"), "Unable to publish/unpublish recording.");
        assert!(world.index.get("AB-3").await.unwrap().unwrap().published);
    }
}

#[tokio::test]
async fn updates_change_metadata_of_all_or_none() {
    for world in samples().await {
        let updated = async |query: &str| world.call("updateRecordings", query).await.text("updated").to_owned();
        assert_eq!(updated("recordID=ab-1,ab-2&meta_Course=9&meta_teacher=&meta_new=a%26b").await, "true");
        for id in ["ab-1", "ab-2"] {
            let r = world.index.get(id).await.unwrap().unwrap();
            assert_eq!((r.meta("course"), r.meta("teacher"), r.meta("new")), (Some("9"), None, Some("a&b")), "{id}");
        }
        assert_eq!(updated("recordID=ab-1,none&meta_course=1").await, "false");
        assert_eq!(world.index.get("ab-1").await.unwrap().unwrap().meta("course"), Some("9"));
        assert_eq!(updated("recordID=ab-1").await, "false", "nothing was asked for");
    }
}

/// There: the first one only.
#[tokio::test]
async fn protect_counts_for_every_recording_named() {
    for world in samples().await {
        assert_eq!(world.call("updateRecordings", "recordID=ab-1,ab-2&protect=true").await.text("updated"), "true");
        for id in ["ab-1", "ab-2"] {
            assert!(world.index.get(id).await.unwrap().unwrap().protected, "{id}");
        }
        world.call("updateRecordings", "recordID=ab-2&protect=false").await;
        assert!(!world.index.get("ab-2").await.unwrap().unwrap().protected);
    }
}

/// There: the files of an unpublished recording stayed.
#[tokio::test]
async fn deleting_removes_the_files_from_both_trees_and_keeps_the_row() {
    for world in samples().await {
        let mut two = world.index.get("ab-2").await.unwrap().unwrap();
        two.formats.push(PlaybackFormat::new("video", "/video/ab-2/"));
        world.add(&two).await;
        let answer = world.call("deleteRecordings", "recordID=ab-1,ab-2").await;
        assert_eq!(answer.text("deleted"), "true", "{}", answer.body);
        for (published, format, id) in
            [(true, "presentation", "ab-1"), (false, "presentation", "ab-2"), (false, "video", "ab-2")]
        {
            assert!(!world.trees.place(published, format, id).exists(), "{format} {id}");
        }
        assert_eq!(world.listed("").await, ["a%-4", "AB-3"]);
        assert_eq!(world.listed("state=deleted").await, ["ab-2", "ab-1"]);
        let row = world.index.get("ab-1").await.unwrap().unwrap();
        assert!(row.metadata.is_empty() && row.formats.is_empty() && row.meeting_id == "m1");
        // Once more is no error: what was broken off is finished.
        assert_eq!(world.call("deleteRecordings", "recordID=ab-1").await.text("deleted"), "true");
    }
}

/// There: a tenant who filters by metadata finds nothing.
#[tokio::test]
async fn a_tenant_may_filter_by_metadata() {
    let index = LocalRecordings::memory();
    for (id, tenant) in [("a", "t1"), ("b", "t2")] {
        let mut r = recording(id, "m", 0, true);
        r.set_meta("tenant-id", tenant);
        r.set_meta("course", "7");
        index.import(&r).await.unwrap();
    }
    let mut q = adapter_bbb::RecordingQuery::default();
    q.tenant = Some("t1".into());
    q.meta.insert("course".into(), vec!["7".into()]);
    let found = index.list(&q).await.unwrap().recordings;
    assert_eq!(found.iter().map(|r| r.record_id.as_str()).collect::<Vec<_>>(), ["a"]);
}
