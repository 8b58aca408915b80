//! The commands about tenants: what is asked, and how it is printed.

use crate::canned::{Canned, Reply};

const TENANTS: Reply = (
    "/balancer/api/tenants",
    200,
    r#"{"tenants":[{"id":"t1","name":"school","secrets":"aaaabbbbccccddddeeeeffff00001111:short",
    "lrs_endpoint":"https://lrs.example","lrs_username":null,"lrs_password":"hunter2","kc_token_url":null,
    "limits":{"meetings":50,"calls":2.5},"settings":[{"id":"s1","param":"welcome","value":"hi","override":true}],
    "new_record":false,"destroyed":false},
    {"id":"t2","name":"college","secrets":"short","limits":{},"settings":[]}]}"#,
);
const MADE: Reply = ("/scalelite/api/addTenant", 201, r#"{"tenant":{"id":"t3","name":"n","secrets":"s"}}"#);
const CHANGED: Reply = ("/scalelite/api/updateTenant", 200, r#"{"tenant":{"id":"t1","name":"n","secrets":"s"}}"#);
const GONE: Reply = ("/scalelite/api/deleteTenant", 200, r#"{"success":"Tenant id=t1 was destroyed"}"#);
const SET: Reply = ("/balancer/api/addTenantSetting", 201, r#"{"id":"s9","param":"p","value":"v","override":true}"#);
const UNSET: Reply = ("/balancer/api/removeTenantSetting", 200, r#"{"success":"x"}"#);

/// A secret that nobody guesses.
const LONG: &str = "5f1d0c2b7a9e4b3c8d6f0a1b2c3d4e5f60718293a4b5c6d7";

fn lb() -> Canned {
    Canned::start(&[TENANTS, MADE, CHANGED, GONE, SET, UNSET])
}

#[test]
fn tenants_are_listed() {
    let lb = lb();
    let want = "id: t1\n\tname: school\n\tsecrets: aaaa...1111:...\n\tlrs_endpoint: https://lrs.example\n\t\
                lrs_password: ...\n\tlimit of meetings: 50\n\tlimit of calls per second: 2.5\n\
                id: t2\n\tname: college\n\tsecrets: ...\nTotal number of tenants: 2\n";
    for args in [&["tenants"][..], &["tenants", "list"], &["tenants[]"], &["tenants:showall"]] {
        let ran = lb.run(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, want, ""), "{args:?}");
    }
    let ran = lb.run(&["tenants", "--show-secrets"]);
    assert!(ran.out.contains("secrets: aaaabbbbccccddddeeeeffff00001111:short\n"), "{ran:?}");
    for format in ["json", "yaml"] {
        let ran = lb.run(&["tenants", "-o", format]);
        assert!(ran.code == 0 && ran.out.contains("aaaa...1111:..."), "{ran:?}");
        assert!(!ran.out.contains("hunter2") && !ran.out.contains("bbbbcccc"), "{ran:?}");
    }
    assert!(lb.run(&["tenants", "-o", "yaml"]).out.starts_with("tenants:\n  - "));
    let want = "Tenant: school\n  id: s1\n\tparam: welcome\n\tvalue: hi\n\toverride: true\nTenant: college\n  \
                No custom settings are configured\n";
    for args in [&["tenants", "settings"][..], &["tenantSettings"]] {
        assert_eq!(lb.run(args).out, want, "{args:?}");
    }
    let none = Canned::start(&[("/balancer/api/tenants", 200, r#"{"tenants":[]}"#)]);
    assert_eq!(none.run(&["tenants"]).out, "Total number of tenants: 0\n");
    let off = Canned::start(&[("/balancer/api/tenants", 412, r#"{"message":"Multitenancy is disabled"}"#)]);
    let ran = off.run(&["tenants"]);
    assert!(ran.code == 1 && ran.err.contains("Multitenancy is disabled"), "{ran:?}");
}

#[test]
fn tenants_are_changed() {
    let lb = lb();
    let told = |args: &[&str]| {
        let ran = lb.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        (ran.out, lb.asked().pop().unwrap())
    };
    let (good, rake) = (format!("{LONG}:{LONG}"), format!("tenants:add[n,{LONG}:{LONG}]"));
    for args in [&["tenants", "add", "n", &good][..], &[&rake]] {
        let (out, asked) = told(args);
        assert_eq!(out, "OK\nNew Tenant id: t3\n");
        let sent = format!(r#""name":"n","secrets":"{good}""#);
        assert!(asked.contains("addTenant") && asked.contains(&sent), "{asked}");
    }
    // It is done, and what is easily guessed is told of.
    for args in [&["tenants", "add", "n", "s"][..], &["tenants", "update", "school", "--secrets", "s"]] {
        let ran = lb.run(args);
        let warning = "warning: secret 1 has only 1 character: make a new one with `openssl rand -hex 32`\n";
        assert_eq!((ran.code, ran.err.as_str()), (0, warning), "{ran:?}");
    }
    let (_, asked) = told(&["tenants", "add", "n", LONG, "--meetings", "5", "--calls", "2.5"]);
    assert!(asked.contains(r#""limits":{"calls":"2.5","meetings":"5"}"#), "{asked}");
    for args in [&["tenants", "update", "school", "--name", "n"][..], &["tenants:update[t1,n]"]] {
        let (out, asked) = told(args);
        assert_eq!(out, "OK\nUpdated Tenant id: t1\n");
        assert!(asked.contains(r#"{"id":"t1","tenant":{"name":"n"}}"#), "{asked}");
    }
    let (_, asked) = told(&["tenants:update_lrs_basic[t1,https://l,u,p]"]);
    assert!(asked.contains(r#""lrs_endpoint":"https://l","lrs_password":"p","lrs_username":"u""#), "{asked}");
    let (_, asked) = told(&["tenants", "update", "SCHOOL", "--users", "0"]);
    assert!(asked.contains(r#"{"id":"t1","tenant":{"limits":{"users":"0"}}}"#), "{asked}");
    for args in [&["tenants", "remove", "school"][..], &["tenants:remove[t1]"]] {
        let (out, asked) = told(args);
        assert!(out == "OK\n" && asked.contains(r#"{"id":"t1"}"#), "{out} {asked}");
    }
    for args in [&["tenants", "set", "t1", "p", "v", "--override"][..], &["tenantSettings:add[t1,p,v,true]"]] {
        let (out, asked) = told(args);
        assert_eq!(out, "OK\nNew TenantSetting id: s9\n");
        assert!(asked.contains(r#"{"override":true,"param":"p","tenant_id":"t1","value":"v"}"#), "{asked}");
    }
    for args in [&["tenants", "unset", "s9"][..], &["tenantSettings:remove[s9]"]] {
        assert_eq!(told(args).0, "OK\n");
    }
    let ran = lb.run(&["tenants", "remove", "scool"]);
    assert!(
        ran.code == 1 && ran.err.contains("No tenant found with id: scool") && ran.err.contains("school"),
        "{ran:?}"
    );
    assert_eq!(lb.run(&["tenants", "update", "t1"]).code, 2);
    let taken =
        ("/scalelite/api/addTenant", 400, r#"{"message":"Error: the name n is taken by the tenant with id=t1"}"#);
    let ran = Canned::start(&[taken]).run(&["tenants", "add", "n", "s"]);
    assert!(ran.code == 1 && ran.err.contains("is taken by the tenant with id=t1"), "{ran:?}");
}

#[test]
fn meetings_are_listed_by_tenant() {
    let meetings = r#"{"meetings":[{"id":"m","server":"a1","url":"https://x/api","tenant":"t1"}]}"#;
    let lb = Canned::start(&[("/balancer/api/meetings", 200, meetings)]);
    let ran = lb.run(&["meetings", "--tenant", "school"]);
    assert_eq!(ran.out, "MeetingID: m\n\tServer ID: a1\n\tServer Url: https://x/api\n\tTenant ID: t1\n");
    assert!(lb.asked()[0].contains("meetings?tenant=school"));
}
