use super::*;
use crate::recordings::{LocalRecordings, PlaybackFormat, RecordingState};
use crate::store::LocalStore;

const KEY: &str = "a key of sixty-four digits";
const SAFARI_12: &str =
    "Mozilla/5.0 (iPhone; CPU iPhone OS 12_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";

fn recording(id: &str, published: bool, protected: bool, tenant: Option<&str>) -> Recording {
    let mut r = Recording::new(id);
    r.meeting_id = format!("meeting of {id}");
    r.published = published;
    r.state = Some(RecordingState::of_published(published));
    r.protected = protected;
    for (format, url) in [
        ("presentation", format!("/playback/presentation/2.3/{id}")),
        ("video", format!("/video/{id}/?x=1")),
        ("podcast", format!("//evil.example.org/{id}")),
    ] {
        r.formats.push(PlaybackFormat::new(format, url));
    }
    if let Some(tenant) = tenant {
        r.set_meta(TENANT_KEY, tenant);
    }
    r
}

async fn gate(protects: bool) -> (PlaybackGate, WallClock) {
    let index = LocalRecordings::memory();
    for r in [
        recording("open", true, false, None),
        recording("hidden", false, false, None),
        recording("guarded", true, true, None),
        recording("theirs", true, false, Some("t2")),
        recording("gone", true, false, None),
    ] {
        index.import(&r).await.unwrap();
    }
    index.mark_deleted("gone").await.unwrap();
    let clock = WallClock::system();
    let key = protects.then(|| Secret::new(KEY));
    let options = GateOptions { key, clock: clock.clone(), ..GateOptions::default() };
    (PlaybackGate::new(options, Arc::new(index), Arc::new(LocalStore::memory())), clock)
}

async fn get(gate: &PlaybackGate, path: &str, cookie: Option<&str>) -> Response<Bytes> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    gate.answer(Ask { method: "GET", path, query, cookie, ..Ask::default() }).await.unwrap()
}

fn text<'r>(r: &'r Response<Bytes>, name: &HeaderName) -> &'r str {
    r.headers().get(name).map_or("", |v| v.to_str().unwrap())
}

#[tokio::test]
async fn a_published_recording_leads_to_its_player_and_its_files() {
    let (gate, _) = gate(false).await;
    let entry = get(&gate, "/recording/open/presentation", None).await;
    assert_eq!(entry.status(), 307);
    assert_eq!(text(&entry, &header::LOCATION), "/playback/presentation/2.3/open");
    let video = get(&gate, "/recording/open/video", None).await;
    assert_eq!(text(&video, &header::LOCATION), "/video/open/?x=1");
    // An address that a database holds leads to no other host.
    let odd = get(&gate, "/recording/open/podcast", None).await;
    assert_eq!(text(&odd, &header::LOCATION), "/evil.example.org/open");
    for (path, saved) in [
        ("/presentation/open/slides/slide%201.svg", ""),
        ("/video/open", ""),
        ("/video/open/", ""),
        ("/podcast/open/audio.ogg", "attachment"),
    ] {
        let file = get(&gate, path, None).await;
        assert_eq!((file.status().as_u16(), file.body().len()), (200, 0), "{path}");
        assert_eq!(text(&file, &ACCEL), format!("/static-resource{path}"));
        assert_eq!(text(&file, &header::CONTENT_DISPOSITION), saved, "{path}");
    }
    for (from, to) in
        [("/playback/video/open/?a=b", "/video/open/?a=b"), ("/recording/screenshare/open", "/screenshare/open")]
    {
        let moved = get(&gate, from, None).await;
        assert_eq!((moved.status().as_u16(), text(&moved, &header::LOCATION)), (307, to));
    }
}

#[tokio::test]
async fn what_is_not_published_known_or_ones_own_is_not_found() {
    let (gate, _) = gate(true).await;
    for id in ["hidden", "gone", "nobody", ".open", "open%2f..", "guarded"] {
        for path in [
            format!("/recording/{id}/presentation"),
            format!("/recording/{id}/notes"),
            format!("/presentation/{id}/index.html"),
            format!("/presentation/{id}"),
        ] {
            let r = get(&gate, &path, None).await;
            assert_eq!(r.status(), 404, "{path}");
            assert!(std::str::from_utf8(r.body()).unwrap().contains("Recording Not Found"));
            assert!(r.headers().get(&ACCEL).is_none());
        }
    }
    for resource in ["../x", "a/../../hidden/x", "%2e%2e/x", "a/%2E./x", "a%5c..%5cx", "a%00", "."] {
        assert_eq!(get(&gate, &format!("/presentation/open/{resource}"), None).await.status(), 404, "{resource}");
    }
    for (id, tenant, status) in
        [("theirs", Some("t2"), 200), ("theirs", Some("t1"), 404), ("open", Some("t1"), 404), ("theirs", None, 200)]
    {
        let ask = Ask { method: "GET", path: &format!("/video/{id}/video.mp4"), tenant, ..Ask::default() };
        assert_eq!(gate.answer(ask).await.unwrap().status().as_u16(), status, "{id} {tenant:?}");
    }
    for (method, path) in
        [("POST", "/video/open/x"), ("GET", "/unknown/open/x"), ("GET", "/recording/open"), ("GET", "/")]
    {
        assert!(gate.answer(Ask { method, path, ..Ask::default() }).await.is_none(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_token_lets_one_browser_in_once() {
    let (gate, _) = gate(true).await;
    let tokens = gate.issue(&[("guarded", "video"), ("guarded", "presentation")]).await.unwrap();
    assert!(tokens.len() == 2 && tokens.iter().all(|t| is_token(t)) && tokens[0] != tokens[1]);
    let entry = |format: &str, token: &str| format!("/recording/guarded/{format}?token={token}");
    // A glance uses nothing up.
    let path = entry("video", &tokens[0]);
    let (bare, query) = path.split_once('?').unwrap();
    let head = gate.answer(Ask { method: "HEAD", path: bare, query, ..Ask::default() }).await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers().get(header::SET_COOKIE)), (307, None));
    let entered = get(&gate, &path, None).await;
    assert_eq!((entered.status().as_u16(), text(&entered, &header::LOCATION)), (307, "/video/guarded/?x=1"));
    let cookie = text(&entered, &header::SET_COOKIE).to_owned();
    assert!(cookie.starts_with("recording_video_guarded="));
    assert!(cookie.ends_with("; path=/video/guarded; secure; HttpOnly; SameSite=None"), "{cookie}");
    let sent = cookie.split(';').next().unwrap();
    // Used up for everybody else.
    assert_eq!(get(&gate, &path, None).await.status(), 404);
    // Whoever has the cookie plays, and may reload.
    let crowd = format!("a=b; {sent}; recording_video_guarded=x.y.z");
    for cookie in [sent, &crowd] {
        assert_eq!(get(&gate, "/video/guarded/video.mp4", Some(cookie)).await.status(), 200);
        assert_eq!(get(&gate, &path, Some(cookie)).await.status(), 307);
        assert_eq!(get(&gate, "/presentation/guarded/x", Some(cookie)).await.status(), 404);
    }
    let other = sent.replace("recording_video_guarded", "recording_presentation_guarded");
    for cookie in [None, Some("recording_video_guarded="), Some(other.as_str()), Some(&sent[..sent.len() - 2])] {
        assert_eq!(get(&gate, "/video/guarded/video.mp4", cookie).await.status(), 404);
        assert_eq!(get(&gate, "/presentation/guarded/x", cookie).await.status(), 404);
    }
    // A token is for its format, and one that was tried in vain is used up as well.
    assert_eq!(get(&gate, &entry("video", &tokens[1]), None).await.status(), 404);
    assert_eq!(get(&gate, &entry("presentation", &tokens[1]), None).await.status(), 404);
    for token in ["", "a", &"g".repeat(64), &"A".repeat(64), &"0".repeat(63), &"0".repeat(64)] {
        assert_eq!(get(&gate, &entry("video", token), None).await.status(), 404, "{token}");
    }
    let again = gate.issue(&[("guarded", "video")]).await.unwrap();
    let query = format!("token={}", again[0]);
    let ask = Ask {
        method: "GET",
        path: "/recording/guarded/video",
        query: &query,
        agent: Some(SAFARI_12),
        ..Ask::default()
    };
    let old = gate.answer(ask).await.unwrap();
    assert!(text(&old, &header::SET_COOKIE).ends_with("; secure; HttpOnly"));
}

#[tokio::test]
async fn a_cookie_ends_and_is_signed_by_our_key() {
    let (gate, _) = gate(true).await;
    let now = gate.options.clock.now_ms() / 1000;
    for (key, ends, sub, status) in [
        (KEY, now + 60, "/video/guarded", 200),
        (KEY, now - 1, "/video/guarded", 404),
        (KEY, now + 60, "/video/open", 404),
        ("another key", now + 60, "/video/guarded", 404),
    ] {
        let token = signed_token(TokenKind::Hs256, key, &json!({ "sub": sub, "exp": ends }));
        let cookie = format!("recording_video_guarded={token}");
        assert_eq!(get(&gate, "/video/guarded/x", Some(&cookie)).await.status().as_u16(), status, "{sub} {ends}");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_protected() {
    let (gate, _) = gate(false).await;
    assert!(!gate.protects());
    assert_eq!(get(&gate, "/recording/guarded/video", None).await.status(), 307);
    assert_eq!(get(&gate, "/video/guarded/video.mp4", None).await.status(), 200);
}
