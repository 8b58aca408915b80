//! The tenant calls of the JSON admin API.

use serde_json::{Value, json};

use super::{A, B, both, operate, options};
use crate::stage::{Answer, Stage};

fn value(a: &Answer) -> Value {
    serde_json::from_str(&a.body).unwrap_or_else(|_| panic!("{a:?}"))
}

async fn calls(stage: &Stage) {
    let process = stage.process(options()).await;
    let empty = operate(&process, "getTenants", "", None).await;
    assert_eq!((empty.status, value(&empty)), (200, json!({"message": "No tenants exist"})));
    let both_needed = json!({"message": "Error: both name and secrets are required to create a Tenant"});
    for body in [json!({}), json!({"tenant": {"name": "x"}}), json!({"tenant": {"secrets": "s"}}), json!(null)] {
        let answer = operate(&process, "addTenant", "", Some(body)).await;
        assert_eq!((answer.status, value(&answer)), (400, both_needed.clone()));
    }
    let made = operate(&process, "addTenant", "", Some(json!({"tenant": {"name": "school", "secrets": "a:b"}}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = value(&made)["tenant"]["id"].as_str().unwrap().to_owned();
    assert_eq!(value(&made), json!({"tenant": {"id": id, "name": "school", "secrets": "a:b"}}));
    // A second one of its name is refused, in whatever case; so is what no host name can have.
    for (name, word) in [("school", id.as_str()), ("SCHOOL", &id), ("a.b", "label"), ("-a", "label"), ("ä", "label")] {
        let body = json!({"tenant": {"name": name, "secrets": "s"}});
        let answer = operate(&process, "addTenant", "", Some(body)).await;
        assert!(answer.status == 400 && answer.body.contains(word), "{name}: {answer:?}");
    }
    let listed = operate(&process, "getTenants", "", None).await;
    assert_eq!(value(&listed), json!([{"id": id, "name": "school", "secrets": "a:b"}]));
    let info = operate(&process, "getTenantInfo", &format!("id={id}"), None).await;
    assert_eq!(
        (info.status, &value(&info)["name"], &value(&info)["new_record"]),
        (200, &json!("school"), &json!(false))
    );
    let change = json!({"id": id, "tenant": {"name": "college", "lrs_endpoint": "https://lrs", "limits": {"meetings": 5, "calls": "2.5"}}});
    let changed = operate(&process, "updateTenant", "", Some(change)).await;
    assert_eq!(value(&changed), json!({"tenant": {"id": id, "name": "college", "secrets": "a:b"}}));
    let change = json!({"id": id, "tenant": {"limits": {"users": 7, "calls": 0}}});
    assert_eq!(operate(&process, "updateTenant", "", Some(change)).await.status, 200);
    let info = value(&operate(&process, "getTenantInfo", &format!("id={id}"), None).await);
    assert_eq!((&info["lrs_endpoint"], &info["limits"]), (&json!("https://lrs"), &json!({"meetings": 5, "users": 7})));
    // A password of digits is one, and null takes a field away.
    for (password, shown) in [(json!(1234), json!("1234")), (json!(null), json!(null))] {
        let change = json!({"id": id, "tenant": {"lrs_password": password}});
        assert_eq!(operate(&process, "updateTenant", "", Some(change)).await.status, 200);
        let info = value(&operate(&process, "getTenantInfo", &format!("id={id}"), None).await);
        assert_eq!((&info["lrs_password"], &info["lrs_endpoint"]), (&shown, &json!("https://lrs")));
    }
    let other = operate(&process, "addTenant", "", Some(json!({"tenant": {"name": "school", "secrets": "c"}}))).await;
    let other = value(&other)["tenant"]["id"].as_str().unwrap().to_owned();
    for tenant in [
        json!({"name": "College"}),
        json!({"name": "a b"}),
        json!({"secrets": " : "}),
        json!({"limits": {"users": "many"}}),
        json!({"limits": {"calls": -1}}),
        json!({"limits": {"calls": "NaN"}}),
        json!({"lrs_endpoint": ["https://lrs"]}),
        json!({"kc_password": "x".repeat(5000)}),
    ] {
        let answer = operate(&process, "updateTenant", "", Some(json!({"id": other, "tenant": tenant}))).await;
        assert_eq!(answer.status, 422, "{answer:?}");
    }
    let missing = json!({"error": "Couldn't find Tenant with id=none"});
    for (name, query, body) in [
        ("getTenantInfo", "id=none", None),
        ("updateTenant", "", Some(json!({"id": "none", "tenant": {"name": "n"}}))),
        ("deleteTenant", "", Some(json!({"id": "none"}))),
        ("addTenantSetting", "", Some(json!({"tenant_id": "none", "param": "a", "value": "b", "override": "true"}))),
    ] {
        let answer = operate(&process, name, query, body).await;
        assert_eq!((answer.status, value(&answer)), (404, missing.clone()), "{name}");
    }
    // Settings.
    let set = |param: &str| json!({"tenant_id": id, "param": param, "value": "v", "override": "true"});
    let added = operate(&process, "addTenantSetting", "", Some(set("welcome"))).await;
    assert_eq!(added.status, 201, "{added:?}");
    for param in ["", "meetingID", "checksum", "meta_Tenant-Id", "voiceBridge"] {
        assert_eq!(operate(&process, "addTenantSetting", "", Some(set(param))).await.status, 400, "{param}");
    }
    let private = json!({"tenant_id": id, "param": "preUploadedPresentation", "value": "http://10.0.0.1/a.pdf"});
    let refused = operate(&process, "addTenantSetting", "", Some(private)).await;
    assert!(refused.status == 400 && refused.body.contains("10.0.0.1 is a private address"), "{refused:?}");
    let all = value(&operate(&process, "tenants", "", None).await);
    let shown = all["tenants"].as_array().unwrap().iter().find(|t| t["id"] == *id).unwrap().clone();
    let setting = value(&added)["id"].as_str().unwrap().to_owned();
    assert_eq!(shown["settings"], json!([{"id": setting, "param": "welcome", "value": "v", "override": true}]));
    for status in [200, 404] {
        let gone = operate(&process, "removeTenantSetting", "", Some(json!({"id": setting}))).await;
        assert_eq!(gone.status, status, "{gone:?}");
    }
    let gone = operate(&process, "deleteTenant", "", Some(json!({"id": id}))).await;
    assert_eq!((gone.status, value(&gone)), (200, json!({"success": format!("Tenant id={id} was destroyed")})));
    assert_eq!(operate(&process, "deleteTenant", "", Some(json!({"id": id}))).await.status, 404);
    // POST calls by GET are none.
    assert_eq!(operate(&process, "addTenant", "", None).await.text("messageKey"), "unsupportedRequest");
}

#[tokio::test]
async fn tenants_are_added_changed_and_removed() {
    calls(&Stage::memory(0).await).await;
}

#[tokio::test]
async fn tenants_are_added_changed_and_removed_on_redis() {
    if let Some(stage) = Stage::redis(0).await {
        calls(&stage).await;
    }
}

#[tokio::test]
async fn meetings_are_listed_by_tenant() {
    let stage = Stage::memory(1).await;
    let process = both(&stage).await;
    assert!(A.create(&process, "m").await.ok() && B.create(&process, "m").await.ok());
    for (query, count) in [("", 2), ("tenant=alpha", 1), ("tenant=ten-beta", 1)] {
        let list = value(&operate(&process, "meetings", query, None).await);
        assert_eq!(list["meetings"].as_array().unwrap().len(), count, "{query}: {list}");
    }
    let list = value(&operate(&process, "meetings", "tenant=alpha", None).await);
    assert_eq!((&list["meetings"][0]["id"], &list["meetings"][0]["tenant"]), (&json!("m"), &json!("ten-alpha")));
    assert_eq!(operate(&process, "meetings", "tenant=nobody", None).await.status, 404);
    // Removed, it is still found by the id that its meetings have.
    assert_eq!(operate(&process, "deleteTenant", "", Some(json!({"id": A.id()}))).await.status, 200);
    let list = value(&operate(&process, "meetings", "tenant=ten-alpha", None).await);
    assert_eq!(list["meetings"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn a_tenant_that_is_removed_is_served_no_more_and_one_that_is_added_at_once() {
    let stage = Stage::memory(1).await;
    let process = both(&stage).await;
    assert!(A.create(&process, "m").await.ok());
    assert_eq!(operate(&process, "deleteTenant", "", Some(json!({"id": A.id()}))).await.status, 200);
    assert_eq!(A.call(&process, "getMeetings", "").await.text("messageKey"), "checksumError");
    let body = json!({"tenant": {"name": "alpha", "secrets": A.secret()}});
    assert_eq!(operate(&process, "addTenant", "", Some(body)).await.status, 201);
    let list = A.call(&process, "getMeetings", "").await;
    assert!(list.ok() && !list.body.contains("<meeting>"), "a new one of the same name is another one: {list:?}");
}

/// A name is taken for its tenant; a wrong one labels nothing, where nobody would ever see it again.
#[tokio::test]
async fn recordings_are_given_to_a_tenant_by_id_or_name() {
    let stage = Stage::memory(0).await;
    let process = both(&stage).await;
    let shelf = crate::importing::Shelf::new();
    let desk = adapter_bbb::RecordingDesk::new(shelf.index.clone(), shelf.keeper.clone(), None);
    let service = process.service.clone().with_recording_desk(desk);
    let order = async |name: &str, query: &str, body: Option<Value>| {
        let body = body.map(|b| b.to_string());
        let body = body.as_deref().map(|b| ("application/json", b));
        let (host, secret) = (crate::stage::HOST, crate::stage::SECRET);
        super::ask(&service, host, name, query, secret, body).await
    };
    let mut seen = Vec::new();
    for (n, given) in ["Alpha", "ten-alpha", " alpha "].into_iter().enumerate() {
        shelf.index.import(&adapter_bbb::Recording::new(format!("rec-{n}"))).await.unwrap();
        for wrong in ["alhpa", "ten-", "ten-gamma"] {
            let refused = order("addRecordingsToTenant", "", Some(json!({"tenant": wrong}))).await;
            let words = format!("no tenant has the id or name \\\"{wrong}\\\"; `bbb-balancer tenants` lists them");
            assert!(refused.status == 404 && refused.body.contains(&words), "{refused:?}");
            assert_eq!(order("recordings", &format!("tenant={wrong}"), None).await.status, 404);
        }
        let added = order("addRecordingsToTenant", "", Some(json!({"tenant": given}))).await;
        assert_eq!(value(&added), json!({"tenant": "ten-alpha", "added": 1}));
        seen.push(shelf.row(&format!("rec-{n}")).await.meta("tenant-id").map(str::to_owned));
    }
    assert_eq!(seen, vec![Some("ten-alpha".to_owned()); 3]);
    for (tenant, count) in [("alpha", 3), ("ten-alpha", 3), ("beta", 0)] {
        let listed = value(&order("recordings", &format!("state=any&tenant={tenant}"), None).await);
        assert_eq!(listed["recordings"].as_array().unwrap().len(), count, "{tenant}: {listed}");
    }
}
