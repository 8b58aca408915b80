//! Recordings of two tenants: nobody lists, changes or plays another one's, on every kind of index.

use adapter_bbb::{
    Algorithm, GateOptions, ImportOptions, ImportOutcome, Importer, LocalRecordings, PlaybackGate, PlaybackTokens as _,
    RecordingDesk, RecordingIndex, RecordingOptions, Recordings, TENANT_KEY, sign,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::importing::{Shelf, files_below, format_files, packed};
use crate::recordings::world::{Trees, recording};

/// The files of a recording of this tenant, made from a meeting of this id on its server.
fn files_of(tenant: Option<Tenant>, id: &str, meeting: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = format_files(id, "video", 1);
    let told = tenant.map_or(String::new(), |t| format!("<tenant-id>{}</tenant-id>", t.id()));
    for (path, content) in &mut files {
        if path.ends_with("metadata.xml") {
            let text = String::from_utf8(content.clone()).unwrap();
            let text = text.replace(&format!("meeting-{id}"), meeting).replace("<course>", &format!("{told}<course>"));
            *content = text.into_bytes();
        }
    }
    files
}

/// Two tenants, recordings of both, and everything that is done with them.
struct Town {
    stage: Stage,
    process: Process,
    shelf: Shelf,
    gate: PlaybackGate,
    importer: Arc<Importer>,
}

impl Town {
    async fn each() -> Vec<Self> {
        let mut all = Vec::new();
        for shelf in Shelf::each().await {
            let stage = Stage::memory(1).await;
            let mut process = both(&stage).await;
            let mut o = GateOptions::default();
            o.key = Some(Secret::new("the key of the cookies"));
            let gate = PlaybackGate::new(o, shelf.index.clone(), stage.store.clone());
            let mut o = RecordingOptions::default();
            o.protected = true;
            let recordings = Recordings::new(shelf.index.clone()).with_files(Arc::new(shelf.trees.clone()));
            let recordings = recordings.with_tokens(Arc::new(gate.clone())).with_options(o);
            let options = ImportOptions::new(shelf.folder.join("spool"));
            let news = process.service.cluster().clone();
            let importer = Arc::new(Importer::new(options, shelf.trees.clone(), shelf.index.clone(), news));
            let desk = RecordingDesk::new(shelf.index.clone(), shelf.keeper.clone(), Some(importer.clone()));
            process.service = process.service.clone().with_recordings(Arc::new(recordings));
            process.service = process.service.clone().with_playback(gate.clone()).with_recording_desk(desk);
            all.push(Self { stage, process, shelf, gate, importer });
        }
        all
    }

    async fn import(&self, tenant: Option<Tenant>, id: &str, meeting: &str) {
        self.shelf.arrives(&format!("{id}.tar"), &packed(&files_of(tenant, id, meeting)));
        let done = self.importer.import_now(true).await.unwrap();
        assert!(done.iter().all(|r| r.outcome == ImportOutcome::Imported), "{done:?}");
    }

    async fn listed(&self, tenant: Tenant, query: &str) -> Vec<String> {
        let answer = tenant.call(&self.process, "getRecordings", query).await;
        assert!(answer.ok(), "{query}: {answer:?}");
        answer.body.split("<recordID>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }

    async fn get(&self, host: &str, path: &str, cookie: Option<&str>) -> Response<Bytes> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let head = RequestHead { method: "GET", path, query, host: Some(host), cookie, ..RequestHead::default() };
        self.process.service.handle(head, Payload::Whole(Bytes::new())).await
    }

    /// Sends a text track.
    async fn track(&self, tenant: Tenant, id: &str) -> String {
        let query = format!("recordID={id}&kind=subtitles&lang=en");
        let sum = sign(Algorithm::Sha256, "putRecordingTextTrack", &query, &tenant.secret());
        let body = "--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\
                    Content-Type: text/vtt\r\n\r\nWEBVTT\n\n00:00.000 --> 00:01.000\nHello\n\r\n--xx--\r\n";
        let head = RequestHead {
            method: "POST",
            path: "/bigbluebutton/api/putRecordingTextTrack",
            query: &format!("{query}&checksum={sum}"),
            host: Some(&tenant.host()),
            content_type: Some("multipart/form-data; boundary=xx"),
            ..RequestHead::default()
        };
        let answer = self.process.service.handle(head, Payload::Whole(Bytes::from(body))).await;
        String::from_utf8_lossy(answer.body()).into_owned()
    }
}

#[tokio::test]
async fn a_recording_belongs_to_the_tenant_that_its_metadata_names() {
    for town in Town::each().await {
        town.import(Some(A), "rec-a", "lesson").await;
        // On its server the meeting had its tenant before its id.
        town.import(Some(B), "rec-b", &format!("~{}~lesson", B.id())).await;
        town.import(None, "rec-none", "lesson").await;
        for (tenant, own, foreign) in [(A, "rec-a", B), (B, "rec-b", A)] {
            let row = town.shelf.row(own).await;
            assert_eq!((row.meta(TENANT_KEY), row.meeting_id.as_str()), (Some(&*tenant.id()), "lesson"));
            for query in [
                "",
                "meetingID=lesson",
                "recordID=rec",
                "state=any",
                "meta_course=math",
                "limit=9",
                "meetingID=lesson,x",
            ] {
                assert_eq!(town.listed(tenant, query).await, [own], "{} {query}", town.shelf.name());
            }
            // Filters for another one's find nothing, and do not widen what is found.
            for query in ["meta_tenant-id", "meta_Tenant-Id", "meta_TENANT-ID"] {
                let foreign = format!("{query}={}", foreign.id());
                assert!(town.listed(tenant, &foreign).await.is_empty(), "{foreign}");
                let either = town.listed(tenant, &format!("{foreign}&meta_course=math")).await;
                assert_eq!(either, [own], "{foreign}");
                assert_eq!(town.listed(tenant, &format!("{query}={}", tenant.id())).await, [own]);
            }
            let wire = format!("meetingID=%7E{}%7Elesson", B.id());
            assert!(town.listed(tenant, &wire).await.is_empty(), "not by the longer id");
        }
        // Whoever runs the balancer gives the rest away, to a tenant that there is.
        let give = async |to: &str| {
            let body = serde_json::json!({ "tenant": to }).to_string();
            let name = "addRecordingsToTenant";
            let sum = sign(Algorithm::Sha256, name, "", SECRET);
            let head = RequestHead {
                method: "POST",
                path: "/balancer/api/addRecordingsToTenant",
                query: &format!("checksum={sum}"),
                host: Some(HOST),
                content_type: Some("application/json"),
                ..RequestHead::default()
            };
            shown(&town.process.service.handle(head, Payload::Whole(Bytes::from(body))).await)
        };
        let refused = give("ten-nobody").await;
        assert!(refused.status == 404 && refused.body.contains("no tenant has the id"), "{refused:?}");
        assert!(town.shelf.row("rec-none").await.meta(TENANT_KEY).is_none());
        assert!(give(&B.id()).await.body.contains("\"added\":1"));
        assert_eq!(town.listed(A, "").await, ["rec-a"]);
        assert_eq!(town.listed(B, "").await.len(), 2);
    }
}

#[tokio::test]
async fn nobody_changes_or_reads_another_tenants_recordings() {
    for town in Town::each().await {
        town.import(Some(A), "rec-a", "m").await;
        town.import(Some(B), "rec-b", "m").await;
        let before = (town.shelf.row("rec-b").await, files_below(&town.shelf.folder.join("published")));
        for (call, query, field, want) in [
            ("publishRecordings", "recordID=rec-b&publish=false", "messageKey", "notFound"),
            ("deleteRecordings", "recordID=rec-b", "messageKey", "notFound"),
            ("updateRecordings", "recordID=rec-b&meta_course=art", "updated", "false"),
            ("updateRecordings", "recordID=rec-b&protect=true", "updated", "false"),
            // All of them or none.
            ("updateRecordings", "recordID=rec-a,rec-b&meta_course=art", "updated", "false"),
        ] {
            let answer = A.call(&town.process, call, query).await;
            assert_eq!(answer.text(field), want, "{call} {query}: {answer:?}");
        }
        let tracks = A.call(&town.process, "getRecordingTextTracks", "recordID=rec-b").await;
        assert!(tracks.body.contains("noRecordings"), "{tracks:?}");
        assert!(town.track(A, "rec-b").await.contains("noRecordings"));
        let after = (town.shelf.row("rec-b").await, files_below(&town.shelf.folder.join("published")));
        assert!(before == after, "{}", town.shelf.name());
        // Of a list only its own are meant.
        assert!(A.call(&town.process, "publishRecordings", "recordID=rec-a,rec-b&publish=false").await.ok());
        assert!(!town.shelf.row("rec-a").await.published && town.shelf.row("rec-b").await.published);
        assert!(A.call(&town.process, "deleteRecordings", "recordID=rec-b,rec-a").await.ok());
        assert_eq!(town.listed(B, "").await, ["rec-b"]);
        assert!(town.shelf.row("rec-b").await == before.0);
        // It is its owner's to read and to change.
        assert!(town.track(B, "rec-b").await.contains("SUCCESS"));
        let tracks = B.call(&town.process, "getRecordingTextTracks", "recordID=rec-b").await;
        assert!(tracks.body.contains("caption_en.vtt"), "{tracks:?}");
        let renamed = B.call(&town.process, "updateRecordings", "recordID=rec-b&meta_course=art").await;
        assert_eq!(renamed.text("updated"), "true");
        assert!(town.shelf.keeper.check().await.unwrap().agrees());
    }
}

#[tokio::test]
async fn nobody_plays_another_tenants_recordings() {
    for town in Town::each().await {
        town.import(Some(A), "rec-a", "m").await;
        town.import(Some(B), "rec-b", "m").await;
        let strangers = [A.host(), HOST.to_owned(), format!("nobody.{HOST}")];
        for host in &strangers {
            for path in ["/recording/rec-b/video", "/video/rec-b/media/0.webm", "/video/rec-b/"] {
                let answer = town.get(host, path, None).await;
                assert!(!answer.headers().contains_key("x-accel-redirect"), "{host} {path}");
                assert!(!answer.headers().contains_key("location"), "{host} {path}");
            }
        }
        let file = "/video/rec-b/media/0.webm";
        assert_eq!(town.get(&B.host(), "/recording/rec-b/video", None).await.status(), 307);
        assert_eq!(
            town.get(&B.host(), file, None).await.headers()["x-accel-redirect"],
            "/static-resource/video/rec-b/media/0.webm"
        );
        // Protected: another tenant cannot use a token up, and a cookie is good at its own name alone.
        let protect = B.call(&town.process, "updateRecordings", "recordID=rec-b&protect=true").await;
        assert_eq!(protect.text("updated"), "true");
        let list = B.call(&town.process, "getRecordings", "").await;
        assert!(list.text("url").contains("/recording/rec-b/video?token="), "{list:?}");
        let token = town.gate.issue(&[("rec-b", "video")]).await.unwrap().remove(0);
        let entry = format!("/recording/rec-b/video?token={token}");
        assert_eq!(town.get(&A.host(), &entry, None).await.status(), 404);
        let entered = town.get(&B.host(), &entry, None).await;
        assert_eq!(entered.status(), 307, "the token is still good");
        let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(town.get(&B.host(), file, Some(&cookie)).await.status(), 200);
        assert_eq!(town.get(&B.host(), file, None).await.status(), 404);
        for host in &strangers {
            let answer = town.get(host, file, Some(&cookie)).await;
            assert!(!answer.headers().contains_key("x-accel-redirect"), "{host}");
        }
    }
}

/// Every way to write a key in small and capital letters.
fn spellings(key: &str) -> Vec<String> {
    let letters = key.chars().filter(char::is_ascii_alphabetic).count();
    let spelled = |mask: usize| {
        let mut at = 0;
        let spell = |c: char| {
            if !c.is_ascii_alphabetic() {
                return c;
            }
            at += 1;
            if mask >> (at - 1) & 1 == 1 { c.to_ascii_uppercase() } else { c }
        };
        key.chars().map(spell).collect()
    };
    (0..1 << letters).map(spelled).collect()
}

#[tokio::test]
async fn no_spelling_of_the_key_gives_a_recording_away() {
    let all = spellings("tenant-id");
    assert_eq!(all.len(), 256);
    for town in Town::each().await {
        town.import(Some(A), "rec-a", "m").await;
        // One by one, and all at once; to another tenant, and to nobody.
        let few: Vec<&String> = all.iter().step_by(17).collect();
        for value in [B.id(), String::new()] {
            for key in &few {
                let query = format!("recordID=rec-a&meta_{key}={value}");
                assert!(A.call(&town.process, "updateRecordings", &query).await.ok());
            }
            let many: String = all.iter().map(|key| format!("&meta_{key}={value}")).collect();
            let answer = A.call(&town.process, "updateRecordings", &format!("recordID=rec-a{many}")).await;
            assert_eq!(answer.text("updated"), "false", "nothing of it counts: {answer:?}");
        }
        let row = town.shelf.row("rec-a").await;
        let owners: Vec<_> = row.metadata.iter().filter(|m| m.key.to_lowercase().contains("tenant")).collect();
        assert!(owners.len() == 1 && owners[0].key == TENANT_KEY && owners[0].value == A.id(), "{owners:?}");
        assert!(town.listed(B, "state=any").await.is_empty());
        // Nor does it make a meeting whose recording would be another one's.
        for chunk in all.chunks(64) {
            let many: String = chunk.iter().map(|key| format!("&meta_{key}={}", B.id())).collect();
            let query = format!("meetingID=m&moderatorPW=mp&attendeePW=ap{many}");
            assert!(A.call(&town.process, "create", &query).await.ok());
            let made = town.stage.fakes[0].meeting("m").unwrap();
            let told: Vec<_> = made.params.iter().filter(|(n, _)| n.to_lowercase() == "meta_tenant-id").collect();
            assert!(told.len() == 1 && *told[0] == ("meta_tenant-id".to_owned(), A.id()), "{told:?}");
            assert!(A.call(&town.process, "end", "meetingID=m&password=mp").await.ok());
        }
    }
}

/// The news of a recording goes to the front-end of its tenant, in that one's words.
#[tokio::test]
async fn each_tenant_hears_of_its_own_recordings() {
    for town in Town::each().await {
        for tenant in [A, B] {
            let url = format!("meta_bbb-recording-ready-url=https%3A%2F%2F127.0.0.1%2F{}", tenant.0);
            let query = format!("meetingID=lesson&moderatorPW=mp&attendeePW=ap&{url}");
            assert!(tenant.call(&town.process, "create", &query).await.ok());
        }
        town.import(None, "rec-none", "lesson").await;
        town.import(Some(B), "rec-b", &format!("~{}~lesson", B.id())).await;
        town.import(Some(A), "rec-a", "lesson").await;
        let due = town.stage.store.callback_store().take_due(10, Duration::from_secs(1)).await.unwrap();
        let mut told: Vec<(String, String)> = due.into_iter().map(|d| (d.url, d.body)).collect();
        told.sort();
        let news = |tenant: Tenant, id: &str| {
            let body = format!(r#"{{"meeting_id":"lesson","record_id":"{id}"}}"#);
            (format!("https://127.0.0.1/{}", tenant.0), body)
        };
        assert_eq!(told, [news(A, "rec-a"), news(B, "rec-b")], "{}", town.shelf.name());
    }
}

/// Numbers that are the same every time.
struct Dice(u64);

impl Dice {
    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &all[usize::try_from(self.0 >> 33).unwrap() % all.len()]
    }
}

/// A tenant beside another one is answered as one alone, whatever either of them asks.
#[tokio::test]
async fn calls_about_recordings_are_answered_as_if_the_tenant_were_alone() {
    let world = async |tenants: &[Tenant]| {
        let stage = Stage::memory(1).await;
        let mut process = both(&stage).await;
        let index = Arc::new(LocalRecordings::memory());
        let trees = Arc::new(Trees(real_servers::Folder::new("trees")));
        for tenant in tenants {
            for n in 0..4 {
                let mut r = recording(&format!("{}-{n}", tenant.0), "m", n, n % 2 == 0);
                r.set_meta(TENANT_KEY, tenant.id());
                r.set_meta("course", (n % 2).to_string());
                index.import(&r).await.unwrap();
                trees.make(r.published, "presentation", &r.record_id);
            }
        }
        let recordings = Recordings::new(index).with_files(trees);
        process.service = process.service.clone().with_recordings(Arc::new(recordings));
        (stage, process)
    };
    let mut compared = 0;
    for seed in 0..12 {
        let ((_s, shared), (_a, alone)) = (world(&[A, B]).await, world(&[B]).await);
        let mut dice = Dice(seed);
        for _ in 0..60 {
            let tenant = *dice.of(&[A, B]);
            let id = || ["alpha-0", "alpha-1", "beta-0", "beta-1", "beta-3", "alpha", "beta", "x"];
            let ids = format!("recordID={},{}", dice.of(&id()), dice.of(&id()));
            let more =
                *dice.of(&["meta_course=1", "meta_Tenant-ID=ten-alpha", "meta_tenant-id=ten-beta", "protect=true"]);
            let (call, query) = match dice.of(&[0, 1, 2, 3, 4, 5, 6]) {
                0 => ("getRecordings", String::new()),
                1 => ("getRecordings", format!("{ids}&state=any")),
                2 => ("getRecordings", format!("{more}&meetingID=m&limit=3")),
                3 => ("publishRecordings", format!("{ids}&publish={}", dice.of(&["true", "false"]))),
                4 => ("updateRecordings", format!("{ids}&{more}")),
                5 => ("deleteRecordings", ids.split(',').next().unwrap().to_owned()),
                _ => ("getRecordingTextTracks", ids.split(',').next().unwrap().to_owned()),
            };
            let seen = tenant.call(&shared, call, &query).await;
            let other = if tenant == A { "<recordID>beta" } else { "<recordID>alpha" };
            assert!(!seen.body.contains(other), "{seed}: {call} {query}: {seen:?}");
            if tenant == B {
                let expected = B.call(&alone, call, &query).await;
                assert_eq!((seen.status, seen.body), (expected.status, expected.body), "{seed}: {call} {query}");
                compared += 1;
            }
        }
    }
    println!("{compared} answers compared");
    assert!(compared > 200);
}
