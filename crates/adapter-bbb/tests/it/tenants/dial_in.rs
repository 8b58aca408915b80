//! Requests as FreeSWITCH's `mod_xml_curl` sends them.

use adapter_bbb::{BbbService, Payload, RequestHead, Secret};
use base64::Engine as _;
use bytes::Bytes;

use super::{A, B, both, shown};
use crate::stage::{Answer, HOST, Process, SECRET, Stage, patient};

/// What a telephone server sends with a call, before anything was typed; it sends a hundred fields more.
const CALL: &str = "hostname=pbx&section=dialplan&tag_name=&key_name=&key_value=&Event-Name=REQUEST_PARAMS\
    &Core-UUID=2f1a&FreeSWITCH-Hostname=pbx&Event-Date-Local=2026-11-21%2019%3A00%3A00&Channel-State=CS_ROUTING\
    &Call-Direction=inbound&Caller-Direction=inbound&Caller-Username=6135550100&Caller-Dialplan=XML\
    &Caller-Caller-ID-Name=6135550100&Caller-Caller-ID-Number=6135550100&Caller-Network-Addr=192.0.2.7\
    &Caller-Destination-Number=%2B16135551234&Caller-Context=public&Caller-Privacy-Hide-Name=false\
    &Caller-Privacy-Hide-Number=false&variable_direction=inbound&variable_sip_from_user=6135550100";

pub(super) async fn fsapi(service: &BbbService, host: &str, login: Option<(&str, &str)>, form: &str) -> Answer {
    let login = login.map(|(user, password)| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    });
    let head = RequestHead {
        method: "POST",
        path: "/fsapi",
        host: Some(host),
        content_type: Some("application/x-www-form-urlencoded"),
        authorization: login.as_deref(),
        ..RequestHead::default()
    };
    shown(&service.handle(head, Payload::Whole(Bytes::from(form.to_owned()))).await)
}

/// The number of a meeting, as its server knows it.
fn number(stage: &Stage, id: &str) -> String {
    let at = stage.having(id)[0];
    stage.fakes[at].meeting(id).unwrap().voice_bridge
}

pub(super) fn typed(pin: &str) -> String {
    format!("{CALL}&variable_pin={pin}")
}

async fn ask(process: &Process, form: &str) -> Answer {
    fsapi(&process.service, HOST, Some(("fsapi", SECRET)), form).await
}

async fn a_call(stage: &Stage) {
    let mut o = patient();
    o.max_duration = 60;
    let process = stage.process(o.clone()).await;
    let id = "lesson%20%24%7Bsystem%20x%7D%20%26%20%22q%22";
    assert!(process.create(id).await.ok());
    let pin = number(stage, "lesson ${system x} & \"q\"");
    // Greeted, and asked for a number.
    let greeted = ask(&process, CALL).await;
    assert_eq!(greeted.status, 200);
    let lines: Vec<&str> = greeted.body.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<document type="freeswitch/xml">"#,
            r#"<section name="dialplan" description="Match DID and Pin for Conference">"#,
            r#"<context name="public">"#,
            r#"<extension name="match_did_and_prompt_for_pin">"#,
            r#"<condition field="destination_number" expression="^\\+16135551234$">"#,
            r#"<action application="answer"/>"#,
            r#"<action application="sched_hangup" data="+3600 normal_clearing"/>"#,
            r#"<action application="sleep" data="500"/>"#,
            r#"<action application="playback" data="ivr/ivr-welcome.wav"/>"#,
            r#"<action application="sleep" data="200"/>"#,
            r#"<action application="play_and_get_digits" data="5 9 3 7000 # conference/conf-enter_conf_pin.wav conference/conf-bad-pin.wav pin \d+"/>"#,
            r#"<action application="transfer" data="${pin} XML public"/>"#,
            "</condition>",
            "</extension>",
            "</context>",
            "</section>",
            "</document>",
        ]
    );
    // Led to the meeting's server; its id and the caller's name expand nothing there.
    let led = ask(&process, &typed(&pin)).await;
    assert!(led.body.contains("<extension name=\"bridge_to_bbb_server\">"), "{led:?}");
    assert!(led.body.contains(r#"data="meeting_id=lesson \${system x} &amp; &quot;q&quot;""#), "{led:?}");
    assert!(led.body.contains(r#"data="effective_caller_id_name=613555XXXX""#), "{led:?}");
    assert!(
        led.body.contains(&format!(r#"<action application="bridge" data="sofia/external/{pin}@127.0.0.1"/>"#)),
        "{led:?}"
    );
    let named = typed(&pin).replace("ID-Name=6135550100", "ID-Name=Ann%20%24%7Bx%7D%5C");
    let led = ask(&process, &named).await;
    assert!(led.body.contains(r#"effective_caller_id_name=Ann \${x}\\""#), "{led:?}");
    let hidden = named.replace("Hide-Name=false", "Hide-Name=true");
    assert!(ask(&process, &hidden).await.body.contains("effective_caller_id_name=Unavailable"));
    // A digit more is a breakout room on the same server.
    let room = ask(&process, &typed(&format!("{pin}7"))).await;
    assert!(room.body.contains(&format!("sofia/external/{pin}7@127.0.0.1")), "{room:?}");
    // Numbers that no meeting has.
    for pin in ["123456789", "1", "%24%7Bx%7D", &"9".repeat(400), &format!("{pin}77")] {
        let again = ask(&process, &typed(pin)).await;
        assert!(again.body.contains("<extension name=\"reprompt_for_pin\">"), "{pin}: {again:?}");
        assert!(
            again.body.contains(r#"<action application="playback" data="conference/conf-bad-pin.wav"/>"#),
            "{again:?}"
        );
    }
    for form in [
        "",
        "section=configuration&tag_name=configuration&key_name=name&key_value=ivr.conf",
        "section=dialplan",
        "section=dialplan&Caller-Destination-Number=+",
        "section=directory&Caller-Destination-Number=1",
    ] {
        let none = ask(&process, form).await;
        assert!(
            none.body.contains("<section name=\"result\">") && none.body.contains("<result status=\"not found\"/>"),
            "{none:?}"
        );
    }
    // Names of callers come in whatever encoding their telephones have.
    let latin =
        named.replace("Ann%20%24%7Bx%7D%5C", "Ren%e9%20%ff") + "&broken=%zz&variable_switch_r_sdp=v%3D0%0d%0ao%3D-";
    let led = ask(&process, &latin).await;
    assert!(led.body.contains("effective_caller_id_name=Ren\u{fffd} \u{fffd}\""), "{led:?}");
    assert!(ask(&process, "section=%ff").await.body.contains("<result status=\"not found\"/>"));
    // Over, its number leads nowhere.
    assert!(process.call("end", &format!("meetingID={id}&password=mp")).await.ok());
    assert!(ask(&process, &typed(&pin)).await.body.contains("reprompt_for_pin"));
    // Other lengths, and a limit of its own.
    (o.dial_in.digits, o.dial_in.max_minutes) = ((4, 12), Some(0));
    let other = stage.process(o).await;
    let greeted = ask(&other, CALL).await;
    assert!(greeted.body.contains("4 12 3 7000") && !greeted.body.contains("sched_hangup"), "{greeted:?}");
}

#[tokio::test]
async fn a_call_is_led_to_its_meeting() {
    a_call(&Stage::memory(2).await).await;
}

#[tokio::test]
async fn a_call_is_led_to_its_meeting_on_redis() {
    if let Some(stage) = Stage::redis(2).await {
        a_call(&stage).await;
    }
}

#[tokio::test]
async fn only_who_knows_the_password_is_told() {
    let stage = Stage::memory(1).await;
    // Without a host name of its own as well: Scalelite fails there.
    for (url_host, realm) in [(None, "bbb-balancer"), (Some(HOST.to_owned()), HOST)] {
        let mut o = patient();
        o.url_host = url_host;
        let process = stage.process(o).await;
        let wrong = [None, Some(("fsapi", "wrong")), Some(("admin", SECRET)), Some(("fsapi", ""))];
        for login in wrong {
            let refused = fsapi(&process.service, HOST, login, CALL).await;
            assert_eq!((refused.status, refused.missing.as_deref()), (401, Some(&*format!("Basic realm=\"{realm}\""))));
            assert!(!refused.body.contains("extension"), "{refused:?}");
        }
        assert_eq!(fsapi(&process.service, HOST, Some(("fsapi", SECRET)), CALL).await.status, 200);
    }
    let mut o = patient();
    o.dial_in.password = Some(Secret::new("of-telephones"));
    let process = stage.process(o.clone()).await;
    assert_eq!(fsapi(&process.service, HOST, Some(("fsapi", SECRET)), CALL).await.status, 401);
    assert_eq!(fsapi(&process.service, HOST, Some(("fsapi", "of-telephones")), CALL).await.status, 200);
    // An empty one lets everybody in, as it is said.
    o.dial_in.password = Some(Secret::new(""));
    let process = stage.process(o).await;
    assert_eq!(fsapi(&process.service, HOST, None, CALL).await.status, 200);
}

#[tokio::test]
async fn telephones_of_a_tenant_reach_its_meetings_alone() {
    let stage = Stage::memory(2).await;
    let process = both(&stage).await;
    assert!(A.create(&process, "m").await.ok() && B.create(&process, "m").await.ok());
    let of_a = number(&stage, "m");
    let of_b = number(&stage, &format!("~{}~m", B.id()));
    assert_ne!(of_a, of_b);
    let service = &process.service;
    for (tenant, own, other) in [(A, &of_a, &of_b), (B, &of_b, &of_a)] {
        let secret = tenant.secret();
        let login = Some(("fsapi", secret.as_str()));
        let led = fsapi(service, &tenant.host(), login, &typed(own)).await;
        assert!(led.body.contains("bridge_to_bbb_server") && led.body.contains("meeting_id=m\""), "{led:?}");
        for pin in [other.clone(), format!("{other}1")] {
            let again = fsapi(service, &tenant.host(), login, &typed(&pin)).await;
            assert!(again.body.contains("reprompt_for_pin"), "{again:?}");
        }
        // Its secrets open neither another tenant's nor the operator's.
        let foreign = if tenant == A { B } else { A };
        for host in [foreign.host(), HOST.to_owned()] {
            assert_eq!(fsapi(service, &host, login, CALL).await.status, 401, "{host}");
        }
        // The operator's one telephone number is for all.
        let led = fsapi(service, HOST, Some(("fsapi", SECRET)), &typed(own)).await;
        assert!(led.body.contains("bridge_to_bbb_server"), "{led:?}");
    }
}
