//! Tenants in Scalelite's keys, in the file, and through a restart.

use adapter_bbb::{
    LocalStore, MeetingStore, Secret, TenantLimits, TenantPatch, TenantSaved, TenantSetting, TenantStore,
};

use super::{A, B, add, options};
use crate::stage::{Stage, dump, keys, link};

/// What a Scalelite writes.
const SCALELITE: &[&str] = &[
    "SADD scalelite:tenants t1",
    "HSET scalelite:tenant:t1 name school secrets one:two lrs_endpoint https://lrs.example lrs_username u lrs_password p",
    "HSET scalelite:tenant_name:school id t1",
    "SADD scalelite:tenant_settings:t1 s1",
    "HSET scalelite:tenant_setting:s1 param welcome value hi override true tenant_id t1",
    "SADD scalelite:meetings lesson",
    "HSET scalelite:meeting:lesson server_id s0 moderator_pw mp voice_bridge 123456789 tenant_id t1",
    "HSET scalelite:voice_bridges 123456789 lesson",
];

#[tokio::test]
async fn tenants_of_a_scalelite_are_taken_over() {
    let Some(stage) = Stage::redis(1).await else { return };
    let link = link(stage.redis.as_ref().unwrap());
    for command in SCALELITE {
        link.call(&command.split(' ').collect::<Vec<_>>()).await.unwrap();
    }
    let before = dump(&link).await;
    let all = stage.store.tenant_store().tenants().await.unwrap();
    assert_eq!(dump(&link).await, before, "looking changes nothing");
    assert_eq!(all.len(), 1);
    let t = &all[0];
    assert_eq!((t.id.as_str(), t.name.as_str(), t.secrets.expose()), ("t1", "school", "one:two"));
    assert_eq!(t.lrs["lrs_password"], Secret::new("p"));
    assert_eq!(t.settings, [TenantSetting::new("s1", "welcome", "hi", true)]);
    assert_eq!(t.limits, TenantLimits::default());
    // Its running meeting is its own, and nobody else's.
    stage.fakes[0].put_meeting(adapter_bbb::testing::MeetingSpec::new("lesson").param("meta_tenant-id", "t1"));
    add(&*stage.store, &[A.record()]).await;
    let process = stage.process(options()).await;
    let host = format!("school.{}", crate::stage::HOST);
    for secret in ["one", "two"] {
        let answer = super::ask(&process.service, &host, "getMeetingInfo", "meetingID=lesson", secret, None).await;
        assert!(answer.ok(), "{answer:?}");
    }
    assert_eq!(A.call(&process, "getMeetingInfo", "meetingID=lesson").await.text("messageKey"), "notFound");
    assert!(A.create(&process, "lesson").await.ok());
    assert_eq!(stage.having("~ten-alpha~lesson"), [0]);
}

#[tokio::test]
async fn a_scalelite_reads_what_is_written() {
    let Some(stage) = Stage::redis(1).await else { return };
    let link = link(stage.redis.as_ref().unwrap());
    let mut a = A.record();
    a.settings.push(TenantSetting::new("s9", "welcome", "hi", false));
    a.limits.meetings = Some(5);
    add(&*stage.store, &[a, B.record()]).await;
    let process = stage.process(options()).await;
    assert!(A.create(&process, "m").await.ok());
    let ask = async |command: &str| {
        let reply = link.call(&command.split(' ').collect::<Vec<_>>()).await.unwrap();
        let mut list: Vec<String> = reply.as_list().iter().filter_map(|r| r.as_str().map(str::to_owned)).collect();
        if command.starts_with("SMEMBERS") {
            list.sort();
        }
        if list.is_empty() { reply.as_str().unwrap_or("").to_owned() } else { list.join(" ") }
    };
    assert_eq!(ask("SMEMBERS scalelite:tenants").await, "ten-alpha ten-beta");
    assert_eq!(ask("HGETALL scalelite:tenant:ten-alpha").await, "name alpha secrets alpha-secret-Lk82");
    assert_eq!(ask("HGET scalelite:tenant_name:alpha id").await, "ten-alpha");
    assert_eq!(ask("SMEMBERS scalelite:tenant_settings:ten-alpha").await, "s9");
    let setting = ask("HGETALL scalelite:tenant_setting:s9").await;
    assert_eq!(setting, "param welcome value hi override false tenant_id ten-alpha");
    assert_eq!(ask("HGET scalelite:meeting:m tenant_id").await, "ten-alpha");
    // What is ours has keys of our own, and goes with the tenant.
    assert!(keys(&link).await.contains(&"scalelite:balancer:tenant_limits:ten-alpha".to_owned()));
    assert!(stage.store.tenant_store().remove_tenant("ten-alpha").await.unwrap());
    let left: Vec<String> =
        keys(&link).await.into_iter().filter(|k| k.contains("tenant") && k.contains("alpha")).collect();
    assert_eq!(left, ["scalelite:balancer:tenant_meetings:ten-alpha"]);
}

#[tokio::test]
async fn a_second_tenant_of_a_name_steals_nothing_and_leaves_nothing_broken() {
    let Some(stage) = Stage::redis(1).await else { return };
    let link = link(stage.redis.as_ref().unwrap());
    let store = stage.store.tenant_store();
    add(&*stage.store, &[A.record()]).await;
    let mut second = B.record();
    second.name = "ALPHA".to_owned();
    assert_eq!(store.add_tenant(&second).await.unwrap(), TenantSaved::NameTaken(A.id()));
    add(&*stage.store, &[B.record()]).await;
    let rename = TenantPatch { name: Some("alpha".to_owned()), ..TenantPatch::default() };
    assert_eq!(store.update_tenant(&B.id(), &rename).await.unwrap(), TenantSaved::NameTaken(A.id()));
    assert_eq!(store.update_tenant("none", &rename).await.unwrap(), TenantSaved::Unknown);
    // A Scalelite has let it happen: the second one is served, as there; removed, the first one is served again.
    for command in [
        "SADD scalelite:tenants zz",
        "HSET scalelite:tenant:zz name alpha secrets stolen",
        "HSET scalelite:tenant_name:alpha id zz",
    ] {
        link.call(&command.split(' ').collect::<Vec<_>>()).await.unwrap();
    }
    let process = stage.process(options()).await;
    let get = async |secret: &str, process: &crate::stage::Process| {
        super::ask(&process.service, &A.host(), "getMeetings", "", secret, None).await.ok()
    };
    assert!(get("stolen", &process).await && !get(&A.secret(), &process).await);
    assert!(store.remove_tenant("zz").await.unwrap());
    let process = stage.process(options()).await;
    assert!(!get("stolen", &process).await && get(&A.secret(), &process).await);
    let index = link.call(&["HGET", "scalelite:tenant_name:alpha", "id"]).await.unwrap();
    assert_eq!(index.as_str(), Some("ten-alpha"));
}

#[tokio::test]
async fn the_file_keeps_tenants_and_whose_ids_are() {
    let dir = std::env::temp_dir().join(format!("bbb-tenants-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("x.redb");
    let month = std::time::Duration::from_secs(86_400);
    let mut a = A.record();
    a.settings.push(TenantSetting::new("s9", "welcome", "hi", true));
    a.limits.calls = Some(2.5);
    a.lrs.insert("lrs_endpoint".into(), Secret::new("https://lrs"));
    {
        let store = LocalStore::open(&path).await.unwrap();
        add(&*store, &[a.clone(), B.record()]).await;
        assert!(store.own_id(&A.id(), "m", "~ten-alpha~m", month).await.unwrap());
        assert!(store.tenant_store().remove_tenant(&B.id()).await.unwrap());
    }
    let mut opened = LocalStore::open(&path).await;
    // The file is given up a moment after its store.
    while opened.is_err() {
        tokio::task::yield_now().await;
        opened = LocalStore::open(&path).await;
    }
    let store = opened.unwrap();
    assert_eq!(store.tenants().await.unwrap(), [a]);
    assert!(!store.own_id(&B.id(), "m", "~ten-beta~m", month).await.unwrap());
    let _ = std::fs::remove_dir_all(&dir);
}
