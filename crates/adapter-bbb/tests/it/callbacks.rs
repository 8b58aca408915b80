//! Callbacks to front-ends: signed anew, kept until they arrive, given up after a day.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_bbb::testing::FakeBbb;
use adapter_bbb::{BbbOptions, CallbackUrls, LocalStore, MeetingStore, Payload, RequestHead};
use balancer_core::WallClock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::receiver::Receiver;
use crate::stage::{HOST, PATIENCE, Process, SECRET, Stage, patient, redis_store, until};
use crate::store::Folder;
use real_servers::RedisServer;

const FAR: u64 = 4_000_000_000;

pub(crate) fn options() -> BbbOptions {
    let mut o = patient();
    o.url_host = Some(HOST.into());
    o.callbacks.allow = "127.0.0.0/8".parse().unwrap();
    o.callbacks.first_pause = Duration::from_millis(5);
    o
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn mac<M: Mac + KeyInit>(secret: &str, text: &str) -> String {
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// A token as a server makes it, written apart from the product's own.
fn token(alg: &str, secret: &str, claims: &Value) -> String {
    let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = match alg {
        "HS256" => mac::<Hmac<Sha256>>(secret, &signed),
        _ => mac::<Hmac<Sha512>>(secret, &signed),
    };
    format!("{signed}.{signature}")
}

/// The claims of a token that this secret signed.
fn claims(token: &str, alg: &str, secret: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let right = match alg {
        "HS256" => mac::<Hmac<Sha256>>(secret, signed),
        _ => mac::<Hmac<Sha512>>(secret, signed),
    };
    assert_eq!(signature, right, "{token}");
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(header["alg"], alg);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// What a server posts to the balancer.
async fn post(process: &Process, call: &str, bearer: Option<&str>, kind: &str, body: &str) -> u16 {
    let path = format!("/bigbluebutton/api/{call}");
    let head = RequestHead {
        method: "POST",
        path: &path,
        host: Some(HOST),
        content_type: Some(kind),
        authorization: bearer,
        ..RequestHead::default()
    };
    process.service.handle(head, Payload::Whole(Bytes::from(body.to_owned()))).await.status().as_u16()
}

async fn statistics(process: &Process, fake: &FakeBbb, meeting: &str) -> u16 {
    let bearer = format!("Bearer {}", token("HS512", fake.secret(), &json!({ "exp": FAR })));
    let body = json!({ "version": "1.0", "meeting_id": meeting, "data": { "duration": 7 } }).to_string();
    post(process, "analytics_callback", Some(&bearer), "application/json", &body).await
}

async fn create_with(process: &Process, id: &str, name: &str, url: &str) {
    let answer = process.call("create", &format!("meetingID={id}&{name}={}", encoded(url))).await;
    assert!(answer.ok(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_go_through_the_balancer_to_the_front_end() {
    let stage = Stage::memory(2).await;
    let receiver = Receiver::start().await;
    let process = Process::start(options(), stage.store.clone(), true).await;
    process.poll().await;
    create_with(&process, "m", "meta_analytics-callback-url", &receiver.url("/stats?x=1")).await;
    let at = stage.having("m")[0];
    let meeting = stage.fakes[at].meeting("m").unwrap();
    let ours = format!("https://{HOST}/bigbluebutton/api/analytics_callback");
    assert_eq!(meeting.param("meta_analytics-callback-url"), Some(ours.as_str()));
    // Any server may tell, and the front-end is told with our secret.
    assert_eq!(statistics(&process, &stage.fakes[1 - at], "m").await, 204);
    let arrived = receiver.wait_for(1).await.remove(0);
    assert_eq!((arrived.method.as_str(), arrived.path.as_str()), ("POST", "/stats?x=1"));
    assert_eq!(arrived.content_type.as_deref(), Some("application/json"));
    assert_eq!(arrived.agent.as_deref(), Some("BigBlueButton Analytics Callback"));
    let bearer = arrived.authorization.unwrap();
    let told = claims(bearer.strip_prefix("Bearer ").unwrap(), "HS512", SECRET);
    assert!(told["exp"].as_u64().unwrap() > 1_700_000_000, "{told}");
    let body: Value = serde_json::from_str(&arrived.body).unwrap();
    assert_eq!(
        body,
        json!({ "version": "1.0", "meeting_id": "m", "data": { "duration": 7 }, "customer": "scalelite" })
    );
    until("it is forgotten", async || stage.store.callback_store().queued().await.unwrap() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_nobody_signed_are_refused_and_answered_alike() {
    let stage = Stage::memory(1).await;
    let receiver = Receiver::start().await;
    let process = stage.process(options()).await;
    create_with(&process, "m", "meta_analytics-callback-url", &receiver.url("/")).await;
    let secret = stage.fakes[0].secret();
    let body = r#"{"meeting_id":"m"}"#;
    let end = json!({ "exp": FAR });
    for bearer in [
        None,
        Some("Bearer ".to_owned()),
        Some(format!("Basic {}", token("HS512", secret, &end))),
        Some(format!("Bearer {}", token("HS512", "wrong", &end))),
        Some(format!("Bearer {}", token("HS512", SECRET, &end))),
        Some(format!("Bearer {}", token("HS256", secret, &end))),
        Some(format!("Bearer {}", token("HS512", secret, &json!({ "exp": 1_000 })))),
        Some(format!("Bearer {}", token("HS512", secret, &json!({})))),
    ] {
        let status = post(&process, "analytics_callback", bearer.as_deref(), "application/json", body).await;
        assert_eq!(status, 204, "{bearer:?}");
    }
    // Signed, but without a meeting that asked.
    let bearer = format!("Bearer {}", token("HS512", secret, &end));
    for body in [r#"{"meeting_id":"other"}"#, "[]", "not json", ""] {
        assert_eq!(post(&process, "analytics_callback", Some(&bearer), "application/json", body).await, 204);
    }
    assert_eq!(stage.store.callback_store().queued().await.unwrap(), 0);
    assert_eq!(statistics(&process, &stage.fakes[0], "m").await, 204);
    assert_eq!(stage.store.callback_store().queued().await.unwrap(), 1);
}

/// The canvas variant is one of them, and counts when there is no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_is_ready_is_told_whichever_way_it_was_asked_for() {
    let stage = Stage::memory(1).await;
    let receiver = Receiver::start().await;
    let process = Process::start(options(), stage.store.clone(), true).await;
    process.poll().await;
    let names = ["meta_bn-recording-ready-url", "meta_bbb-recording-ready-url", "meta_canvas-recording-ready-url"];
    for (n, name) in names.iter().enumerate() {
        let id = format!("m{n}");
        create_with(&process, &id, name, &receiver.url(&format!("/ready/{n}"))).await;
        let meeting = stage.fakes[0].meeting(&id).unwrap();
        assert!(names.iter().all(|name| meeting.param(name).is_none()), "{:?}", meeting.params);
        assert!(process.service.cluster().recording_ready(&id, &format!("rec-{n}")).await.unwrap());
        let arrived = receiver.wait_for(n + 1).await.pop().unwrap();
        assert_eq!(arrived.path, format!("/ready/{n}"));
        assert_eq!(arrived.content_type.as_deref(), Some("application/x-www-form-urlencoded"));
        let token = arrived.body.strip_prefix("signed_parameters=").unwrap();
        let told = claims(token, "HS256", SECRET);
        assert_eq!(told, json!({ "meeting_id": id, "record_id": format!("rec-{n}") }));
    }
    assert!(!process.service.cluster().recording_ready("unknown", "r").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_may_be_made_to_tell_of_recordings() {
    let stage = Stage::memory(1).await;
    let receiver = Receiver::start().await;
    let mut o = options();
    o.callbacks.relay_recording_ready = true;
    let process = Process::start(o, stage.store.clone(), true).await;
    process.poll().await;
    create_with(&process, "m", "meta_bn-recording-ready-url", &receiver.url("/ready")).await;
    let meeting = stage.fakes[0].meeting("m").unwrap();
    let ours = format!("https://{HOST}/bigbluebutton/api/recording_ready_callback");
    assert_eq!(meeting.param("meta_bbb-recording-ready-url"), Some(ours.as_str()));
    assert_eq!(meeting.param("meta_bn-recording-ready-url"), None);
    let form = "application/x-www-form-urlencoded";
    let said = json!({ "meeting_id": "m", "record_id": "r" });
    let forged = format!("signed_parameters={}", token("HS256", SECRET, &said));
    assert_eq!(post(&process, "recording_ready_callback", None, form, &forged).await, 401);
    let signed = format!("signed_parameters={}", token("HS256", stage.fakes[0].secret(), &said));
    assert_eq!(post(&process, "recording_ready_callback", None, form, &signed).await, 200);
    let arrived = receiver.wait_for(1).await.remove(0);
    assert_eq!(claims(arrived.body.strip_prefix("signed_parameters=").unwrap(), "HS256", SECRET), said);
}

/// Hands in one for a meeting whose front-end is this one.
async fn hand_in(process: &Process, store: &dyn MeetingStore, receiver: &Receiver, ready: bool) {
    let mut urls = CallbackUrls::default();
    let into = if ready { &mut urls.recording_ready } else { &mut urls.analytics };
    *into = Some(receiver.url("/x"));
    store.callback_store().keep_urls("m", &urls, Duration::from_secs(60)).await.unwrap();
    assert!(ready && process.service.cluster().recording_ready("m", "r").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_until_it_arrives() {
    let stage = Stage::memory(0).await;
    let receiver = Receiver::start().await;
    receiver.answer(&[500, 503, 302, 429]);
    receiver.redirect(&receiver.url("/elsewhere"));
    let process = Process::start(options(), stage.store.clone(), true).await;
    hand_in(&process, &*stage.store, &receiver, true).await;
    let arrived = receiver.wait_for(5).await;
    assert!(arrived.iter().all(|a| a.path == "/x"), "no redirect is followed: {arrived:?}");
    until("it is forgotten", async || stage.store.callback_store().queued().await.unwrap() == 0).await;
    assert_eq!(receiver.arrived().len(), 5);
    let figures = metrics(&process).await;
    assert!(figures.contains("balancer_callbacks_total{outcome=\"delivered\"} 1\n"), "{figures}");
    assert!(figures.contains("balancer_callbacks_total{outcome=\"retried\"} 4\n"), "{figures}");
    assert!(figures.contains("balancer_callbacks_waiting 0\n"), "{figures}");
}

async fn metrics(process: &Process) -> String {
    let head = RequestHead { method: "GET", path: "/metrics", ..RequestHead::default() };
    let answer = process.service.handle(head, Payload::Whole(Bytes::new())).await;
    String::from_utf8(answer.body().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_secret_is_tried_and_a_gone_receiver_ends_it() {
    let stage = Stage::memory(0).await;
    let receiver = Receiver::start().await;
    let mut o = options();
    o.checksums = o.checksums.with_secrets(["old-secret".to_owned(), SECRET.to_owned()]);
    let process = Process::start(o, stage.store.clone(), true).await;
    receiver.answer(&[401]);
    hand_in(&process, &*stage.store, &receiver, true).await;
    let arrived = receiver.wait_for(2).await;
    let signed = |n: usize| arrived[n].body.strip_prefix("signed_parameters=").unwrap();
    claims(signed(0), "HS256", "old-secret");
    claims(signed(1), "HS256", SECRET);
    receiver.answer(&[410]);
    hand_in(&process, &*stage.store, &receiver, true).await;
    until("it is given up", async || metrics(&process).await.contains("{outcome=\"given_up\"} 1\n")).await;
    // What arrived or is given up is counted before it is forgotten.
    until("both are forgotten", async || stage.store.callback_store().queued().await.unwrap() == 0).await;
    assert_eq!(receiver.arrived().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_is_given_up() {
    let now = Arc::new(AtomicU64::new(1_800_000_000_000));
    let read = now.clone();
    let clock = WallClock::from_fn(move || read.load(Ordering::Relaxed));
    let store = Arc::new(LocalStore::memory().with_clock(clock.clone()));
    let receiver = Receiver::start().await;
    let mut o = options();
    o.clock = clock;
    // However far the clock goes, nobody else takes an attempt under way for a dead one.
    o.callbacks.timeout = Duration::from_secs(100 * 86_400);
    let process = Process::start(o, store.clone(), true).await;
    receiver.answer(&[500; 200]);
    hand_in(&process, &*store, &receiver, true).await;
    receiver.wait_for(1).await;
    now.fetch_add(25 * 3_600_000, Ordering::Relaxed);
    until("it is given up", async || {
        // For the pause, which may have begun after the leap.
        now.fetch_add(1, Ordering::Relaxed);
        store.callback_store().queued().await.unwrap() == 0
    })
    .await;
    assert!(metrics(&process).await.contains("{outcome=\"given_up\"} 1\n"));
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let stage = Stage::memory(0).await;
    let receiver = Receiver::start().await;
    let mut o = options();
    o.callbacks.queue = 2;
    let process = Process::start(o, stage.store.clone(), false).await;
    for _ in 0..5 {
        hand_in(&process, &*stage.store, &receiver, true).await;
    }
    assert_eq!(stage.store.callback_store().queued().await.unwrap(), 2);
    let figures = metrics(&process).await;
    assert!(figures.contains("{outcome=\"dropped\"} 3\n") && figures.contains("balancer_callbacks_waiting 2\n"));
}

async fn outlives(stores: [Arc<dyn MeetingStore>; 2], receiver: &Receiver) {
    let [first, second] = stores;
    // Handed in by a process that never gets to deliver it.
    let process = Process::start(options(), first.clone(), false).await;
    hand_in(&process, &*first, receiver, true).await;
    drop((process, first));
    let process = Process::start(options(), second, true).await;
    let arrived = receiver.wait_for(1).await;
    assert_eq!(arrived[0].path, "/x");
    until("it is counted", async || metrics(&process).await.contains("{outcome=\"delivered\"} 1\n")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_outlives_its_process() {
    let Some(server) = RedisServer::start(&[]) else { return };
    outlives([redis_store(&server), redis_store(&server)], &Receiver::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_a_file_outlives_its_process() {
    let (folder, receiver) = (Folder::new(), Receiver::start().await);
    let path = folder.0.join("data.redb");
    let store = LocalStore::open(&path).await.unwrap();
    let process = Process::start(options(), store.clone(), false).await;
    hand_in(&process, &*store, &receiver, true).await;
    drop((process, store));
    let until = tokio::time::Instant::now() + PATIENCE;
    let store = loop {
        match LocalStore::open(&path).await {
            Ok(store) => break store,
            Err(e) => assert!(tokio::time::Instant::now() < until, "{e}"),
        }
    };
    let _process = Process::start(options(), store, true).await;
    receiver.wait_for(1).await;
}
