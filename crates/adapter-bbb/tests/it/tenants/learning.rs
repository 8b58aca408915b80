//! Learning records: where they go is told to servers, encrypted; and callbacks are a tenant's own.

use std::time::Duration;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64::Engine as _;
use serde_json::{Value, json};

use super::{A, B, add, options};
use crate::stage::Stage;

/// What a server with this secret reads.
fn read(secret: &str, value: &str) -> Value {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value).unwrap();
    let mut derived = [0_u8; 48];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(secret.as_bytes(), &bytes[8..16], 10_000, &mut derived);
    let cipher = cbc::Decryptor::<aes::Aes256>::new_from_slices(&derived[..32], &derived[32..]).unwrap();
    serde_json::from_slice(&cipher.decrypt_padded_vec::<Pkcs7>(&bytes[16..]).unwrap()).unwrap()
}

/// A server that answers one request with this, and tells what it was sent.
async fn once(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("grant_type=password") {
            let mut part = [0; 4096];
            let n = stream.read(&mut part).await.unwrap();
            assert!(n > 0, "the request broke off");
            seen.extend_from_slice(&part[..n]);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    });
    (port, told)
}

#[tokio::test]
async fn servers_are_told_where_learning_records_go() {
    let stage = Stage::memory(1).await;
    let (port, asked) = once(r#"{"access_token":"t0k3n"}"#).await;
    let field = |name: &str, value: &str| (name.to_owned(), adapter_bbb::Secret::new(value));
    let mut a = A.record();
    a.lrs =
        [field("lrs_endpoint", "https://lrs.example/x"), field("lrs_username", "u"), field("lrs_password", "p")].into();
    let mut b = B.record();
    b.lrs = [
        field("lrs_endpoint", "https://lrs.example/y"),
        field("kc_token_url", &format!("http://127.0.0.1:{port}/token")),
        field("kc_client_id", "id"),
        field("kc_client_secret", "cs"),
        field("kc_username", "u&u"),
        field("kc_password", "kp"),
    ]
    .into();
    add(&*stage.store, &[a, b]).await;
    let process = stage.process(options()).await;
    let secret = stage.fakes[0].secret().to_owned();
    let payload =
        |id: &str| stage.fakes[0].meeting(id).unwrap().param("meta_secret-lrs-payload").map(|v| read(&secret, v));
    assert!(A.create(&process, "a").await.ok() && B.create(&process, "b").await.ok());
    let expected = json!({"lrs_endpoint": "https://lrs.example/x", "lrs_username": "u", "lrs_password": "p"});
    assert_eq!(payload("a"), Some(expected));
    assert_eq!(payload("b"), Some(json!({"lrs_endpoint": "https://lrs.example/y", "lrs_token": "t0k3n"})));
    let asked = tokio::time::timeout(crate::stage::PATIENCE, asked).await.unwrap().unwrap();
    assert!(asked.ends_with("client_id=id&client_secret=cs&username=u%26u&password=kp&grant_type=password"), "{asked}");
    // Nobody answers any more: the meeting is made all the same, without them.
    assert!(B.create(&process, "later").await.ok());
    assert_eq!(payload("later"), None);
}

#[tokio::test]
async fn callbacks_lead_to_the_tenants_host_name_and_are_kept_apart() {
    let stage = Stage::memory(1).await;
    add(&*stage.store, &[A.record(), B.record()]).await;
    let mut o = options();
    o.callbacks.relay_recording_ready = true;
    let process = stage.process(o).await;
    let query = |port: u16| {
        format!(
            "meetingID=m&meta_analytics-callback-url=http%3A%2F%2F127.0.0.1%3A{port}%2Fa&meta_bn-recording-ready-url=http%3A%2F%2F127.0.0.1%3A{port}%2Fr"
        )
    };
    for (tenant, port) in [(A, 1001), (B, 1002)] {
        assert!(tenant.call(&process, "create", &query(port)).await.ok());
    }
    let wire = format!("~{}~m", B.id());
    for (tenant, id, port) in [(A, "m", 1001), (B, wire.as_str(), 1002)] {
        let made = stage.fakes[0].meeting(id).unwrap();
        let ours = format!("https://{}/bigbluebutton/api/", tenant.host());
        assert_eq!(made.param("meta_analytics-callback-url"), Some(&*format!("{ours}analytics_callback")));
        assert_eq!(made.param("meta_bbb-recording-ready-url"), Some(&*format!("{ours}recording_ready_callback")));
        let kept = stage.store.callback_store().urls(id).await.unwrap();
        assert_eq!(kept.tenant, Some(tenant.id()));
        assert_eq!(kept.analytics, Some(format!("http://127.0.0.1:{port}/a")));
        // The news names the meeting as its front-end does, and waits for the tenant's own signature.
        assert!(process.service.cluster().recording_ready(id, "rec").await.unwrap());
        let waiting = stage.store.callback_store().take_due(10, Duration::from_secs(60)).await.unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!(
            (waiting[0].tenant.clone(), waiting[0].url.clone()),
            (Some(tenant.id()), format!("http://127.0.0.1:{port}/r"))
        );
        assert_eq!(waiting[0].body, r#"{"meeting_id":"m","record_id":"rec"}"#);
    }
}
