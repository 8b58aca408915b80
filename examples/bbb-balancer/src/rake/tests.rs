use super::*;

#[test]
fn tasks_become_actions() {
    let id = || "a1".to_owned();
    let add = |multiplier: Option<&str>, tag: Option<&str>| Action::Add {
        url: "https://bbb1.example.com/bigbluebutton/api".into(),
        secret: "s".into(),
        multiplier: multiplier.map(Into::into),
        tag: tag.map(Into::into),
        enable: false,
        lenient: true,
    };
    let change = |secret: Option<&str>, multiplier: Option<&str>, tag: Option<&str>| Action::Update {
        id: id(),
        change: Change {
            secret: secret.map(Into::into),
            multiplier: multiplier.map(Into::into),
            tag: tag.map(Into::into),
        },
    };
    let cases = [
        ("servers", Action::List { show_secrets: false }),
        ("servers:add[https://bbb1.example.com/bigbluebutton/api,s]", add(None, None)),
        ("'servers:add[https://bbb1.example.com/bigbluebutton/api, s ,2.5,eu]'", add(Some("2.5"), Some("eu"))),
        ("servers:add[https://bbb1.example.com/bigbluebutton/api,s,,eu]", add(None, Some("eu"))),
        ("servers:enable[a1]", Action::Wish { id: id(), wish: Wish::Enable }),
        ("servers:cordon[a1]", Action::Wish { id: id(), wish: Wish::Cordon }),
        ("servers:disable[a1]", Action::Wish { id: id(), wish: Wish::Disable }),
        ("servers:panic[a1]", Action::Panic { id: id(), keep_state: false, skip_ends: false }),
        ("servers:panic[a1,true]", Action::Panic { id: id(), keep_state: true, skip_ends: false }),
        ("servers:remove[a1]", Action::Remove { id: id(), force: false }),
        ("servers:loadMultiplier[a1,3]", change(None, Some("3"), None)),
        ("servers:tag[a1,eu]", change(None, None, Some("eu"))),
        ("servers:tag[a1]", change(None, None, Some(""))),
        ("servers:update[a1,new]", change(Some("new"), None, None)),
        ("servers:update[a1,,2,]", change(None, Some("2"), Some(""))),
        ("servers:meeting_list[a:b]", Action::MeetingsByServer { servers: vec!["a".into(), "b".into()] }),
        ("servers:panic[a1,,skip_end_calls]", Action::Panic { id: id(), keep_state: false, skip_ends: true }),
        ("servers:addAll[f.yml]", Action::AddAll { file: "f.yml".into(), dry: false }),
        ("servers:sync[-]", Action::Sync { file: "-".into(), absent: Absent::Cordon, dry: false }),
        ("servers:sync[f,force,true]", Action::Sync { file: "f".into(), absent: Absent::Force, dry: true }),
        ("servers:sync[f,keep]", Action::Sync { file: "f".into(), absent: Absent::Keep, dry: false }),
        ("poll[5]", Action::Poll { lenient: true }.watched(Some(Duration::from_secs(5)))),
        ("meetings:info[m]", Action::MeetingInfo { meetings: vec!["m".into()] }),
        (
            "meetings:end[m:n]",
            Action::EndMeetings { meetings: vec!["m".into(), "n".into()], agreed: Agreed::Read, dry: false },
        ),
        ("liveness[]", Action::Liveness),
        ("poll:all", Action::Poll { lenient: true }),
        ("status", Action::Status),
        ("meetings", Action::Meetings { servers: Vec::new(), tenant: None }),
        ("meetings:list[]", Action::Meetings { servers: Vec::new(), tenant: None }),
    ];
    for (text, want) in cases {
        assert!(parse(text).is_ok_and(|action| action == want), "{text}");
    }
}

#[test]
fn tasks_about_tenants_become_orders() {
    let update = |fields: &[(&'static str, &str)]| TenantOrder::Update {
        tenant: "t".into(),
        fields: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        limits: Limits::default(),
    };
    let set = |overrides| TenantOrder::Set { tenant: "t".into(), param: "a".into(), value: "b".into(), overrides };
    let cases = [
        ("tenants[]", TenantOrder::List { show_secrets: false }),
        ("tenants:showall", TenantOrder::List { show_secrets: false }),
        ("tenants:add[n,a:b]", TenantOrder::Add { name: "n".into(), secrets: "a:b".into(), limits: Limits::default() }),
        ("tenants:update[t,n,s]", update(&[("name", "n"), ("secrets", "s")])),
        ("tenants:update[t,,s]", update(&[("secrets", "s")])),
        ("tenants:remove[t]", TenantOrder::Remove { tenant: "t".into() }),
        (
            "tenants:update_lrs_basic[t,e,u,p]",
            update(&[("lrs_endpoint", "e"), ("lrs_username", "u"), ("lrs_password", "p")]),
        ),
        (
            "tenants:update_lrs_kc[t,e,k,i,s,u,p]",
            update(&[
                ("lrs_endpoint", "e"),
                ("kc_token_url", "k"),
                ("kc_client_id", "i"),
                ("kc_client_secret", "s"),
                ("kc_username", "u"),
                ("kc_password", "p"),
            ]),
        ),
        ("tenantSettings", TenantOrder::Settings),
        ("tenantSettings:add[t,a,b,true]", set(true)),
        ("tenantSettings:add[t,a,b,yes]", set(false)),
        ("tenantSettings:remove[s]", TenantOrder::Unset { id: "s".into() }),
    ];
    for (text, want) in cases {
        assert!(parse(text).is_ok_and(|action| action == Action::Tenants(want)), "{text}");
    }
}

#[test]
fn errors_say_what_is_missing() {
    let said = |text: &str| parse(text).map_err(|failure| failure.to_string()).unwrap_err();
    assert!(said("servers:ad[u,s]").contains("did you mean \"servers:add\"?"));
    assert!(said("servers:add[u]").contains("servers:add[url,secret,multiplier,tag]"));
    assert!(said("servers:add[u,s").contains("closing bracket"));
    assert!(said("servers:enable[]").contains("lacks an argument"));
    assert!(said("poll:all[3]").contains("takes none"));
    assert!(said("servers:panic[a,maybe]").contains("true or false"));
    assert!(said("servers:sync[f,all]").contains("keep, cordon or force"));
    assert!(said("poll[0]").contains("from 1 to 86400"));
    assert!(said("tenants:add[a]").contains("tenants:add[name,secrets]"));
    assert!(said("tenantSettings:add[a,b,c]").contains("lacks an argument"));
    assert!(said("recordings:watch[true,0]").contains("from 1 to 86400"));
    assert!(said("recordings:addToTenant").contains("recordings:addToTenant[id]"));
    assert!(said("nothing:like:that").contains("rake status"));
}

#[test]
fn tasks_of_recordings() {
    let import = |seconds| Action::ImportRecordings.watched(Some(Duration::from_secs(seconds)));
    assert_eq!(parse("recordings:watch").unwrap(), import(60));
    assert_eq!(parse("recordings:watch[true, 5]").unwrap(), import(5));
    assert_eq!(parse("recordings:update").unwrap(), Action::SettleRecordings);
    let tenant = Action::RecordingsToTenant { tenant: "t-1".to_owned() };
    assert_eq!(parse("recordings:addToTenant[t-1]").unwrap(), tenant);
}

#[test]
fn recognises_spellings() {
    assert!(is_task("servers:add[u,s]") && is_task("poll:all") && is_task("status[]"));
    assert!(is_task("tenantSettings") && is_task("tenants:add[a,b]") && is_task("recordings:update"));
    assert!(!is_task("tenants"), "a command of ours");
    assert!(!is_task("servers") && !is_task("serve") && !is_task("--url=http://x"));
}
