//! Text tracks: sent, listed, and where the player finds them.

use adapter_bbb::{BbbService, Payload, RecordingOptions, RequestHead};
use bytes::Bytes;
use serde_json::{Value, json};

use super::world::{World, recording};
use crate::stage::{HOST, call, signed};

pub(crate) const VTT: &str = "WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n";

async fn put(world: &World, query: &str, file: Option<&str>) -> Value {
    sent(&world.service, query, file).await
}

/// Sends a track; what is answered.
pub(crate) async fn sent(service: &BbbService, query: &str, file: Option<&str>) -> Value {
    let (path, query) = signed("putRecordingTextTrack", query);
    let body = file.map_or_else(String::new, |text| {
        format!(
            "--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\
             Content-Type: text/vtt\r\n\r\n{text}\r\n--xx--\r\n"
        )
    });
    let head = RequestHead {
        method: "POST",
        path: &path,
        query: &query,
        host: Some(HOST),
        content_type: Some("multipart/form-data; boundary=xx"),
        ..RequestHead::default()
    };
    let answer = service.handle(head, Payload::Whole(Bytes::from(body))).await;
    assert_eq!(answer.status(), 200);
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"))["response"].clone()
}

async fn tracks(world: &World, id: &str) -> Value {
    listed(&world.service, id).await
}

/// What is said of a recording's tracks.
pub(crate) async fn listed(service: &BbbService, id: &str) -> Value {
    let answer = call(service, "getRecordingTextTracks", &format!("recordID={id}"), None).await;
    serde_json::from_str::<Value>(&answer.body).unwrap()["response"].clone()
}

#[tokio::test]
async fn a_track_that_is_sent_is_listed_and_lies_where_the_player_looks() {
    for world in World::each(RecordingOptions::default()).await {
        world.add(&recording("r", "m", 0, true)).await;
        let folder = world.trees.place(true, "presentation", "r");
        std::fs::write(folder.join("captions.json"), r#"[{"localeName":"English","locale":"en-US"}]"#).unwrap();
        let sent = put(&world, "recordID=r&kind=subtitles&lang=pt_BR&label=Brasil", Some(VTT)).await;
        assert_eq!(
            sent,
            json!({ "returncode": "SUCCESS", "recordId": "r", "messageKey": "upload_text_track_success",
                "message": "Text track uploaded successfully" })
        );
        let href = |lang: &str| format!("http://{HOST}/presentation/r/caption_{lang}.vtt");
        assert_eq!(
            tracks(&world, "r").await,
            json!({ "returncode": "SUCCESS", "tracks": [
            { "href": href("en-US"), "kind": "captions", "label": "English", "lang": "en-US", "source": "live" },
            { "href": href("pt-BR"), "kind": "subtitles", "label": "Brasil", "lang": "pt-BR", "source": "upload" },
        ] })
        );
        assert_eq!(std::fs::read_to_string(folder.join("caption_pt-BR.vtt")).unwrap(), VTT);
        // Another of that language replaces it; SubRip becomes WebVTT; without a label it is the language.
        let srt = "1\n00:00:01,000 --> 00:00:02,000\nOi\n";
        assert_eq!(put(&world, "recordID=r&kind=captions&lang=pt-BR", Some(srt)).await["returncode"], "SUCCESS");
        let all = tracks(&world, "r").await;
        assert_eq!(all["tracks"].as_array().unwrap().len(), 2);
        assert_eq!((&all["tracks"][1]["label"], &all["tracks"][1]["kind"]), (&json!("pt-BR"), &json!("captions")));
        let text = std::fs::read_to_string(folder.join("caption_pt-BR.vtt")).unwrap();
        assert!(text.starts_with("WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\n"), "{text}");
        // The player's list is what it was, with more in it.
        let list: Value = serde_json::from_slice(&std::fs::read(folder.join("captions.json")).unwrap()).unwrap();
        assert_eq!((&list[0]["locale"], &list[0]["localeName"]), (&json!("en-US"), &json!("English")));
        // It goes with the recording.
        assert!(world.call("publishRecordings", "recordID=r&publish=false").await.ok());
        assert_eq!(tracks(&world, "r").await["tracks"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_told() {
    for world in World::each(RecordingOptions::default()).await {
        world.add(&recording("r", "m", 0, true)).await;
        for (query, file, key) in [
            ("kind=subtitles&lang=en", Some(VTT), "paramError"),
            ("recordID=r&lang=en", Some(VTT), "paramError"),
            ("recordID=r&kind=subtitles", Some(VTT), "paramError"),
            ("recordID=r&kind=songs&lang=en", Some(VTT), "invalidKind"),
            ("recordID=r&kind=subtitles&lang=../../x", Some(VTT), "invalidLang"),
            ("recordID=r&kind=subtitles&lang=en", Some(""), "empty_uploaded_text_track"),
            ("recordID=r&kind=subtitles&lang=en", None, "empty_uploaded_text_track"),
            ("recordID=none&kind=subtitles&lang=en", Some(VTT), "noRecordings"),
            ("recordID=r&kind=subtitles&lang=en", Some("hello"), "upload_text_track_failed"),
        ] {
            let answer = put(&world, query, file).await;
            assert_eq!((&answer["returncode"], &answer["messageKey"]), (&json!("FAILED"), &json!(key)), "{query}");
        }
        assert_eq!(tracks(&world, "r").await["tracks"], json!([]));
        assert_eq!(tracks(&world, "none").await["messageKey"], "noRecordings");
        assert_eq!(tracks(&world, "%20").await["messageKey"], "missingParamRecordID");
        // A wrong checksum is told in the same words, but as JSON.
        let head = RequestHead {
            method: "GET",
            path: "/bigbluebutton/api/getRecordingTextTracks",
            query: "recordID=r&checksum=00",
            host: Some(HOST),
            ..RequestHead::default()
        };
        let answer = world.service.handle(head, Payload::Whole(Bytes::new())).await;
        let answer: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(answer["response"]["messageKey"], "checksumError");
    }
}
