//! The same ids in two tenants, secrets that open one only, breakout rooms, hooks and callbacks.

use adapter_bbb::testing::MeetingSpec;
use adapter_bbb::{TenantPatch, tenant_meeting_id};

use super::{A, B, add, ask, both, options};
use crate::stage::{Answer, HOST, SECRET, Stage};

async fn one_id_in_two_tenants(stage: &Stage) {
    let process = both(stage).await;
    let of_a = A.create(&process, "lesson").await;
    assert!(of_a.ok(), "{of_a:?}");
    let of_b = B.create(&process, "lesson").await;
    assert!(of_b.ok() && of_b.text("messageKey").is_empty(), "a meeting of its own: {of_b:?}");
    assert_eq!((of_a.text("meetingID"), of_b.text("meetingID")), ("lesson", "lesson"));
    assert_ne!(of_a.text("internalMeetingID"), of_b.text("internalMeetingID"));
    // The first one is as Scalelite has it; the second one has its tenant before its id.
    let wire = format!("~{}~lesson", B.id());
    assert_eq!(tenant_meeting_id(&B.id(), &wire), "lesson");
    let (at_a, at_b) = (stage.having("lesson")[0], stage.having(&wire)[0]);
    let made = stage.fakes[at_b].meeting(&wire).unwrap();
    assert_eq!((made.param("meta_tenant-id"), made.param("meta_tenant-name")), (Some("ten-beta"), Some("beta")));
    assert_eq!(stage.fakes[at_a].meeting("lesson").unwrap().param("meta_tenant-id"), Some("ten-alpha"));
    // Everybody is led to their own.
    for (tenant, at, id) in [(A, at_a, "meetingID=lesson&"), (B, at_b, "meetingID=%7Eten-beta%7Elesson&")] {
        let led = tenant.join(&process, "lesson").await;
        assert!(led.location.as_deref().unwrap().contains(id), "{led:?}");
        assert_eq!(stage.led_to(&led), Some(at));
        stage.fakes[at].perform(led.location.as_deref().unwrap(), b"").unwrap();
        let info = tenant.call(&process, "getMeetingInfo", "meetingID=lesson").await;
        let name = format!("of-{}", tenant.0);
        assert_eq!((info.text("meetingName"), info.text("participantCount")), (name.as_str(), "1"), "{info:?}");
        let list = tenant.call(&process, "getMeetings", "").await;
        assert_eq!(list.body.matches("<meeting>").count(), 1, "{list:?}");
        assert!(list.body.contains(&format!("<meetingName>{name}<")) && !list.body.contains('~'), "{list:?}");
    }
    // A repeated create is the same meeting.
    assert_eq!(B.create(&process, "lesson").await.text("messageKey"), "duplicateWarning");
    process.poll().await;
    // One ends, the other goes on; the one that ended begins anew under its own id, though the short one is free.
    assert!(A.call(&process, "end", "meetingID=lesson&password=mp").await.ok());
    assert_eq!(A.call(&process, "isMeetingRunning", "meetingID=lesson").await.text("running"), "false");
    assert_eq!(B.call(&process, "isMeetingRunning", "meetingID=lesson").await.text("running"), "true");
    assert!(B.call(&process, "end", "meetingID=lesson&password=mp").await.ok());
    assert!(B.create(&process, "lesson").await.ok());
    assert!(stage.having("lesson").is_empty(), "hooks and callbacks of the first tenant may still name it");
    // Nobody gets at another tenant's by the longer id.
    for call in ["getMeetingInfo", "join", "end", "sendChatMessage"] {
        let answer = A.call(&process, call, &format!("meetingID=%7E{}%7Elesson&fullName=n&message=x", B.id())).await;
        assert_eq!(answer.text("messageKey"), "notFound", "{call}: {answer:?}");
    }
    for own in ["getMeetingInfo", "join"] {
        let answer = B.call(&process, own, &format!("meetingID=%7E{}%7Elesson&fullName=n", B.id())).await;
        assert_eq!(answer.text("messageKey"), "notFound", "not by the longer id either: {answer:?}");
    }
    let taken = A.create(&process, &format!("%7E{}%7Elesson", B.id())).await;
    assert!(taken.ok() && taken.text("messageKey").is_empty(), "another meeting: {taken:?}");
    assert_eq!(B.call(&process, "getMeetings", "").await.body.matches("<meeting>").count(), 1);
}

#[tokio::test]
async fn the_same_id_in_two_tenants_is_two_meetings() {
    one_id_in_two_tenants(&Stage::memory(1).await).await;
    one_id_in_two_tenants(&Stage::memory(3).await).await;
}

#[tokio::test]
async fn the_same_id_in_two_tenants_is_two_meetings_on_redis() {
    if let Some(stage) = Stage::redis(2).await {
        one_id_in_two_tenants(&stage).await;
    }
}

#[tokio::test]
async fn a_secret_opens_its_own_tenant_alone() {
    let stage = Stage::memory(1).await;
    let process = both(&stage).await;
    let get = async |host: &str, secret: &str| ask(&process.service, host, "getMeetings", "", secret, None).await;
    assert!(get(&A.host(), &A.secret()).await.ok());
    assert!(get(&A.host().to_uppercase(), &A.secret()).await.ok(), "host names have no case");
    let refused = |a: &Answer| a.text("messageKey") == "checksumError" && a.status == 200;
    for (host, secret) in [
        (A.host(), B.secret()),
        (A.host(), SECRET.to_owned()),
        (A.host(), String::new()),
        (format!("nobody.{HOST}"), A.secret()),
        (format!("nobody.{HOST}"), SECRET.to_owned()),
        (HOST.to_owned(), A.secret()),
        (HOST.to_owned(), SECRET.to_owned()),
    ] {
        let answer = get(&host, &secret).await;
        assert!(refused(&answer), "{host}: {answer:?}");
    }
    assert_eq!(get("alpha.elsewhere.example", &A.secret()).await.status, 403);
    // Slides are not read either, before the query is right.
    let answer = ask(&process.service, &A.host(), "create", "meetingID=m", &B.secret(), None).await;
    assert!(refused(&answer));
    // Operators' calls know the balancer's secrets only.
    let operators = async |secret: &str| ask(&process.service, HOST, "getTenants", "", secret, None).await;
    assert!(operators(SECRET).await.body.contains("alpha"));
    assert!(refused(&operators(&A.secret()).await));
    // A change of secrets: both count until the old one goes.
    let old = A.secret();
    let store = stage.store.tenant_store();
    for (secrets, good, bad) in
        [(format!("{old}:newer"), vec![old.as_str(), "newer"], vec![]), ("newer".into(), vec!["newer"], vec![&*old])]
    {
        let patch = TenantPatch { secrets: Some(adapter_bbb::Secret::new(secrets)), ..TenantPatch::default() };
        store.update_tenant(&A.id(), &patch).await.unwrap();
        let again = stage.process(options()).await;
        let get = async |secret: &str| ask(&again.service, &A.host(), "getMeetings", "", secret, None).await;
        for secret in good {
            assert!(get(secret).await.ok());
        }
        for secret in bad {
            assert!(refused(&get(secret).await));
        }
    }
}

#[tokio::test]
async fn without_multitenancy_tenants_change_nothing() {
    let stage = Stage::memory(1).await;
    add(&*stage.store, &[A.record()]).await;
    let mut o = options();
    o.multitenancy = false;
    let process = stage.process(o).await;
    assert!(process.create("m").await.ok());
    assert_eq!(stage.fakes[0].meeting("m").unwrap().param("meta_tenant-id"), None);
    assert_eq!(A.call(&process, "getMeetings", "").await.status, 403, "its host name is not served");
    assert_eq!(process.call("getTenants", "").await.text("messageKey"), "unsupportedRequest");
    let listed = super::operate(&process, "getTenants", "", None).await;
    assert_eq!((listed.status, listed.body.as_str()), (412, r#"{"message":"Multitenancy is disabled"}"#));
    // Who lists meetings sees those without a tenant.
    stage.fakes[0].put_meeting(MeetingSpec::new("x").param("meta_tenant-id", "t"));
    let list = process.call("getMeetings", "").await;
    assert_eq!(list.body.matches("<meeting>").count(), 1, "{list:?}");
}

#[tokio::test]
async fn metadata_cannot_pretend_another_tenant() {
    let stage = Stage::memory(1).await;
    let process = both(&stage).await;
    let query = "meetingID=m&moderatorPW=mp&attendeePW=ap&meta_tenant-id=ten-beta&meta_Tenant-ID=ten-beta\
                 &meta_tenant-id%5B%5D=ten-beta&meta_tenant-name=beta&meta_SECRET-lrs-payload=x&meta_other=y";
    assert!(A.call(&process, "create", query).await.ok());
    let made = stage.fakes[0].meeting("m").unwrap();
    let of: Vec<_> = made.params.iter().filter(|(n, _)| n.to_lowercase().contains("tenant")).cloned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(of, [pair("meta_tenant-id", "ten-alpha"), pair("meta_tenant-name", "alpha")]);
    assert!(made.param("meta_SECRET-lrs-payload").is_none() && made.param("meta_other") == Some("y"));
    assert!(!B.call(&process, "getMeetings", "").await.body.contains("<meeting>"));
}

#[tokio::test]
async fn breakout_rooms_belong_to_their_meetings_tenant() {
    let stage = Stage::memory(2).await;
    let process = both(&stage).await;
    assert!(A.create(&process, "m").await.ok() && B.create(&process, "m").await.ok());
    let room =
        |id: &str| format!("meetingID={id}&isBreakout=true&parentMeetingID=m&sequence=1&moderatorPW=mp&attendeePW=ap");
    let made = B.call(&process, "create", &room("room")).await;
    assert!(made.ok(), "{made:?}");
    let wire = format!("~{}~m", B.id());
    assert_eq!(stage.having("room"), stage.having(&wire), "beside its own parent");
    assert_eq!(A.call(&process, "getMeetingInfo", "meetingID=room").await.text("messageKey"), "notFound");
    assert_eq!(B.call(&process, "getMeetingInfo", "meetingID=room").await.text("meetingID"), "room");
    // A room of a meeting of another tenant cannot be made, whatever it is called.
    assert!(A.create(&process, "only-a").await.ok());
    for parent in ["only-a", &wire.replace('~', "%7E")] {
        let asked = room("spy").replace("parentMeetingID=m", &format!("parentMeetingID={parent}"));
        let tenant = if parent == "only-a" { B } else { A };
        let answer = tenant.call(&process, "create", &asked).await;
        assert_eq!(answer.text("messageKey"), "notFound", "{answer:?}");
    }
    // Rooms that a server made by itself have their meeting's metadata.
    let spec = MeetingSpec::new("made-there").breakout().param("meta_tenant-id", "ten-alpha");
    stage.fakes[0].put_meeting(spec);
    process.poll().await;
    assert!(A.call(&process, "getMeetingInfo", "meetingID=made-there").await.ok());
    let answer = B.call(&process, "getMeetingInfo", "meetingID=made-there").await;
    assert_eq!(answer.text("messageKey"), "notFound", "{answer:?}");
}

#[tokio::test]
async fn hooks_hear_of_their_tenants_meetings_alone() {
    let stage = Stage::memory(2).await;
    let process = both(&stage).await;
    let hook = |url: &str, more: &str| format!("callbackURL=http%3A%2F%2F127.0.0.1%2F{url}{more}");
    let all = A.call(&process, "hooks/create", &hook("a", "")).await;
    assert_eq!(all.text("messageKey"), "createHookError", "it would hear of everybody's: {all:?}");
    // Asked for before there is a meeting: the id is taken from then on.
    let of_a = A.call(&process, "hooks/create", &hook("same", "&meetingID=m")).await;
    let of_b = B.call(&process, "hooks/create", &hook("same", "&meetingID=m")).await;
    assert!(of_a.ok() && of_b.ok() && of_b.text("messageKey").is_empty(), "{of_a:?} {of_b:?}");
    assert!(B.create(&process, "m").await.ok() && A.create(&process, "m").await.ok());
    for fake in &stage.fakes {
        let mut hooks: Vec<_> = fake.hooks().into_iter().map(|h| (h.meeting.unwrap(), h.url)).collect();
        hooks.sort();
        let wire = format!("~{}~m", B.id());
        assert_eq!(hooks[0], ("m".to_owned(), "http://127.0.0.1/same".to_owned()));
        assert_eq!(hooks[1], (wire, "http://127.0.0.1/same#tenant=ten-beta".to_owned()));
    }
    for (tenant, id) in [(A, of_a.text("hookID")), (B, of_b.text("hookID"))] {
        for query in ["", "meetingID=m"] {
            let list = tenant.call(&process, "hooks/list", query).await;
            assert_eq!((list.body.matches("<hook>").count(), list.text("hookID")), (1, id), "{list:?}");
            assert_eq!((list.text("meetingID"), list.text("callbackURL")), ("m", "http://127.0.0.1/same"));
        }
    }
    let foreign = B.call(&process, "hooks/destroy", &format!("hookID={}", of_a.text("hookID"))).await;
    assert_eq!(foreign.text("messageKey"), "destroyMissingHook");
    assert!(A.call(&process, "hooks/destroy", &format!("hookID={}", of_a.text("hookID"))).await.ok());
    assert_eq!(stage.fakes[0].hooks().len(), 1);
    // The other one's is still the same, though the address is free of the first one's now.
    let again = B.call(&process, "hooks/create", &hook("same", "&meetingID=m")).await;
    assert_eq!(
        (again.text("messageKey"), again.text("hookID")),
        ("duplicateWarning", of_b.text("hookID")),
        "{again:?}"
    );
    assert_eq!(stage.fakes[0].hooks().len(), 1);
}

#[tokio::test]
async fn sessions_are_nobodys_to_ask_for() {
    let stage = Stage::memory(1).await;
    let process = both(&stage).await;
    assert!(A.create(&process, "m").await.ok());
    let led = A.join(&process, "m").await.location.unwrap();
    let client = stage.fakes[0].perform(&led, b"").unwrap();
    let token = client.split_once("sessionToken=").unwrap().1.to_owned();
    let answer = B.call(&process, "getJoinUrl", &format!("sessionToken={token}")).await;
    assert_eq!(answer.text("messageKey"), "unsupportedRequest", "{answer:?}");
}

#[tokio::test]
async fn settings_of_a_tenant_count_for_its_meetings() {
    let stage = Stage::memory(1).await;
    let mut a = A.record();
    a.settings = vec![
        adapter_bbb::TenantSetting::new("1", "welcome", "hi", false),
        adapter_bbb::TenantSetting::new("2", "record", "false", true),
        adapter_bbb::TenantSetting::new("3", "meta_tenant-id", "ten-beta", true),
    ];
    add(&*stage.store, &[a, B.record()]).await;
    let mut o = options();
    o.create = adapter_bbb::ParamRules::parse("logo=l", "record=true", "").unwrap();
    let process = stage.process(o).await;
    for (tenant, id, welcome, record) in [(A, "a", Some("hi"), "false"), (B, "b", None, "true")] {
        assert!(tenant.create(&process, id).await.ok());
        let made = stage.fakes[0].meeting(id).unwrap();
        assert_eq!((made.param("welcome"), made.param("record")), (welcome, Some(record)));
        assert_eq!((made.param("logo"), made.param("meta_tenant-id")), (Some("l"), Some(tenant.id().as_str())));
    }
    let led = A.join(&process, "a").await.location.unwrap();
    assert!(led.contains("record=false") && led.contains("welcome=hi"), "{led}");
}
