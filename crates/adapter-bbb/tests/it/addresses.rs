//! No address that a front-end names leads into a private network.

use std::time::Duration;

use adapter_bbb::{AddressRules, CallbackUrls, Payload, RequestHead};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use crate::receiver::Receiver;
use crate::stage::{HOST, Process, SECRET, Stage, patient, signed, until};

/// Another name of this machine, which only a resolver knows.
const NAME: &str = "2130706433";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_callback_reaches_a_private_address_by_whichever_name() {
    let stage = Stage::memory(0).await;
    let receiver = Receiver::start().await;
    let mut o = patient();
    o.callbacks.first_pause = Duration::from_millis(1);
    let process = Process::start(o, stage.store.clone(), true).await;
    let store = stage.store.callback_store();
    // As if they had been kept before the rules were made.
    for host in ["127.0.0.1", "localhost", "127.1", NAME, "[::ffff:127.0.0.1]"] {
        let mut urls = CallbackUrls::default();
        urls.recording_ready = Some(format!("http://{host}:{}/x", receiver.port));
        store.keep_urls("m", &urls, Duration::from_secs(60)).await.unwrap();
        assert!(process.service.cluster().recording_ready("m", "r").await.unwrap());
    }
    let figures = async || {
        let head = RequestHead { method: "GET", path: "/metrics", ..RequestHead::default() };
        let answer = process.service.handle(head, Payload::Whole(Bytes::new())).await;
        String::from_utf8(answer.body().to_vec()).unwrap()
    };
    // Numbers are given up at once; names are tried again, since they may lead elsewhere tomorrow.
    until("all were tried", async || {
        let text = figures().await;
        text.contains("{outcome=\"given_up\"} 3\n") && !text.contains("{outcome=\"retried\"} 0\n")
    })
    .await;
    // What is given up is counted before it is forgotten.
    until("the names are left", async || store.queued().await.unwrap() == 2).await;
    assert!(receiver.arrived().is_empty());
}

#[tokio::test]
async fn a_private_callback_of_a_create_is_left_out() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.url_host = Some(HOST.into());
    let process = stage.process(o).await;
    for (n, url) in ["http%3A%2F%2F169.254.169.254%2F", "file%3A%2F%2F%2Fetc%2Fpasswd", ""].iter().enumerate() {
        let query = format!("meetingID=m{n}&meta_analytics-callback-url={url}&meta_bn-recording-ready-url={url}");
        assert!(process.call("create", &query).await.ok(), "a meeting is not lost for it");
        let meeting = stage.fakes[0].meeting(&format!("m{n}")).unwrap();
        assert_eq!(meeting.param("meta_analytics-callback-url"), None);
        assert_eq!(meeting.param("meta_bn-recording-ready-url"), None);
        let kept = stage.store.callback_store().urls(&format!("m{n}")).await.unwrap();
        assert_eq!(kept, CallbackUrls::default());
    }
}

/// A parameter reaches its server as `name` from `name[]` too, and servers take names behind `meta_` in any case.
#[tokio::test]
async fn no_spelling_of_a_name_leads_past_the_rules() {
    const PRIVATE: &str = "http%3A%2F%2F169.254.169.254%2F";
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.url_host = Some(HOST.into());
    let process = stage.process(o).await;
    for query in [
        format!("meetingID=d&preUploadedPresentation[]={PRIVATE}"),
        format!(
            "meetingID=d&preUploadedPresentation%5B%5D=http%3A%2F%2F8.8.8.8%2F&preUploadedPresentation[]={PRIVATE}"
        ),
        format!("meetingID=d&preUploadedPresentation=http%3A%2F%2F8.8.8.8%2F&preUploadedPresentation={PRIVATE}"),
    ] {
        assert_eq!(process.call("create", &query).await.text("messageKey"), "invalidDocument", "{query}");
    }
    let names = [
        "meta_analytics-callback-url",
        "meta_Analytics-Callback-URL",
        "meta_bbb-recording-ready-url",
        "meta_BBB-Recording-Ready-Url",
        "meta_bn-recording-ready-URL",
        "meta_endCallbackUrl",
        "meta_endcallbackurl",
        "meetingEndedURL",
    ];
    for (n, name) in names.into_iter().flat_map(|name| [name.to_owned(), format!("{name}[]")]).enumerate() {
        for url in [PRIVATE.to_owned(), format!("http%3A%2F%2F{NAME}%2F")] {
            assert!(process.call("create", &format!("meetingID=m{n}&{name}={url}")).await.ok(), "{name}");
            let sent = stage.fakes[0].calls_of("create").pop().unwrap();
            let led = sent.params.iter().find(|(_, value)| value.contains("169.254") || value.contains(NAME));
            assert_eq!(led, None, "{name}");
        }
    }
    // A public one stays as it is.
    let query =
        "meetingID=p&meta_endCallbackUrl=http%3A%2F%2F8.8.8.8%2Fend%3Fa%3D1&meetingEndedURL=http%3A%2F%2F8.8.8.8%2F";
    assert!(process.call("create", query).await.ok());
    let meeting = stage.fakes[0].meeting("p").unwrap();
    assert_eq!(meeting.param("meta_endCallbackUrl"), Some("http://8.8.8.8/end?a=1"));
    assert_eq!(meeting.param("meetingEndedURL"), Some("http://8.8.8.8/"));
    // Without a host name of our own, servers are told the front-end's address: a public one only.
    let direct = stage.process(patient()).await;
    for (id, url, told) in [("q", PRIVATE, None), ("r", "http%3A%2F%2F8.8.8.8%2F", Some("http://8.8.8.8/"))] {
        assert!(direct.call("create", &format!("meetingID={id}&meta_analytics-callback-url={url}")).await.ok());
        assert_eq!(stage.fakes[0].meeting(id).unwrap().param("meta_analytics-callback-url"), told);
    }
}

/// Rules of the operator and settings of tenants lead servers nowhere that a front-end may not lead them.
#[tokio::test]
async fn documents_that_rules_add_are_looked_at_too() {
    let stage = Stage::memory(1).await;
    let rules = |defaults: &str, overrides: &str| adapter_bbb::ParamRules::parse(defaults, overrides, "").unwrap();
    let (public, private) =
        ("preUploadedPresentation=http://8.8.8.8/a.pdf", "preUploadedPresentation=http://10.0.0.9/");
    let array = format!("preUploadedPresentation[]=http://{NAME}/");
    let own = "&preUploadedPresentation=http%3A%2F%2F8.8.4.4%2Fb.pdf";
    for (n, (rules, sends, document)) in [
        (rules(public, ""), "", Some("http://8.8.8.8/a.pdf")),
        (rules("", public), own, Some("http://8.8.8.8/a.pdf")),
        (rules(private, ""), "", None),
        // Never used.
        (rules(private, ""), own, Some("http://8.8.4.4/b.pdf")),
        (rules("", private), own, None),
        (rules(&array, ""), "", None),
        (rules("preUploadedPresentation=", ""), "", Some("")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut o = patient();
        o.create = rules;
        let process = stage.process(o).await;
        let made = process.call("create", &format!("meetingID=m{n}{sends}")).await;
        match document {
            Some(url) => {
                assert!(made.ok(), "{n}: {made:?}");
                let meeting = stage.fakes[0].meeting(&format!("m{n}")).unwrap();
                assert_eq!(meeting.param("preUploadedPresentation"), Some(url), "{n}");
            }
            None => {
                assert_eq!(made.text("messageKey"), "invalidDocument", "{n}: {made:?}");
                assert!(stage.having(&format!("m{n}")).is_empty(), "{n}");
            }
        }
    }
}

fn list(url: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><modules><module name=\"presentation\"><document url=\"{url}\"/></module></modules>"
    )
}

/// Posts XML; as a stream of small pieces when `pieces` says so.
async fn post(process: &Process, call: &str, query: &str, body: &str, pieces: bool) -> String {
    let (path, query) = signed(call, query);
    let head = RequestHead {
        method: "POST",
        path: &path,
        query: &query,
        host: Some(HOST),
        content_type: Some("application/xml"),
        ..RequestHead::default()
    };
    let body = Bytes::from(body.to_owned());
    let payload = if pieces {
        let whole = Full::new(body).map_err(|never| match never {});
        Payload::Stream(http_body_util::Either::Right(BodyExt::boxed(whole)))
    } else {
        Payload::Whole(body)
    };
    String::from_utf8(process.service.handle(head, payload).await.body().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_is_led_to_a_private_document() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let private =
        ["http://127.0.0.1/x.pdf", "http://169.254.169.254/", "http://[::1]/", "http://127.1/", "file:///etc/passwd"];
    for url in private.into_iter().map(str::to_owned).chain([format!("http://{NAME}/")]) {
        for pieces in [false, true] {
            let answer = post(&process, "insertDocument", "meetingID=m", &list(&url), pieces).await;
            assert!(answer.contains("invalidDocument"), "{url}: {answer}");
        }
        let answer = post(&process, "create", "meetingID=new", &list(&url), false).await;
        assert!(answer.contains("invalidDocument"), "{url}: {answer}");
        let encoded: String = form_urlencoded::byte_serialize(url.as_bytes()).collect();
        let answer = process.call("create", &format!("meetingID=new&preUploadedPresentation={encoded}")).await;
        assert_eq!(answer.text("messageKey"), "invalidDocument", "{url}");
    }
    let hidden = "<!DOCTYPE x [<!ENTITY u \"http://127.0.0.1/\">]><modules><document url=\"&u;\"/></modules>";
    assert!(post(&process, "insertDocument", "meetingID=m", hidden, true).await.contains("invalidDocument"));
    assert!(stage.fakes[0].meeting("new").is_none());
    assert!(stage.fakes[0].meeting("m").unwrap().documents.is_empty());
    // Public ones, and names that nobody here knows, go through as they came.
    for (n, url) in ["http://8.8.8.8/a.pdf", "http://slides.invalid/\u{e4}.pdf"].iter().enumerate() {
        for pieces in [false, true] {
            let answer = post(&process, "insertDocument", "meetingID=m", &list(url), pieces).await;
            assert!(answer.contains("SUCCESS"), "{url}: {answer}");
        }
        assert_eq!(stage.fakes[0].meeting("m").unwrap().documents.len(), 2 * (n + 1));
    }
    assert_eq!(stage.fakes[0].meeting("m").unwrap().documents[2], list("http://slides.invalid/\u{e4}.pdf").as_bytes());
}

#[tokio::test]
async fn what_is_allowed_goes_through() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.callbacks.allow = "10.0.0.0/8".parse().unwrap();
    let process = stage.process(o).await;
    assert!(post(&process, "create", "meetingID=m", &list("http://10.1.2.3/x.pdf"), false).await.contains("SUCCESS"));
    let answer = post(&process, "insertDocument", "meetingID=m", &list("http://192.168.1.1/"), false).await;
    assert!(answer.contains("192.168.1.1 is a private address"), "{answer}");
    let all: AddressRules = "private".parse().unwrap();
    assert!(all.check("http://127.0.0.1/").is_ok());
    assert!(!answer.contains(SECRET));
}
