//! Many tenants on one Redis, each with a meeting of the same id.

use std::time::Instant;

use adapter_bbb::{Secret, TenantRecord};

use super::{add, ask, operate, options};
use crate::stage::{HOST, Stage};

async fn crowd(count: usize) {
    let Some(stage) = Stage::redis(4).await else { return };
    let began = Instant::now();
    let tenants: Vec<TenantRecord> = (0..count)
        .map(|n| TenantRecord::new(format!("ten-{n}"), format!("t{n}"), Secret::new(format!("secret-of-{n}"))))
        .collect();
    add(&*stage.store, &tenants).await;
    println!("{count} tenants added in {:.1?}", began.elapsed());
    let process = stage.process(options()).await;
    let call = async |n: usize, secret: usize, name: &str, query: &str| {
        let (host, secret) = (format!("t{n}.{HOST}"), format!("secret-of-{secret}"));
        ask(&process.service, &host, name, query, &secret, None).await
    };
    let began = Instant::now();
    let mut lists = 0;
    for n in 0..count {
        let made = call(n, n, "create", &format!("meetingID=lesson&name=of-{n}&moderatorPW=mp&attendeePW=ap")).await;
        assert!(made.ok() && made.text("messageKey").is_empty(), "{n}: {made:?}");
    }
    println!("{count} meetings of one id created in {:.1?}", began.elapsed());
    process.poll().await;
    let began = Instant::now();
    for n in 0..count {
        let info = call(n, n, "getMeetingInfo", "meetingID=lesson").await;
        assert_eq!((info.text("meetingID"), info.text("meetingName")), ("lesson", &*format!("of-{n}")), "{info:?}");
        let led = call(n, n, "join", "meetingID=lesson&fullName=Ann&password=ap").await;
        assert!(stage.led_to(&led).is_some(), "{n}: {led:?}");
        let other = call(n, (n + 1) % count, "getMeetingInfo", "meetingID=lesson").await;
        assert_eq!(other.text("messageKey"), "checksumError", "{n}");
        if n % 20 == 0 {
            let list = call(n, n, "getMeetings", "").await;
            assert_eq!((list.body.matches("<meeting>").count(), list.text("meetingName")), (1, &*format!("of-{n}")));
            lists += 1;
        }
    }
    println!("{count} looks, joins and forged calls and {lists} lists in {:.1?}", began.elapsed());
    let began = Instant::now();
    let page = process.call_metrics().await;
    assert_eq!(page.lines().filter(|l| l.starts_with("balancer_tenant_meetings{")).count(), count);
    let all: serde_json::Value = serde_json::from_str(&operate(&process, "tenants", "", None).await.body).unwrap();
    assert_eq!(all["tenants"].as_array().unwrap().len(), count);
    println!("figures and list of all tenants in {:.1?}", began.elapsed());
    // Half of them end their meetings: the others' go on.
    for n in (0..count).step_by(2) {
        assert!(call(n, n, "end", "meetingID=lesson&password=mp").await.ok());
    }
    for n in 0..count {
        let info = call(n, n, "getMeetingInfo", "meetingID=lesson").await;
        assert_eq!(info.ok(), n % 2 == 1, "{n}: {info:?}");
    }
}

#[tokio::test]
async fn each_of_many_tenants_has_its_own_meeting() {
    crowd(60).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask soak tenants"]
async fn long_crowd() {
    crowd(2_000).await;
}
