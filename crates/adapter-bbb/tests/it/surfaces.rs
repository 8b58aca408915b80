//! What is answered where: operators' calls apart, host names, forms whose body is signed.

use adapter_bbb::{Algorithm, BbbService, Payload, RequestHead, Surface, sign};
use bytes::Bytes;

use crate::stage::{HOST, SECRET, Stage, patient, signed};

async fn ask(service: &BbbService, path: &str, query: &str, host: Option<&str>) -> (u16, String) {
    let head = RequestHead { method: "GET", path, query, host, ..RequestHead::default() };
    let answer = service.handle(head, Payload::Whole(Bytes::new())).await;
    (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
}

#[tokio::test]
async fn operators_calls_can_be_apart() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.url_host = Some(HOST.into());
    let process = stage.process(o).await;
    let whole = process.service.clone();
    let public = whole.clone().with_surface(Surface::Public);
    let operators = whole.clone().with_surface(Surface::Operators);
    for (call, of_operators) in
        [("getServers", true), ("status", true), ("meetings", true), ("getMeetings", false), ("hooks/list", false)]
    {
        let (path, query) = signed(call, "");
        let shown = |answer: (u16, String)| !answer.1.contains("unsupportedRequest");
        assert!(shown(ask(&whole, &path, &query, Some(HOST)).await), "{call}");
        assert_eq!(shown(ask(&public, &path, &query, Some(HOST)).await), !of_operators, "{call}");
        // By its address: nobody needs a name there.
        assert_eq!(shown(ask(&operators, &path, &query, Some("10.0.0.1:3001")).await), of_operators, "{call}");
    }
    for (path, is_public) in [("/metrics", false), ("/livez", true), ("/readyz", true), ("/health_check", true)] {
        assert_eq!(ask(&operators, path, "", None).await.0, 200, "{path}");
        let there = ask(&public, path, "", None).await;
        assert_eq!(!there.1.contains("unsupportedRequest"), is_public, "{path}: {there:?}");
    }
}

#[tokio::test]
async fn another_host_name_is_refused() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.url_host = Some(HOST.into());
    let process = stage.process(o).await;
    let (path, query) = signed("getMeetings", "");
    for (host, status) in [
        (Some(HOST), 200),
        (Some("BBB.example.com:443"), 200),
        (Some("evil.example"), 403),
        (Some("x.bbb.example.com"), 403),
        (Some("bbb.example.com.evil.example"), 403),
        (Some(""), 403),
        (None, 403),
    ] {
        assert_eq!(ask(&process.service, &path, &query, host).await.0, status, "{host:?}");
        assert_eq!(ask(&process.service, "/health_check", "", host).await.0, 200, "{host:?}");
    }
    let open = stage.process(patient()).await;
    assert_eq!(ask(&open.service, &path, &query, Some("evil.example")).await.0, 200);
}

/// Posts a form to `create`.
async fn form(service: &BbbService, kind: &str, query: &str, body: &str) -> String {
    let head = RequestHead {
        method: "POST",
        path: "/bigbluebutton/api/create",
        query,
        host: Some(HOST),
        content_type: Some(kind),
        ..RequestHead::default()
    };
    let answer = service.handle(head, Payload::Whole(Bytes::from(body.to_owned()))).await;
    String::from_utf8_lossy(answer.body()).into_owned()
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn a_signed_form_cannot_be_sent_again_with_other_values() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.signed_forms = true;
    let strict = stage.process(o).await;
    let lax = stage.process(patient()).await;
    let of = |text: &str| sign(Algorithm::Sha256, "create", text, SECRET);
    let whole = |body: &str| format!("{body}&checksum={}", of(body));
    // The body is covered: accepted in both ways of working.
    for process in [&strict, &lax] {
        let answer = form(&process.service, FORM, "", &whole("meetingID=m&name=n")).await;
        assert!(answer.contains("SUCCESS"), "{answer}");
        let sum = of("meetingID=m&name=n");
        let answer = form(&process.service, FORM, &format!("meetingID=m&checksum={sum}"), "name=n").await;
        assert!(answer.contains("SUCCESS"), "{answer}");
    }
    // The same signature with another value.
    let forged = whole("meetingID=m&name=n").replace("meetingID=m", "meetingID=other");
    assert!(form(&strict.service, FORM, "", &forged).await.contains("checksumError"));
    // Scalelite's way: the query alone, here an empty one.
    let unsigned = format!("meetingID=m3&checksum={}", of(""));
    assert!(form(&lax.service, FORM, "", &unsigned).await.contains("SUCCESS"));
    assert!(form(&strict.service, FORM, "", &unsigned).await.contains("checksumError"));
    let parts = format!(
        "--b\r\nContent-Disposition: form-data; name=\"meetingID\"\r\n\r\nm4\r\n--b\r\nContent-Disposition: form-data; \
         name=\"checksum\"\r\n\r\n{}\r\n--b--\r\n",
        of("")
    );
    let kind = "multipart/form-data; boundary=b";
    assert!(form(&strict.service, kind, "", &parts).await.contains("checksumError"));
    assert!(form(&lax.service, kind, "", &parts).await.contains("SUCCESS"));
    // Nothing else has changed: a query, and XML, whose query is signed.
    assert!(strict.create("m5").await.ok());
}

#[tokio::test]
async fn nothing_from_outside_begins_a_header() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let forged = "%0d%0aSet-Cookie%3A%20a%3Db%00%e2%80%a8";
    let query = format!("meetingID=m&fullName=A{forged}&password=ap&{forged}=x&logoutURL={forged}");
    let answer = process.call("join", &query).await;
    let location = answer.location.unwrap();
    assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location}");
    assert!(stage.fakes[0].perform(&location, b"").unwrap().contains("/html5client/"));
    // What is told of servers that are missing, and what a server says of itself.
    let hook = process.call("hooks/create", &format!("callbackURL=http%3A%2F%2Fa.example%2F{forged}")).await;
    assert_eq!(hook.text("messageKey"), "createHookError");
    let added = process.post("addServer", r#"{"server":{"url":"http://a.example/\r\nX: y/api","secret":"s"}}"#).await;
    assert_eq!(added.status, 400, "{added:?}");
}
