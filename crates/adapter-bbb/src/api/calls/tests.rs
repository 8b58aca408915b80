use proptest::prelude::*;

use super::*;

#[test]
fn the_table_of_routes() {
    let both = "isMeetingRunning getMeetingInfo getMeetings create end getRecordings updateRecordings \
                getRecordingTextTracks sendChatMessage getJoinUrl hooks/create hooks/list hooks/destroy";
    let rows = [
        ("/bigbluebutton/api/", both, true, true, true),
        ("/bigbluebutton/api/", "join publishRecordings deleteRecordings", true, false, true),
        ("/bigbluebutton/api/", "insertDocument feedback putRecordingTextTrack", false, true, true),
        ("/bigbluebutton/api/", "analytics_callback recording_ready_callback", false, true, false),
        ("/scalelite/api/", "getTenants getTenantInfo getServers getServerInfo", true, false, true),
        (
            "/scalelite/api/",
            "addTenant updateTenant deleteTenant addServer updateServer deleteServer panicServer",
            false,
            true,
            true,
        ),
    ];
    let mut count = 0;
    for (base, names, get, post, checksum) in rows {
        for name in names.split(' ') {
            let path = format!("{base}{name}");
            for (method, routed) in [("GET", get), ("HEAD", get), ("POST", post), ("PUT", false), ("get", false)] {
                match route(&path, method) {
                    Route::Call(call) if routed => {
                        assert_eq!(call.name(), name);
                        assert_eq!(call.needs_checksum(), checksum);
                        assert_eq!(call.is_admin(), base == "/scalelite/api/");
                        assert_eq!(call.is_about_tenants(), name.contains("Tenant"));
                    }
                    other => assert!(!routed && other == Route::Unsupported, "{method} {path}: {other:?}"),
                }
            }
            count += 1;
        }
    }
    assert_eq!(count, Call::API.len() + Call::ADMIN.len());
}

#[test]
fn other_routes() {
    for path in ["/bigbluebutton/api", "/bigbluebutton/api/"] {
        for method in ["GET", "POST"] {
            assert_eq!(route(path, method), Route::Call(Call::Index));
        }
        assert_eq!(route(path, "PUT"), Route::Unsupported);
    }
    assert!(!Call::Index.needs_checksum());
    assert_eq!(route("/", "DELETE"), Route::Health);
    assert_eq!(route("/health_check", "GET"), Route::Health);
    assert_eq!(route("/livez", "GET"), Route::Live);
    assert_eq!(route("/readyz", "GET"), Route::Ready);
    assert_eq!(route("/fsapi", "POST"), Route::Dialplan);
    let playback = Route::Playback { record_id: "r-1", format: "video" };
    assert_eq!(route("/recording/r-1/video", "GET"), playback);
    for path in [
        "/foo",
        "/bigbluebutton",
        "/bigbluebutton/xyz",
        "/bigbluebutton/apix",
        "/bigbluebutton/api/Create",
        "/bigbluebutton/api/getmeetings",
        "/bigbluebutton/api/setConfigXML",
        "/bigbluebutton/api/create/x",
        "/bigbluebutton/api/getServers",
        "/BigBlueButton/api",
        "/scalelite/api",
        "/scalelite/api/",
        "/scalelite/api/create",
        "/recording//video",
        "/recording/r/",
        "/recording/r/video/x",
        "/fsapi",
        "",
    ] {
        assert_eq!(route(path, "GET"), Route::Unsupported, "{path}");
    }
    assert_eq!(route("/health_check", "POST"), Route::Unsupported);
    let formats = ["presentation", "video"];
    let file = StaticPath { format: "video", record_id: "r", resource: "a/b.webm" };
    assert_eq!(static_path("/video/r/a/b.webm", &formats), Some(file));
    assert_eq!(static_path("/video/r", &formats), Some(StaticPath { resource: "", ..file }));
    assert_eq!(static_path("/video/", &formats), None);
    assert_eq!(static_path("/notes/r", &formats), None);
}

#[test]
fn bodies() {
    let check = |call: Call, kind: Option<&str>, empty| check_content_type(call.body_rule(), "POST", kind, empty);
    let refused = Err(Fault::UnsupportedContentType);
    let form = Some("application/x-www-form-urlencoded; charset=utf-8");
    let multipart = Some("Multipart/Form-Data; boundary=b");
    for call in [Call::GetMeetings, Call::End, Call::UpdateRecordings, Call::Create, Call::Index] {
        assert_eq!(check(call, form, false), Ok(BodyKind::Form));
        assert_eq!(check(call, multipart, false), Ok(BodyKind::Multipart));
        assert_eq!(check(call, Some("multipart/form-data"), false), refused);
        assert_eq!(check(call, Some("application/json"), false), refused);
        assert_eq!(check(call, None, false), refused);
        assert_eq!(check(call, None, true), Ok(BodyKind::None));
        let xml = if call == Call::Create { Ok(BodyKind::Xml) } else { refused.clone() };
        assert_eq!(check(call, Some("text/xml"), false), xml);
        assert_eq!(check(call, Some("application/xml;charset=UTF-8"), false), xml);
    }
    assert_eq!(check(Call::InsertDocument, Some("application/xml"), false), Ok(BodyKind::Xml));
    for kind in [Some("application/json"), form, Some("text/plain"), None] {
        assert_eq!(check(Call::InsertDocument, kind, false), refused);
    }
    assert_eq!(check(Call::AddServer, Some("application/json"), false), Ok(BodyKind::Json));
    assert_eq!(check(Call::AddServer, form, false), refused);
    assert_eq!(check(Call::AddServer, None, true), refused);
    assert_eq!(check(Call::AnalyticsCallback, Some("text/plain"), false), Ok(BodyKind::None));
    assert_eq!(check_content_type(BodyRule::Form, "GET", Some("application/json"), false), Ok(BodyKind::None));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(path in ".*", method in ".*", kind in ".*") {
        let _ = route(&path, &method);
        let _ = static_path(&path, &["video"]);
        let _ = check_content_type(BodyRule::Form, "POST", Some(&kind), false);
    }
}
