//! Tenants whose store does not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{A, B, add, options};
use crate::stage::{Process, Stage, redis_store, until};

/// Meetings that are known go on, and nobody waits behind others for a Redis that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_keeps_no_tenant_of_a_known_meeting_waiting() {
    let Some(stage) = Stage::redis(1).await else { return };
    let server = stage.redis.as_ref().unwrap();
    add(&*stage.store, &[A.record(), B.record()]).await;
    let process = Process::start(options(), redis_store(server), true).await;
    for tenant in [A, B] {
        until("its server is online", async || tenant.create(&process, "m").await.ok()).await;
        assert!(tenant.join(&process, "m").await.location.is_some());
    }
    server.signal("STOP");
    // The first ones wait as long as any answer of Redis may take, all at once.
    for tenant in [A, B] {
        assert_eq!(tenant.join(&process, "m").await.status, 302);
    }
    let began = Instant::now();
    for tenant in [A, B].into_iter().cycle().take(10) {
        assert_eq!(tenant.join(&process, "m").await.status, 302);
    }
    // One after the other they would have waited five times as long as the first ones.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    // New ones are refused in clear words; nobody is taken for another one.
    let refused = A.create(&process, "new").await;
    assert!(refused.text("returncode") == "FAILED" && refused.text("messageKey") == "internalError", "{refused:?}");
    let foreign = super::ask(&process.service, &A.host(), "join", "meetingID=m&fullName=n", &B.secret(), None).await;
    assert_eq!(foreign.text("messageKey"), "checksumError");
    server.signal("CONT");
    until("new ones are taken again", async || A.create(&process, "new").await.ok()).await;
}
