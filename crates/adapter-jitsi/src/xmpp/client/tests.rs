use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::xmpp::jid::BareJid;
use crate::xmpp::login::Password;

const SOON: Duration = Duration::from_secs(30);
const HEAD: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
const TLS: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";

/// Options without any limit of time.
fn endless(listener: &TcpListener) -> ClientOptions {
    let account = BareJid::new("picker@auth.meet.example").unwrap();
    let room = BareJid::new("brewery@internal.auth.meet.example").unwrap();
    let mut options = ClientOptions::new(LoginOptions::new(account, Password::new("x"), room, "picker"));
    options.server = listener.local_addr().unwrap().to_string();
    options.io_timeout = Duration::MAX;
    options.login.step_timeout = Duration::MAX;
    options
}

/// Roots of nobody who comes here: the server never shows a certificate.
fn roots() -> TlsRoots {
    let strange = rcgen::generate_simple_self_signed(vec!["root.example".to_owned()]).unwrap();
    TlsRoots::from_pem(strange.cert.pem().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_with_the_feed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = endless(&listener);
    options.roots = Some(roots());
    let (client, feed) = BreweryClient::new(options);
    let running = tokio::spawn(client.run(std::future::pending()));
    let (mut server, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 1024];
    assert!(server.read(&mut buffer).await.unwrap() > 0);
    server.write_all(format!("{HEAD}{TLS}").as_bytes()).await.unwrap();
    assert!(server.read(&mut buffer).await.unwrap() > 0);
    server.write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await.unwrap();
    // The first bytes of the handshake, which gets no answer.
    assert!(server.read(&mut buffer).await.unwrap() > 0);
    drop(feed);
    timeout(SOON, running).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_server_that_takes_nothing_does_not_hold_up_the_end() {
    let (mut near, far) = tokio::io::duplex(16);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = endless(&listener);
    let now = Instant::now().into_std();
    let mut session = Session::new(options.login.clone(), Channel::Loopback, [7; 18], "", now);
    let (mut client, _feed) = BreweryClient::new(options);
    let (stop, stopped) = oneshot::channel::<()>();
    let driving = async {
        let mut stop = pin!(async {
            let _ = stopped.await;
        });
        let turn = drive(&mut client, &mut near, &mut session, stop.as_mut(), &mut None).await;
        assert!(matches!(turn, Turn::Ended(XmppError::Left)));
    };
    let stopping = async {
        tokio::task::yield_now().await;
        stop.send(()).unwrap();
    };
    timeout(SOON, async { tokio::join!(driving, stopping) }).await.expect("it ends");
    drop(far);
}
