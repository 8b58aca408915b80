//! How much a tenant may have, what it is told, and what the figures say.

use super::{A, B, add, options};
use crate::stage::Stage;

async fn meetings(stage: &Stage) {
    let mut a = A.record();
    a.limits.meetings = Some(2);
    add(&*stage.store, &[a, B.record()]).await;
    let process = stage.process(options()).await;
    for id in ["m1", "m2"] {
        assert!(A.create(&process, id).await.ok());
    }
    let refused = A.create(&process, "m3").await;
    assert_eq!((refused.status, refused.text("messageKey")), (200, "tooManyMeetings"), "{refused:?}");
    assert!(refused.text("message").contains("2 meetings"), "{refused:?}");
    assert!(stage.having("m3").is_empty());
    assert!(A.create(&process, "m1").await.ok(), "one that is there is no new one");
    for n in 0..4 {
        assert!(B.create(&process, &format!("m{n}")).await.ok(), "others have their own limits");
    }
    assert!(A.call(&process, "end", "meetingID=m2&password=mp").await.ok());
    assert!(A.create(&process, "m3").await.ok());
    let page = process.call_metrics().await;
    for line in [
        r#"balancer_tenant_refused_total{tenant="alpha",limit="meetings"} 1"#,
        r#"balancer_tenant_meetings{tenant="alpha"} 2"#,
        r#"balancer_tenant_meetings{tenant="beta"} 4"#,
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    // Ten at once for the one place that is left.
    assert!(A.call(&process, "end", "meetingID=m3&password=mp").await.ok());
    let ids: Vec<String> = (0..10).map(|n| format!("at-once-{n}")).collect();
    let all = futures(ids.iter().map(|id| A.create(&process, id))).await;
    assert_eq!(all.iter().filter(|a| a.ok()).count(), 1, "{all:?}");
}

/// Waits for all of them at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (f, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(t) = f.as_mut().poll(cx)
            {
                *done = Some(t);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn meetings_are_limited() {
    meetings(&Stage::memory(2).await).await;
}

#[tokio::test]
async fn meetings_are_limited_on_redis() {
    if let Some(stage) = Stage::redis(2).await {
        meetings(&stage).await;
    }
}

async fn users(stage: &Stage) {
    let mut a = A.record();
    a.limits.users = Some(3);
    add(&*stage.store, &[a, B.record()]).await;
    let process = stage.process(options()).await;
    for id in ["m1", "m2"] {
        assert!(A.create(&process, id).await.ok());
    }
    assert!(B.create(&process, "b").await.ok());
    let enter = async |id: &str| {
        let led = A.join(&process, id).await;
        let at = stage.led_to(&led)?;
        stage.fakes[at].perform(led.location.as_deref()?, b"")
    };
    // Before a poll saw anybody, and over all meetings of the tenant.
    assert!(enter("m1").await.is_some() && enter("m2").await.is_some() && enter("m2").await.is_some());
    let refused = A.join(&process, "m1").await;
    assert_eq!(refused.text("messageKey"), "maxParticipantsReached", "{refused:?}");
    assert!(B.join(&process, "b").await.location.is_some());
    process.poll().await;
    assert!(A.join(&process, "m1").await.location.is_none(), "seen by a poll, they count as well");
    let page = process.call_metrics().await;
    assert!(page.contains(r#"balancer_tenant_refused_total{tenant="alpha",limit="users"} 2"#), "{page}");
    assert!(page.contains(r#"balancer_tenant_users{tenant="alpha"} 3"#), "{page}");
}

#[tokio::test]
async fn people_are_limited() {
    users(&Stage::memory(2).await).await;
}

#[tokio::test]
async fn people_are_limited_on_redis() {
    if let Some(stage) = Stage::redis(2).await {
        users(&stage).await;
    }
}

#[tokio::test]
async fn calls_are_limited() {
    let stage = Stage::memory(1).await;
    let mut a = A.record();
    a.limits.calls = Some(0.01);
    add(&*stage.store, &[a, B.record()]).await;
    let process = stage.process(options()).await;
    assert!(A.call(&process, "getMeetings", "").await.ok());
    // Who cannot sign uses up nothing.
    let refused = A.call(&process, "getMeetings", "").await;
    assert_eq!((refused.status, refused.text("messageKey")), (200, "tooManyRequests"), "{refused:?}");
    let wait: u64 = refused.missing.as_deref().unwrap().parse().unwrap();
    assert!((1..=100).contains(&wait), "{wait}");
    for _ in 0..5 {
        assert!(B.call(&process, "getMeetings", "").await.ok());
    }
    let page = process.call_metrics().await;
    assert!(page.contains(r#"balancer_tenant_refused_total{tenant="alpha",limit="calls"} 1"#), "{page}");
}
