//! Logging in to a real Prosody.

use std::time::Duration;

use adapter_jitsi::{
    Backoff, BareJid, BreweryEvent, ClientOptions, Mechanism, Password, SaslError, TlsRoots, XmppError,
};

use super::prosody::{Observer, Prosody, Setup};

async fn logs_in(options: ClientOptions) {
    let mut observer = Observer::start(options);
    let resync = observer.resynced().await;
    assert!(resync.away.is_none() && resync.present.is_empty(), "{resync:?}");
    observer.stop().await;
}

async fn refused(options: ClientOptions) -> (XmppError, Duration) {
    let mut observer = Observer::start(options);
    let refused = observer
        .until("a refusal", |event| match event {
            BreweryEvent::Refused { why, retry } => Some((why, retry)),
            BreweryEvent::Resynced { .. } => panic!("logged in"),
            _ => None,
        })
        .await;
    observer.stop().await;
    refused
}

#[tokio::test]
async fn over_the_loopback() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    logs_in(server.options("balancer", "observer")).await;
}

#[tokio::test]
async fn by_scram_over_starttls() {
    let Some(server) = Prosody::start(&Setup { tls: true, ..Setup::default() }) else { return };
    let mut options = server.options("balancer", "observer");
    options.login.least = Mechanism::ScramSha1;
    logs_in(options).await;
    // Without roots nothing is said in clear, although the server is on the loopback.
    let mut options = server.options("balancer", "observer");
    options.roots = None;
    let (why, _) = refused(options).await;
    assert!(why.to_string().contains("give roots"), "{why}");
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_when_given() {
    let Some(server) = Prosody::start(&Setup { tls: true, self_signed: true, ..Setup::default() }) else { return };
    logs_in(server.options("balancer", "observer")).await;
}

#[tokio::test]
async fn by_scram_with_sha_256() {
    let setup = Setup { global: "password_hash = 'SHA-256'", ..Setup::default() };
    let Some(server) = Prosody::start(&setup) else { return };
    let mut options = server.options("balancer", "observer");
    options.login.least = Mechanism::ScramSha256;
    logs_in(options).await;
}

#[tokio::test]
async fn by_plain_over_starttls_and_only_when_that_is_accepted() {
    let global = "disable_sasl_mechanisms = { 'SCRAM-SHA-1', 'DIGEST-MD5' }";
    let Some(server) = Prosody::start(&Setup { tls: true, global, ..Setup::default() }) else { return };
    logs_in(server.options("balancer", "observer")).await;
    let mut options = server.options("balancer", "observer");
    options.login.least = Mechanism::ScramSha1;
    let (why, _) = refused(options).await;
    assert!(matches!(why, XmppError::Login(SaslError::NoMechanism { .. })), "{why}");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_tried_again_slowly() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let mut options = server.options("balancer", "observer");
    options.login.password = Password::new("guessed");
    let (why, retry) = refused(options.clone()).await;
    assert!(matches!(why, XmppError::Login(SaslError::Refused { .. })), "{why}");
    assert!(!why.to_string().contains("guessed") && why.to_string().contains("not-authorized"), "{why}");
    assert!(retry >= Duration::from_secs(5), "{retry:?}");
    // A client waits, it does not give up: with short waits the second refusal comes after the first.
    options.retry_lasting = Backoff { first: Duration::from_millis(200), cap: Duration::from_millis(200) };
    let mut observer = Observer::start(options);
    for _ in 0..2 {
        observer.until("a refusal", |event| matches!(event, BreweryEvent::Refused { .. }).then_some(())).await;
    }
    observer.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_not_the_servers_is_said() {
    let Some(server) = Prosody::start(&Setup { tls: true, ..Setup::default() }) else { return };
    let strange = rcgen::generate_simple_self_signed(vec!["auth.meet.test".to_owned()]).unwrap();
    let mut options = server.options("balancer", "observer");
    options.roots = Some(TlsRoots::from_pem(strange.cert.pem().as_bytes()).unwrap());
    let (why, retry) = refused(options).await;
    assert!(matches!(why, XmppError::Certificate { .. }), "{why}");
    assert!(retry >= Duration::from_secs(5), "{retry:?}");
    // The right authority, but a name that is not in the certificate. Prosody would not know that host either.
    let mut options = server.options("balancer", "observer");
    options.login.account = BareJid::new("balancer@other.test").unwrap();
    let (why, _) = refused(options).await;
    assert!(matches!(why, XmppError::Certificate { .. } | XmppError::Closed { .. }), "{why}");
    assert!(TlsRoots::from_pem(b"nothing").is_err());
}

#[tokio::test]
async fn a_room_that_is_not_there_is_said() {
    let setup =
        Setup { replace: &[("restrict_room_creation  = false", "restrict_room_creation  = true")], ..Setup::default() };
    let Some(server) = Prosody::start(&setup) else { return };
    let (why, retry) = refused(server.options("balancer", "observer")).await;
    assert!(matches!(&why, XmppError::Join { condition, .. } if condition == "not-allowed"), "{why}");
    assert!(retry >= Duration::from_secs(5), "{retry:?}");
    let mut options = server.options("balancer", "observer");
    options.login.room = BareJid::new("jvbbrewery@elsewhere.test").unwrap();
    let (why, _) = refused(options).await;
    println!("no such room service: {why}");
    assert!(matches!(&why, XmppError::Join { .. }), "{why}");
}

#[tokio::test]
async fn nobody_listens_or_not_here() {
    let mut options = {
        let Some(server) = Prosody::start(&Setup::default()) else { return };
        server.options("balancer", "observer")
    };
    let (why, retry) = refused(options.clone()).await;
    assert!(matches!(why, XmppError::Connect { .. }), "{why}");
    assert!(retry <= Duration::from_millis(100), "{retry:?}");
    options.server = "192.0.2.1:5222".to_owned();
    let (why, _) = refused(options).await;
    assert!(matches!(why, XmppError::NotLoopback { .. }), "{why}");
}
