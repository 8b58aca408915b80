//! A telephone server's request as it comes over the wire.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{FORM, Served, read_reply};
use crate::stage::{SECRET, patient};

/// With some hundred variables of the call, a session description among them, and a wait for leave to send them.
#[tokio::test]
async fn a_call_with_all_its_variables_is_answered() {
    use base64::Engine as _;
    use std::fmt::Write as _;
    let served = Served::start(patient(), adapter_bbb::HttpLimits::default()).await;
    let mut form = "hostname=pbx&section=dialplan&tag_name=&key_name=&key_value=&Event-Name=REQUEST_PARAMS\
        &Caller-Destination-Number=%2B16135551234&Caller-Context=public"
        .to_owned();
    for n in 0..400 {
        let _ = write!(form, "&variable_sip_h_X-{n}=%3Csip%3A{n}%40192.0.2.7%3E%3Btag%3D{n:x}");
    }
    let _ = write!(form, "&variable_switch_r_sdp={}", "a%3Drtpmap%3A101%20telephone-event%2F8000%0d%0a".repeat(60));
    let login = base64::engine::general_purpose::STANDARD.encode(format!("fsapi:{SECRET}"));
    let head = format!(
        "POST /fsapi HTTP/1.1\r\nHost: balancer.example\r\nAuthorization: Basic {login}\r\n\
         User-Agent: freeswitch-xml/1.0\r\nAccept: */*\r\nContent-Length: {}\r\nContent-Type: {FORM}\r\n\
         Expect: 100-continue\r\n\r\n",
        form.len()
    );
    assert!(form.len() > 20_000);
    let mut stream = served.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(form.as_bytes()).await.unwrap();
    let reply = read_reply(&mut stream).await.unwrap();
    assert!(reply.status == 200 && reply.head.contains("content-type: application/xml"), "{reply:?}");
    assert!(reply.body.contains("match_did_and_prompt_for_pin"), "{reply:?}");
    // Who does not know the password is told before he sends anything.
    let refused = served.ask("POST /fsapi HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(refused.status == 401 && refused.head.contains("www-authenticate: basic realm="), "{refused:?}");
}
