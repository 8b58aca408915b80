//! Over HTTP: playing, and operators' calls.

use adapter_bbb::{
    Algorithm, BbbService, GateOptions, LocalStore, MeetingStore, Payload, PlaybackGate, PlaybackTokens as _,
    RecordingDesk, RequestHead, Secret, sign,
};
use bytes::Bytes;
use http::Response;
use real_servers::RedisServer;
use serde_json::{Value, json};

use super::*;
use crate::stage::{HOST, Process, SECRET, options, redis_store};

pub(crate) async fn get(service: &BbbService, path: &str, cookie: Option<&str>) -> Response<Bytes> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let head = RequestHead { method: "GET", path, query, host: Some(HOST), cookie, ..RequestHead::default() };
    service.handle(head, Payload::Whole(Bytes::new())).await
}

async fn order(service: &BbbService, name: &str, query: &str, body: Option<Value>) -> (u16, Value) {
    let sum = sign(Algorithm::Sha256, name, query, SECRET);
    let query = format!("{query}{}checksum={sum}", if query.is_empty() { "" } else { "&" });
    let head = RequestHead {
        method: if body.is_some() { "POST" } else { "GET" },
        path: &format!("/balancer/api/{name}"),
        query: &query,
        host: Some(HOST),
        content_type: body.as_ref().map(|_| "application/json"),
        ..RequestHead::default()
    };
    let body = Payload::Whole(body.map_or(Bytes::new(), |b| Bytes::from(b.to_string())));
    let answer = service.handle(head, body).await;
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

/// From the archive to the browser, with tokens in one process's memory and in Scalelite's Redis.
#[tokio::test]
async fn a_protected_recording_is_played_once_per_token() {
    let redis = RedisServer::start(&[]);
    let stores: Vec<Arc<dyn MeetingStore>> = [Some(Arc::new(LocalStore::memory()) as Arc<dyn MeetingStore>)]
        .into_iter()
        .chain([redis.as_ref().map(|r| redis_store(r) as Arc<dyn MeetingStore>)])
        .flatten()
        .collect();
    for store in stores {
        for shelf in Shelf::each_with(|o| o.protected = true).await {
            shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
            assert_eq!(shelf.import_one().await, None);
            let mut gate = GateOptions::default();
            gate.key = Some(Secret::new("the key of the cookies"));
            let gate = PlaybackGate::new(gate, shelf.index.clone(), store.clone());
            let process = Process::start(options(), store.clone(), false).await;
            let service = process.service.clone().with_playback(gate.clone());
            let token = gate.issue(&[("rec-1", "video")]).await.unwrap().remove(0);
            assert_eq!(get(&service, "/video/rec-1/media/0.webm", None).await.status(), 404);
            let path = format!("/recording/rec-1/video?token={token}");
            let entry = get(&service, &path, None).await;
            assert_eq!(entry.status(), 307);
            assert_eq!(entry.headers()["location"], "/playback/video/rec-1");
            let cookie = entry.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
            assert_eq!(get(&service, &path, None).await.status(), 404, "it was used");
            let file = get(&service, "/video/rec-1/media/0.webm", Some(&cookie)).await;
            assert_eq!(file.headers()["x-accel-redirect"], "/static-resource/video/rec-1/media/0.webm");
            // Unpublished, it cannot be played any more, whatever somebody has.
            assert!(shelf.keeper.publish("rec-1", false).await.unwrap());
            assert_eq!(get(&service, "/video/rec-1/media/0.webm", Some(&cookie)).await.status(), 404);
            // Another process honours the token as well, and one of Scalelite's.
            if let Some(server) = redis.as_ref().filter(|_| store.is_shared()) {
                assert!(shelf.keeper.publish("rec-1", true).await.unwrap());
                let other = PlaybackGate::new(GateOptions::default(), shelf.index.clone(), store.clone());
                let shown = other.issue(&[("rec-1", "video")]).await.unwrap().remove(0);
                let link = crate::stage::link(server);
                let key = format!("scalelite:protector_token_{shown}");
                let kept = link.call(&["GET", &key]).await.unwrap();
                let kept: Value = serde_json::from_str(kept.as_str().unwrap()).unwrap();
                assert_eq!(kept, json!({ "record_id": "rec-1", "format": "video" }));
                let left = link.call(&["TTL", &key]).await.unwrap();
                assert!(matches!(left, balancer_core::RedisReply::Int(3000..=3600)), "{left:?}");
                assert_eq!(get(&service, &format!("/recording/rec-1/video?token={shown}"), None).await.status(), 307);
                let theirs = "a1".repeat(32);
                let key = format!("scalelite:protector_token_{theirs}");
                link.call(&["SET", &key, r#"{"record_id":"rec-1","format":"video"}"#, "EX", "600"]).await.unwrap();
                assert_eq!(get(&service, &format!("/recording/rec-1/video?token={theirs}"), None).await.status(), 307);
                assert_eq!(link.call(&["EXISTS", &key]).await.unwrap(), balancer_core::RedisReply::Int(0));
            }
        }
    }
}

#[tokio::test]
async fn without_a_gate_nothing_is_played() {
    let process = Process::start(options(), Arc::new(LocalStore::memory()), false).await;
    for path in ["/recording/rec-1/video", "/video/rec-1/x", "/playback/video/rec-1"] {
        let answer = get(&process.service, path, None).await;
        assert!(String::from_utf8_lossy(answer.body()).contains("unsupportedRequest"), "{path}");
    }
    assert_eq!(order(&process.service, "recordings", "", None).await.0, 404);
}

#[tokio::test]
async fn operators_list_import_check_and_settle() {
    for shelf in Shelf::each().await {
        let process = Process::start(options(), Arc::new(LocalStore::memory()), false).await;
        let desk = RecordingDesk::new(shelf.index.clone(), shelf.keeper.clone(), Some(shelf.importer.clone()));
        let service = process.service.clone().with_recording_desk(desk);
        shelf.arrives("a.tar", &packed(&both_formats("a", 1)));
        shelf.arrives("b.tar", b"not a tar archive");
        let (status, said) = order(&service, "importRecordings", "", Some(json!({}))).await;
        assert_eq!((status, &said["running"]), (200, &json!(false)));
        let archives = said["archives"].as_array().unwrap();
        let of = |name: &str| archives.iter().find(|a| a["archive"] == name).unwrap();
        assert_eq!((&of("a.tar")["imported"], &of("a.tar")["recordings"][0]["record_id"]), (&json!(true), &json!("a")));
        assert_eq!((&of("b.tar")["imported"], &of("b.tar")["lasting"]), (&json!(false), &json!(true)));
        let (_, listed) = order(&service, "recordings", "state=any&limit=1", None).await;
        assert_eq!((&listed["more"], &listed["recordings"][0]["record_id"]), (&json!(false), &json!("a")));
        assert_eq!(listed["recordings"][0]["formats"], json!(["presentation", "video"]));
        assert_eq!(order(&service, "recordings", "state=lost", None).await.0, 400);
        assert_eq!(order(&service, "recordings", "limit=x", None).await.0, 400);
        std::fs::create_dir_all(shelf.folder.join("unpublished/video")).unwrap();
        std::fs::rename(shelf.folder.join("published/video/a"), shelf.folder.join("unpublished/video/a")).unwrap();
        let (_, checked) = order(&service, "checkRecordings", "", None).await;
        assert_eq!((&checked["findings"][0]["kind"], &checked["waiting"]), (&json!("misplaced"), &json!(["b.tar"])));
        let (_, settled) = order(&service, "settleRecordings", "", Some(json!({}))).await;
        assert_eq!(settled["findings"][0]["mended"], json!(true));
        let (_, checked) = order(&service, "checkRecordings", "", None).await;
        assert_eq!(checked["findings"], json!([]));
        let (_, added) = order(&service, "addRecordingsToTenant", "", Some(json!({ "tenant": "t1" }))).await;
        assert_eq!(added["added"], json!(1));
        assert_eq!(shelf.row("a").await.meta("tenant-id"), Some("t1"));
        assert_eq!(order(&service, "addRecordingsToTenant", "", Some(json!({}))).await.0, 400);
        // A read is no order, and an order is no read; neither goes unsigned.
        for (name, body) in [("importRecordings", None), ("settleRecordings", None), ("recordings", Some(json!({})))] {
            assert_eq!(order(&service, name, "", body).await.1, Value::Null, "{name}");
        }
        let answer = get(&service, "/balancer/api/recordings", None).await;
        assert!(String::from_utf8_lossy(answer.body()).contains("checksumError"));
    }
}
